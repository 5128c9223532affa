#include "agent/schedule.h"
#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::ManualClock;

std::int64_t before(const ManualClock& clock, std::chrono::milliseconds age) {
  return to_millis(clock.wall() - age);
}

TEST(Schedule, CollectsAtOnceWhatWasNeverCollected) {
  ManualClock clock;
  Schedule schedule({}, 0, 0, clock);
  EXPECT_TRUE(schedule.due(Collection::discovery));
  EXPECT_TRUE(schedule.due(Collection::inventory));
  schedule.welcomed(10min, 1h, 24h);  // a slot is for periodic reports; this one is waited for
  EXPECT_TRUE(schedule.due(Collection::inventory));
}

TEST(Schedule, ContinuesItsIntervalsOverARestart) {
  ManualClock clock;
  Schedule schedule({}, before(clock, 20h), before(clock, 24h * 6), clock);
  EXPECT_FALSE(schedule.due(Collection::discovery));
  clock.advance(4h);
  EXPECT_TRUE(schedule.due(Collection::discovery));
  EXPECT_FALSE(schedule.due(Collection::inventory));
  clock.advance(20h);
  EXPECT_TRUE(schedule.due(Collection::inventory));
}

TEST(Schedule, ClockSetBackwardsDoesNotSilenceIt) {
  ManualClock clock;
  Schedule schedule({}, before(clock, -24h * 365), before(clock, -24h * 365), clock);
  clock.advance(24h);
  EXPECT_TRUE(schedule.due(Collection::discovery));
}

TEST(Schedule, OverduePeriodicReportsWaitForTheirSlot) {
  ManualClock clock;
  Schedule schedule({}, before(clock, 24h * 30), before(clock, 24h * 30), clock);
  schedule.welcomed(90s, 1h, 24h);
  EXPECT_FALSE(schedule.due(Collection::discovery));
  clock.advance(89s);
  EXPECT_FALSE(schedule.due(Collection::inventory));
  clock.advance(1s);
  EXPECT_TRUE(schedule.due(Collection::discovery));
  EXPECT_TRUE(schedule.due(Collection::inventory));
}

TEST(Schedule, GatewaysIntervalsHoldUnlessTheFileSaysOtherwise) {
  ManualClock clock;
  ScheduleConfig config;
  config.heartbeat_interval = 5min;
  Schedule schedule(config, before(clock, 0ms), before(clock, 0ms), clock);
  schedule.welcomed(0ms, 1h, 2h);
  clock.advance(5min);
  EXPECT_TRUE(schedule.due(Collection::discovery));
  clock.advance(110min);
  EXPECT_FALSE(schedule.due(Collection::inventory));
  clock.advance(5min);
  EXPECT_TRUE(schedule.due(Collection::inventory));
}

TEST(Schedule, WishIsDueAtOnceAndOnce) {
  ManualClock clock;
  Schedule schedule({}, before(clock, 1h), before(clock, 1h), clock);
  schedule.wanted(Collection::inventory);
  EXPECT_TRUE(schedule.due(Collection::inventory));
  schedule.finished(Collection::inventory);
  EXPECT_FALSE(schedule.due(Collection::inventory));
  EXPECT_GT(schedule.next_due(), clock.steady());
}

TEST(Schedule, FailedCollectionIsTriedAgainSoonButNotAtOnce) {
  ManualClock clock;
  Schedule schedule({}, 0, 0, clock);
  schedule.failed(Collection::inventory);
  EXPECT_FALSE(schedule.due(Collection::inventory));
  clock.advance(4min);
  EXPECT_FALSE(schedule.due(Collection::inventory));
  clock.advance(6h);
  EXPECT_TRUE(schedule.due(Collection::inventory));
}

}  // namespace
}  // namespace greengate::agent
