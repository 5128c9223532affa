// Reports beside the ordinary way: dead letters and their return, our own, and those whose time was over.
#include "tests/store/store_fixture.h"

#include <map>
#include <mutex>
#include <random>
#include <set>

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using store::DeadLetterFilter;
using store::Kept;
using store::Lane;
using store::LaneSet;
using store::Outcome;
using Sequences = std::vector<std::uint64_t>;
using Outcomes = std::vector<Kept>;

const Error refused_by_site{Remedy::reject, "mp.refused", "Refused by the site.", {}};

class DeadLetters : public StoreContract {
 protected:
  /// Buries the oldest reports of what is due.
  std::vector<ItemId> bury_next(std::uint32_t count, const Error& reason = refused_by_site) {
    const auto batch = lease(count);
    EXPECT_TRUE(batch);
    if (!batch) return {};
    EXPECT_TRUE(queue().bury(batch->lease, ids(*batch), reason));
    return ids(*batch);
  }
  std::vector<store::DeadLetter> letters(const DeadLetterFilter& filter = {}, std::uint32_t count_max = 100) {
    auto found = queue().dead_letters(filter, count_max);
    EXPECT_TRUE(found) << found.error().message;
    return found ? std::move(*found) : std::vector<store::DeadLetter>();
  }
  static Sequences sequences_of(const std::vector<store::DeadLetter>& letters) {
    Sequences found;
    for (const auto& letter : letters) found.push_back(letter.name.sequence);
    return found;
  }
};
INSTANTIATE_TEST_SUITE_P(Stores, DeadLetters, testing::ValuesIn(store_kinds()), kind_name);

TEST_P(DeadLetters, SayWhoWhatWhenAndWhy) {
  auto offered = report("a", 1, std::string("\0body\xff", 6));
  offered.lane = Lane::inventory;
  offered.kind = 9;
  offered.collected_at = clock_.wall() - 1h;
  const WallTime kept_at = clock_.wall();
  EXPECT_EQ(kept({offered}), Outcomes{Kept::stored});
  auto batch = lease();
  ASSERT_TRUE(queue().pin(batch->lease, {{ids(*batch), "message 4"}}, {}));
  ASSERT_TRUE(queue().postpone(batch->lease, ids(*batch), 0ms, {Remedy::retry, "http.status", "503.", {}}));
  clock_.advance(1min);
  const auto item = bury_next(1).front();
  for (const bool restart : {false, true}) {
    if (restart) reopen();
    const auto found = letters();
    ASSERT_EQ(found.size(), 1u);
    const auto& letter = found[0];
    EXPECT_EQ(letter.id, item);
    EXPECT_EQ(letter.name.agent, AgentId("a"));
    EXPECT_EQ(letter.name.incarnation, 1u);
    EXPECT_EQ(letter.name.sequence, 1u);
    EXPECT_EQ(letter.lane, Lane::inventory);
    EXPECT_EQ(letter.kind, 9u);
    EXPECT_EQ(letter.bytes, 6u);
    EXPECT_EQ(letter.collected_at, offered.collected_at);
    EXPECT_EQ(letter.kept_at, kept_at);
    EXPECT_EQ(letter.buried_at, clock_.wall());
    EXPECT_EQ(letter.attempts, 1u);
    EXPECT_EQ(letter.code, "mp.refused");
    EXPECT_EQ(letter.message, "Refused by the site.");
    EXPECT_TRUE(letter.has_body);
    const auto whole = queue().dead_letter(item);
    ASSERT_TRUE(whole) << whole.error().message;
    EXPECT_EQ(whole->id, item);
    EXPECT_EQ(whole->name.agent, AgentId("a"));
    EXPECT_EQ(whole->lane, Lane::inventory);
    EXPECT_EQ(whole->kind, 9u);
    EXPECT_EQ(whole->collected_at, offered.collected_at);
    EXPECT_EQ(whole->attempt, 2u);
    EXPECT_EQ(whole->note, "message 4");
    EXPECT_EQ(whole->body, offered.body);
  }
  const auto none = queue().dead_letter(ItemId(item.raw() + 1));
  ASSERT_FALSE(none);
  EXPECT_STREQ(none.error().code, "queue.no_letter");
  EXPECT_EQ(none.error().remedy, Remedy::reject);
}

