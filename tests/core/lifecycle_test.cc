#include "core/lifecycle.h"

#include <gtest/gtest.h>

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
  Lifecycle house({&queue, &ingest});

  ASSERT_TRUE(house.start());
  house.shut_down({});

  EXPECT_EQ(diary, (std::vector<std::string>{"start queue", "start ingest", "drain ingest", "drain queue",
                                             "stop ingest", "stop queue"}));
}

TEST(Lifecycle, NamesTheCulpritAndStopsWhatHadStarted) {
  std::vector<std::string> diary;
  Diarist queue("queue", diary), net("net", diary, true), ingest("ingest", diary);
  Lifecycle house({&queue, &net, &ingest});

  const auto started = house.start();

  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "net did not start: told to fail.");
  EXPECT_EQ(diary, (std::vector<std::string>{"start queue", "start net", "drain queue", "stop queue"}));
}

}  // namespace
}  // namespace greengate::test
