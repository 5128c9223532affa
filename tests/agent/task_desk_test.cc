// Goal: a task that was accepted ends once, whatever happens in between. Method: works that end when the test says so, a notebook whose disk
// can be full, a clock moved by hand, and agents that die at any moment.
#include "agent/tasks/task_desk.h"
#include "core/random.h"
#include "greengate/v1/report.pb.h"
#include "tests/agent/watchers/memory_notebook.h"
#include "tests/support/manual_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::ManualClock;
using test::MemoryNotebook;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Does what the test tells it to.
class FakeWork final : public TaskWork {
 public:
  explicit FakeWork(bool is_heavy = false) : heavy_(is_heavy) {}
  Result<void> check(const v1::Notification&) override {
    if (refuses) return fail(Remedy::reject, "task.vetoed", "No.");
    return {};
  }
  std::string memory(const v1::Notification& task) override { return "memory of " + std::to_string(task.notification_id()); }
  Result<void> start(const v1::Notification& task) override {
    started.push_back(task.notification_id());
    if (fails_to_start) return fail(Remedy::retry, "task.child", "It was not started.");
    return {};
  }
  std::optional<TaskEnd> resume(const v1::Notification& task, const std::string& memory) override {
    resumed.push_back(task.notification_id());
    resumed_with = memory;
    return std::exchange(end_at_resume, std::nullopt);
  }
  SteadyTime next_due() const override { return end ? SteadyTime{} : SteadyTime::max(); }
  std::optional<TaskEnd> poll() override { return std::exchange(end, std::nullopt); }
  void stop() override { ++stops; }
  bool heavy() const override { return heavy_; }

  bool refuses = false, fails_to_start = false;
  std::optional<TaskEnd> end, end_at_resume;
  std::vector<std::uint64_t> started, resumed;
  std::string resumed_with;
  int stops = 0;

 private:
  bool heavy_;
};

TaskEnd good() { return {true, "", ""}; }

class TaskDeskTest : public ::testing::Test {
 protected:
  TaskDeskTest() { start_again(); }

  // As after kill -9: only the notebook is left.
  void start_again() {
    desk_.emplace(config_, notebook_, clock_);
    desk_->add(v1::TASK_DISCOVERY, light_);
    desk_->add(v1::TASK_FULL_SCAN, scan_);
    desk_->add(v1::TASK_QUICK_SCAN, scan_);
    desk_->add(v1::TASK_UPDATE_SIGNATURES, updater_);
    desk_->begin();
    desk_->tick();
  }
  static v1::Notification task(std::uint64_t id, v1::Task what = v1::TASK_DISCOVERY) {
    v1::Notification asked;
    asked.set_notification_id(id);
    asked.set_task(what);
    asked.set_site_task_id("{T}");
    return asked;
  }
  void ask(const v1::Notification& asked) {
    desk_->asked(asked);
    desk_->tick();
  }
  void ask(std::uint64_t id, v1::Task what = v1::TASK_DISCOVERY) { ask(task(id, what)); }
  void finish(FakeWork& work, TaskEnd end = good()) {
    work.end = std::move(end);
    EXPECT_LE(desk_->next_due(), clock_.steady());
    desk_->tick();
  }
  // "7 ACCEPTED", "7 NOT_COMPLETED task.expired"
  std::vector<std::string> said(bool connected = true) {
    std::vector<std::string> lines;
    for (const v1::TaskResult& result : desk_->take_results(connected)) {
      std::string line = std::to_string(result.notification_id()) + " " +
                         v1::TaskOutcome_Name(result.outcome()).substr(std::string("TASK_OUTCOME_").size());
      if (!result.code().empty()) line += " " + result.code();
      lines.push_back(line);
    }
    return lines;
  }

  ManualClock clock_;
  MemoryNotebook notebook_;
  TaskDeskConfig config_;
  FakeWork light_, scan_{true}, updater_{true};
  std::optional<TaskDesk> desk_;
};

TEST_F(TaskDeskTest, AcceptsAtOnceAndTellsTheEndWhenItComes) {
  ask(7);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED"));
  EXPECT_THAT(light_.started, ElementsAre(7u));
  clock_.advance(2h);
  desk_->tick();
  EXPECT_THAT(said(), IsEmpty());
  finish(light_);
  EXPECT_THAT(said(), ElementsAre("7 COMPLETED"));
}