TEST_P(DeadLetters, AreFoundByAgentCodeAndKindPageByPage) {
  for (const char* agent : {"a", "b"}) {
    std::vector<store::NewReport> batch;
    for (std::uint64_t sequence = 1; sequence <= 6; ++sequence) {
      batch.push_back(report(agent, sequence));
      batch.back().kind = sequence <= 3 ? 3 : 4;
    }
    kept(std::move(batch));
  }
  for (int i = 0; i < 6; ++i) bury_next(2, {Remedy::reject, i % 3 == 2 ? "mp.other" : "mp.refused", "No.", {}});
  EXPECT_EQ(letters().size(), 12u);
  DeadLetterFilter filter;
  filter.agent = AgentId("b");
  EXPECT_EQ(sequences_of(letters(filter)), (Sequences{1, 2, 3, 4, 5, 6}));
  filter.code = "mp.refused";
  const auto of_b = letters(filter);
  for (const auto& letter : of_b) {
    EXPECT_EQ(letter.name.agent, AgentId("b"));
    EXPECT_EQ(letter.code, "mp.refused");
  }
  EXPECT_EQ(of_b.size(), 4u);
  filter.kind = 4;
  for (const auto& letter : letters(filter)) EXPECT_EQ(letter.kind, 4u);
  EXPECT_FALSE(letters(filter).empty());
  filter.kind = 5;
  EXPECT_TRUE(letters(filter).empty());
  filter = {};
  filter.agent = AgentId("nobody");
  EXPECT_TRUE(letters(filter).empty());
  filter = {};
  std::vector<ItemId> paged;
  for (auto page = letters(filter, 5); !page.empty(); page = letters(filter, 5)) {
    EXPECT_LE(page.size(), 5u);
    for (const auto& letter : page) paged.push_back(letter.id);
    filter.above = page.back().id.raw();
  }
  EXPECT_EQ(paged.size(), 12u);
  EXPECT_TRUE(std::is_sorted(paged.begin(), paged.end()));
  filter.above = ~std::uint64_t{0};
  EXPECT_TRUE(letters(filter).empty());
}

TEST_P(DeadLetters, GoBackBehindWhatWaitsUnpinnedWithNoAttemptsUnderTheirOldName) {
  keep_sequences("a", 1, 2);
  auto batch = lease();
  ASSERT_TRUE(queue().pin(batch->lease, {{ids(*batch), "message"}}, {}));
  ASSERT_TRUE(queue().postpone(batch->lease, ids(*batch), 0ms, refused_by_site));
  const auto buried = bury_next(2);
  keep_sequences("a", 3, 3);
  clock_.advance(1h);
  EXPECT_EQ(queue().replay({buried[0], buried[0], buried[1], ItemId(99'999'999)}).value(), 2u) << "each once";
  EXPECT_TRUE(letters().empty());
  EXPECT_EQ(queue().replay(buried).value(), 0u);
  for (const bool restart : {false, true}) {
    if (restart) reopen();
    batch = lease();
    EXPECT_EQ(sequences(batch), (Sequences{3, 1, 2}));
    const auto& back = batch->reports[1];
    EXPECT_GT(back.id, batch->reports[0].id);
    EXPECT_NE(back.id, buried[0]);
    EXPECT_EQ(back.name.incarnation, 1u);
    EXPECT_EQ(back.attempt, 1u);
    EXPECT_EQ(back.group, 0u);
    EXPECT_EQ(back.note, "");
    EXPECT_EQ(back.body, "a/1");
    EXPECT_EQ(back.kept_at, clock_.wall());
    EXPECT_FALSE(back.expires_at);
    queue().hand_back(batch->lease);
  }
  EXPECT_EQ(kept({report("a", 2), report("a", 4)}), (Outcomes{Kept::duplicate, Kept::stored})) << "its sequence stays judged";
  batch = lease();
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  const auto traces = queue().trace(AgentId("a"), 10).value();
  ASSERT_EQ(traces.size(), 6u) << "its burial stays in the history, beside the delivery";
  EXPECT_EQ(queue().stats().waiting, 0u);
}

