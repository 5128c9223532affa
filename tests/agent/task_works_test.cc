// Goal: each task does what it says and no more. Method: programs that stand for the real ones (and the real ClamAV), a clock moved by hand for
// bounds, real time only for waiting that something ends.
#include "agent/outbox.h"
#include "agent/status.h"
#include "agent/tasks/collection_work.h"
#include "agent/tasks/log_package.h"
#include "agent/tasks/log_work.h"
#include "agent/tasks/restart_work.h"
#include "agent/tasks/scan_work.h"
#include "agent/tasks/task_book.h"
#include "agent/tasks/verbose_log_work.h"
#include "agent/trees/encoding.h"
#include "agent/trees/sha256.h"
#include "greengate/v1/report.pb.h"
#include "tests/agent/scratch.h"
#include "tests/agent/watchers/memory_notebook.h"
#include "tests/support/manual_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::ManualClock;
using test::MemoryNotebook;
using test::Scratch;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

void write(const std::string& path, const std::string& text, mode_t mode = 0644) {
  std::ofstream(path, std::ios::binary) << text;
  chmod(path.c_str(), mode);
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

v1::Notification task(v1::Task what) {
  v1::Notification asked;
  asked.set_notification_id(7);
  asked.set_task(what);
  return asked;
}

class TaskWorks : public ::testing::Test {
 protected:
  std::string script(const std::string& name, const std::string& body) {
    const std::string path = scratch_.file(name);
    write(path, "#!/bin/sh\n" + body + "\n", 0755);
    return path;
  }
  // Until it ends; `meanwhile` is asked each round.
  static TaskEnd end_of_work(TaskWork& work, const std::function<void()>& meanwhile = {}) {
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (std::chrono::steady_clock::now() < until) {
      if (auto end = work.poll()) return *end;
      if (meanwhile) meanwhile();
      pollfd waiting{work.fd(), POLLIN, 0};
      ::poll(&waiting, work.fd() >= 0 ? 1 : 0, 5);
    }
    ADD_FAILURE() << "it does not end";
    return {};
  }
  static bool eventually(const std::function<bool()>& holds) {
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (!holds()) {
      if (std::chrono::steady_clock::now() >= until) return false;
      ::poll(nullptr, 0, 5);
    }
    return true;
  }
  static v1::StateMessage state_in(const TaskEnd& end) {
    v1::StateMessages messages;
    EXPECT_THAT(end.reports, SizeIs(1));
    if (end.reports.empty()) return {};
    EXPECT_EQ(end.reports[0].kind, v1::KIND_STATE_MESSAGES);
    EXPECT_TRUE(messages.ParseFromString(end.reports[0].body));
    return messages.messages_size() == 1 ? messages.messages(0) : v1::StateMessage();
  }

  Scratch scratch_;
  ManualClock clock_;
  MemoryNotebook notebook_;
};

// ---- programs ----

TEST_F(TaskWorks, AProgramsLinesArePassedOnAndItsEndTold) {
  ChildProcess child(clock_);
  std::vector<std::string> lines;
  const std::string program = script("talks", "cat; echo out; echo bad >&2; printf unfinished; exit 3");
  ASSERT_TRUE(child.start({.words = {program}, .input = "in\n", .line = [&](std::string_view line) { lines.emplace_back(line); }}));
  std::optional<ChildProcess::Ended> ended;
  ASSERT_TRUE(eventually([&] { return (ended = child.poll()).has_value(); }));
  EXPECT_THAT(lines, ElementsAre("in", "out", "bad", "unfinished"));
  EXPECT_EQ(ended->status, 3);
  EXPECT_EQ(ended->words(), "ended with status 3: unfinished");
  EXPECT_FALSE(child.running());
}

TEST_F(TaskWorks, AProgramIsEndedWithAllItStartedWhenItsTimeIsOver) {
  ChildProcess child(clock_);
  std::vector<std::string> lines;
  const std::string program = script("long", "sleep 1000 & echo $!; wait");
  ASSERT_TRUE(child.start({.words = {program}, .input = {}, .patience = 5s, .line = [&](std::string_view line) { lines.emplace_back(line); }}));
  ASSERT_TRUE(eventually([&] { return child.poll() || !lines.empty(); }));
  ASSERT_THAT(lines, SizeIs(1));
  const pid_t grandchild = std::stoi(lines[0]);
  EXPECT_EQ(kill(grandchild, 0), 0);
  clock_.advance(5s);
  const auto ended = child.poll();
  ASSERT_TRUE(ended);
  EXPECT_TRUE(ended->too_long);
  const std::string stat = "/proc/" + lines[0] + "/stat";  // gone, or dead and not yet taken by init
  EXPECT_TRUE(eventually([&] { return access(stat.c_str(), F_OK) != 0 || read(stat).find(") Z") != std::string::npos; }));
}

TEST_F(TaskWorks, AProgramThatFloodsKeepsNothingBusyForLong) {
  ChildProcess child(clock_);
  std::uint64_t lines = 0, longest = 0;
  const auto count = [&](std::string_view line) {
    ++lines;
    longest = std::max<std::uint64_t>(longest, line.size());
  };
  ASSERT_TRUE(child.start({.words = {script("flood", "head -c 300000 /dev/zero | tr '\\0' x; yes | head -n 200000")}, .input = {}, .line = count}));
  std::optional<ChildProcess::Ended> ended;
  ASSERT_TRUE(eventually([&] { return (ended = child.poll()).has_value(); }));
  EXPECT_GE(lines, 200'000u);
  EXPECT_EQ(longest, 4'096u);
  EXPECT_EQ(ended->last_line, "y");
}

TEST_F(TaskWorks, AProgramHasNeitherOurDescriptorsNorOurEnvironment) {
  setenv("GREENGATE_SECRET", "hush", 1);
  ChildProcess child(clock_);
  std::vector<std::string> lines;
  const std::string program = script("looks", "env; ls -1 /proc/self/fd | wc -l; cat /proc/self/stat | cut -d' ' -f19");
  ASSERT_TRUE(child.start({.words = {program}, .input = {}, .low_priority = true, .line = [&](std::string_view line) { lines.emplace_back(line); }}));
  ASSERT_TRUE(eventually([&] { return child.poll().has_value(); }));
  unsetenv("GREENGATE_SECRET");
  EXPECT_THAT(lines, Not(::testing::Contains(HasSubstr("hush"))));
  ASSERT_GE(lines.size(), 2u);
  EXPECT_LE(std::stoi(lines[lines.size() - 2]), 4) << "0, 1, 2 and the folder it looks at";
  EXPECT_EQ(lines.back(), "19") << "its priority";
}

TEST_F(TaskWorks, AProgramEndsWithAnAgentThatIsKilled) {
  const std::string said = scratch_.file("pid");
  const std::string program = script("stays", "echo $$ > " + said + ".new; mv " + said + ".new " + said + "; sleep 1000");
  const pid_t agent = fork();
  if (agent == 0) {
    ChildProcess child(clock_);
    if (!child.start({.words = {program}, .input = {}, .line = {}})) _exit(1);
    pause();
    _exit(0);
  }
  ASSERT_TRUE(eventually([&] { return access(said.c_str(), F_OK) == 0; }));
  const std::string stat = "/proc/" + std::to_string(std::stoi(read(said))) + "/stat";
  ASSERT_EQ(access(stat.c_str(), F_OK), 0);
  kill(agent, SIGKILL);
  int status = 0;
  waitpid(agent, &status, 0);
  EXPECT_TRUE(eventually([&] { return access(stat.c_str(), F_OK) != 0 || read(stat).find(") Z") != std::string::npos; }));
}

TEST_F(TaskWorks, AProgramThatIsNotThereIsAnEnd) {
  ChildProcess child(clock_);
  ASSERT_TRUE(child.start({.words = {"/nowhere/program"}, .input = {}, .line = {}}));
  std::optional<ChildProcess::Ended> ended;
  ASSERT_TRUE(eventually([&] { return (ended = child.poll()).has_value(); }));
  EXPECT_EQ(ended->words(), "could not be run");
}

// ---- scans ----

class Scans : public TaskWorks {
 protected:
  Scans() {
    settings_.scanners = {scratch_.file("clamscan")};
    settings_.quick_paths = {scratch_.path()};
    settings_.updater = {scratch_.file("freshclam"), "--stdout"};
  }
  TaskEnd scan(v1::Task what = v1::TASK_QUICK_SCAN) {
    ScanWork work(settings_, [this] { return std::vector<std::string>{scratch_.path()}; }, clock_);
    if (auto checked = work.check(task(what)); !checked) return agent::end_of(checked.error());
    if (auto started = work.start(task(what)); !started) return agent::end_of(started.error());
    TaskEnd end = end_of_work(work);
    EXPECT_FALSE(work.poll()) << "the end comes once";
    return end;
  }
  ScanSettings settings_;
};

TEST_F(Scans, NothingFoundIsAGoodEndAndAState) {
  script("clamscan", "echo \"$@\" > " + scratch_.file("words"));
  const TaskEnd end = scan();
  EXPECT_TRUE(end.completed);
  EXPECT_EQ(end.code, "");
  EXPECT_EQ(read(scratch_.file("words")), "--infected --no-summary --recursive --cross-fs=no " + scratch_.path() + "\n");
  const v1::StateMessage state = state_in(end);
  EXPECT_EQ(state.topic_type(), 1300u);
  EXPECT_EQ(state.topic_id(), "greengate:malware-scan:quick");
  EXPECT_EQ(state.state_id(), 1u);
  EXPECT_EQ(state.parameters_size(), 0);
}

TEST_F(Scans, FindsAreToldAndTheScanIsDoneAllTheSame) {
  script("clamscan", "echo '/tmp/a b: Eicar-Test FOUND'; echo 'LibClamAV Warning: old' >&2; printf '/tmp/c\\033[2J: Other FOUND\\n'; exit 1");
  const TaskEnd end = scan(v1::TASK_FULL_SCAN);
  EXPECT_TRUE(end.completed);
  EXPECT_EQ(end.code, "task.infected");
  EXPECT_EQ(end.message, "2 files are infected, such as /tmp/a b: Eicar-Test.");
  const v1::StateMessage state = state_in(end);
  EXPECT_EQ(state.topic_id(), "greengate:malware-scan:full");
  EXPECT_EQ(state.state_id(), 2u);
  EXPECT_THAT(state.parameters(), ElementsAre("2", "/tmp/a b: Eicar-Test", "/tmp/c\\x1B[2J: Other"));
}

TEST_F(Scans, ManyFindsAreCountedAndSomeNamed) {
  script("clamscan", "for i in $(seq 500); do echo \"/tmp/$i: Bad FOUND\"; done; exit 1");
  const TaskEnd end = scan();
  EXPECT_THAT(end.message, StartsWith("500 files are infected"));
  EXPECT_THAT(state_in(end).parameters(), SizeIs(21));
}

TEST_F(Scans, AScannersTroubleIsNoGoodEnd) {
  script("clamscan", "echo 'ERROR: no database' >&2; exit 2");
  const TaskEnd end = scan();
  EXPECT_FALSE(end.completed);
  EXPECT_EQ(end.code, "task.scan_failed");
  EXPECT_EQ(end.message, "The scanner ended with status 2: ERROR: no database.");
  EXPECT_THAT(end.reports, IsEmpty());
}

TEST_F(Scans, FindsCountEvenWithTrouble) {
  script("clamscan", "echo '/tmp/a: Bad FOUND'; echo 'ERROR: cannot read /tmp/b' >&2; exit 2");
  EXPECT_EQ(scan().code, "task.infected");
}

TEST_F(Scans, WithoutAScannerTheTaskIsRefused) {
  const TaskEnd end = scan();
  EXPECT_FALSE(end.completed);
  EXPECT_EQ(end.code, "task.no_scanner");
}

TEST_F(Scans, WithoutAPathThereIsNothingToScan) {
  script("clamscan", "exit 0");
  settings_.quick_paths = {scratch_.file("absent")};
  EXPECT_EQ(scan().code, "task.nothing_to_scan");
}

TEST_F(Scans, AScanEndsAtItsTime) {
  const std::string begun = scratch_.file("begun");
  script("clamscan", "echo > " + begun + "; sleep 1000");
  ScanWork work(settings_, [] { return std::vector<std::string>(); }, clock_);
  ASSERT_TRUE(work.start(task(v1::TASK_QUICK_SCAN)));
  EXPECT_EQ(work.next_due(), clock_.steady() + 12h);
  ASSERT_TRUE(eventually([&] { return access(begun.c_str(), F_OK) == 0; }));
  EXPECT_FALSE(work.poll());
  clock_.advance(12h);
  const auto end = work.poll();
  ASSERT_TRUE(end);
  EXPECT_EQ(end->code, "task.scan_timeout");
}

TEST_F(Scans, TheDaemonIsUsedWhileItAnswers) {
  script("clamscan", "echo clamscan >> " + scratch_.file("used"));
  script("clamdscan", "[ \"$1\" = --ping ] && exit $(cat " + scratch_.file("up") + ")\necho \"clamdscan $*\" >> " + scratch_.file("used"));
  settings_.scanners = {scratch_.file("clamdscan"), scratch_.file("clamscan")};
  write(scratch_.file("up"), "0");
  EXPECT_TRUE(scan().completed);
  EXPECT_EQ(read(scratch_.file("used")), "clamdscan --infected --no-summary --fdpass " + scratch_.path() + "\n");
  write(scratch_.file("up"), "21");
  write(scratch_.file("used"), "");
  EXPECT_TRUE(scan().completed);
  EXPECT_EQ(read(scratch_.file("used")), "clamscan\n");
}

TEST_F(Scans, TheDaemonScansNotEverything) {
  script("clamdscan", "exit 0");
  settings_.scanners = {scratch_.file("clamdscan")};
  EXPECT_EQ(scan(v1::TASK_FULL_SCAN).code, "task.no_scanner") << "it would follow every mount";
  settings_.full_paths = {scratch_.path()};
  EXPECT_TRUE(scan(v1::TASK_FULL_SCAN).completed);
}

TEST_F(Scans, ABrokenOffScanBeginsAnew) {
  script("clamscan", "exit 0");
  ScanWork work(settings_, [] { return std::vector<std::string>(); }, clock_);
  EXPECT_FALSE(work.resume(task(v1::TASK_QUICK_SCAN), ""));
  EXPECT_TRUE(end_of_work(work).completed);
}

TEST_F(Scans, WithoutATopicNoStateIsTold) {
  script("clamscan", "exit 0");
  settings_.topic_type = 0;
  EXPECT_THAT(scan().reports, IsEmpty());
}

TEST_F(Scans, EverythingIsTheLocalFileSystemsEachOnce) {
  std::filesystem::create_directories(scratch_.file("root/proc/self"));
  write(scratch_.file("root/proc/self/mountinfo"),
        "21 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
        "22 21 0:20 / /proc rw - proc proc rw\n"
        "23 21 0:21 / /sys rw - sysfs sysfs rw\n"
        "24 21 0:5 / /dev rw - devtmpfs udev rw\n"
        "25 24 0:22 / /dev/shm rw - tmpfs tmpfs rw\n"
        "26 21 0:23 / /run rw - tmpfs tmpfs rw\n"
        "27 21 254:2 / /home rw - xfs /dev/vda2 rw\n"
        "28 21 254:2 /a /srv/a rw - xfs /dev/vda2 rw\n"
        "29 21 254:3 /b /srv/b rw - xfs /dev/vda3 rw\n"
        "30 21 254:3 /b /srv/again rw - xfs /dev/vda3 rw\n"
        "31 21 0:40 / /mnt/share rw - nfs4 server:/share rw\n"
        "32 21 0:41 / /mnt/fuse rw - fuse.sshfs me@there: rw\n"
        "33 21 0:42 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n"
        "34 21 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro\n");
  MachineView view;
  view.root = scratch_.file("root");
  EXPECT_THAT(local_file_systems(Machine(view)), ElementsAre("/", "/dev/shm", "/run", "/home", "/srv/b"));
}

TEST_F(Scans, SignaturesComeFromTheUpdater) {
  script("freshclam", "echo \"$@\" > " + scratch_.file("words") + "; echo 'main.cvd is up-to-date'");
  SignaturesWork work(settings_, clock_);
  ASSERT_TRUE(work.check(task(v1::TASK_UPDATE_SIGNATURES)));
  ASSERT_TRUE(work.start(task(v1::TASK_UPDATE_SIGNATURES)));
  const TaskEnd end = end_of_work(work);
  EXPECT_TRUE(end.completed);
  EXPECT_EQ(end.message, "main.cvd is up-to-date");
  EXPECT_EQ(read(scratch_.file("words")), "--stdout\n");
}

TEST_F(Scans, AnUpdatersTroubleIsTold) {
  SignaturesWork work(settings_, clock_);
  EXPECT_STREQ(work.check(task(v1::TASK_UPDATE_SIGNATURES)).error().code, "task.no_updater");
  script("freshclam", "echo 'ERROR: no server'; exit 58");
  ASSERT_TRUE(work.start(task(v1::TASK_UPDATE_SIGNATURES)));
  const TaskEnd end = end_of_work(work);
  EXPECT_EQ(end.code, "task.update_failed");
  EXPECT_EQ(end.message, "The updater ended with status 58: ERROR: no server.");
  script("freshclam", "sleep 1000");
  ASSERT_TRUE(work.start(task(v1::TASK_UPDATE_SIGNATURES)));
  clock_.advance(30min);
  EXPECT_EQ(end_of_work(work).code, "task.update_timeout");
}

// ---- the real ClamAV ----

class RealScans : public Scans {
 protected:
  void SetUp() override {
    for (const char* program : {"/usr/bin/clamscan", "/usr/bin/freshclam"}) {
      if (access(program, X_OK) == 0) continue;
      GTEST_SKIP() << "NOT TESTED: " << program << " is missing; install the package clamav (deploy/packages.txt names it).";
    }
    settings_ = {};
    settings_.scanners = {"/usr/bin/clamdscan", "/usr/bin/clamscan"};
    settings_.database = scratch_.file("database");
    std::filesystem::create_directories(settings_.database);
    std::filesystem::create_directories(scratch_.file("tree/below"));
    settings_.quick_paths = {scratch_.file("tree")};
    settings_.full_paths = {scratch_.file("tree/below")};
  }
  // A harmless text that our own signature knows; made from parts, so that no scanner finds it in this file.
  static std::string bad() { return std::string("GREENGATE-HARMLESS") + "-TEST-" + "PATTERN-4711"; }
  static std::string signature(const std::string& name) { return name + ":0:*:" + to_hex(bad()) + "\n"; }
};

TEST_F(RealScans, ClamAvFindsWhatItsSignaturesKnow) {
  write(scratch_.file("database/test.ndb"), signature("Greengate.Test"));
  write(scratch_.file("tree/fine"), "nothing to see");
  EXPECT_EQ(scan().code, "");
  write(scratch_.file("tree/bad one"), "x" + bad() + "y");
  const TaskEnd end = scan();
  EXPECT_TRUE(end.completed);
  EXPECT_EQ(end.code, "task.infected") << end.message;
  EXPECT_THAT(state_in(end).parameters(), ElementsAre("1", scratch_.file("tree/bad one") + ": Greengate.Test.UNOFFICIAL"));
  EXPECT_EQ(scan(v1::TASK_FULL_SCAN).code, "") << "it lies elsewhere";
}

TEST_F(RealScans, ClamAvWithoutSignaturesIsNoGoodEnd) {
  const TaskEnd end = scan();
  EXPECT_FALSE(end.completed);
  EXPECT_EQ(end.code, "task.scan_failed") << end.message;
}

TEST_F(RealScans, FreshclamFetchesSignaturesTheScanThenUses) {
  write(scratch_.file("source.ndb"), signature("Greengate.Fetched"));
  write(scratch_.file("freshclam.conf"),
        "DatabaseDirectory " + settings_.database + "\nDatabaseOwner " + (geteuid() == 0 ? "root" : std::to_string(geteuid())) +
            "\nDatabaseCustomURL file://" + scratch_.file("source.ndb") + "\nPrivateMirror http://127.0.0.1:9\nUpdateLogFile " +
            scratch_.file("freshclam.log") + "\nTestDatabases no\n");
  settings_.updater = {"/usr/bin/freshclam", "--stdout", "--config-file=" + scratch_.file("freshclam.conf"), "--update-db=custom"};
  SignaturesWork work(settings_, clock_);
  ASSERT_TRUE(work.start(task(v1::TASK_UPDATE_SIGNATURES)));
  const TaskEnd fetched = end_of_work(work);
  ASSERT_TRUE(fetched.completed) << fetched.code << ": " << fetched.message;
  write(scratch_.file("tree/bad"), bad());
  const TaskEnd end = scan();
  EXPECT_EQ(end.code, "task.infected");
  EXPECT_THAT(end.message, HasSubstr("Greengate.Fetched"));
}

// ---- restarts ----

class Restarts : public TaskWorks {
 protected:
  Restarts() {
    settings_.command = {script("shutdown", "echo \"$@\" > " + scratch_.file("words.new") + "; mv " + scratch_.file("words.new") + " " + words()),
                         "-r", "+{minutes}", "in {seconds} s"};
    settings_.warn_command = {script("wall", "cat > " + scratch_.file("told"))};
    settings_.warn_text = "Restart in {minutes} minutes.";
    settings_.veto_file = scratch_.file("no-restart");
    machine_.boot_id_file = scratch_.file("boot_id");
    write(machine_.boot_id_file, "first\n");
  }
  std::string words() const { return scratch_.file("words"); }
  static v1::Notification restart(std::uint32_t grace_s = 0) {
    v1::Notification asked = task(v1::TASK_RESTART);
    if (grace_s > 0) asked.mutable_restart()->set_grace_s(grace_s);
    return asked;
  }
  RestartWork make() { return RestartWork(settings_, machine_, clock_); }
  bool commanded(RestartWork& work) {
    return eventually([&] { return work.poll() || access(words().c_str(), F_OK) == 0; }) && access(words().c_str(), F_OK) == 0;
  }
  RestartSettings settings_;
  RestartWork::Machine machine_;
};

TEST_F(Restarts, WarnsThenCommandsAndIsDoneWhenTheMachineIsBack) {
  const v1::Notification asked = restart(90);
  std::string memory;
  {
    RestartWork work = make();
    ASSERT_TRUE(work.check(asked));
    memory = work.memory(asked);
    ASSERT_TRUE(work.start(asked));
    ASSERT_TRUE(commanded(work));
    EXPECT_EQ(read(words()), "-r +2 in 90 s\n");
    EXPECT_EQ(read(scratch_.file("told")), "Restart in 2 minutes.\n");
    clock_.advance(60s);
    EXPECT_FALSE(work.poll());
  }
  {
    RestartWork again = make();  // only the agent was started anew
    EXPECT_FALSE(again.resume(asked, memory));
    EXPECT_FALSE(again.poll());
  }
  write(machine_.boot_id_file, "second\n");
  RestartWork after = make();
  const auto end = after.resume(asked, memory);
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->completed);
}

TEST_F(Restarts, TheMachinesOwnGraceCountsWhereTheSiteGivesNone) {
  settings_.grace = 10min;
  settings_.warn = false;
  RestartWork work = make();
  ASSERT_TRUE(work.start(restart()));
  ASSERT_TRUE(commanded(work));
  EXPECT_EQ(read(words()), "-r +10 in 600 s\n");
  EXPECT_NE(access(scratch_.file("told").c_str(), F_OK), 0) << "nobody was to be warned";
}

TEST_F(Restarts, AVetoForbidsItWithItsReason) {
  write(settings_.veto_file, "Month's end; ask Ann.\nmore\n");
  RestartWork work = make();
  const auto checked = work.check(restart());
  ASSERT_FALSE(checked);
  EXPECT_STREQ(checked.error().code, "task.vetoed");
  EXPECT_THAT(checked.error().message, HasSubstr("Month's end; ask Ann."));
  unlink(settings_.veto_file.c_str());
  ASSERT_TRUE(work.check(restart()));
  ASSERT_EQ(symlink("/nowhere", settings_.veto_file.c_str()), 0);  // made since: it counts when the work begins
  const auto started = work.start(restart());
  ASSERT_FALSE(started);
  EXPECT_STREQ(started.error().code, "task.vetoed");
  EXPECT_FALSE(work.poll());
  EXPECT_NE(access(words().c_str(), F_OK), 0);
}

TEST_F(Restarts, ACommandThatFailsIsTold) {
  script("shutdown", "echo 'Access denied' >&2; exit 1");
  settings_.warn = false;
  RestartWork work = make();
  ASSERT_TRUE(work.start(restart()));
  TaskEnd end = end_of_work(work);
  EXPECT_EQ(end.code, "task.restart_failed");
  EXPECT_THAT(end.message, HasSubstr("ended with status 1: Access denied"));
  machine_.privileged = false;
  RestartWork unprivileged = make();
  ASSERT_TRUE(unprivileged.start(restart()));
  end = end_of_work(unprivileged);
  EXPECT_EQ(end.code, "task.no_rights");
}

TEST_F(Restarts, WithoutACommandItIsRefused) {
  settings_.command = {scratch_.file("absent")};
  EXPECT_STREQ(make().check(restart()).error().code, "task.no_restart_command");
  settings_.command = {};
  EXPECT_STREQ(make().check(restart()).error().code, "task.no_restart_command");
}

TEST_F(Restarts, ARestartThatDoesNotComeIsNotCompleted) {
  settings_.warn = false;
  const v1::Notification asked = restart(60);
  RestartWork work = make();
  const std::string memory = work.memory(asked);
  ASSERT_TRUE(work.start(asked));
  ASSERT_TRUE(commanded(work));
  ASSERT_TRUE(eventually([&] { return work.poll() || work.next_due() == clock_.steady() + 16min; }));
  clock_.advance(16min - 1ms);
  EXPECT_FALSE(work.poll());
  clock_.advance(1ms);
  const auto end = work.poll();
  ASSERT_TRUE(end);
  EXPECT_EQ(end->code, "task.restart_not_seen");
  EXPECT_EQ(work.next_due(), SteadyTime::max());
  RestartWork again = make();
  EXPECT_FALSE(again.resume(asked, memory));
  EXPECT_EQ(again.poll()->code, "task.restart_not_seen") << "the time is over by the wall clock";
}

TEST_F(Restarts, AWarningThatHangsHoldsNothingUpForLong) {
  script("wall", "sleep 1000");
  RestartWork work = make();
  ASSERT_TRUE(work.start(restart()));
  EXPECT_FALSE(work.poll());
  clock_.advance(10s);
  EXPECT_TRUE(commanded(work));
}

TEST_F(Restarts, ACommandThatStaysUntilTheEndIsLeftAlone) {
  const std::string said = scratch_.file("pid");
  script("shutdown", "echo $$ > " + said + ".new; mv " + said + ".new " + said + "; exec sleep 1000");
  settings_.warn = false;
  {
    RestartWork work = make();
    ASSERT_TRUE(work.start(restart()));
    ASSERT_TRUE(eventually([&] { return access(said.c_str(), F_OK) == 0; }));
    clock_.advance(10s);
    EXPECT_FALSE(work.poll());
    work.stop();
  }
  const pid_t command = std::stoi(read(said));
  EXPECT_EQ(kill(command, 0), 0) << "the agent's end must not cancel the restart";
  kill(command, SIGKILL);
  int status = 0;
  waitpid(command, &status, 0);
}

// ---- the log ----

class VerboseLogs : public TaskWorks {
 protected:
  VerboseLogWork make() {
    return VerboseLogWork(4h, LogLevel::warn, [this](LogLevel level) { levels_.push_back(level); }, notebook_, clock_);
  }
  std::vector<LogLevel> levels_;
};

TEST_F(VerboseLogs, AreTurnedOnAndOff) {
  VerboseLogWork work = make();
  EXPECT_THAT(levels_, IsEmpty());
  ASSERT_TRUE(work.start(task(v1::TASK_VERBOSE_LOG_ON)));
  EXPECT_TRUE(work.poll()->completed);
  EXPECT_FALSE(work.poll());
  EXPECT_EQ(work.next_due(), clock_.steady() + 4h);
  ASSERT_TRUE(work.start(task(v1::TASK_VERBOSE_LOG_OFF)));
  EXPECT_TRUE(work.poll()->completed);
  EXPECT_EQ(work.next_due(), SteadyTime::max());
  EXPECT_THAT(levels_, ElementsAre(LogLevel::debug, LogLevel::warn));
  make();
  EXPECT_THAT(levels_, SizeIs(2)) << "off is remembered too";
}

TEST_F(VerboseLogs, SurviveARestartAndEndByThemselves) {
  VerboseLogWork first = make();
  ASSERT_TRUE(first.start(task(v1::TASK_VERBOSE_LOG_ON)));
  levels_.clear();
  clock_.advance(3h);
  VerboseLogWork second = make();
  EXPECT_THAT(levels_, ElementsAre(LogLevel::debug));
  EXPECT_EQ(second.next_due(), clock_.steady() + 1h);
  clock_.advance(1h);
  EXPECT_FALSE(second.poll());
  EXPECT_THAT(levels_, ElementsAre(LogLevel::debug, LogLevel::warn));
  EXPECT_EQ(second.next_due(), SteadyTime::max());
  levels_.clear();
  make();
  EXPECT_THAT(levels_, IsEmpty());
}

TEST_F(VerboseLogs, AreOverWhenTheTimePassedWhileTheAgentWasAway) {
  VerboseLogWork first = make();
  ASSERT_TRUE(first.start(task(v1::TASK_VERBOSE_LOG_ON)));
  levels_.clear();
  clock_.advance(100h);
  VerboseLogWork second = make();
  second.poll();
  EXPECT_THAT(levels_, ElementsAre(LogLevel::warn));
}

TEST_F(VerboseLogs, WhatCannotBeNotedIsNotDone) {
  notebook_.disk_full = true;
  VerboseLogWork work = make();
  EXPECT_STREQ(work.start(task(v1::TASK_VERBOSE_LOG_ON)).error().code, "task.disk");
  EXPECT_THAT(levels_, IsEmpty());
}

// ---- collections ----

class CollectionTasks : public TaskWorks {
 protected:
  CollectionWork make(bool enabled = true) {
    return CollectionWork(Collection::software, {[this] { ++wanted_; }, [this] { return collecting_; }, enabled});
  }
  int wanted_ = 0;
  bool collecting_ = false;
};

TEST_F(CollectionTasks, AreDoneWhenTheReportIsKept) {
  CollectionWork work = make();
  ASSERT_TRUE(work.start(task(v1::TASK_SOFTWARE_INVENTORY)));
  EXPECT_EQ(wanted_, 1);
  EXPECT_FALSE(work.poll());
  work.finished({});
  EXPECT_TRUE(work.poll()->completed);
  work.finished({});
  EXPECT_FALSE(work.poll()) << "nobody asked for that one";
}

TEST_F(CollectionTasks, ACollectionThatBeganBeforeDoesNotCount) {
  collecting_ = true;
  CollectionWork work = make();
  ASSERT_TRUE(work.start(task(v1::TASK_SOFTWARE_INVENTORY)));
  work.finished({});
  EXPECT_FALSE(work.poll());
  EXPECT_EQ(wanted_, 1) << "it is wanted when the one in hand is over";
  work.finished(fail(Remedy::retry, "collect.timeout", "Too long."));
  const auto end = work.poll();
  EXPECT_EQ(end->code, "task.collection_failed");
  EXPECT_EQ(end->message, "Too long. (collect.timeout)");
}

TEST_F(CollectionTasks, WhatIsSwitchedOffIsRefused) {
  EXPECT_STREQ(make(false).check(task(v1::TASK_SOFTWARE_INVENTORY)).error().code, "task.disabled");
}

// ---- log packages ----

class LogPackages : public TaskWorks {
 protected:
  LogPackages() {
    settings_.files = {scratch_.file("agent*.log")};
    settings_.command = {};
    settings_.bytes_max = 64 << 10;
  }
  // What a person's tar makes of it.
  std::string unpacked(const std::string& file, const std::string& member) {
    const std::string command = "tar -xzOf '" + file + "' '" + member + "'";
    std::string out;
    FILE* pipe = popen(command.c_str(), "r");
    for (int c = 0; pipe && (c = fgetc(pipe)) != EOF;) out += static_cast<char>(c);
    EXPECT_TRUE(pipe != nullptr && pclose(pipe) == 0) << command;
    return out;
  }
  std::string package() const { return scratch_.file("package.tar.gz"); }
  LogSettings settings_;
};

TEST_F(LogPackages, HoldTheLogsAndWhatTheCommandPrints) {
  write(scratch_.file("agent.log"), "one\ntwo\n");
  write(scratch_.file("agent.1.log"), "zero\n");
  write(scratch_.file("other.txt"), "not this\n");
  write(scratch_.file("secret"), "hush");
  ASSERT_EQ(symlink(scratch_.file("secret").c_str(), scratch_.file("agent-link.log").c_str()), 0);
  settings_.command = {script("journal", "echo \"journal of $1\""), "agent"};
  const auto hash = write_log_package(settings_, true, {{"status.json", "{}", 1}}, package());
  ASSERT_TRUE(hash) << hash.error().message;
  EXPECT_EQ(*hash, sha256(read(package())));
  EXPECT_EQ(unpacked(package(), "agent.log"), "one\ntwo\n");
  EXPECT_EQ(unpacked(package(), "agent.1.log"), "zero\n");
  EXPECT_EQ(unpacked(package(), "command-output.txt"), "journal of agent\n");
  EXPECT_EQ(unpacked(package(), "status.json"), "{}");
  struct stat about {};
  ASSERT_EQ(stat(package().c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777u, 0600u);
  std::string names;
  for (const LogPart& part : gather_logs(settings_, false, 1'000)) names += part.name + " ";
  EXPECT_EQ(names, "agent.1.log agent.log ") << "no link is followed, and no command run that must not be";
}

TEST_F(LogPackages, KeepTheEndOfWhatIsTooLarge) {
  std::mt19937 random(7);
  std::string log;
  for (int line = 0; line < 60'000; ++line) log += std::to_string(line) + " " + std::to_string(random()) + "\n";
  write(scratch_.file("agent.log"), log);
  const auto hash = write_log_package(settings_, true, {}, package());
  ASSERT_TRUE(hash) << hash.error().message;
  EXPECT_LE(std::filesystem::file_size(package()), 64u << 10);
  const std::string kept = unpacked(package(), "agent.log");
  EXPECT_GT(kept.size(), 16u << 10);
  EXPECT_TRUE(log.ends_with(kept));
}

TEST_F(LogPackages, NoLogIsNoPackage) {
  EXPECT_STREQ(write_log_package(settings_, true, {{"status.json", "{}", 1}}, package()).error().code, "logs.none");
}

class LogTasks : public LogPackages {
 protected:
  LogTasks() {
    config_.folder = std::filesystem::canonical(scratch_.path()).string();
    config_.host_name = "db01;x";
  }
  LogWork make() {
    return LogWork(config_, [this](PlannedFile file) { sent_.push_back(std::move(file)); }, clock_);
  }
  LogWork::Config config_;
  std::vector<PlannedFile> sent_;
};

TEST_F(LogTasks, PackSendAndTidyUp) {
  config_.packer = {script("pack", "printf content > \"$1\"; printf content | sha256sum | cut -d' ' -f1")};
  LogWork work = make();
  ASSERT_TRUE(work.start(task(v1::TASK_COLLECT_LOGS)));
  ASSERT_TRUE(eventually([&] { return work.poll() || !sent_.empty(); }));
  ASSERT_THAT(sent_, SizeIs(1));
  EXPECT_EQ(sent_[0].place.below, "greengate-agent-logs-db01_x-20260115T093000Z.tar.gz");
  EXPECT_EQ(sent_[0].sha256, sha256("content"));
  EXPECT_EQ(sent_[0].standing.size, 7u);
  EXPECT_EQ(work.next_due(), SteadyTime::max());
  work.sent(true);
  EXPECT_TRUE(work.poll()->completed);
  EXPECT_NE(access(sent_[0].place.whole().c_str(), F_OK), 0);
}

TEST_F(LogTasks, WhatIsNotSentIsNotCompleted) {
  config_.packer = {script("pack", "printf content > \"$1\"; printf content | sha256sum | cut -d' ' -f1")};
  LogWork work = make();
  ASSERT_TRUE(work.start(task(v1::TASK_COLLECT_LOGS)));
  ASSERT_TRUE(eventually([&] { return work.poll() || !sent_.empty(); }));
  work.sent(false);
  EXPECT_EQ(work.poll()->code, "task.logs_not_sent");
  config_.packer = {script("pack", "echo 'disk full' >&2; exit 1")};
  LogWork other = make();
  ASSERT_TRUE(other.start(task(v1::TASK_COLLECT_LOGS)));
  const TaskEnd end = end_of_work(other);
  EXPECT_EQ(end.code, "task.log_package_failed");
  EXPECT_THAT(end.message, HasSubstr("disk full"));
}

TEST_F(LogTasks, APackageADeadAgentLeftIsRemoved) {
  const std::string left = config_.folder + "/greengate-agent-logs-x-20250101T000000Z.tar.gz";
  write(left, "old");
  make();
  EXPECT_NE(access(left.c_str(), F_OK), 0);
}

// ---- for people ----

// As the agent keeps its notes.
class OutboxNotebook final : public Notebook {
 public:
  explicit OutboxNotebook(Outbox& outbox) : outbox_(outbox) {}
  std::string note(const std::string& name) override { return outbox_.note(name); }
  bool keep(const std::vector<Finding>&, const Notes& notes) override {
    for (const auto& [name, value] : notes) {
      if (!outbox_.keep_note({name, value})) return false;
    }
    return true;
  }

 private:
  Outbox& outbox_;
};

TEST_F(TaskWorks, StatusShowsWhatIsOpenAndWhatEnded) {
  OutboxConfig config;
  config.path = scratch_.file("outbox.sqlite");
  auto outbox = Outbox::open(config, clock_);
  ASSERT_TRUE(outbox);
  OutboxNotebook notebook(**outbox);
  EXPECT_THAT(status_text(**outbox, 10), Not(HasSubstr("task ")));
  EXPECT_THAT(status_json(**outbox, 10), HasSubstr("\"tasks\": [], \"reports\": []"));
  TaskBook book(notebook);
  for (const std::uint64_t id : {1u, 2u}) {
    OpenTask open;
    open.id = id;
    open.due_at_ms = to_millis(clock_.wall());
    open.asked = task(v1::TASK_QUICK_SCAN);
    ASSERT_TRUE(book.add(open));
  }
  ASSERT_TRUE(book.begin(*book.find_open(1), ""));
  ASSERT_TRUE(book.end({9, 0, v1::TASK_FULL_SCAN, v1::TASK_OUTCOME_COMPLETED, to_millis(clock_.wall()), "task.infected", "1 file is \"infected\"."}, {}));
  ASSERT_TRUE(book.end({10, 0, v1::TASK_RESTART, v1::TASK_OUTCOME_FAILED, to_millis(clock_.wall()), "task.vetoed", ""}, {}));
  EXPECT_THAT(status_text(**outbox, 10), HasSubstr("task         quick_scan under way, 2026-01-15T09:30:00Z\n"
                                                   "task         quick_scan waiting, 2026-01-15T09:30:00Z\n"
                                                   "task         restart refused, 2026-01-15T09:30:00Z (task.vetoed)\n"
                                                   "task         full_scan completed, 2026-01-15T09:30:00Z (task.infected) 1 file is \"infected\".\n"));
  EXPECT_THAT(status_json(**outbox, 10), HasSubstr("{\"notification_id\": \"9\", \"task\": \"full_scan\", \"state\": \"completed\", \"at_ms\": 1768469400000, "
                                                   "\"code\": \"task.infected\", \"message\": \"1 file is \\\"infected\\\".\"}"));
}

}  // namespace
}  // namespace greengate::agent
