// Goal: every completed change of a package becomes one status report, and only one. Method: recorded logs, grown, rotated and
// read with a hand-moved clock; the agent's memory is taken away and given back.
#include "agent/watchers/package_log.h"
#include "agent/watchers/package_watch.h"
#include "tests/agent/scratch.h"
#include "tests/agent/watchers/memory_notebook.h"
#include "tests/support/manual_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::ManualClock;
using test::MemoryNotebook;
using test::Scratch;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string recorded(const char* name) {
  std::ifstream file(std::string(GREENGATE_SOURCE_DIR "/tests/data/logs/") + name);
  EXPECT_TRUE(file);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string property(const v1::StatusMessage& message, const std::string& name) {
  for (const v1::NamedText& one : message.properties()) {
    if (one.name() == name) return one.value();
  }
  return "";
}

class PackageWatchTest : public ::testing::Test {
 protected:
  PackageWatchTest() {
    setenv("TZ", "UTC", 1);
    config_.logs = {log_, scratch_.file("dnf.rpm.log")};
    config_.interval = 5min;
  }
  void append(const std::string& text) { std::ofstream(log_, std::ios::app) << text; }
  static std::string installed(int from, int count) {
    std::string text;
    for (int i = from; i < from + count; ++i) {
      const std::string package = "p" + std::to_string(i) + ":all";
      text += "2026-01-15 09:10:00 install " + package + " <none> 1\n2026-01-15 09:10:01 status installed " + package + " 1\n";
    }
    return text;
  }
  void start() { watch_.emplace(config_, notebook_, clock_); }
  /// Ticks until nothing more is due within `within`.
  std::vector<std::string> events(std::chrono::milliseconds within = 0ms) {
    const SteadyTime until = clock_.steady() + within;
    for (int ticks = 0; ticks < 10'000; ++ticks) {
      watch_->tick();
      if (watch_->next_due() > until + 1s) break;
      clock_.advance(std::chrono::ceil<std::chrono::milliseconds>(watch_->next_due() - clock_.steady()));
    }
    std::vector<std::string> told;
    for (const auto& message : notebook_.taken<v1::StatusMessage>(v1::KIND_STATUS)) {
      told.push_back(message.type().substr(8) + " " + property(message, "package_name") + " " + property(message, "package_version") +
                     (property(message, "previous_version").empty() ? "" : " was " + property(message, "previous_version")));
    }
    return told;
  }
  std::vector<std::string> later() {
    clock_.advance(config_.interval);
    return events();
  }

  Scratch scratch_;
  std::string log_ = scratch_.file("dpkg.log");
  ManualClock clock_;
  MemoryNotebook notebook_;
  PackageWatchConfig config_;
  std::optional<PackageWatch> watch_;
};

TEST_F(PackageWatchTest, TellsWhatDpkgCompleted) {
  start();
  EXPECT_THAT(events(), IsEmpty());
  append(recorded("dpkg.log"));
  EXPECT_THAT(later(), ElementsAre("installed nginx 1.22.1-9", "upgraded openssl 3.0.13-1~deb12u1 was 3.0.11-1", "removed telnet 0.17+2.4-2",
                                   "installed curl 7.88.1-10", "upgraded less 590-2 was 590-2.1", "installed slow-service 2.0"));
  EXPECT_THAT(later(), IsEmpty());
}

TEST(DpkgLog, RemembersWhatWasBegunAsItWasWhateverTheNames) {
  const auto log = package_log_for("/var/log/dpkg.log");
  for (const char* line : {"2026-01-15 08:00:00 upgrade plain:amd64 1 2", "2026-01-15 08:00:00 install ta\tb 1 2", "2026-01-15 08:00:00 upgrade other:all 1\t9 2",
                           "2026-01-15 08:00:00 install bad\xff 1 2", "2026-01-15 08:00:00 remove \x01 1 2"}) {
    EXPECT_FALSE(log->line(line)) << line;
  }
  const auto restarted = package_log_for("/var/log/dpkg.log");
  restarted->restore(log->state());
  EXPECT_EQ(restarted->state(), log->state());
  const auto event = restarted->line("2026-01-15 08:00:02 status installed plain:amd64 2");
  ASSERT_TRUE(event);
  EXPECT_EQ(event->name, "plain");
  EXPECT_EQ(event->previous_version, "1");
}

TEST_F(PackageWatchTest, TellsWhatDnfCompleted) {
  start();
  EXPECT_THAT(events(), IsEmpty());
  std::ofstream(scratch_.file("dnf.rpm.log")) << recorded("dnf.rpm.log");
  EXPECT_THAT(later(), ElementsAre("installed nginx 1:1.20.1-14.el9", "upgraded openssl-libs 1:3.0.7-27.el9", "removed telnet 1:0.17-85.el9",
                                   "installed curl 7.76.1-29.el9", "upgraded less 590-2.el9", "removed old-tool 1.0-1"));
}

TEST_F(PackageWatchTest, SaysWhenAndWhat) {
  start();
  events();
  append(recorded("dpkg.log"));
  clock_.advance(config_.interval);
  watch_->tick();
  const auto messages = notebook_.taken<v1::StatusMessage>(v1::KIND_STATUS);
  ASSERT_GE(messages.size(), 2u);
  EXPECT_EQ(messages[0].time_ms(), 1'768'464'002'000);  // 2026-01-15T08:00:02Z
  EXPECT_EQ(messages[1].type(), "package_upgraded");
  EXPECT_EQ(property(messages[1], "architecture"), "amd64");
  EXPECT_EQ(property(messages[1], "package_system"), "dpkg");
}

TEST_F(PackageWatchTest, LeavesDetailsOutWhenToldTo) {
  config_.details = false;
  start();
  events();
  append(recorded("dpkg.log"));
  clock_.advance(config_.interval);
  watch_->tick();
  for (const auto& message : notebook_.taken<v1::StatusMessage>(v1::KIND_STATUS)) EXPECT_EQ(message.properties_size(), 2);
}

TEST_F(PackageWatchTest, TheFirstLookTellsNoHistory) {
  append(recorded("dpkg.log"));
  start();
  EXPECT_THAT(events(), IsEmpty());
  append(installed(1, 1));
  EXPECT_THAT(later(), ElementsAre("installed p1 1"));
}

TEST_F(PackageWatchTest, TheFirstLookTellsAsMuchHistoryAsWanted) {
  append(recorded("dpkg.log"));
  config_.history = 60min;  // it is 09:30
  start();
  EXPECT_THAT(events(), ElementsAre("installed curl 7.88.1-10", "upgraded less 590-2 was 590-2.1", "installed slow-service 2.0"));
  start();
  EXPECT_THAT(later(), IsEmpty()) << "and only at the first look";
}

TEST_F(PackageWatchTest, HoldsItsPlaceOverARestartInTheMiddleOfALineAndOfAnInstallation) {
  start();
  events();
  const std::string text = installed(1, 2);
  for (std::size_t i = 0; i < text.size(); ++i) {
    append(text.substr(i, 1));
    clock_.advance(config_.interval);
    start();  // a new agent with the old notes
    watch_->tick();
  }
  EXPECT_THAT(events(), ElementsAre("installed p1 1", "installed p2 1"));
}

TEST_F(PackageWatchTest, AFullDiskLosesAndRepeatsNothing) {
  start();
  events();
  append(installed(1, 1) + "2026-01-15 09:11:00 install late:all <none> 1\n");
  notebook_.disk_full = true;
  EXPECT_THAT(later(), IsEmpty());
  EXPECT_THAT(later(), IsEmpty());
  notebook_.disk_full = false;
  EXPECT_THAT(later(), ElementsAre("installed p1 1"));
  append("2026-01-15 09:12:00 status installed late:all 1\n");
  EXPECT_THAT(later(), ElementsAre("installed late 1"));
}

TEST_F(PackageWatchTest, FollowsARotation) {
  append(installed(0, 1));
  start();
  events();
  append(installed(1, 1));
  std::filesystem::rename(log_, log_ + ".1");
  append(installed(2, 1));
  EXPECT_THAT(later(), ElementsAre("installed p1 1", "installed p2 1"));
}

TEST_F(PackageWatchTest, AFloodIsSpreadOverHoursAndWhole) {
  config_.per_hour_max = 50;
  start();
  events();
  append(installed(0, 230));
  clock_.advance(config_.interval);
  std::size_t all = 0, hours = 0;
  for (; all < 230 && hours < 10; ++hours) {
    const auto told = events(30min);
    EXPECT_LE(told.size(), 50u);
    all += told.size();
    clock_.advance(1h);
  }
  EXPECT_EQ(all, 230u);
  EXPECT_EQ(hours, 5u);
}

TEST_F(PackageWatchTest, WithstandsNonsense) {
  start();
  events();
  append(std::string(100'000, 'x') + "\n\n \n2026-01-15\n2026-99-99 99:99:99 install a:b <none> 1\n2026-99-99 99:99:99 status installed a:b 1\n" +
         std::string("2026-01-15 09:00:00 install \0:\xff <none> 1\n", 42) + "2026-01-15 09:00:00 install\n2026-01-15 09:00:00 status installed\n" + installed(1, 1));
  EXPECT_THAT(later(), ElementsAre("installed p1 1"));
}

TEST(PackageName, TakesNamesApart) {
  const auto whole = [](const char* text) {
    const auto found = package_name(text);
    return found ? found->name + "|" + found->version + "|" + found->architecture : std::string("none");
  };
  EXPECT_EQ(whole("nginx-1:1.20.1-14.el9.x86_64"), "nginx|1:1.20.1-14.el9|x86_64");
  EXPECT_EQ(whole("python3-libs-3.9.18-1.el9.noarch"), "python3-libs|3.9.18-1.el9|noarch");
  EXPECT_EQ(whole("tool-0:1-2.noarch"), "tool|1-2|noarch");
  for (const char* text : {"", ".", "-", "a.b", "a-b.c", "-1-2.noarch", "a-1-2."}) EXPECT_EQ(whole(text), "none") << text;
}

}  // namespace
}  // namespace greengate::agent
