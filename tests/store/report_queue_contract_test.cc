#include "tests/store/store_fixture.h"

#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <thread>

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using store::Kept;
using store::Lane;
using store::Outcome;
using Sequences = std::vector<std::uint64_t>;
using Outcomes = std::vector<Kept>;

const Error busy{Remedy::retry, "http.status", "The management point answered 503.", {}};

class ReportQueue : public StoreContract {};
INSTANTIATE_TEST_SUITE_P(Stores, ReportQueue, testing::ValuesIn(store_kinds()), kind_name);

TEST_P(ReportQueue, LeasesWhatItKept) {
  auto offered = report("a", 1, std::string("\0binary\xff", 8));
  offered.lane = Lane::discovery;
  offered.kind = 7;
  offered.collected_at = from_millis(1'700'000'000'123);
  offered.time_to_live = 60s;
  EXPECT_EQ(kept({offered}), Outcomes{Kept::stored});

  const auto batch = lease();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->agent, AgentId("a"));
  ASSERT_EQ(batch->reports.size(), 1u);
  const auto& leased = batch->reports[0];
  EXPECT_EQ(leased.name.agent, AgentId("a"));
  EXPECT_EQ(leased.name.incarnation, 1u);
  EXPECT_EQ(leased.name.sequence, 1u);
  EXPECT_EQ(leased.lane, Lane::discovery);
  EXPECT_EQ(leased.kind, 7u);
  EXPECT_EQ(leased.collected_at, offered.collected_at);
  EXPECT_EQ(leased.kept_at, clock_.wall());
  EXPECT_EQ(leased.expires_at, clock_.wall() + 60s);
  EXPECT_EQ(leased.attempt, 1u);
  EXPECT_EQ(leased.group, 0u);
  EXPECT_EQ(leased.body, offered.body);
}

TEST_P(ReportQueue, KeepsEveryReportOnce) {
  EXPECT_EQ(kept({report("a", 1), report("a", 2)}), (Outcomes{Kept::stored, Kept::stored}));
  EXPECT_EQ(kept({report("a", 1), report("a", 2), report("a", 3)}),
            (Outcomes{Kept::duplicate, Kept::duplicate, Kept::stored}));
  EXPECT_EQ(sequences(lease()), (Sequences{1, 2, 3}));
}

TEST_P(ReportQueue, KnowsADuplicateAfterItsDelivery) {
  keep_sequences("a", 1, 2);
  const auto batch = lease();
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  EXPECT_EQ(kept({report("a", 2)}), Outcomes{Kept::duplicate});
  reopen();
  EXPECT_EQ(kept({report("a", 2)}), Outcomes{Kept::duplicate});
  EXPECT_EQ(kept({report("a", 3)}), Outcomes{Kept::stored});
}

TEST_P(ReportQueue, RefusesAReportAfterAGapAndAllThatFollowInItsBatch) {
  EXPECT_EQ(kept({report("a", 1), report("a", 3), report("a", 2), report("b", 1)}),
            (Outcomes{Kept::stored, Kept::out_of_order, Kept::out_of_order, Kept::stored}));
  EXPECT_EQ(queue().last_sequence(AgentId("a"), 1), 1u);
}

TEST_P(ReportQueue, TakesAGapThatTheAgentDeclared) {
  auto third = report("a", 3);
  third.skipped = 2;
  EXPECT_EQ(kept({third}), Outcomes{Kept::stored});
  auto sixth = report("a", 6);
  sixth.skipped = 1;
  EXPECT_EQ(kept({sixth}), Outcomes{Kept::out_of_order});
  sixth.skipped = ~std::uint64_t{0};
  EXPECT_EQ(kept({sixth}), Outcomes{Kept::stored});
}

TEST_P(ReportQueue, RefusesSequenceZero) {
  EXPECT_EQ(kept({report("a", 0)}), Outcomes{Kept::out_of_order});
}

TEST_P(ReportQueue, TellsTheLastStoredSequenceWithEachResult) {
  auto results = keep({report("a", 1), report("a", 2), report("a", 1), report("a", 9)});
  ASSERT_TRUE(results);
  std::vector<std::uint64_t> last;
  for (const auto& result : *results) last.push_back(result.last_sequence);
  EXPECT_EQ(last, (Sequences{1, 2, 2, 2}));
}