TEST_P(DeadLetters, GoBackInTheirOwnLanesAndCanBeBuriedAgain) {
  for (const Lane lane : {Lane::inventory, Lane::control}) {
    auto offered = report("a", queue().last_sequence(AgentId("a"), 1) + 1);
    offered.lane = lane;
    kept({offered});
    bury_next(1);
  }
  for (int round = 0; round < 3; ++round) {
    std::vector<ItemId> all_letters;
    for (const auto& letter : letters()) all_letters.push_back(letter.id);
    ASSERT_EQ(queue().replay(all_letters).value(), 2u);
    auto inventory = queue().lease(LaneSet().with(Lane::inventory), 10, 1 << 20, 0ms).value();
    EXPECT_EQ(sequences(inventory), Sequences{1});
    queue().hand_back(inventory->lease);
    bury_next(1);
    bury_next(1);
  }
  EXPECT_EQ(queue().stats().buried, 2u);
  EXPECT_EQ(queue().stats().buried_total, 8u);
  EXPECT_EQ(queue().stats().replayed_total, 6u);
  EXPECT_EQ(queue().stats().kept_total, 2u);
}

TEST_P(DeadLetters, WakeWhoWaitsWhenTheyGoBack) {
  keep_sequences("a", 1, 1);
  const auto buried = bury_next(1);
  auto waiting = std::async(std::launch::async, [this] { return queue().lease(LaneSet::all(), 10, 1 << 20, 30s); });
  ASSERT_EQ(queue().replay(buried).value(), 1u);
  EXPECT_EQ(sequences(*waiting.get()), Sequences{1});
}

