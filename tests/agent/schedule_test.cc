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

TEST(Schedule, SoftwareAndFilesAreCollectedOnlyWhereConfigured) {
  ManualClock clock;
  Schedule neither({}, before(clock, 0ms), before(clock, 0ms), clock);
  EXPECT_FALSE(neither.due(Collection::software));
  neither.wanted(Collection::software);
  neither.welcomed(0ms, 1h, 1h);
  clock.advance(24h * 8);
  EXPECT_FALSE(neither.due(Collection::software));
  EXPECT_FALSE(neither.due(Collection::files));
  ScheduleConfig config;
  config.software = config.files = true;
  config.files_interval = 1h;
  Schedule both(config, before(clock, 0ms), before(clock, 0ms), clock, 0, before(clock, 30min));
  EXPECT_TRUE(both.due(Collection::software)) << "never collected";
  EXPECT_FALSE(both.due(Collection::files));
  both.finished(Collection::software);
  clock.advance(30min);
  EXPECT_TRUE(both.due(Collection::files));
  EXPECT_FALSE(both.due(Collection::software));
  EXPECT_EQ(both.next_due(), clock.steady());
  clock.advance(24h * 7);
  EXPECT_TRUE(both.due(Collection::software));
}

TEST(Schedule, SitesRhythmGoesBeforeTheGatewaysAndBehindTheFiles) {
  ManualClock clock;
  ScheduleConfig config;
  config.software = true;
  config.heartbeat_interval = 2h;
  const std::int64_t now = before(clock, 0ms);
  Schedule schedule(config, now, now, clock, now);
  schedule.welcomed(0ms, 24h, 24h);
  schedule.directed(1h, 3h, 4h);
  clock.advance(2h);
  EXPECT_TRUE(schedule.due(Collection::discovery)) << "as the file says";
  EXPECT_FALSE(schedule.due(Collection::inventory));
  clock.advance(1h);
  EXPECT_TRUE(schedule.due(Collection::inventory));
  EXPECT_FALSE(schedule.due(Collection::software));
  schedule.welcomed(0ms, 24h, 24h);  // after a reconnect: the site's word still holds
  clock.advance(1h);
  EXPECT_TRUE(schedule.due(Collection::software));
}

TEST(Schedule, DirectionsLeaveAsItIsWhatTheySayNothingOf) {
  ManualClock clock;
  ScheduleConfig config;
  config.software = true;
  const std::int64_t now = before(clock, 0ms);
  Schedule schedule(config, now, now, clock, now);
  schedule.welcomed(0ms, 1h, 24h);
  const SteadyTime due = schedule.next_due();
  schedule.directed(0ms, 0ms, 0ms);
  EXPECT_EQ(schedule.next_due(), due);
}

TEST(Schedule, ShorterRhythmMakesNoFleetReportAsOne) {
  ManualClock clock;
  ScheduleConfig config;
  config.software = true;
  Schedule schedule(config, before(clock, 0ms), before(clock, 3h), clock, before(clock, 3h));
  schedule.welcomed(90s, 0ms, 0ms);
  schedule.directed(0ms, 1h, 1h);
  EXPECT_FALSE(schedule.due(Collection::inventory));
  clock.advance(90s);
  EXPECT_TRUE(schedule.due(Collection::inventory));
  EXPECT_TRUE(schedule.due(Collection::software));
}

}  // namespace
}  // namespace greengate::agent