TEST_P(ReportQueue, RemembersAnAgentsLastFourIncarnations) {
  for (std::uint64_t incarnation = 1; incarnation <= 5; ++incarnation) {
    auto offered = report("a", 1);
    offered.name.incarnation = incarnation;
    EXPECT_EQ(kept({offered}), Outcomes{Kept::stored});
  }
  for (int opened = 0; opened < 2; ++opened) {
    EXPECT_EQ(queue().last_sequence(AgentId("a"), 1), 0u);
    for (std::uint64_t incarnation = 2; incarnation <= 5; ++incarnation) {
      EXPECT_EQ(queue().last_sequence(AgentId("a"), incarnation), 1u) << incarnation;
    }
    reopen();
  }
  const auto batch = lease();
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  reopen();
  EXPECT_EQ(queue().last_sequence(AgentId("a"), 1), 0u);
  EXPECT_EQ(queue().last_sequence(AgentId("a"), 2), 1u);
}

TEST_P(ReportQueue, LeasesADevicesReportsOldestFirstUpToBothBounds) {
  keep_sequences("a", 1, 5);  // bodies of three bytes
  auto batch = lease(2);
  EXPECT_EQ(sequences(batch), (Sequences{1, 2}));
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  batch = lease(100, 7);
  EXPECT_EQ(sequences(batch), (Sequences{3, 4}));
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  EXPECT_EQ(sequences(lease(0, 0)), Sequences{5})
      << "at least one report, however small the bounds";
}

TEST_P(ReportQueue, LeasesOneBatchOfADeviceAtATime) {
  keep_sequences("a", 1, 4);
  const auto first = lease(2);
  EXPECT_EQ(sequences(first), (Sequences{1, 2}));
  EXPECT_FALSE(lease());
  ASSERT_TRUE(queue().settle(first->lease, {{first->reports[0].id, Outcome::delivered, ""}}));
  EXPECT_FALSE(lease()) << "one of the two is still unsettled";
  ASSERT_TRUE(queue().settle(first->lease, {{first->reports[1].id, Outcome::delivered, ""}}));
  EXPECT_EQ(sequences(lease()), (Sequences{3, 4}));
}

TEST_P(ReportQueue, LeasesTheDeviceThatHasBeenDueLongest) {
  keep_sequences("b", 1, 1);
  clock_.advance(1s);
  keep_sequences("a", 1, 1);
  clock_.advance(1s);
  keep_sequences("b", 2, 2);
  EXPECT_EQ(lease()->agent, AgentId("b"));
  EXPECT_EQ(lease()->agent, AgentId("a"));
}

TEST_P(ReportQueue, ReturnsAnExpiredLeaseByItself) {
  keep_sequences("a", 1, 2);
  const auto lost = lease();
  EXPECT_EQ(lost->until, clock_.wall() + config_.lease_time);
  clock_.advance(config_.lease_time - 1ms);
  EXPECT_FALSE(lease());
  clock_.advance(1ms);
  const auto again = lease();
  EXPECT_EQ(sequences(again), (Sequences{1, 2}));
  EXPECT_EQ(again->reports[0].attempt, 1u);

  for (const auto& refused :
       {queue().settle(lost->lease, all(*lost)), queue().bury(lost->lease, ids(*lost), busy),
        queue().postpone(lost->lease, ids(*lost), 0ms, busy),
        queue().pin(lost->lease, {{ids(*lost), ""}}, {})}) {
    ASSERT_FALSE(refused);
    EXPECT_STREQ(refused.error().code, "queue.lease_lost");
    EXPECT_EQ(refused.error().remedy, Remedy::reject);
  }
  EXPECT_TRUE(queue().settle(again->lease, all(*again)));
}

TEST_P(ReportQueue, RefusesToSettleWhatTheLeaseDoesNotHold) {
  keep_sequences("a", 1, 2);
  const auto batch = lease(1);
  auto wrong = all(*batch);
  wrong.push_back({ItemId(batch->reports[0].id.raw() + 1), Outcome::delivered, ""});
  const auto refused = queue().settle(batch->lease, wrong);
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().code, "queue.lease_lost");
  EXPECT_EQ(queue().stats().waiting, 2u) << "nothing of a refused call happens";
  EXPECT_TRUE(queue().settle(batch->lease, all(*batch)));
}

TEST_P(ReportQueue, WakesALeaseThatWaitsForReports) {
  auto waiting = std::async(std::launch::async, [this] { return queue().lease(store::LaneSet::all(), 10, 1 << 20, 30s); });
  keep_sequences("a", 1, 1);
  auto batch = waiting.get();
  ASSERT_TRUE(batch && *batch);
  EXPECT_EQ(sequences(*batch), Sequences{1});
}