TEST_P(DeadLetters, ForWhichThereIsNoRoomStay) {
  config_.queue_bytes_max = 1 << 20;
  config_.reserve_percent = 25;
  reopen();
  const std::string body(100'000, 'x');
  auto offered = report("a", 1, body);
  offered.lane = Lane::inventory;
  EXPECT_EQ(kept({offered}), Outcomes{Kept::stored});
  EXPECT_EQ(kept({report("b", 1, body)}), Outcomes{Kept::stored});
  const auto of_b = bury_next(1), of_a = bury_next(1);
  for (std::uint64_t sequence = 2; sequence <= 8; ++sequence) {
    offered = report("a", sequence, body);
    offered.lane = Lane::inventory;
    ASSERT_EQ(kept({offered}), Outcomes{Kept::stored}) << sequence;
  }
  EXPECT_EQ(queue().replay({of_a[0], of_b[0]}).value(), 1u) << "the reserve is for state";
  ASSERT_EQ(letters().size(), 1u);
  EXPECT_EQ(letters()[0].id, of_a[0]);
  while (const auto batch = lease()) {
    ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  }
  EXPECT_EQ(queue().replay(of_a).value(), 1u);
}

TEST_P(DeadLetters, AreDiscardedForGoodButNotTheirReasons) {
  keep_sequences("a", 1, 3);
  const auto buried = bury_next(3);
  EXPECT_EQ(queue().discard({buried[0], buried[2], buried[0], ItemId(77)}).value(), 2u);
  EXPECT_EQ(sequences_of(letters()), Sequences{2});
  EXPECT_EQ(queue().stats().buried, 1u);
  reopen();
  EXPECT_EQ(sequences_of(letters()), Sequences{2});
  EXPECT_EQ(queue().replay(buried).value(), 1u);
  const auto traces = queue().trace(AgentId("a"), 10).value();
  ASSERT_EQ(traces.size(), 4u);
  for (const auto& trace : traces) EXPECT_TRUE(!trace.outcome || trace.code == "mp.refused");
}

TEST_P(DeadLetters, OfForgottenIncarnationsBringNoneBackAndPushNoneOut) {
  // Six incarnations one after another; the letters are of the first, which is forgotten by then.
  std::vector<ItemId> buried;
  for (std::uint64_t incarnation = 1; incarnation <= 6; ++incarnation) {
    auto offered = report("a", 1);
    offered.name.incarnation = incarnation;
    ASSERT_EQ(kept({offered}), Outcomes{Kept::stored});
    if (incarnation == 1) buried = bury_next(1);
  }
  ASSERT_EQ(queue().replay(buried).value(), 1u);
  for (int opened = 0; opened < 3; ++opened) {
    EXPECT_EQ(queue().last_sequence(AgentId("a"), 1), 0u) << opened;
    for (std::uint64_t incarnation = 3; incarnation <= 6; ++incarnation)
      EXPECT_EQ(queue().last_sequence(AgentId("a"), incarnation), 1u) << incarnation << " opened " << opened;
    if (opened == 1) {  // attempts and a pin do not make it evidence either
      const auto batch = lease();
      ASSERT_TRUE(queue().pin(batch->lease, {{ids(*batch), "note"}}, {}));
      ASSERT_TRUE(queue().postpone(batch->lease, ids(*batch), 0ms, refused_by_site));
    }
    reopen();
  }
}

TEST_P(DeadLetters, AnswerStoppingAfterTheEnd) {
  keep_sequences("a", 1, 1);
  const auto buried = bury_next(1);
  store_->stop();
  const auto replayed = queue().replay(buried), discarded = queue().discard(buried);
  for (const auto* late : {&replayed, &discarded}) {
    ASSERT_FALSE(*late);
    EXPECT_STREQ(late->error().code, "queue.stopping");
  }
  const auto own = queue().keep_own(report("a", 0));
  ASSERT_FALSE(own);
  EXPECT_STREQ(own.error().code, "queue.stopping");
}

// Goal: nothing is lost or doubled on the way there and back, and the numbers agree. Method: random keeping, burying, replaying,
// discarding, settling and restarting beside plain sets of names.
TEST_P(DeadLetters, AreNeitherLostNorDoubledWhateverHappens) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  using Name = std::pair<std::string, std::uint64_t>;
  std::set<Name> waiting, buried;
  std::map<std::string, std::uint64_t> last;
  for (int step = 0; step < 1'500 && !HasFailure(); ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    switch (random() % 6) {
      case 0:
      case 1: {
        const std::string agent(1, static_cast<char>('a' + random() % 3));
        auto offered = report(agent, ++last[agent]);
        offered.lane = static_cast<Lane>(1 + random() % 5);
        offered.body = agent + "/" + std::to_string(offered.name.sequence);
        ASSERT_EQ(kept({offered}), Outcomes{Kept::stored});
        waiting.insert({agent, offered.name.sequence});
        break;
      }
      case 2:
      case 3: {
        const auto batch = lease(1 + static_cast<std::uint32_t>(random() % 4));
        EXPECT_EQ(batch.has_value(), !waiting.empty());
        if (!batch) break;
        const bool settles = random() % 3 == 0;
        for (const auto& leased : batch->reports) {
          const Name name(batch->agent.raw(), leased.name.sequence);
          EXPECT_EQ(leased.body, name.first + "/" + std::to_string(name.second));
          EXPECT_EQ(waiting.erase(name), 1u) << name.first << " " << name.second;
          if (!settles) buried.insert(name);
        }
        if (settles) {
          ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
        } else {
          ASSERT_TRUE(queue().bury(batch->lease, ids(*batch), refused_by_site));
        }
        break;
      }
      case 4: {
        std::vector<ItemId> some;
        std::vector<Name> names;
        for (const auto& letter : letters()) {
          if (random() % 2 == 0) continue;
          some.push_back(letter.id);
          names.emplace_back(letter.name.agent.raw(), letter.name.sequence);
        }
        const bool back = random() % 4 != 0;
        EXPECT_EQ((back ? queue().replay(some) : queue().discard(some)).value(), some.size());
        for (const Name& name : names) {
          EXPECT_EQ(buried.erase(name), 1u);
          if (back) waiting.insert(name);
        }
        break;
      }
      default:
        if (random() % 20 == 0) reopen();
    }
    const auto stats = queue().stats();
    EXPECT_EQ(stats.waiting, waiting.size());
    EXPECT_EQ(stats.buried, buried.size());
    std::uint64_t waiting_bytes = 0, buried_bytes = 0;
    for (const Name& name : waiting) waiting_bytes += name.first.size() + 1 + std::to_string(name.second).size();
    for (const Name& name : buried) buried_bytes += name.first.size() + 1 + std::to_string(name.second).size() + 128;
    EXPECT_EQ(stats.waiting_bytes, waiting_bytes);
    EXPECT_EQ(stats.buried_bytes, buried_bytes);
  }
}

