// Times as they are stored and sent.
#include "core/clock.h"

#include <gtest/gtest.h>

#include <limits>

namespace greengate {
namespace {

using namespace std::chrono_literals;

TEST(Millis, TimesComeBackAsTheyWere) {
  for (const std::int64_t millis : {std::int64_t{0}, std::int64_t{1'784'000'000'123}, std::int64_t{-86'400'000}, std::int64_t{4'102'444'800'000}})
    EXPECT_EQ(to_millis(from_millis(millis)), millis);
}

// A certificate of the year 9999 and a hostile number alike: a WallTime counts nanoseconds and ends in 2262.
TEST(Millis, TimesBeyondWhatAClockCountsEndAtTheEdgeOfIt) {
  const std::int64_t year_9999 = 253'402'300'799'000;
  for (const std::int64_t millis : {year_9999, std::numeric_limits<std::int64_t>::max(), std::int64_t{22'222'222'222'220}}) {
    EXPECT_EQ(from_millis(millis), from_millis(std::numeric_limits<std::int64_t>::max()));
    EXPECT_GT(from_millis(millis), from_millis(4'102'444'800'000)) << "still later than anything we meet";
  }
  for (const std::int64_t millis : {-year_9999, std::numeric_limits<std::int64_t>::min()})
    EXPECT_EQ(from_millis(millis), from_millis(std::numeric_limits<std::int64_t>::min()));
}

TEST(Millis, ALifetimeCanStillBeAddedAtTheEdge) {
  const WallTime last = from_millis(std::numeric_limits<std::int64_t>::max());
  EXPECT_GT(last + 24h * 366 * 50, last);
  const WallTime first = from_millis(std::numeric_limits<std::int64_t>::min());
  EXPECT_LT(first - 24h * 366 * 50, first);
}

}  // namespace
}  // namespace greengate