TEST_P(ReportQueue, WakesALeaseThatWaitsForADeviceToBeFree) {
  keep_sequences("a", 1, 2);
  const auto first = lease(1);
  auto waiting = std::async(std::launch::async, [this] { return queue().lease(store::LaneSet::all(), 10, 1 << 20, 30s); });
  ASSERT_TRUE(queue().settle(first->lease, all(*first)));
  EXPECT_EQ(sequences(*waiting.get()), Sequences{2});
}

TEST_P(ReportQueue, EndsAWaitWhenAskedOrWhenPatienceIsOver) {
  EXPECT_FALSE(*queue().lease(store::LaneSet::all(), 10, 1 << 20, 1ms));
  std::atomic<bool> returned = false;
  std::thread waiter([&] {
    auto batch = queue().lease(store::LaneSet::all(), 10, 1 << 20, 60s);
    EXPECT_TRUE(batch && !*batch);
    returned = true;
  });
  while (!returned) {  // it may not have begun to wait when we first call
    queue().wake_waiters();
    std::this_thread::yield();
  }
  waiter.join();
}

TEST_P(ReportQueue, BringsAPostponedDeviceBackAfterItsDelayWithTheNextAttempt) {
  keep_sequences("a", 1, 3);
  const auto batch = lease(2);
  ASSERT_TRUE(queue().postpone(batch->lease, ids(*batch), 5s, busy));
  EXPECT_FALSE(lease());
  keep_sequences("a", 4, 4);
  EXPECT_FALSE(lease()) << "a new report does not shorten the delay";
  clock_.advance(5s);
  const auto again = lease();
  EXPECT_EQ(sequences(again), (Sequences{1, 2, 3, 4}));
  EXPECT_EQ(again->reports[0].attempt, 2u);
  EXPECT_EQ(again->reports[2].attempt, 1u);
  const auto traces = queue().trace(AgentId("a"), 10);
  ASSERT_TRUE(traces);
  EXPECT_EQ(traces->back().code, "http.status");
  EXPECT_EQ(traces->back().attempts, 1u);
  EXPECT_TRUE(traces->back().leased);
  reopen();
  EXPECT_EQ(lease()->reports[0].attempt, 2u) << "attempts outlive a restart";
}

TEST_P(ReportQueue, CountsNoAttemptForWhatIsHandedBack) {
  keep_sequences("a", 1, 3);
  auto batch = lease(3);
  ASSERT_TRUE(queue().settle(batch->lease, {{batch->reports[1].id, Outcome::delivered, ""}}));
  queue().hand_back(batch->lease);
  batch = lease();
  EXPECT_EQ(sequences(batch), (Sequences{1, 3}));
  EXPECT_EQ(batch->reports[0].attempt, 1u);
  queue().hand_back(LeaseId(12345));  // an unknown lease is nobody's
}

TEST_P(ReportQueue, ExpiresWhatOutlivedItsTimeToLive) {
  auto mortal = report("a", 1);
  mortal.time_to_live = 10s;
  EXPECT_EQ(kept({mortal, report("a", 2)}), (Outcomes{Kept::stored, Kept::stored}));
  clock_.advance(10s);
  const auto batch = lease();
  EXPECT_EQ(sequences(batch), Sequences{2});
  ASSERT_TRUE(
      queue().settle(batch->lease, all(*batch)));  // goes through the same writer, after the expiry
  const auto traces = queue().trace(AgentId("a"), 10);
  ASSERT_TRUE(traces && traces->size() == 2u);
  EXPECT_EQ(traces->back().outcome, Outcome::expired);
  EXPECT_EQ(queue().stats().expired_total, 1u);
  EXPECT_EQ(queue().stats().waiting, 0u);
  EXPECT_EQ(kept({mortal}), Outcomes{Kept::duplicate});
}

TEST_P(ReportQueue, KeepsButDoesNotLeaseAHeldDevicesReports) {
  keep_sequences("a", 1, 1);
  queue().hold(AgentId("a"));
  queue().hold(AgentId("a"));
  keep_sequences("a", 2, 2);
  EXPECT_FALSE(lease());
  EXPECT_EQ(queue().stats().held_devices, 1u);
  auto waiting = std::async(std::launch::async, [this] { return queue().lease(store::LaneSet::all(), 10, 1 << 20, 30s); });
  queue().unhold(AgentId("a"));
  EXPECT_EQ(sequences(*waiting.get()), (Sequences{1, 2}));
  queue().hold(AgentId("b"));
  reopen();
  EXPECT_EQ(queue().stats().held_devices, 0u) << "after a restart nobody is held";
}