using OwnReports = DeadLetters;
INSTANTIATE_TEST_SUITE_P(Stores, OwnReports, testing::ValuesIn(store_kinds()), kind_name);

TEST_P(OwnReports, AreKeptWithoutJudgementAndTouchNoSequence) {
  keep_sequences("a", 1, 1);
  auto own = report("a", 1, "resync");
  own.name.incarnation = 1;
  own.lane = Lane::inventory;
  const auto first = queue().keep_own(own), second = queue().keep_own(own), new_agent = queue().keep_own(report("b", 0, "resync"));
  ASSERT_TRUE(first && second && new_agent);
  EXPECT_LT(*first, *second) << "never taken for a duplicate";
  for (const bool restart : {false, true}) {
    if (restart) reopen();
    EXPECT_EQ(queue().last_sequence(AgentId("a"), 1), 1u);
    EXPECT_EQ(queue().last_sequence(AgentId("a"), 0), 0u);
    EXPECT_EQ(queue().last_sequence(AgentId("b"), 0), 0u);
    EXPECT_EQ(queue().stats().waiting, 4u);
    const auto batch = queue().lease(LaneSet().with(Lane::inventory), 10, 1 << 20, 0ms).value();
    EXPECT_EQ(ids(*batch), (std::vector<ItemId>{*first, *second}));
    EXPECT_EQ(batch->reports[0].name.incarnation, 0u);
    EXPECT_EQ(batch->reports[0].name.sequence, 1u);
    EXPECT_EQ(batch->reports[0].body, "resync");
    queue().hand_back(batch->lease);
  }
  EXPECT_EQ(kept({report("a", 2)}), Outcomes{Kept::stored});
  while (const auto batch = lease()) {
    ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  }
  reopen();
  EXPECT_EQ(queue().last_sequence(AgentId("a"), 1), 2u);
}

TEST_P(OwnReports, HaveAnIncarnationThatNoAgentCanUse) {
  auto offered = report("a", 1);
  offered.name.incarnation = 0;
  EXPECT_EQ(kept({offered, report("a", 1)}), (Outcomes{Kept::out_of_order, Kept::out_of_order}));
}

TEST_P(OwnReports, AreRefusedWhenTheirLaneIsFull) {
  config_.queue_bytes_max = 1 << 20;
  reopen();
  auto own = report("a", 0, std::string(2 << 20, 'x'));
  const auto refused = queue().keep_own(own);
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().code, "queue.full");
  EXPECT_EQ(refused.error().remedy, Remedy::retry);
  EXPECT_EQ(queue().stats().waiting, 0u);
  EXPECT_FALSE(lease());
}

using Expiry = DeadLetters;
INSTANTIATE_TEST_SUITE_P(Stores, Expiry, testing::ValuesIn(store_kinds()), kind_name);

TEST_P(Expiry, IsToldOnceAfterTheSyncWithTheAgentsNames) {
  std::mutex mutex;
  std::multiset<std::pair<std::uint64_t, std::uint64_t>> told;
  queue().on_expired([&](const std::vector<store::ReportName>& names) {
    std::lock_guard lock(mutex);
    for (const auto& name : names) {
      EXPECT_EQ(name.agent, AgentId("a"));
      told.insert({name.incarnation, name.sequence});
    }
  });
  auto mortal = report("a", 1), lasting = report("a", 2), held = report("a", 3);
  mortal.time_to_live = held.time_to_live = 10s;
  held.lane = Lane::files;
  kept({mortal, lasting, held});
  auto own = report("a", 0);
  own.time_to_live = 10s;
  ASSERT_TRUE(queue().keep_own(own));
  clock_.advance(10s);
  const auto batch = lease();
  EXPECT_EQ(sequences(batch), Sequences{2});
  EXPECT_FALSE(lease());
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));  // goes through the same writer, after the expiry
  std::lock_guard lock(mutex);
  EXPECT_EQ(told, (std::multiset<std::pair<std::uint64_t, std::uint64_t>>{{1, 1}, {1, 3}})) << "our own left out";
  EXPECT_EQ(queue().stats().expired_total, 3u);
  EXPECT_EQ(queue().stats().waiting, 0u);
  close();  // before `told` goes
}

}  // namespace
}  // namespace greengate::test
