#include "core/channel.h"

#include <gtest/gtest.h>

#include <thread>

namespace greengate::test {
namespace {

TEST(Channel, RefusesAtItsBoundAndLeavesTheItemWithItsOwner) {
  Channel<std::string> channel(1);
  ASSERT_TRUE(channel.try_push("first"));
  std::string second = "second";
  EXPECT_FALSE(channel.try_push(std::move(second)));
  EXPECT_EQ(second, "second");
}

TEST(Channel, GivesWhatIsInsideEvenAfterItIsClosed) {
  Channel<int> channel(4);
  ASSERT_TRUE(channel.push(1));
  channel.close();
  EXPECT_FALSE(channel.push(2));
  EXPECT_EQ(channel.pop(), 1);
  EXPECT_EQ(channel.pop(), std::nullopt);
}

TEST(Channel, PassesEverythingInOrderBetweenThreadsThoughItHoldsOnlyTwo) {
  Channel<int> channel(2);
  std::thread producer([&] {
    for (int i = 0; i < 1'000; ++i) channel.push(i);
    channel.close();
  });
  int expected = 0;
  while (auto item = channel.pop()) EXPECT_EQ(*item, expected++);
  producer.join();
  EXPECT_EQ(expected, 1'000);
}

}  // namespace
}  // namespace greengate::test