TEST_P(ReportQueue, ShowsAReportsLifeNewestFirst) {
  keep_sequences("a", 1, 5);
  const auto batch = lease(3);
  ASSERT_TRUE(queue().settle(batch->lease, {{batch->reports[0].id, Outcome::delivered, "message 9"},
                                            {batch->reports[1].id, Outcome::superseded, "", "inventory.unchanged"}}));
  ASSERT_TRUE(queue().bury(batch->lease, {batch->reports[2].id},
                           {Remedy::reject, "mp.refused", "Refused by the site.", {}}));
  auto traces = queue().trace(AgentId("a"), 10);
  ASSERT_TRUE(traces && traces->size() == 5u);
  Sequences order;
  for (const auto& trace : *traces) order.push_back(trace.name.sequence);
  EXPECT_EQ(order, (Sequences{5, 4, 3, 2, 1}));
  EXPECT_FALSE((*traces)[0].outcome);
  EXPECT_EQ((*traces)[2].outcome, Outcome::buried);
  EXPECT_EQ((*traces)[2].code, "mp.refused");
  EXPECT_EQ((*traces)[2].message, "Refused by the site.");
  EXPECT_EQ((*traces)[3].outcome, Outcome::superseded);
  EXPECT_EQ((*traces)[3].code, "inventory.unchanged");
  EXPECT_EQ((*traces)[4].code, "");
  EXPECT_EQ((*traces)[4].outcome, Outcome::delivered);
  EXPECT_EQ((*traces)[4].tracking, "message 9");
  EXPECT_EQ((*traces)[4].bytes, 3u);
  EXPECT_EQ((*traces)[4].settled_at, clock_.wall());
  traces = queue().trace(AgentId("a"), 2);
  ASSERT_TRUE(traces && traces->size() == 2u);
  EXPECT_EQ((*traces)[0].name.sequence, 5u);
  EXPECT_TRUE(queue().trace(AgentId("nobody"), 2)->empty());
}

TEST_P(ReportQueue, BoundsTheHistoryOfEachDevice) {
  config_.history_per_device = 3;
  reopen();
  for (const char* agent : {"a", "b"}) keep_sequences(agent, 1, 10);
  for (int i = 0; i < 2; ++i) {
    auto batch = lease(4);
    ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
    batch = lease(100);
    ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  }
  for (const char* agent : {"a", "b"}) {
    const auto traces = queue().trace(AgentId(agent), 100);
    ASSERT_TRUE(traces);
    ASSERT_EQ(traces->size(), 3u) << agent;
    EXPECT_EQ(traces->front().name.sequence, 10u);
    EXPECT_EQ(traces->back().name.sequence, 8u);
  }
}

TEST_P(ReportQueue, CountsWhatItHoldsAndRebuildsThatAfterARestart) {
  keep_sequences("a", 1, 4);  // 3 bytes each
  clock_.advance(1min);
  keep_sequences("b", 1, 1);
  auto batch = lease(2);
  ASSERT_TRUE(queue().bury(batch->lease, {batch->reports[0].id}, busy));
  auto stats = queue().stats();
  EXPECT_EQ(stats.waiting, 4u);
  EXPECT_EQ(stats.waiting_bytes, 12u);
  EXPECT_EQ(stats.leased, 1u);
  EXPECT_EQ(stats.kept_total, 5u);
  EXPECT_EQ(stats.buried_total, 1u);
  EXPECT_EQ(stats.buried, 1u);
  EXPECT_EQ(stats.oldest_waiting, clock_.wall() - 1min);
  reopen();
  stats = queue().stats();
  EXPECT_EQ(stats.waiting, 4u);
  EXPECT_EQ(stats.waiting_bytes, 12u);
  EXPECT_EQ(stats.leased, 0u);
  EXPECT_EQ(stats.buried, 1u);
  EXPECT_EQ(stats.damaged, 0u);
  EXPECT_EQ(stats.oldest_waiting, clock_.wall() - 1min);
  EXPECT_EQ(sequences(lease()), (Sequences{2, 3, 4}));
  EXPECT_EQ(sequences(lease()), Sequences{1});
}