TEST_F(TaskDeskTest, TellsWhyWorkFailed) {
  ask(7, v1::TASK_FULL_SCAN);
  said();
  scan_.end = TaskEnd{false, "task.scan_failed", "It broke."};
  desk_->tick();
  const auto results = desk_->take_results(true);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].outcome(), v1::TASK_OUTCOME_NOT_COMPLETED);
  EXPECT_EQ(results[0].code(), "task.scan_failed");
  EXPECT_EQ(results[0].message(), "It broke.");
}

TEST_F(TaskDeskTest, AFailedStartIsAnEnd) {
  scan_.fails_to_start = true;
  ask(7, v1::TASK_FULL_SCAN);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED", "7 NOT_COMPLETED task.child"));
}

TEST_F(TaskDeskTest, AskedAgainIsAnsweredAsBeforeAndDoneOnce) {
  ask(7);
  ask(7);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED", "7 ACCEPTED"));
  finish(light_, {true, "task.infected", "Found."});
  said();
  clock_.advance(20h);
  ask(7);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED", "7 COMPLETED task.infected"));
  start_again();
  said();
  ask(7);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED", "7 COMPLETED task.infected"));
  EXPECT_THAT(light_.started, ElementsAre(7u));
  EXPECT_THAT(light_.resumed, IsEmpty());
}

