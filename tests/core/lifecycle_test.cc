#include "core/lifecycle.h"

#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace greengate::test {
namespace {

// A component that writes each call into a diary.
class Diarist : public Component {
 public:
  Diarist(std::string name, std::vector<std::string>& diary, bool fails = false)
      : name_(std::move(name)), diary_(diary), fails_(fails) {}
  std::string_view name() const override { return name_; }
  Result<void> start() override {
    diary_.push_back("start " + name_);
    if (fails_) return fail(Remedy::reject, "test.fails", "told to fail.");
    return {};
  }
  void refuse() override { diary_.push_back("refuse " + name_); }
  void drain(SteadyTime) override { diary_.push_back("drain " + name_); }
  void stop() override { diary_.push_back("stop " + name_); }

 private:
  std::string name_;
  std::vector<std::string>& diary_;
  bool fails_;
};

// Goal: reports in flight always have somewhere to go. Method: the queue stands for all that is downstream, the ingest
// for all that is upstream; we read the order of events.
TEST(Lifecycle, StartsDownstreamFirstAndDrainsUpstreamFirst) {
  std::vector<std::string> diary;
  Diarist queue("queue", diary), ingest("ingest", diary);
  const ManualClock clock;
  Lifecycle house({&queue, &ingest}, clock);

  ASSERT_TRUE(house.start());
  house.shut_down({});

  EXPECT_EQ(diary, (std::vector<std::string>{"start queue", "start ingest", "refuse ingest", "refuse queue", "drain ingest",
                                             "drain queue", "stop ingest", "stop queue"}));
}

TEST(Lifecycle, NamesTheCulpritAndStopsWhatHadStarted) {
  std::vector<std::string> diary;
  Diarist queue("queue", diary), net("net", diary, true), ingest("ingest", diary);
  const ManualClock clock;
  Lifecycle house({&queue, &net, &ingest}, clock);

  const auto started = house.start();

  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "net did not start: told to fail.");
  EXPECT_EQ(diary, (std::vector<std::string>{"start queue", "start net", "refuse queue", "drain queue", "stop queue"}));
}

// Goal: an operator learns who held up the end. Method: components that take time by the test's clock; we read the log.
TEST(Lifecycle, SaysHowLongEachTookAndWhoCameTooLate) {
  static std::vector<std::string> lines;
  lines.clear();
  set_log_sink([](std::string_view line) { lines.emplace_back(line); });
  ManualClock clock;
  class Slow final : public Component {
   public:
    Slow(const char* name, ManualClock& clock, std::chrono::milliseconds drain, std::chrono::milliseconds stop)
        : name_(name), clock_(clock), drain_(drain), stop_(stop) {}
    std::string_view name() const override { return name_; }
    Result<void> start() override { return {}; }
    void drain(SteadyTime) override { clock_.advance(drain_); }
    void stop() override { clock_.advance(stop_); }

   private:
    const char* name_;
    ManualClock& clock_;
    const std::chrono::milliseconds drain_, stop_;
  };
  using std::chrono::milliseconds;
  Slow quick("quick", clock, milliseconds(1), milliseconds(1));
  Slow punctual("punctual", clock, milliseconds(900), milliseconds(30));
  Slow late("late", clock, milliseconds(1'000), milliseconds(0));
  Lifecycle house({&quick, &late, &punctual}, clock);
  ASSERT_TRUE(house.start());

  house.shut_down(clock.steady() + milliseconds(1'000));
  set_log_sink(nullptr);

  const auto said = [](std::string_view what) {
    return std::count_if(lines.begin(), lines.end(), [&](const std::string& line) { return line.find(what) != std::string::npos; });
  };
  EXPECT_EQ(said("level=info component=lifecycle event=\"component stopped\" part=punctual drain_ms=900 stop_ms=30"), 1);
  EXPECT_EQ(said("level=warn component=lifecycle event=\"component drained past the deadline\" part=late drain_ms=1000 stop_ms=0"), 1);
  EXPECT_EQ(said("part=quick"), 0);
  EXPECT_EQ(said("event=\"all stopped\" drain_ms=1901 stop_ms=31"), 1);
  EXPECT_EQ(house.at(), "");
}

TEST(Lifecycle, SaysWhomItWaitsForRightNow) {
  const ManualClock clock;
  struct Asked final : Component {
    std::string_view name() const override { return "asked"; }
    Result<void> start() override { return {}; }
    void drain(SteadyTime) override { heard.push_back(house->at()); }
    void stop() override { heard.push_back(house->at()); }
    Lifecycle* house = nullptr;
    std::vector<std::string> heard;
  } asked;
  Lifecycle house({&asked}, clock);
  asked.house = &house;
  ASSERT_TRUE(house.start());
  house.shut_down({});
  EXPECT_EQ(asked.heard, (std::vector<std::string>{"asked, draining", "asked, stopping"}));
}

}  // namespace
}  // namespace greengate::test
