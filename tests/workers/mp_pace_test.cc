#include "workers/mp_pace.h"

#include <gtest/gtest.h>

#include <deque>

namespace greengate::test {
namespace {

using std::chrono::milliseconds;
using namespace workers;

// One management point under as much demand as it will take, with the hands of the clock in the test's own.
class MpPaceTest : public ::testing::Test {
 protected:
  MpPaceTest() {
    config_.rest = {milliseconds(1'000), milliseconds(1'000)};
    pace_ = std::make_unique<MpPace>(config_, 1);
  }
  // Begins as many exchanges of a type as there is room for.
  std::vector<MpPace::Exchange> begin_all(MessageType type) {
    std::vector<MpPace::Exchange> begun;
    while (pace_->room(type, now_) == MpPace::Room::free) begun.push_back(pace_->begin(type, now_));
    return begun;
  }
  // One round trip: all there is room for, each ending the same way.
  MpPace::Change round(MessageType type, milliseconds latency, Ending ending = Ending::answered, milliseconds retry_after = {}) {
    MpPace::Change last;
    const auto begun = begin_all(type);
    now_ += latency;
    for (const auto& exchange : begun) {
      const auto change = pace_->end(exchange, now_, ending, retry_after);
      if (change.slowed != MpPace::Change::Slowed::no) last.slowed = change.slowed;
      if (change.type_rests) last.type_rests = change.type_rests;
      if (change.point_rests) last.point_rests = change.point_rests;
    }
    return last;
  }
  void warm_up(MessageType type, milliseconds latency) {
    for (int i = 0; i < 40; ++i) round(type, latency);
  }
  std::uint32_t concurrency(MessageType type) const { return pace_->concurrency(type); }
  std::string state(MessageType type) const { return pace_->health(now_)[static_cast<std::size_t>(type)].state; }