TEST_F(TaskDeskTest, ATaskWithOtherTimesIsTheSameTask) {
  v1::Notification asked = task(7);
  asked.set_start_after_ms(5'000);
  ask(asked);
  asked.set_start_after_ms(9'000);
  asked.set_answer_within_ms(1);
  ask(asked);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED", "7 ACCEPTED"));
  clock_.advance(5s);
  desk_->tick();
  EXPECT_THAT(light_.started, ElementsAre(7u));
}

TEST_F(TaskDeskTest, ANumberGivenAnewIsANewTask) {
  ask(7);
  finish(light_);
  said();
  v1::Notification other = task(7);
  other.set_site_task_id("{U}");
  ask(other);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED"));
  EXPECT_THAT(light_.started, ElementsAre(7u, 7u));
  ask(task(7));
  EXPECT_THAT(said(), ElementsAre("7 FAILED task.busy")) << "two open tasks of one number cannot be told apart";
}

TEST_F(TaskDeskTest, UnknownTasksAreSaidToBeUnknown) {
  ask(7, v1::TASK_WIPE);
  ask(8, static_cast<v1::Task>(4'711));
  ask(9, v1::TASK_UNSPECIFIED);
  EXPECT_THAT(said(), ElementsAre("7 UNKNOWN_TASK task.unknown", "8 UNKNOWN_TASK task.unknown", "9 UNKNOWN_TASK task.unknown"));
  EXPECT_EQ(notebook_.writes, 0);
}

TEST_F(TaskDeskTest, RefusesWhatTheMachinesAdministratorDoesNotWant) {
  config_.refuse = {"full_scan"};
  start_again();
  ask(7, v1::TASK_FULL_SCAN);
  ask(8, v1::TASK_QUICK_SCAN);
  EXPECT_THAT(said(), ElementsAre("7 FAILED task.forbidden", "8 ACCEPTED"));
}

TEST_F(TaskDeskTest, ARefusalStaysOne) {
  light_.refuses = true;
  ask(7);
  light_.refuses = false;
  ask(7);
  start_again();
  ask(7);
  EXPECT_THAT(light_.started, IsEmpty()) << "the site was told that it failed";
  EXPECT_EQ(said().back(), "7 FAILED task.vetoed");
}

TEST_F(TaskDeskTest, BeginsAfterTheDelayAlsoOverARestart) {
  v1::Notification asked = task(7);
  asked.set_start_after_ms(60'000);
  ask(asked);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED"));
  EXPECT_EQ(desk_->next_due(), clock_.steady() + 60s);
  clock_.advance(20s);
  start_again();
  EXPECT_EQ(desk_->next_due(), clock_.steady() + 40s);
  clock_.advance(40s - 1ms);
  desk_->tick();
  EXPECT_THAT(light_.started, IsEmpty());
  clock_.advance(1ms);
  desk_->tick();
  EXPECT_THAT(light_.started, ElementsAre(7u));
}

TEST_F(TaskDeskTest, WhatCannotBeBegunInTimeIsNotBegun) {
  v1::Notification asked = task(7, v1::TASK_FULL_SCAN);
  asked.set_expires_at_ms(to_millis(clock_.wall()));
  ask(asked);
  EXPECT_THAT(said(), ElementsAre("7 FAILED task.expired"));

  ask(8, v1::TASK_QUICK_SCAN);
  asked.set_notification_id(9);
  asked.set_expires_at_ms(to_millis(clock_.wall()) + 30'000);
  ask(asked);
  EXPECT_THAT(said(), ElementsAre("8 ACCEPTED", "9 ACCEPTED"));
  EXPECT_EQ(desk_->next_due(), clock_.steady() + 30s) << "nothing to do before, as the scanner is busy";
  clock_.advance(30s);
  desk_->tick();
  EXPECT_THAT(said(), ElementsAre("9 NOT_COMPLETED task.expired"));
  EXPECT_THAT(scan_.started, ElementsAre(8u));
}

TEST_F(TaskDeskTest, WhatWasBegunInTimeMayTakeLong) {
  v1::Notification asked = task(7, v1::TASK_FULL_SCAN);
  asked.set_expires_at_ms(to_millis(clock_.wall()) + 1'000);
  ask(asked);
  clock_.advance(3h);
  start_again();
  EXPECT_THAT(scan_.resumed, ElementsAre(7u));
}

TEST_F(TaskDeskTest, JudgesExpiryByTheGatewaysClock) {
  const std::int64_t gateway = to_millis(clock_.wall()) - 3'600'000;  // our clock is an hour ahead
  desk_->welcomed(gateway);
  v1::Notification asked = task(7);
  asked.set_start_after_ms(60'000);
  asked.set_expires_at_ms(gateway + 30'000);
  ask(asked);
  clock_.advance(30s);
  desk_->tick();
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED", "7 NOT_COMPLETED task.expired"));
  asked.set_notification_id(8);
  asked.set_expires_at_ms(gateway + 120'000);
  ask(asked);
  clock_.advance(60s);
  desk_->tick();
  EXPECT_THAT(light_.started, ElementsAre(8u));
}

TEST_F(TaskDeskTest, OneHeavyTaskAtATimeAndLightOnesBeside) {
  ask(1, v1::TASK_FULL_SCAN);
  ask(2, v1::TASK_UPDATE_SIGNATURES);
  ask(3, v1::TASK_QUICK_SCAN);
  ask(4);
  EXPECT_THAT(said(), ElementsAre("1 ACCEPTED", "2 ACCEPTED", "3 ACCEPTED", "4 ACCEPTED"));
  EXPECT_THAT(scan_.started, ElementsAre(1u));
  EXPECT_THAT(updater_.started, IsEmpty());
  EXPECT_THAT(light_.started, ElementsAre(4u));
  finish(scan_);
  EXPECT_THAT(updater_.started, ElementsAre(2u)) << "in the order they were asked for";
  EXPECT_THAT(scan_.started, ElementsAre(1u));
  finish(updater_);
  EXPECT_THAT(scan_.started, ElementsAre(1u, 3u));
}

TEST_F(TaskDeskTest, ADeadAgentsTaskIsTakenUpWithWhatItRemembered) {
  ask(7, v1::TASK_FULL_SCAN);
  said();
  start_again();
  EXPECT_THAT(scan_.started, ElementsAre(7u));
  EXPECT_THAT(scan_.resumed, ElementsAre(7u));
  EXPECT_EQ(scan_.resumed_with, "memory of 7");
  finish(scan_);
  EXPECT_THAT(said(), ElementsAre("7 COMPLETED"));
}

TEST_F(TaskDeskTest, AWorkMayKnowAtOnceWhatBecameOfIt) {
  ask(7, v1::TASK_FULL_SCAN);
  scan_.end_at_resume = TaskEnd{false, "task.interrupted", "Half of it."};
  start_again();
  EXPECT_THAT(said(), ElementsAre("7 NOT_COMPLETED task.interrupted"));
}

TEST_F(TaskDeskTest, ATaskThatKillsTheAgentIsGivenUp) {
  ask(7, v1::TASK_FULL_SCAN);
  for (int deaths = 0; deaths < 4; ++deaths) start_again();
  EXPECT_THAT(said(), IsEmpty());
  start_again();
  EXPECT_THAT(said(), ElementsAre("7 NOT_COMPLETED task.interrupted"));
  EXPECT_EQ(scan_.started.size() + scan_.resumed.size(), config_.starts_max);
}

TEST_F(TaskDeskTest, ReportsAndOutcomeAreKeptTogether) {
  ask(7, v1::TASK_FULL_SCAN);
  said();
  TaskEnd end = good();
  end.reports.push_back({v1::LANE_STATE, v1::KIND_STATE_MESSAGES, v1::StateMessages().SerializeAsString()});
  notebook_.disk_full = true;
  scan_.end = end;
  desk_->tick();
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_EQ(desk_->next_due(), clock_.steady() + config_.disk_patience);
  ask(8, v1::TASK_QUICK_SCAN);
  EXPECT_THAT(said(), ElementsAre("8 FAILED task.disk"));
  clock_.advance(config_.disk_patience);
  desk_->tick();
  EXPECT_THAT(said(), IsEmpty());
  notebook_.disk_full = false;
  const int writes = notebook_.writes;
  clock_.advance(config_.disk_patience);
  desk_->tick();
  EXPECT_THAT(said(), ElementsAre("7 COMPLETED"));
  EXPECT_EQ(notebook_.writes, writes + 1);
  EXPECT_EQ(notebook_.findings.size(), 1u);
}

TEST_F(TaskDeskTest, IsNotBegunWhatCouldNotBeNotedAsBegun) {
  v1::Notification asked = task(7, v1::TASK_FULL_SCAN);
  asked.set_start_after_ms(1'000);
  ask(asked);
  notebook_.disk_full = true;
  clock_.advance(1s);
  desk_->tick();
  EXPECT_THAT(scan_.started, IsEmpty());
  EXPECT_EQ(desk_->next_due(), clock_.steady() + config_.disk_patience);
  notebook_.disk_full = false;
  clock_.advance(config_.disk_patience);
  desk_->tick();
  EXPECT_THAT(scan_.started, ElementsAre(7u));
}

TEST_F(TaskDeskTest, WhatEndedWhileAwayIsToldAfterTheWelcome) {
  ask(7);
  said();
  finish(light_);
  EXPECT_THAT(said(false), IsEmpty());
  clock_.advance(48h);
  desk_->welcomed(0);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED", "7 COMPLETED"));
}

TEST_F(TaskDeskTest, LastWordsAreToldAgainOnANewConnectionForAWhile) {
  ask(7);
  finish(light_);
  said();
  clock_.advance(14min);
  desk_->welcomed(0);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED", "7 COMPLETED"));
  clock_.advance(2min);
  desk_->welcomed(0);
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(TaskDeskTest, WhatEndedBeforeARestartIsToldOnceMore) {
  ask(7);
  finish(light_);
  clock_.advance(3h);
  start_again();
  desk_->welcomed(0);
  EXPECT_THAT(said(), ElementsAre("7 ACCEPTED", "7 COMPLETED"));
  clock_.advance(25h);
  start_again();
  desk_->welcomed(0);
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(TaskDeskTest, TakesNoMoreThanItCanRemember) {
  for (std::uint64_t id = 1; id <= TaskBook::open_max + 1; ++id) ask(id, v1::TASK_FULL_SCAN);
  EXPECT_EQ(said().back(), std::to_string(TaskBook::open_max + 1) + " FAILED task.busy");
  EXPECT_THAT(scan_.started, ElementsAre(1u));
}

TEST_F(TaskDeskTest, ALargeTaskIsRefused) {
  v1::Notification asked = task(7);
  asked.mutable_run_script()->add_parameters()->set_value(std::string(TaskBook::open_bytes_max, 'x'));
  ask(asked);
  EXPECT_THAT(said(), ElementsAre("7 FAILED task.busy"));
}

TEST_F(TaskDeskTest, RemembersTheLastOnesOnly) {
  for (std::uint64_t id = 1; id <= TaskBook::past_max + 1; ++id) {
    ask(id);
    light_.end = TaskEnd{true, std::string(300, 'c'), std::string(10'000, 'm')};
    desk_->tick();
  }
  said();
  EXPECT_LT(notebook_.notes["tasks-past"].size(), 120'000u);
  start_again();
  ask(2);
  EXPECT_EQ(light_.started.size(), TaskBook::past_max + 1);
  ask(1);
  EXPECT_EQ(light_.started.size(), TaskBook::past_max + 2) << "that one was forgotten";
}

TEST_F(TaskDeskTest, EndsWhatRunsWhenTheAgentEnds) {
  ask(7, v1::TASK_FULL_SCAN);
  desk_->close();
  EXPECT_EQ(scan_.stops, 1);
  EXPECT_EQ(light_.stops, 1);
}

TEST_F(TaskDeskTest, DamagedNotesDoNotHarm) {
  ask(7, v1::TASK_FULL_SCAN);
  ask(8);
  finish(light_);
  const auto whole = notebook_.notes;
  const std::uint64_t seed = random_u64();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 2'000; ++i) {
    notebook_.notes = whole;
    for (auto& [name, note] : notebook_.notes) {
      if (note.empty()) continue;
      if (random() % 2 == 0) note.resize(random() % note.size());
      if (!note.empty()) note[random() % note.size()] = "0123456789abcdefx"[random() % 17];
    }
    start_again();
    desk_->welcomed(0);
    desk_->take_results(true);
    desk_->tick();
  }
}

// The whole promise at once, with agents that die, disks that are full, gateways that ask again and connections that break.
TEST_F(TaskDeskTest, WhateverHappensEachTaskIsBegunOnceAndEndsOnce) {
  const std::uint64_t seed = random_u64();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  config_.starts_max = 1'000'000;
  std::map<std::uint64_t, std::set<std::string>> finals;  // what was heard of each
  std::set<std::uint64_t> accepted;
  const auto hear = [&](bool connected) {
    for (const v1::TaskResult& result : desk_->take_results(connected)) {
      if (result.outcome() == v1::TASK_OUTCOME_ACCEPTED) {
        accepted.insert(result.notification_id());
      } else {
        finals[result.notification_id()].insert(v1::TaskOutcome_Name(result.outcome()) + result.code());
      }
    }
  };
  constexpr v1::Task kinds[] = {v1::TASK_DISCOVERY, v1::TASK_FULL_SCAN, v1::TASK_QUICK_SCAN, v1::TASK_UPDATE_SIGNATURES};
  std::uint64_t last = 0;
  const auto asked_for = [&](std::uint64_t id) { return task(id, kinds[id % 4]); };
  for (int step = 0; step < 6'000; ++step) {
    switch (random() % 10) {
      case 0:
      case 1:
        if (last < 100) desk_->asked(asked_for(++last));
        break;
      case 2:
        if (last > 0) desk_->asked(asked_for(1 + random() % last));
        break;
      case 3:
        for (FakeWork* work : {&light_, &scan_, &updater_}) work->end.reset();
        start_again();
        break;
      case 4:
        notebook_.disk_full = random() % 3 == 0;
        break;
      case 5:
        desk_->welcomed(0);
        break;
      case 6: {
        FakeWork* const works[] = {&light_, &scan_, &updater_};
        works[random() % 3]->end = random() % 2 ? good() : TaskEnd{false, "task.scan_failed", "no"};
        break;
      }
      default:
        clock_.advance(std::chrono::milliseconds(random() % 20'000));
    }
    desk_->tick();
    hear(random() % 4 != 0);
  }
  // A calm end.
  notebook_.disk_full = false;
  for (int rounds = 0; rounds < 500; ++rounds) {
    clock_.advance(config_.disk_patience);
    for (FakeWork* work : {&light_, &scan_, &updater_}) work->end = good();
    desk_->tick();
    hear(true);
  }
  start_again();
  desk_->welcomed(0);
  hear(true);

  std::map<std::uint64_t, int> begun;
  for (const FakeWork* work : {&light_, &scan_, &updater_}) {
    for (const std::uint64_t id : work->started) ++begun[id];
  }
  ASSERT_EQ(last, 100u);
  for (std::uint64_t id = 1; id <= last; ++id) {
    const bool refused_once = finals[id].contains("TASK_OUTCOME_FAILEDtask.disk") || finals[id].contains("TASK_OUTCOME_FAILEDtask.busy");
    finals[id].erase("TASK_OUTCOME_FAILEDtask.disk");  // not noted: judged anew when it came again
    finals[id].erase("TASK_OUTCOME_FAILEDtask.busy");
    EXPECT_LE(begun[id], 1) << id;
    EXPECT_LE(finals[id].size(), 1u) << id;
    if (accepted.contains(id) && !refused_once) {
      EXPECT_EQ(finals[id].size(), 1u) << id << " was accepted and never ended";
      EXPECT_EQ(begun[id], 1) << id;
    }
  }
}

}  // namespace
}  // namespace greengate::agent
