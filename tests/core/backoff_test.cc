#include "core/backoff.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using std::chrono::milliseconds;

TEST(Backoff, StaysBetweenBaseAndCapForEverySeed) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    Backoff backoff({milliseconds(100), milliseconds(5'000)}, seed);
    for (int i = 0; i < 40; ++i) {
      const auto wait = backoff.next();
      EXPECT_GE(wait, milliseconds(100));
      EXPECT_LE(wait, milliseconds(5'000));
    }
  }
}

TEST(Backoff, ObeysAPeerThatAsksForLonger) {
  Backoff backoff({milliseconds(100), milliseconds(5'000)}, 1);
  EXPECT_GE(backoff.next(milliseconds(60'000)), milliseconds(60'000));
}

TEST(Backoff, StartsSmallAgainAfterASuccess) {
  Backoff backoff({milliseconds(100), milliseconds(1'000'000)}, 7);
  for (int i = 0; i < 20; ++i) (void)backoff.next();
  backoff.reset();
  EXPECT_EQ(backoff.failures(), 0u);
  EXPECT_LE(backoff.next(), milliseconds(300));
}

TEST(Backoff, PartsTwoWaitersWhoFailedTogether) {
  Backoff one({milliseconds(1'000), milliseconds(600'000)}, 1), other({milliseconds(1'000), milliseconds(600'000)}, 2);
  int same = 0;
  for (int i = 0; i < 10; ++i) same += one.next() == other.next();
  EXPECT_LT(same, 3);
}

}  // namespace
}  // namespace greengate::test