TEST_P(ReportQueue, RefusesBulkLanesFirstAndControlAndStateAtTheBound) {
  config_.queue_bytes_max = 1 << 20;
  config_.reserve_percent = 25;
  reopen();
  const std::string body(100'000, 'x');
  std::uint64_t sequence = 0;
  const auto offer = [&](Lane lane) {
    auto offered = report("a", sequence + 1, body);
    offered.lane = lane;
    const auto outcomes = kept({offered});
    if (outcomes == Outcomes{Kept::stored}) ++sequence;
    return outcomes.front();
  };
  while (offer(Lane::inventory) == Kept::stored) {
  }
  EXPECT_EQ(sequence, 7u);
  EXPECT_EQ(offer(Lane::files), Kept::full);
  EXPECT_EQ(offer(Lane::discovery), Kept::full);
  EXPECT_EQ(offer(Lane::control), Kept::stored);
  EXPECT_EQ(offer(Lane::state), Kept::stored);
  EXPECT_EQ(offer(Lane::state), Kept::stored);
  EXPECT_EQ(offer(Lane::state), Kept::full);
  EXPECT_EQ(offer(Lane::control), Kept::full);
  while (const auto batch = lease()) {
    ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  }
  EXPECT_EQ(offer(Lane::inventory), Kept::stored) << "settling makes room";
}

TEST_P(ReportQueue, KeepsNothingOfAnAgentAfterAReportThatFoundNoRoom) {
  config_.queue_bytes_max = 1 << 20;
  reopen();
  auto large = report("a", 1, std::string(2 << 20, 'x'));
  auto next = report("a", 2);
  EXPECT_EQ(kept({large, next, report("b", 1)}),
            (Outcomes{Kept::full, Kept::out_of_order, Kept::stored}));
}

TEST_P(ReportQueue, NeverGivesAnIdTwice) {
  keep_sequences("a", 1, 3);
  auto batch = lease();
  const auto highest = batch->reports.back().id;
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  reopen();
  keep_sequences("a", 4, 4);
  EXPECT_GT(lease()->reports[0].id, highest);
}

TEST_P(ReportQueue, AnswersStoppingOnceItDrains) {
  keep_sequences("a", 1, 1);
  const auto batch = lease();
  store_->drain(clock_.steady() + 10s);
  const auto refused = keep({report("a", 2)});
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().code, "queue.stopping");
  EXPECT_EQ(refused.error().remedy, Remedy::halt);
  const auto none = queue().lease(store::LaneSet::all(), 1, 1, 0ms);
  ASSERT_FALSE(none);
  EXPECT_STREQ(none.error().code, "queue.stopping");
  EXPECT_TRUE(queue().settle(batch->lease, all(*batch)))
      << "what workers have in hand can still be settled";
  store_->stop();
  store_->stop();
  const auto late = queue().settle(batch->lease, {});
  ASSERT_FALSE(late);
  EXPECT_STREQ(late.error().code, "queue.stopping");
  EXPECT_FALSE(store_->start()) << "a stopped store is opened anew";
}

// Goal: no order is lost between threads. Method: a producer keeps numbered reports of 40 devices
// while eight threads lease them, settle, postpone or hand back at random; every device's reports
// must be settled exactly in the order of their numbers.
TEST_P(ReportQueue, KeepsEachDevicesOrderUnderEightLeasingThreads) {
  const unsigned seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  constexpr std::uint64_t devices = 40, each = 60;
  std::atomic<std::uint64_t> settled = 0;
  std::mutex mutex;
  std::map<std::string, Sequences> order;
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(seed + thread);
      while (settled < devices * each) {
        auto batch = queue().lease(store::LaneSet::all(), 1 + random() % 8, 1 << 20, 10ms);
        ASSERT_TRUE(batch);
        if (!*batch) continue;
        const auto& got = **batch;
        const auto dice = random() % 10;
        if (dice == 0) {
          queue().hand_back(got.lease);
          continue;
        }
        if (dice == 1) {
          ASSERT_TRUE(queue().postpone(got.lease, ids(got), 0ms, busy));
          continue;
        }
        {
          std::lock_guard lock(mutex);
          for (const auto& leased : got.reports) {
            EXPECT_EQ(leased.body, got.agent.raw() + "/" + std::to_string(leased.name.sequence));
            order[got.agent.raw()].push_back(leased.name.sequence);
          }
        }
        ASSERT_TRUE(queue().settle(got.lease, all(got)));
        settled += got.reports.size();
      }
    });
  }
  for (std::uint64_t first = 1; first <= each; first += 5) {
    for (std::uint64_t device = 0; device < devices; ++device) {
      keep_sequences("device" + std::to_string(device), first, first + 4);
    }
  }
  for (auto& thread : threads) thread.join();
  Sequences expected(each);
  for (std::uint64_t i = 0; i < each; ++i) expected[i] = i + 1;
  EXPECT_EQ(order.size(), devices);
  for (const auto& [device, got] : order) EXPECT_EQ(got, expected) << device << " seed " << seed;
  EXPECT_EQ(queue().stats().waiting, 0u);
  EXPECT_EQ(queue().stats().leased, 0u);
}

}  // namespace
}  // namespace greengate::test