  PaceConfig config_;
  SteadyTime now_{std::chrono::hours(1)};
  std::unique_ptr<MpPace> pace_;
};

constexpr auto state_type = MessageType::state, hardware = MessageType::hardware_inventory, software = MessageType::software_inventory;

TEST_F(MpPaceTest, AddsOneExchangeARoundTripUpToItsMost) {
  const auto first = concurrency(state_type);
  EXPECT_EQ(first, 4u);
  for (std::uint32_t i = 1; i <= 12; ++i) {
    round(state_type, milliseconds(50));
    EXPECT_EQ(concurrency(state_type), first + i);
  }
  round(state_type, milliseconds(50));
  EXPECT_EQ(concurrency(state_type), config_.in_flight_max);
}

TEST_F(MpPaceTest, DoesNotGrowWhileNobodyWantsMore) {
  for (int i = 0; i < 100; ++i) {
    const auto exchange = pace_->begin(state_type, now_);
    now_ += milliseconds(10);
    pace_->end(exchange, now_, Ending::answered, {});
  }
  EXPECT_EQ(concurrency(state_type), 4u);
}

TEST_F(MpPaceTest, HalvesOnceForAllFailuresOfOneRoundTrip) {
  config_.failures_to_rest = 100;
  pace_ = std::make_unique<MpPace>(config_, 1);
  warm_up(state_type, milliseconds(50));
  EXPECT_EQ(round(state_type, milliseconds(50), Ending::busy).slowed, MpPace::Change::Slowed::failure);
  EXPECT_EQ(concurrency(state_type), 8u);
  round(state_type, milliseconds(50), Ending::busy);
  EXPECT_EQ(concurrency(state_type), 4u);
  for (int i = 0; i < 10; ++i) round(state_type, milliseconds(50), Ending::busy);
  EXPECT_EQ(concurrency(state_type), 1u) << "never none at all";
}

// Half of a round trip under way is answered as ever, then everything takes thirty times as long.
TEST_F(MpPaceTest, FallsWithinTwoRoundTripsOfGettingSlowAndRecovers) {
  warm_up(state_type, milliseconds(50));
  ASSERT_EQ(concurrency(state_type), 16u);
  const auto begun = begin_all(state_type);
  now_ += milliseconds(50);
  for (std::size_t i = 0; i < begun.size() / 2; ++i) pace_->end(begun[i], now_, Ending::answered, {});
  now_ += milliseconds(1'450);
  for (std::size_t i = begun.size() / 2; i < begun.size(); ++i) pace_->end(begun[i], now_, Ending::answered, {});
  EXPECT_EQ(concurrency(state_type), 16u) << "the first round trip was not mostly slow";
  EXPECT_EQ(round(state_type, milliseconds(1'500)).slowed, MpPace::Change::Slowed::latency);
  EXPECT_EQ(concurrency(state_type), 8u);
  for (int i = 0; i < 5; ++i) round(state_type, milliseconds(1'500));
  EXPECT_EQ(concurrency(state_type), 1u);
  for (std::uint32_t i = 1; i <= 15; ++i) round(state_type, milliseconds(50));
  EXPECT_EQ(concurrency(state_type), 16u);
}

TEST_F(MpPaceTest, TakesOneSlowAnswerForAnAccident) {
  warm_up(state_type, milliseconds(50));
  auto begun = begin_all(state_type);
  now_ += milliseconds(50);
  for (std::size_t i = 1; i < begun.size(); ++i) pace_->end(begun[i], now_, Ending::answered, {});
  now_ += milliseconds(5'000);
  pace_->end(begun[0], now_, Ending::answered, {});
  EXPECT_EQ(concurrency(state_type), 16u);
}

TEST_F(MpPaceTest, CallsNothingSlowBelowItsFloor) {
  warm_up(state_type, milliseconds(5));
  for (int i = 0; i < 5; ++i) round(state_type, milliseconds(400));  // eighty times the usual, and quick all the same
  EXPECT_EQ(concurrency(state_type), 16u);
}

TEST_F(MpPaceTest, GetsUsedToAManagementPointThatStaysSlow) {
  warm_up(state_type, milliseconds(400));
  for (int i = 0; i < 6; ++i) round(state_type, milliseconds(1'500));
  ASSERT_EQ(concurrency(state_type), 1u);
  int rounds = 0;
  for (; rounds < 1'000 && concurrency(state_type) < 4; ++rounds) round(state_type, milliseconds(1'500));
  EXPECT_GT(rounds, 15) << "usual is learned slowly, or slowness would excuse itself";
  EXPECT_EQ(concurrency(state_type), 4u);
}

TEST_F(MpPaceTest, SlowsOneTypeOnlyWhenOnlyThatTypeFails) {
  warm_up(state_type, milliseconds(50));
  warm_up(hardware, milliseconds(50));
  round(hardware, milliseconds(50), Ending::busy);
  EXPECT_EQ(state(hardware), "open");
  EXPECT_EQ(pace_->capacity(hardware, now_), 0u);
  EXPECT_EQ(concurrency(state_type), 16u);
  EXPECT_EQ(pace_->room(state_type, now_), MpPace::Room::free);
  EXPECT_STREQ(pace_->state(now_), "closed");
}

// A site whose inventory component is broken, hardware and software alike, for a day; a state message every few minutes.
TEST_F(MpPaceTest, BrokenInventoryNeverRestsTheWholePoint) {
  for (int i = 0; i < 500; ++i) {
    round(hardware, milliseconds(50), Ending::busy);
    round(software, milliseconds(30'000), Ending::silent);
    ASSERT_EQ(pace_->room(state_type, now_), MpPace::Room::free);
    if (i % 10 == 0) round(state_type, milliseconds(50));
    now_ += milliseconds(20'000);
  }
  EXPECT_GE(concurrency(state_type), 4u);
  EXPECT_STREQ(pace_->state(now_), "closed");
}

TEST_F(MpPaceTest, RestsTheWholePointWhenStateAndOthersFailInARow) {
  const auto inventory = pace_->begin(hardware, now_), first = pace_->begin(state_type, now_), second = pace_->begin(state_type, now_);
  EXPECT_FALSE(pace_->end(inventory, now_, Ending::busy, {}).point_rests);
  EXPECT_FALSE(pace_->end(first, now_, Ending::busy, {}).point_rests);
  EXPECT_TRUE(pace_->end(second, now_, Ending::busy, {}).point_rests);
  EXPECT_STREQ(pace_->state(now_), "open");
  EXPECT_EQ(pace_->room(MessageType::discovery, now_), MpPace::Room::rests);
}

TEST_F(MpPaceTest, OneGoodAnswerInBetweenEndsTheRow) {
  for (int i = 0; i < 20; ++i) {
    const auto a = pace_->begin(hardware, now_), b = pace_->begin(state_type, now_);
    pace_->end(a, now_, Ending::busy, {});
    pace_->end(b, now_, Ending::answered, {});
    now_ += milliseconds(2'000);
  }
  EXPECT_STREQ(pace_->state(now_), "closed");
}

TEST_F(MpPaceTest, RestsTheWholePointAtOnceWhenItCannotBeReachedOrIsMisconfigured) {
  for (const Ending ending : {Ending::unreachable, Ending::misconfigured}) {
    pace_ = std::make_unique<MpPace>(config_, 1);
    const auto exchange = pace_->begin(state_type, now_);
    const auto change = pace_->end(exchange, now_, ending, ending == Ending::misconfigured ? milliseconds(900'000) : milliseconds(0));
    ASSERT_TRUE(change.point_rests);
    EXPECT_EQ(pace_->rest_left(now_), ending == Ending::misconfigured ? milliseconds(900'000) : milliseconds(1'000));
  }
}

TEST_F(MpPaceTest, ObeysRetryAfterForTheTypeThatWasToldSo) {
  const auto begun = begin_all(state_type);
  EXPECT_EQ(pace_->end(begun[0], now_, Ending::busy, milliseconds(30'000)).type_rests, milliseconds(30'000));
  // One that was under way is told to wait longer: the longest wish counts.
  EXPECT_FALSE(pace_->end(begun[1], now_, Ending::busy, milliseconds(60'000)).type_rests) << "one rest, told once";
  EXPECT_EQ(pace_->rest_left(state_type, now_), milliseconds(60'000));
  now_ += milliseconds(59'999);
  EXPECT_EQ(pace_->room(state_type, now_), MpPace::Room::rests);
  now_ += milliseconds(1);
  EXPECT_NE(pace_->room(state_type, now_), MpPace::Room::rests);
}

TEST_F(MpPaceTest, LetsOneExchangeProbeAfterARestAndStartsLowWhenItSucceeds) {
  warm_up(state_type, milliseconds(50));
  round(state_type, milliseconds(50), Ending::unreachable);
  now_ += milliseconds(1'000);
  EXPECT_STREQ(pace_->state(now_), "half_open");
  const auto probe = pace_->begin(state_type, now_);
  EXPECT_EQ(pace_->room(state_type, now_), MpPace::Room::full);
  EXPECT_EQ(pace_->room(hardware, now_), MpPace::Room::full) << "one probe for the whole point";
  pace_->end(probe, now_, Ending::answered, {});
  EXPECT_STREQ(pace_->state(now_), "closed");
  EXPECT_EQ(concurrency(state_type), 2u);
  EXPECT_EQ(concurrency(hardware), 1u);
  for (int i = 0; i < 14; ++i) round(state_type, milliseconds(50));
  EXPECT_EQ(concurrency(state_type), 16u);
}

TEST_F(MpPaceTest, OneExchangeProbesATypeAfterItsRest) {
  round(state_type, milliseconds(50), Ending::busy);
  ASSERT_EQ(state(state_type), "open");
  now_ += milliseconds(1'000);
  ASSERT_EQ(state(state_type), "half_open");
  EXPECT_EQ(begin_all(state_type).size(), 1u);
  EXPECT_EQ(pace_->in_flight(), 1u);
}

TEST_F(MpPaceTest, AFailedProbeOpensTheTypesBreakerAgain) {
  round(state_type, milliseconds(50), Ending::busy);
  now_ += milliseconds(1'000);
  EXPECT_TRUE(round(state_type, milliseconds(50), Ending::busy).type_rests);
  EXPECT_EQ(state(state_type), "open");
}

// What was sent before the rest and answers after it says how things were, not how they are.
TEST_F(MpPaceTest, OldNewsNeitherClosesNorOpensABreaker) {
  const auto old_good = pace_->begin(state_type, now_), old_bad = pace_->begin(state_type, now_), failing = pace_->begin(state_type, now_);
  ASSERT_TRUE(pace_->end(failing, now_, Ending::unreachable, {}).point_rests);
  now_ += milliseconds(1'000);
  pace_->end(old_good, now_, Ending::answered, {});
  EXPECT_STREQ(pace_->state(now_), "half_open");
  EXPECT_FALSE(pace_->end(old_bad, now_, Ending::unreachable, {}).point_rests);
  EXPECT_STREQ(pace_->state(now_), "half_open");
}

TEST_F(MpPaceTest, KeepsAQuarterOfItsPlacesFromBulk) {
  for (const MessageType type : {hardware, software, MessageType::discovery, MessageType::files}) warm_up(type, milliseconds(50));
  std::size_t bulk = 0;
  for (const MessageType type : {hardware, software, MessageType::discovery, MessageType::files}) bulk += begin_all(type).size();
  EXPECT_EQ(bulk, 12u);
  EXPECT_EQ(begin_all(state_type).size(), 4u);
}

TEST_F(MpPaceTest, NeitherABadMessageNorAnAbandonedOneIsHeldAgainstThePoint) {
  warm_up(state_type, milliseconds(50));
  for (int i = 0; i < 10; ++i) {
    round(state_type, milliseconds(50), Ending::refused);
    round(state_type, milliseconds(50), Ending::aborted);
  }
  EXPECT_EQ(concurrency(state_type), 16u);
  EXPECT_STREQ(pace_->state(now_), "closed");
  EXPECT_EQ(pace_->in_flight(), 0u);
}

TEST(Ending, TellsBySayingsWhoIsToBlame) {
  const auto of = [](Remedy remedy, const char* code) { return ending_of(Error{remedy, code, "", {}}); };
  EXPECT_EQ(of(Remedy::halt, "http.stopping"), Ending::aborted);
  EXPECT_EQ(of(Remedy::reject, "mp.bad_request"), Ending::refused);
  for (const char* code : {"mp.busy", "mp.unavailable", "mp.inflate"}) EXPECT_EQ(of(Remedy::retry, code), Ending::busy) << code;
  for (const char* code : {"http.timeout", "http.closed", "http.protocol", "http.reply_too_large"}) {
    EXPECT_EQ(of(Remedy::retry, code), Ending::silent) << code;
  }
  for (const char* code : {"http.connect", "http.connect_timeout", "http.resolve", "http.tls", "http.connection"}) {
    EXPECT_EQ(of(Remedy::retry, code), Ending::unreachable) << code;
  }
  for (const char* code : {"mp.unauthorized", "mp.forbidden", "mp.not_there", "mp.redirected", "http.redirect"}) {
    EXPECT_EQ(of(Remedy::retry, code), Ending::misconfigured) << code;
  }
}

}  // namespace
}  // namespace greengate::test
