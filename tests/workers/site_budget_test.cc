#include "workers/site_budget.h"

#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <thread>

namespace greengate::test {
namespace {

using std::chrono::milliseconds;
using namespace workers;

constexpr MessageType discovery[] = {MessageType::discovery};
constexpr MessageType inventory[] = {MessageType::hardware_inventory, MessageType::software_inventory};

class SiteBudgetTest : public ::testing::Test {
 protected:
  SiteBudget budget(const std::string& all, std::uint32_t burst) {
    PacingConfig config;
    config.budgets.fill(all);
    config.burst = burst;
    return SiteBudget(config, clock_, metrics_);
  }
  // How many messages go, one after the other, with time passing in steps.
  int sent_in(SiteBudget& budget, milliseconds time, milliseconds step) {
    int sent = 0;
    for (milliseconds passed{0}; passed < time; passed += step) {
      while (budget.reserve(discovery) == milliseconds(0)) {
        budget.charge(MessageType::discovery);
        budget.give_back(discovery);
        ++sent;
      }
      clock_.advance(step);
    }
    return sent;
  }
  ManualClock clock_;
  Metrics metrics_;
};

TEST_F(SiteBudgetTest, SpreadsInventoryAsASiteOf25000DevicesDoes) {
  const auto budget = parse_budget("25000/240min");
  ASSERT_TRUE(budget);
  EXPECT_EQ(budget->messages, 25'000u);
  EXPECT_EQ(budget->span, std::chrono::minutes(240));
  PacingConfig config;
  config.of(MessageType::discovery) = "25000/240min";
  SiteBudget site(config, clock_, metrics_);
  const int sent = sent_in(site, std::chrono::minutes(240), milliseconds(500));
  EXPECT_GE(sent, 25'000 - 1);
  EXPECT_LE(sent, 25'000 + 100) << "no more than declared and one burst";
}

TEST_F(SiteBudgetTest, TheDefaultsSayAWholeInventoryRoundIn240MinutesAndLetASmallLabGoAtOnce) {
  const PacingConfig config;
  EXPECT_TRUE(config.problems().empty());
  for (const MessageType type : {MessageType::hardware_inventory, MessageType::software_inventory}) {
    EXPECT_EQ(config.budgets[static_cast<std::size_t>(type)], "25000/240min");
  }
  SiteBudget site(config, clock_, metrics_);
  EXPECT_EQ(sent_in(site, milliseconds(1), milliseconds(1)), 100);
}

TEST_F(SiteBudgetTest, SaysWhenTheNextMessageMayGoAndLetsItGoThen) {
  SiteBudget site = budget("60/1min", 2);
  EXPECT_EQ(sent_in(site, milliseconds(1), milliseconds(1)), 2);
  const auto next = site.reserve(discovery);
  EXPECT_EQ(next, milliseconds(999));
  clock_.advance(next - milliseconds(1));
  EXPECT_EQ(site.reserve(discovery), milliseconds(1));
  clock_.advance(milliseconds(1));
  EXPECT_EQ(site.reserve(discovery), milliseconds(0));
}

TEST_F(SiteBudgetTest, WhatIsSetAsideIsGoneForOthersUntilGivenBack) {
  SiteBudget site = budget("60/1min", 2);
  EXPECT_EQ(site.reserve(discovery), milliseconds(0));
  EXPECT_EQ(site.reserve(discovery), milliseconds(0));
  EXPECT_EQ(site.reserve(discovery), milliseconds::max()) << "it is full: only what the others give back can help";
  site.give_back(discovery);
  EXPECT_EQ(site.reserve(discovery), milliseconds(0));
}

TEST_F(SiteBudgetTest, SetsAsideAllOrNothing) {
  SiteBudget site = budget("60/1min", 1);
  site.charge(MessageType::software_inventory);
  EXPECT_EQ(site.reserve(inventory), milliseconds(1'000));
  constexpr MessageType hardware[] = {MessageType::hardware_inventory};
  EXPECT_EQ(site.reserve(hardware), milliseconds(0)) << "hardware's own message was not taken";
}

TEST_F(SiteBudgetTest, LendsABatchUnderWayOneBurstAndNoMoreAndWantsItBack) {
  SiteBudget site = budget("60/1min", 3);
  int sent = 0;
  for (; site.shortage(MessageType::state) == milliseconds(0) && sent < 100; ++sent) site.charge(MessageType::state);
  EXPECT_EQ(sent, 6);
  EXPECT_EQ(site.shortage(MessageType::state), milliseconds(1'000));
  constexpr MessageType state[] = {MessageType::state};
  EXPECT_EQ(site.reserve(state), milliseconds(4'000)) << "the debt first, then a message";
  clock_.advance(milliseconds(4'000));
  EXPECT_EQ(site.reserve(state), milliseconds(0));
}

TEST_F(SiteBudgetTest, LendsNothingToRequests) {
  SiteBudget site = budget("60/1min", 3);
  int sent = 0;
  for (; site.shortage(MessageType::requests) == milliseconds(0) && sent < 100; ++sent) site.charge(MessageType::requests);
  EXPECT_EQ(sent, 3);
}

TEST_F(SiteBudgetTest, HasNoLimitWhereNoneIsDeclared) {
  for (const char* text : {"unlimited", "0"}) {
    SiteBudget site = budget(text, 1);
    for (int i = 0; i < 1'000; ++i) {
      ASSERT_EQ(site.reserve(discovery), milliseconds(0));
      ASSERT_EQ(site.shortage(MessageType::discovery), milliseconds(0));
      site.charge(MessageType::discovery);
    }
  }
}

TEST_F(SiteBudgetTest, ManyThreadsNeverTakeMoreThanThereIs) {
  SiteBudget site = budget("1/31d", 50);
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 50; ++k) {
        if (site.reserve(discovery) != milliseconds(0)) continue;
        site.charge(MessageType::discovery);
        site.give_back(discovery);
        ++taken;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(taken, 50);
  EXPECT_GE(site.health()[0].left, -1e-9);
  EXPECT_EQ(site.health()[0].sent, static_cast<std::uint64_t>(taken));
}

TEST_F(SiteBudgetTest, CountsTheTimeInWhichATypeWasUsedUp) {
  SiteBudget site = budget("60/1min", 1);
  site.charge(MessageType::discovery);
  clock_.advance(milliseconds(10'000));
  (void)site.health();
  EXPECT_NE(metrics_.render().find("greengate_pacer_spent_seconds_total{type=\"discovery\"} 1\n"), std::string::npos) << metrics_.render();
}

TEST(Budget, RefusesWhatIsNoBudgetAndSaysWhatWouldDo) {
  for (const char* text : {"", "fast", "25000", "25000/", "/240min", "25000/240", "-1/1min", "1e3/1min", "25000/240min ", " 1/1min",
                           "1/0s", "1/500ms", "1/40d", "99999999999999999999/1min", "2000000000/1min", "0/1min"}) {
    const auto budget = parse_budget(text);
    ASSERT_FALSE(budget) << text;
    EXPECT_STREQ(budget.error().code, "budget.syntax") << text;
    EXPECT_NE(budget.error().message.find("unlimited"), std::string::npos) << text;
  }
}

TEST(Budget, ComplainsOfEverySettingByItsKey) {
  PacingConfig config;
  config.of(MessageType::files) = "many";
  config.burst = 0;
  const auto problems = config.problems();
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].key, "pacing.files");
  EXPECT_NE(problems[0].message.find("pacing.files is \"many\"; it takes messages in a time"), std::string::npos) << problems[0].message;
  EXPECT_EQ(problems[1].key, "pacing.burst");
}

}  // namespace
}  // namespace greengate::test
