// What a mailbox promises: an action kept once, one entry a device, ends that stay, and nothing lost.
#include "tests/store/store_fixture.h"

#include <algorithm>
#include <thread>

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using store::Action;
using store::Entry;
using store::EntryState;
using store::Posted;

using Ids = std::vector<std::uint64_t>;

class Mailbox : public StoreContract {
 protected:
  Action action(std::uint32_t task = 1, std::string collapse = "") {
    Action made;
    made.task = task;
    made.collapse = std::move(collapse);
    made.origin = "site";
    made.created_at = clock_.wall();
    made.expires_at = clock_.wall() + 24h;
    return made;
  }
  Result<Posted> offer(Action made, const char* device) {
    std::promise<Result<Posted>> answer;
    mailbox().post(std::move(made), AgentId(device), [&](Result<Posted> posted) { answer.set_value(std::move(posted)); });
    return answer.get_future().get();
  }
  Posted post(Action made, const char* device) {
    auto posted = offer(std::move(made), device);
    EXPECT_TRUE(posted) << posted.error().message;
    return posted.value_or(Posted{});
  }
  Result<Entry> try_move(std::uint64_t entry, const char* device, EntryState to, std::string code = "", std::string message = "") {
    std::promise<Result<Entry>> answer;
    mailbox().move(entry, AgentId(device), to, std::move(code), std::move(message), [&](Result<Entry> moved) { answer.set_value(std::move(moved)); });
    return answer.get_future().get();
  }
  /// "" or the code of the refusal.
  std::string moved(std::uint64_t entry, const char* device, EntryState to, std::string code = "", std::string message = "") {
    const auto result = try_move(entry, device, to, std::move(code), std::move(message));
    return result ? "" : result.error().code;
  }
  Ids open_ids(const char* device, std::uint32_t count_max = 100) {
    Ids ids;
    const auto entries = mailbox().open_entries(AgentId(device), count_max);
    EXPECT_TRUE(entries);
    for (const auto& [entry, what] : entries.value()) {
      EXPECT_EQ(entry.device, AgentId(device));
      EXPECT_EQ(entry.action, what.id);
      ids.push_back(entry.id);
    }
    EXPECT_EQ(mailbox().has_open(AgentId(device)).value(), !ids.empty());
    return ids;
  }
  EntryState state_of(const char* device, std::uint64_t id) {
    const auto history = mailbox().history(AgentId(device), 1'000).value();
    for (const auto& [entry, what] : history) {
      if (entry.id == id) return entry.state;
    }
    ADD_FAILURE() << "no entry " << id;
    return EntryState::waiting;
  }
  std::size_t kept(const char* device) { return mailbox().history(AgentId(device), 1'000).value().size(); }
  /// Housekeeping comes about once a second.
  static bool eventually(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }
  static std::vector<AgentId> devices(std::size_t count) {
    std::vector<AgentId> all;
    for (std::size_t i = 0; i < count; ++i) all.emplace_back("device-" + std::to_string(i));
    return all;
  }
};
INSTANTIATE_TEST_SUITE_P(Stores, Mailbox, testing::ValuesIn(store_kinds()), kind_name);

TEST_P(Mailbox, KeepsWhatWaitsOverARestart) {
  auto made = action(5, "full_scan");
  made.parameters = std::string("\0bytes\xff", 7);
  made.origin_key = "13/1013";
  made.urgent = true;
  const Posted posted = post(made, "a");
  EXPECT_TRUE(posted.fresh);
  EXPECT_EQ(posted.devices, 1u);
  for (const bool restart : {false, true}) {
    if (restart) reopen();
    const auto waiting = mailbox().open_entries(AgentId("a"), 10).value();
    ASSERT_EQ(waiting.size(), 1u);
    const auto& [entry, what] = waiting[0];
    EXPECT_EQ(entry.id, posted.entry);
    EXPECT_EQ(entry.state, EntryState::waiting);
    EXPECT_EQ(what.id, posted.action);
    EXPECT_EQ(what.task, 5u);
    EXPECT_EQ(what.parameters, made.parameters);
    EXPECT_EQ(what.collapse, "full_scan");
    EXPECT_EQ(what.origin, "site");
    EXPECT_EQ(what.origin_key, "13/1013");
    EXPECT_TRUE(what.urgent);
    EXPECT_EQ(what.created_at, made.created_at);
    EXPECT_EQ(what.expires_at, made.expires_at);
    EXPECT_EQ(open_ids("b"), Ids{});
  }
}

TEST_P(Mailbox, SendsWhatWasHandedOverAndNeverAnsweredAgainUnderTheSameId) {
  const auto first = post(action(), "a").entry, second = post(action(), "a").entry;
  EXPECT_EQ(moved(first, "a", EntryState::handed), "");
  reopen();
  EXPECT_EQ(open_ids("a"), (Ids{first, second}));
  EXPECT_EQ(moved(first, "a", EntryState::accepted), "");
  reopen();
  EXPECT_EQ(open_ids("a"), Ids{second});
}

TEST_P(Mailbox, GivesNoNumberTwice) {
  Ids given;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 3; ++i) given.push_back(post(action(), "a").entry);
    for (const auto id : open_ids("a")) EXPECT_EQ(moved(id, "a", EntryState::done), "");
    clock_.advance(config_.mailbox.history_time + 25h);
    EXPECT_TRUE(eventually([&] { return kept("a") == 0; }));
    reopen();
  }
  EXPECT_TRUE(std::is_sorted(given.begin(), given.end()));
  EXPECT_EQ(std::adjacent_find(given.begin(), given.end()), given.end());
}

TEST_P(Mailbox, NumbersEntriesAboveThoseOfAStoreThatWasLost) {
  const auto before = post(action(), "a").entry;
  close();
  for (const auto& file : std::filesystem::directory_iterator(directory_.path())) std::filesystem::remove(file);
  clock_.advance(1s);
  open();
  EXPECT_GT(post(action(), "a").entry, before);
}

TEST_P(Mailbox, HandsOutTheOldestFirstAndTheUrgentBeforeIt) {
  const auto first = post(action(), "a").entry, second = post(action(), "a").entry;
  auto soon = action();
  soon.urgent = true;
  const auto urgent = post(soon, "a").entry;
  EXPECT_EQ(open_ids("a"), (Ids{urgent, first, second}));
  EXPECT_EQ(open_ids("a", 2), (Ids{urgent, first}));
}

TEST_P(Mailbox, AStateNeverGoesBackAndAnEndIsAnEnd) {
  const auto id = post(action(), "a").entry;
  EXPECT_EQ(moved(id, "a", EntryState::handed), "");
  EXPECT_EQ(moved(id, "a", EntryState::waiting), "") << "what was sent and lost waits again";
  EXPECT_EQ(moved(id, "a", EntryState::handed), "");
  EXPECT_EQ(moved(id, "a", EntryState::accepted), "");
  EXPECT_EQ(moved(id, "a", EntryState::handed), "mailbox.unknown");
  EXPECT_EQ(moved(id, "a", EntryState::accepted), "mailbox.unknown") << "only the first acceptance counts";
  EXPECT_EQ(moved(id, "a", EntryState::done), "");
  for (const EntryState to : {EntryState::waiting, EntryState::handed, EntryState::accepted, EntryState::done, EntryState::failed})
    EXPECT_EQ(moved(id, "a", to), "mailbox.unknown");
  EXPECT_EQ(state_of("a", id), EntryState::done);
}

TEST_P(Mailbox, OnlyItsOwnDeviceMovesAnEntry) {
  const auto id = post(action(), "a").entry;
  EXPECT_EQ(moved(id, "b", EntryState::done), "mailbox.unknown");
  EXPECT_EQ(moved(id + 1, "a", EntryState::done), "mailbox.unknown");
  EXPECT_EQ(open_ids("a"), Ids{id});
}

TEST_P(Mailbox, RemembersWhyAndWhatWasNotedBefore) {
  const auto id = post(action(), "a").entry;
  EXPECT_EQ(moved(id, "a", EntryState::handed), "");
  EXPECT_EQ(moved(id, "a", EntryState::handed, "push.unanswered", "The site was told that it failed."), "");
  reopen();
  EXPECT_EQ(moved(id, "a", EntryState::accepted), "");
  const auto noted = mailbox().history(AgentId("a"), 1).value().at(0).first;
  EXPECT_EQ(noted.code, "push.unanswered");
  EXPECT_EQ(moved(id, "a", EntryState::failed, "task.no_scanner", std::string(10'000, 'x')), "");
  const auto failed = mailbox().history(AgentId("a"), 1).value().at(0).first;
  EXPECT_EQ(failed.code, "push.unanswered") << "what was noted first stays";
  EXPECT_TRUE(failed.message.starts_with("task.no_scanner: xxx"));
  EXPECT_EQ(failed.message.size(), 512u) << "a device's words are cut";
}

TEST_P(Mailbox, TakesAnOriginKeyOnceForADevice) {
  auto push = action();
  push.origin_key = "13/1013";
  const Posted first = post(push, "a");
  EXPECT_EQ(moved(first.entry, "a", EntryState::failed, "task.vetoed", "No."), "");
  for (const bool restart : {false, true}) {
    if (restart) reopen();
    const Posted again = post(push, "a");
    EXPECT_FALSE(again.fresh);
    EXPECT_EQ(again.entry, first.entry);
    EXPECT_EQ(again.state, EntryState::failed);
    EXPECT_EQ(again.code, "task.vetoed");
    EXPECT_FALSE(again.taken);
  }
  push.origin_key = "14/1014";
  const Posted second = post(push, "a");
  EXPECT_EQ(moved(second.entry, "a", EntryState::accepted), "");
  EXPECT_EQ(moved(second.entry, "a", EntryState::failed, "task.interrupted", "No."), "");
  EXPECT_TRUE(post(push, "a").taken) << "it had been accepted";
  EXPECT_EQ(kept("a"), 2u);
  auto other = push;
  other.origin = "operator";
  EXPECT_TRUE(post(other, "a").fresh) << "another's key is another key";
}

TEST_P(Mailbox, KnowsARepeatForADayWhateverElseGoes) {
  auto push = action();
  push.origin_key = "13/1013";
  push.expires_at = clock_.wall() + 1min;
  const auto id = post(push, "a").entry;
  clock_.advance(2min);
  EXPECT_TRUE(eventually([&] { return state_of("a", id) == EntryState::expired; }));
  clock_.advance(24h);
  const Posted again = post(push, "a");
  EXPECT_FALSE(again.fresh);
  EXPECT_EQ(again.state, EntryState::expired);
}

TEST_P(Mailbox, KeepsOneActionForAllDevicesOfAPush) {
  auto push = action();
  push.origin_key = "13/1013";
  const Posted a = post(push, "a"), b = post(push, "b");
  EXPECT_TRUE(b.fresh);
  EXPECT_EQ(a.action, b.action);
  push.task = 2;
  EXPECT_NE(post(push, "c").action, a.action) << "the same key with another task is another action";
  EXPECT_EQ(mailbox().actions(0, 10).value().size(), 2u);
}

TEST_P(Mailbox, KeepsOnlyTheNewestOfAKindThatWaits) {
  const auto scan = post(action(5, "full_scan"), "a").entry, other = post(action(5, "full_scan"), "b").entry;
  const auto handed = post(action(1, "machine_policy"), "a").entry;
  EXPECT_EQ(moved(handed, "a", EntryState::handed), "");
  Posted newest;
  for (int i = 0; i < 9; ++i) newest = post(action(1, "machine_policy"), "a");
  EXPECT_EQ(newest.collapsed, 1u);
  EXPECT_EQ(open_ids("a"), (Ids{scan, handed, newest.entry})) << "what is in the device's hands stays";
  EXPECT_EQ(open_ids("b"), Ids{other});
  EXPECT_EQ(state_of("a", newest.entry - 1), EntryState::collapsed);
  const auto plain = post(action(8), "a").entry, again = post(action(8), "a").entry;
  EXPECT_EQ(open_ids("a"), (Ids{scan, handed, newest.entry, plain, again})) << "without a kind nothing collapses";
}

TEST_P(Mailbox, LetsWhatNobodyTookExpire) {
  auto brief = action();
  brief.expires_at = clock_.wall() + 1h;
  const auto waiting = post(brief, "a").entry, handed = post(brief, "a").entry, accepted = post(brief, "a").entry;
  const auto longer = post(action(), "a").entry;
  EXPECT_EQ(moved(handed, "a", EntryState::handed), "");
  EXPECT_EQ(moved(accepted, "a", EntryState::accepted), "");
  clock_.advance(1h);
  EXPECT_EQ(open_ids("a"), Ids{longer}) << "at once, whenever the housekeeping comes";
  EXPECT_TRUE(eventually([&] { return state_of("a", waiting) == EntryState::expired; }));
  EXPECT_EQ(state_of("a", handed), EntryState::expired);
  EXPECT_EQ(state_of("a", accepted), EntryState::accepted) << "it was taken in time";
  EXPECT_EQ(moved(accepted, "a", EntryState::done), "");
}

TEST_P(Mailbox, ForgetsWhatIsOverAfterItsHistoryTime) {
  const auto done = post(action(), "a").entry, accepted = post(action(), "a").entry;
  EXPECT_EQ(moved(done, "a", EntryState::done), "");
  EXPECT_EQ(moved(accepted, "a", EntryState::accepted), "");
  auto lasting = action();
  lasting.expires_at = clock_.wall() + 24h * 365;
  const auto waiting = post(lasting, "a").entry;
  clock_.advance(config_.mailbox.history_time - 1s);
  EXPECT_EQ(kept("a"), 3u);
  clock_.advance(2s);
  EXPECT_TRUE(eventually([&] { return kept("a") == 1; }));
  EXPECT_EQ(open_ids("a"), Ids{waiting});
  EXPECT_TRUE(eventually([&] { return mailbox().actions(0, 10).value().size() == 1; })) << "an action goes with its last entry";
}

TEST_P(Mailbox, CancelsWhatWaitsAndLetsRunWhatWasHandedOver) {
  const auto all = devices(3);
  const auto posted = mailbox().post(action(), all).value();
  EXPECT_EQ(posted.devices, 3u);
  const auto taken = open_ids("device-1").at(0);
  EXPECT_EQ(moved(taken, "device-1", EntryState::handed), "");
  EXPECT_EQ(mailbox().cancel(posted.action).value(), 2u);
  EXPECT_EQ(open_ids("device-0"), Ids{});
  EXPECT_EQ(open_ids("device-1"), Ids{taken});
  EXPECT_EQ(moved(taken, "device-1", EntryState::waiting), "") << "it was lost on its way";
  EXPECT_EQ(state_of("device-1", taken), EntryState::cancelled) << "and is not sent again";
  EXPECT_EQ(mailbox().cancel(posted.action).value(), 0u);
  const auto unknown = mailbox().cancel(posted.action + 1);
  ASSERT_FALSE(unknown);
  EXPECT_STREQ(unknown.error().code, "mailbox.unknown");
}

TEST_P(Mailbox, RefusesAboveItsBounds) {
  config_.mailbox.entries_per_device_max = 3;
  config_.mailbox.entries_max = 1'000;
  reopen();
  for (int i = 0; i < 3; ++i) post(action(1, i == 0 ? "policy" : ""), "a");
  const auto one_more = offer(action(), "a");
  ASSERT_FALSE(one_more);
  EXPECT_STREQ(one_more.error().code, "mailbox.device_full");
  EXPECT_TRUE(offer(action(1, "policy"), "a")) << "it takes the place of its elder";
  auto large = action();
  large.parameters = std::string((256 << 10) + 1, 'x');
  const auto too_large = offer(large, "b");
  ASSERT_FALSE(too_large);
  EXPECT_STREQ(too_large.error().code, "mailbox.too_large");
  EXPECT_FALSE(offer(action(), ""));
  EXPECT_FALSE(mailbox().post(action(), std::vector<AgentId>{}));

  ASSERT_TRUE(mailbox().post(action(), devices(996)));
  const auto full = offer(action(), "b");
  ASSERT_FALSE(full);
  EXPECT_STREQ(full.error().code, "mailbox.full");
}

TEST_P(Mailbox, MakesRoomFromWhatIsOverLongerThanADay) {
  config_.mailbox.entries_max = 1'000;
  config_.mailbox.history_time = 24h * 30;
  reopen();
  const auto posted = mailbox().post(action(), devices(1'000)).value();
  EXPECT_EQ(mailbox().cancel(posted.action).value(), 1'000u);
  EXPECT_FALSE(offer(action(), "b")) << "the site may still repeat itself";
  clock_.advance(25h);
  EXPECT_TRUE(eventually([&] { return bool(offer(action(), "b")); }));
}

TEST_P(Mailbox, PostsToAFleetWholeOrNotAtAll) {
  config_.mailbox.entries_per_device_max = 1;
  reopen();
  auto all = devices(7'000);
  post(action(), "device-6500");
  const auto refused = mailbox().post(action(9), all);
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().code, "mailbox.device_full");
  EXPECT_EQ(open_ids("device-0"), Ids{});
  EXPECT_EQ(mailbox().actions(0, 10).value().size(), 1u);
  EXPECT_TRUE(eventually([&] { return bool(offer(action(), "device-0")); })) << "what was written of it goes";

  all.erase(all.begin() + 6'500);
  all.erase(all.begin());
  const auto posted = mailbox().post(action(9), all).value();
  EXPECT_EQ(posted.devices, 6'998u);
  EXPECT_EQ(open_ids("device-1"), Ids{posted.entry});
  EXPECT_EQ(open_ids("device-6999").size(), 1u);
  const auto view = mailbox().action(posted.action).value();
  ASSERT_TRUE(view);
  EXPECT_EQ(view->counts, (std::vector<std::pair<EntryState, std::uint64_t>>{{EntryState::waiting, 6'998}}));
}

TEST_P(Mailbox, AFleetsOlderActionsOfAKindGiveWay) {
  const auto all = devices(4'500);
  const auto first = mailbox().post(action(1, "policy"), all).value();
  const auto second = mailbox().post(action(1, "policy"), all).value();
  EXPECT_EQ(second.collapsed, 4'500u);
  EXPECT_EQ(open_ids("device-4499").size(), 1u);
  EXPECT_EQ(mailbox().action(first.action).value()->counts, (std::vector<std::pair<EntryState, std::uint64_t>>{{EntryState::collapsed, 4'500}}));
  const auto exactly_one_part = devices(2'000);
  EXPECT_EQ(mailbox().post(action(1, "policy"), exactly_one_part).value().collapsed, 2'000u);
}

TEST_P(Mailbox, PassesOverDevicesThatHadTheKey) {
  auto order = action();
  order.origin = "operator";
  order.origin_key = "nightly-scan";
  const auto all = devices(5);
  const auto first = mailbox().post(order, std::span(all).first(3)).value();
  EXPECT_EQ(first.devices, 3u);
  const auto more = mailbox().post(order, all).value();
  EXPECT_TRUE(more.fresh);
  EXPECT_EQ(more.devices, 2u);
  const auto again = mailbox().post(order, all).value();
  EXPECT_FALSE(again.fresh);
  EXPECT_EQ(again.action, first.action);
  EXPECT_EQ(again.devices, 0u);
  EXPECT_EQ(open_ids("device-0").size(), 1u);
  EXPECT_TRUE(eventually([&] { return mailbox().actions(0, 10).value().size() == 2; }));
}

TEST_P(Mailbox, ShowsReceiptsPageByPage) {
  const auto all = devices(250);
  const auto older = post(action(2), "device-0").action;
  const auto posted = mailbox().post(action(), all).value();
  Ids ids;
  for (auto page = mailbox().entries(posted.action, 0, 100).value(); !page.empty(); page = mailbox().entries(posted.action, ids.back(), 100).value()) {
    for (const Entry& entry : page) {
      ids.push_back(entry.id);
      if (ids.size() % 3 != 0) continue;
      EXPECT_EQ(moved(entry.id, entry.device.raw().c_str(), EntryState::done), "");
    }
  }
  EXPECT_EQ(ids.size(), 250u);
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
  const auto view = mailbox().action(posted.action).value();
  EXPECT_EQ(view->counts, (std::vector<std::pair<EntryState, std::uint64_t>>{{EntryState::waiting, 167}, {EntryState::done, 83}}));
  const auto actions = mailbox().actions(0, 10).value();
  ASSERT_EQ(actions.size(), 2u);
  EXPECT_EQ(actions[0].action.id, posted.action) << "newest first";
  EXPECT_EQ(mailbox().actions(posted.action, 10).value().at(0).action.id, older);
  EXPECT_EQ(mailbox().history(AgentId("device-0"), 10).value().size(), 2u);
  EXPECT_FALSE(mailbox().action(posted.action + 7).value());
}

}  // namespace
}  // namespace greengate::test
