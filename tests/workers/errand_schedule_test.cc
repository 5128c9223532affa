// Goal: steps come when they are due, one of an agent at a time, and no wish is lost. Method: a clock of ours, and the schedule run by hand
// or on its own threads.
#include "workers/errand_schedule.h"

#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace greengate::test {
namespace {

using workers::ErrandSchedule;
using std::chrono::milliseconds;

class ErrandScheduleTest : public testing::Test {
 protected:
  ManualClock clock_;
  std::vector<std::string> seen_;
  std::function<std::optional<milliseconds>(const AgentId&)> step_ = [](const AgentId&) { return std::nullopt; };
  ErrandSchedule schedule_{clock_, [this](const AgentId& agent) {
                             seen_.push_back(agent.raw());
                             return step_(agent);
                           }};
  void run() {
    while (schedule_.run_due()) {
    }
  }
};

TEST_F(ErrandScheduleTest, RunsWhatIsDueInTheOrderOfTheirTimes) {
  schedule_.put(AgentId("b"), milliseconds(20));
  schedule_.put(AgentId("a"), milliseconds(10));
  run();
  EXPECT_TRUE(seen_.empty());
  clock_.advance(milliseconds(20));
  run();
  EXPECT_EQ(seen_, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(schedule_.waiting(), 0u);
}

TEST_F(ErrandScheduleTest, JoinsWishesAtTheEarlierTime) {
  schedule_.put(AgentId("a"), milliseconds(50));
  schedule_.put(AgentId("a"), milliseconds(10));
  schedule_.put(AgentId("a"), milliseconds(90));
  clock_.advance(milliseconds(10));
  run();
  EXPECT_EQ(seen_.size(), 1u);
  clock_.advance(milliseconds(1'000));
  run();
  EXPECT_EQ(seen_.size(), 1u);
}

TEST_F(ErrandScheduleTest, RepeatsAsOftenAsTheStepAsks) {
  step_ = [](const AgentId&) { return std::optional(milliseconds(100)); };
  schedule_.put(AgentId("a"), milliseconds(0));
  for (int i = 0; i < 3; ++i) {
    run();
    clock_.advance(milliseconds(100));
  }
  EXPECT_EQ(seen_.size(), 3u);
}

TEST_F(ErrandScheduleTest, KeepsAWishThatComesWhileTheStepRuns) {
  step_ = [this](const AgentId& agent) -> std::optional<milliseconds> {
    if (seen_.size() == 1) schedule_.put(agent, milliseconds(0));
    return milliseconds(60'000);
  };
  schedule_.put(AgentId("a"), milliseconds(0));
  run();
  EXPECT_EQ(seen_.size(), 2u) << "it is due right after the step, not in a minute";
}

TEST_F(ErrandScheduleTest, ForgetsEvenWhatRuns) {
  step_ = [this](const AgentId& agent) -> std::optional<milliseconds> {
    schedule_.forget(agent);
    return milliseconds(0);
  };
  schedule_.put(AgentId("a"), milliseconds(0));
  schedule_.put(AgentId("b"), milliseconds(5));
  schedule_.forget(AgentId("b"));
  clock_.advance(milliseconds(10));
  run();
  EXPECT_EQ(seen_, std::vector<std::string>{"a"});
  EXPECT_EQ(schedule_.waiting(), 0u);
}

TEST(ErrandScheduleThreads, NeverRunTwoStepsOfOneAgentAtOnce) {
  const SystemClock clock;
  std::atomic<int> inside{0}, together{0}, steps{0};
  std::promise<void> enough;
  ErrandSchedule schedule(clock, [&](const AgentId&) -> std::optional<milliseconds> {
    if (++inside > 1) ++together;
    --inside;
    if (++steps == 500) enough.set_value();
    return milliseconds(0);
  });
  schedule.start(4);
  schedule.put(AgentId("a"), milliseconds(0));
  auto done = enough.get_future();
  for (int i = 0; done.wait_for(std::chrono::seconds(0)) != std::future_status::ready; ++i) {
    schedule.put(AgentId("a"), milliseconds(0));
    ASSERT_LT(i, 10'000'000);
  }
  schedule.stop();
  EXPECT_EQ(together, 0);
}

}  // namespace
}  // namespace greengate::test
