#include "adapters/mdm/pfn_procedure.h"
#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <random>

namespace greengate::test {
namespace {

using namespace adapters;
using std::chrono::hours;

class Pfn : public testing::Test {
 protected:
  /// "Replace …/PFN name", or "-".
  static std::string shown(const std::optional<DmCommand>& command) {
    if (!command) return "-";
    const std::string& uri = command->items.at(0).target;
    return std::string(verb_name(command->verb)) + " " + uri.substr(uri.rfind('/') + 1);
  }
  std::string begin(const std::string& pfn = "app_1") {
    procedure_.emplace(nodes_, record_);
    return shown(procedure_->begin(pfn, clock_.wall()));
  }
  std::string answered(int status, std::optional<int> push = std::nullopt, bool uri = false, const std::string& text = "") {
    const std::string next = shown(procedure_->answered(status, text, push, uri, clock_.wall()));
    record_ = procedure_->record();
    return next;
  }

  ManualClock clock_;
  const PushNodes nodes_{"FABRIKAM"};
  PfnRecord record_;
  std::optional<PfnProcedure> procedure_;
};

TEST_F(Pfn, a_replace_that_goes_well_is_judged_by_the_push_status) {
  const auto outcome = [&](int status, std::optional<int> push, bool uri) {
    record_ = {};
    EXPECT_EQ(begin(), "Replace PFN");
    EXPECT_EQ(answered(status, push, uri), "-");
    EXPECT_FALSE(procedure_->busy());
    return record_.outcome + (record_.again ? " again" : "");
  };
  EXPECT_EQ(outcome(200, 0, true), "set");
  EXPECT_EQ(outcome(202, 0, true), "set");
  EXPECT_EQ(outcome(200, std::nullopt, true), "set");
  EXPECT_EQ(outcome(200, 4, false), "channel_comes_later");
  EXPECT_EQ(outcome(200, std::nullopt, false), "channel_comes_later");
  EXPECT_EQ(outcome(200, 1, false), "bad_pfn");
  EXPECT_EQ(outcome(200, 2, false), "no_device_ticket");
  EXPECT_EQ(outcome(200, 3, false), "refused_by_service");
  EXPECT_EQ(outcome(200, 7, true), "set");
  EXPECT_EQ(outcome(200, 8, false), "unsupported");
  EXPECT_EQ(outcome(0, std::nullopt, false), "unanswered again");
}

TEST_F(Pfn, a_missing_node_is_added) {
  EXPECT_EQ(begin(), "Replace PFN");
  EXPECT_EQ(answered(404), "Add PFN");
  EXPECT_EQ(answered(200, 0, true), "-");
  EXPECT_EQ(record_.outcome, "set");
  EXPECT_EQ(record_.writes, 2u);
}

TEST_F(Pfn, a_node_that_is_there_already_is_looked_at) {
  EXPECT_EQ(begin(), "Replace PFN");
  EXPECT_EQ(answered(404), "Add PFN");
  EXPECT_EQ(answered(418), "Get PFN");
  EXPECT_EQ(answered(200, 0, true, "APP_1"), "-");  // equal but for the case
  EXPECT_EQ(record_.outcome, "set");

  record_ = {};
  EXPECT_EQ(begin(), "Replace PFN");
  EXPECT_EQ(answered(418), "Get PFN");
  EXPECT_EQ(answered(200, 0, true, "other_2"), "Replace PFN");
  EXPECT_EQ(answered(418), "-");  // looked once: no circle
  EXPECT_EQ(record_.outcome, "failed");
}

TEST_F(Pfn, a_device_without_push_is_left_alone_for_a_week) {
  for (const int status : {405, 406}) {
    record_ = {};
    EXPECT_EQ(begin(), "Replace PFN");
    EXPECT_EQ(answered(status), "-");
    EXPECT_EQ(record_.outcome, "unsupported");
    EXPECT_EQ(begin(), "-");
    clock_.advance(hours(24 * 7) + hours(1));
    EXPECT_EQ(begin(), "Replace PFN");
  }
}

TEST_F(Pfn, an_unspecific_failure_reads_the_status_and_the_third_session_builds_the_node_anew) {
  EXPECT_EQ(begin(), "Replace PFN");
  EXPECT_EQ(answered(500, 4), "-");
  EXPECT_EQ(record_.outcome, "failed");
  EXPECT_TRUE(record_.again);
  EXPECT_EQ(begin(""), "Replace PFN");  // though nobody asks
  EXPECT_EQ(answered(500, 2), "-");
  EXPECT_EQ(begin(""), "Replace PFN");
  EXPECT_EQ(answered(500, 4), "Delete Push");
  EXPECT_EQ(answered(200), "Add PFN");
  EXPECT_EQ(answered(200, 0, true), "-");
  EXPECT_EQ(record_.outcome, "set");
  EXPECT_EQ(record_.failed_sessions, 0u);
  EXPECT_EQ(begin(""), "-");
}

TEST_F(Pfn, an_application_at_fault_is_not_tried_in_the_next_session) {
  for (const int push : {1, 3}) {
    record_ = {};
    EXPECT_EQ(begin(), "Replace PFN");
    EXPECT_EQ(answered(500, push), "-");
    EXPECT_FALSE(record_.again);
    EXPECT_EQ(begin(""), "-");
  }
  EXPECT_EQ(record_.outcome, "refused_by_service");
}

TEST_F(Pfn, four_writes_a_day_are_the_most_whatever_the_device_says) {
  const auto seed = std::random_device{}();
  std::mt19937 dice(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  const int codes[] = {200, 202, 404, 405, 418, 500, 400, 0, 425};
  std::vector<WallTime> writes;
  for (int session = 0; session < 5'000; ++session) {
    procedure_.emplace(nodes_, record_);
    auto command = procedure_->begin(dice() % 3 == 0 ? "" : dice() % 50 == 0 ? "app_2" : "app_1", clock_.wall());
    int commands = 0;
    while (command) {
      ASSERT_LE(++commands, 6);
      if (command->verb == DmVerb::replace || command->verb == DmVerb::add) writes.push_back(clock_.wall());
      const std::optional<int> push = dice() % 2 ? std::optional<int>(static_cast<int>(dice() % 9)) : std::nullopt;
      command = procedure_->answered(codes[dice() % 9], dice() % 2 ? "app_1" : "x", push, dice() % 2 == 0, clock_.wall());
    }
    ASSERT_FALSE(procedure_->busy());
    record_ = procedure_->record();
    clock_.advance(std::chrono::minutes(dice() % 300));
  }
  // Days are counted from a first write, so any 24 hours see at most the end of one day and the beginning of the next.
  for (std::size_t i = 0; i + 2 * PfnProcedure::writes_a_day_max < writes.size(); ++i) {
    ASSERT_GE(writes[i + 2 * PfnProcedure::writes_a_day_max] - writes[i], hours(24));
  }
  EXPECT_GT(writes.size(), 100u);
}

}  // namespace
}  // namespace greengate::test
