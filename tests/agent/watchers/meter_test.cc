// Goal: runs and times of programs come out right whatever happens to clocks, processes and the agent. Method: a folder that looks
// like /proc and accounting records made by hand, on a hand-moved clock.
#include "agent/watchers/meter.h"
#include "tests/agent/scratch.h"
#include "tests/agent/watchers/memory_notebook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::MemoryNotebook;
using test::Scratch;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// Wall clock, the clock that stands still in sleep, and the machine's own, each moved by hand.
class ThreeClocks final : public Clock {
 public:
  WallTime wall() const override { return from_millis(wall_ms); }
  SteadyTime steady() const override { return SteadyTime(std::chrono::milliseconds(steady_ms)); }
  std::int64_t wall_ms = 1'768'469'400'000, steady_ms = 3'600'000, boot_ms = 5'000'000;
};

class MeterTest : public ::testing::Test {
 protected:
  MeterTest() {
    std::filesystem::create_directories(scratch_.file("proc/sys/kernel/random"));
    boot_as("11111111-2222");
    config_.programs = {program("tool"), program("other")};
    config_.process_root = scratch_.file("proc");
    config_.report_interval = 3h;
    config_.user_name = [](std::uint32_t id) { return "user" + std::to_string(id); };
  }
  std::string program(const std::string& name) {
    const std::string path = scratch_.file(name);
    if (!std::filesystem::exists(path)) std::ofstream(path) << "\x7f" "ELF and more";
    return path;
  }
  void boot_as(const std::string& id) { std::ofstream(scratch_.file("proc/sys/kernel/random/boot_id")) << id << "\n"; }
  void write_uptime() { std::ofstream(scratch_.file("proc/uptime")) << clocks_.boot_ms / 1'000 << "." << (clocks_.boot_ms % 1'000) / 10 << (clocks_.boot_ms % 100) / 10 << " 1.00\n"; }
  void begin_process(int pid, const std::string& executable, const std::string& comm = "tool", std::vector<std::string> words = {}) {
    const std::string folder = scratch_.file("proc/" + std::to_string(pid));
    std::filesystem::create_directories(folder);
    std::ofstream stat(folder + "/stat");
    stat << pid << " (" << comm << ") S";
    for (int word = 4; word < 22; ++word) stat << " 0";
    stat << " " << clocks_.boot_ms * sysconf(_SC_CLK_TCK) / 1'000 << " 0 0\n";
    if (!executable.empty()) std::filesystem::create_symlink(executable, folder + "/exe");
    std::ofstream line(folder + "/cmdline", std::ios::binary);
    for (const std::string& word : words) line << word << '\0';
  }
  void end_process(int pid) { std::filesystem::remove_all(scratch_.file("proc/" + std::to_string(pid))); }
  void start() { meter_.emplace(config_, notebook_, clocks_); }
  void pass(std::chrono::milliseconds time) {
    clocks_.wall_ms += time.count();
    clocks_.steady_ms += time.count();
    clocks_.boot_ms += time.count();
  }
  void tick() {
    write_uptime();
    meter_->tick();
  }
  void minutes(int count) {
    for (int i = 0; i < count; ++i) {
      pass(1min);
      tick();
    }
  }
  std::vector<v1::MeteringData> reports() { return notebook_.taken<v1::MeteringData>(v1::KIND_METERING); }
  /// Runs a stretch to its end; the one use that was reported.
  v1::MeteredUse only_use() {
    minutes(3 * 60);
    const auto told = reports();
    EXPECT_THAT(told, SizeIs(1));
    if (told.size() != 1 || told[0].programs_size() != 1 || told[0].programs(0).uses_size() != 1) {
      ADD_FAILURE() << "not one use";
      return {};
    }
    return told[0].programs(0).uses(0);
  }
  void account(int pid, const std::string& comm, std::chrono::seconds ran, std::chrono::seconds ended_ago = 0s, std::uint32_t uid = 0) {
    std::string record(accounting_record_bytes, '\0');
    const auto put = [&](std::size_t at, auto value) { std::memcpy(record.data() + at, &value, sizeof value); };
    record[1] = 3;
    put(8, uid);
    put(16, static_cast<std::uint32_t>(pid));
    put(24, static_cast<std::uint32_t>(clocks_.wall_ms / 1'000 - ended_ago.count() - ran.count()));
    put(28, static_cast<float>(ran.count() * 100));
    std::memcpy(record.data() + 48, comm.data(), std::min<std::size_t>(comm.size(), 15));
    std::ofstream(config_.accounting_file, std::ios::app | std::ios::binary) << record;
  }
  void with_accounting() {
    config_.accounting_file = scratch_.file("pacct");
    std::ofstream(config_.accounting_file).flush();
  }

  Scratch scratch_;
  ThreeClocks clocks_;
  MemoryNotebook notebook_;
  MeterConfig config_;
  std::optional<Meter> meter_;
  const std::string me_ = "user" + std::to_string(geteuid());
};

TEST_F(MeterTest, CountsRunsAndTimes) {
  start();
  tick();
  begin_process(10, program("tool"));
  minutes(10);
  begin_process(11, program("tool"));
  begin_process(12, "/usr/bin/unrelated", "tool");
  minutes(5);
  end_process(10);
  minutes(5);
  end_process(11);
  const v1::MeteredUse use = only_use();
  EXPECT_EQ(use.user(), me_);
  EXPECT_EQ(use.runs(), 2u);
  EXPECT_EQ(use.seconds(), 15u * 60 + 10 * 60) << "ends are the last sample's";
  EXPECT_EQ(use.first_start_ms(), 1'768'469'400'000);
  EXPECT_EQ(use.last_end_ms(), 1'768'469'400'000 + 20 * 60'000);
}

TEST_F(MeterTest, WhatRanBeforeTheFirstLookDidNotBeginInThisStretch) {
  begin_process(10, program("tool"));
  pass(1h);
  start();
  tick();
  minutes(10);
  end_process(10);
  const v1::MeteredUse use = only_use();
  EXPECT_EQ(use.runs(), 0u);
  EXPECT_EQ(use.seconds(), 600u);
}

TEST_F(MeterTest, WhatRunsOnCountsInBothStretches) {
  start();
  tick();
  begin_process(10, program("tool"));
  const v1::MeteredUse first = only_use();
  EXPECT_EQ(first.runs(), 1u);
  EXPECT_EQ(first.seconds(), 10'800u);
  EXPECT_EQ(first.last_end_ms(), 0) << "still running";
  const v1::MeteredUse second = only_use();
  EXPECT_EQ(second.runs(), 0u);
  EXPECT_EQ(second.seconds(), 10'800u);
}

TEST_F(MeterTest, AStretchInWhichNothingRanIsNoReport) {
  start();
  minutes(9 * 60);
  EXPECT_THAT(reports(), IsEmpty());
}

TEST_F(MeterTest, KnowsScriptsLinksReplacedFilesAndStrangersProcesses) {
  const std::string script = scratch_.file("script"), link = scratch_.file("link");
  std::ofstream(script) << "#!/bin/sh\n";
  std::filesystem::create_symlink(program("versioned-1.2"), link);
  config_.programs = {program("tool"), script, link, program("a-rather-long-program-name")};
  start();
  tick();
  begin_process(10, program("tool") + " (deleted)");
  begin_process(11, "/bin/sh", "script", {"/bin/sh", script, "argument"});
  begin_process(12, program("versioned-1.2"), "link");
  begin_process(13, "", "a-rather-long-p", {"other words"});       // its file may not be read
  begin_process(14, "/usr/bin/editor", "editor", {"editor", program("tool")});  // only speaks of it
  minutes(3 * 60);
  const auto told = reports();
  ASSERT_THAT(told, SizeIs(1));
  std::vector<std::string> names;
  for (const auto& one : told[0].programs()) {
    names.push_back(one.file_name());
    EXPECT_EQ(one.uses(0).runs(), 1u) << one.file_name();
  }
  EXPECT_THAT(names, ::testing::ElementsAre("tool", "script", "link", "a-rather-long-program-name"));
}

TEST_F(MeterTest, ANumberGivenToAnotherProcessIsAnotherRun) {
  start();
  tick();
  begin_process(10, program("tool"));
  minutes(2);
  end_process(10);
  begin_process(10, program("tool"));
  minutes(2);
  end_process(10);
  EXPECT_EQ(only_use().runs(), 2u);
}

TEST_F(MeterTest, SurvivesARestartOfTheAgent) {
  start();
  tick();
  begin_process(10, program("tool"));
  minutes(10);
  meter_->close();
  pass(30min);
  begin_process(11, program("tool"));
  pass(30min);
  start();
  tick();
  end_process(10);
  end_process(11);
  const v1::MeteredUse use = only_use();
  EXPECT_EQ(use.runs(), 2u);
  EXPECT_EQ(use.seconds(), 70u * 60 + 30 * 60);
}

TEST_F(MeterTest, AKilledAgentLosesAtMostTheLastQuarterOfAnHourOfWhatIsOver) {
  start();
  tick();
  begin_process(10, program("tool"));
  minutes(30);  // saved at 15 and 30
  end_process(10);
  start();
  EXPECT_EQ(only_use().seconds(), 1'800u);
}

TEST_F(MeterTest, SurvivesARestartOfTheMachine) {
  start();
  tick();
  begin_process(10, program("tool"));
  minutes(10);
  meter_->close();
  end_process(10);
  boot_as("33333333-4444");
  clocks_.boot_ms = 20'000;
  begin_process(10, program("tool"));  // the same number and nearly the same ticks
  pass(10min);
  start();
  tick();
  end_process(10);
  const v1::MeteredUse use = only_use();
  EXPECT_EQ(use.runs(), 2u);
  EXPECT_EQ(use.seconds(), 1'200u);
}

TEST_F(MeterTest, AJumpOfTheWallClockChangesNoDuration) {
  for (const std::int64_t jump : {std::int64_t{365} * 86'400'000, std::int64_t{-365} * 86'400'000}) {
    notebook_.notes.clear();
    start();
    tick();
    begin_process(10, program("tool"));
    minutes(10);
    clocks_.wall_ms += jump;
    minutes(10);
    end_process(10);
    EXPECT_THAT(reports(), IsEmpty());
    minutes(3 * 60);
    const auto told = reports();
    ASSERT_THAT(told, SizeIs(1));
    const v1::MeteredUse& use = told[0].programs(0).uses(0);
    EXPECT_EQ(use.runs(), 1u);
    EXPECT_EQ(use.seconds(), 1'200u);
    EXPECT_EQ(told[0].until_ms() - told[0].from_ms(), 10'800'000);
    EXPECT_GE(use.first_start_ms(), told[0].from_ms());
    EXPECT_LE(use.first_start_ms(), use.last_end_ms());
    EXPECT_LE(use.last_end_ms(), told[0].until_ms());
  }
}

TEST_F(MeterTest, SleepIsNoRunningTime) {
  start();
  tick();
  begin_process(10, program("tool"));
  minutes(10);
  clocks_.wall_ms += 8 * 3'600'000;
  clocks_.boot_ms += 8 * 3'600'000;  // the stretch goes on in sleep, and ends with it
  minutes(10);
  end_process(10);
  minutes(3 * 60);
  std::uint64_t seconds = 0;
  for (const auto& told : reports()) seconds += told.programs(0).uses(0).seconds();
  EXPECT_NEAR(static_cast<double>(seconds), 1'200, 2);
}

TEST_F(MeterTest, AccountingTellsOfWhatNoSampleSaw) {
  with_accounting();
  start();
  tick();
  minutes(1);
  account(50, "tool", 7s);
  account(51, "tool", 3s, 0s, 77);
  account(52, "stranger", 3s);
  minutes(3 * 60);
  const auto told = reports();
  ASSERT_THAT(told, SizeIs(1));
  ASSERT_EQ(told[0].programs_size(), 1);
  ASSERT_EQ(told[0].programs(0).uses_size(), 2);
  EXPECT_EQ(told[0].programs(0).uses(0).user(), "user0");
  EXPECT_EQ(told[0].programs(0).uses(0).runs(), 1u);
  EXPECT_EQ(told[0].programs(0).uses(0).seconds(), 7u);
  EXPECT_EQ(told[0].programs(0).uses(1).user(), "user77");
}

TEST_F(MeterTest, WhatSampleAndAccountingBothSawCountsOnce) {
  with_accounting();
  start();
  tick();
  begin_process(10, program("tool"));
  minutes(10);
  pass(30s);
  end_process(10);
  account(10, "tool", 630s, 0s, geteuid());
  const v1::MeteredUse use = only_use();
  EXPECT_EQ(use.runs(), 1u);
  EXPECT_EQ(use.seconds(), 630u) << "to its real end";
}

TEST_F(MeterTest, AccountingCountsWhatEndedWhileTheAgentWasAway) {
  with_accounting();
  start();
  tick();
  begin_process(10, program("tool"));
  minutes(10);
  meter_->close();
  pass(10min);
  end_process(10);
  account(10, "tool", 1'200s, 0s, geteuid());  // sampled before
  account(60, "tool", 5s, 0s, geteuid());      // never sampled
  pass(10min);
  start();
  const v1::MeteredUse use = only_use();
  EXPECT_EQ(use.runs(), 2u);
  EXPECT_EQ(use.seconds(), 1'205u);
}

TEST_F(MeterTest, AFullDiskPostponesTheReportAndLosesNothing) {
  start();
  tick();
  begin_process(10, program("tool"));
  minutes(10);
  end_process(10);
  notebook_.disk_full = true;
  minutes(3 * 60);
  EXPECT_THAT(reports(), IsEmpty());
  notebook_.disk_full = false;
  minutes(1);
  const auto told = reports();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].programs(0).uses(0).seconds(), 600u);
}

TEST_F(MeterTest, ManyUsersAreBounded) {
  with_accounting();
  start();
  tick();
  minutes(1);
  for (std::uint32_t uid = 1; uid <= 600; ++uid) account(50, "tool", 1s, 0s, uid);
  minutes(3 * 60);
  const auto told = reports();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_LE(told[0].programs(0).uses_size(), 513);
  std::uint32_t runs = 0;
  for (const auto& use : told[0].programs(0).uses()) runs += use.runs();
  EXPECT_EQ(runs, 600u) << "the rest under no name";
}

TEST_F(MeterTest, NothingConfiguredIsNothingDone) {
  config_.programs.clear();
  start();
  EXPECT_EQ(meter_->next_due(), SteadyTime::max());
  meter_->close();
  EXPECT_EQ(notebook_.writes, 0);
}

TEST(AccountingRecord, RefusesWhatIsNone) {
  std::string record(accounting_record_bytes, '\0');
  EXPECT_FALSE(accounting_record(record)) << "no version";
  record[1] = 3;
  EXPECT_FALSE(accounting_record(record)) << "no name";
  record[48] = 'x';
  EXPECT_TRUE(accounting_record(record));
  EXPECT_FALSE(accounting_record(record.substr(1)));
  for (const float bad : {-1.0f, 1e30f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::memcpy(record.data() + 28, &bad, sizeof bad);
    EXPECT_FALSE(accounting_record(record)) << bad;
  }
}

// The machine this test runs on: the table must at least find ourselves.
TEST(ProcessTable, FindsThisProcess) {
  const ProcessTable table;
  const auto all = table.processes();
  const auto own = std::find_if(all.begin(), all.end(), [](const RunningProcess& one) { return one.process_id == static_cast<std::uint32_t>(getpid()); });
  ASSERT_NE(own, all.end());
  EXPECT_GT(own->start_ticks, 0u);
  EXPECT_EQ(table.user(own->process_id), geteuid());
  EXPECT_THAT(table.program(own->process_id), ::testing::HasSubstr("watchers_test"));
  EXPECT_GT(table.since_boot_ms().value_or(0), 0);
  EXPECT_FALSE(table.boot_id().empty());
}

}  // namespace
}  // namespace greengate::agent
