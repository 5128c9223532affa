// Goal: whatever a program does, it ends within its bounds and nothing of it is left. Method: programs that misbehave, each in one way.
#include "agent/processes/supervised_run.h"

#include "tests/agent/scripts/support.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace greengate::test {
namespace {

using agent::RunEnd;
using agent::RunOrder;
using agent::RunUser;
using agent::SupervisedRun;
using How = RunEnd::How;

class SupervisedRunTest : public testing::Test {
 protected:
  SystemClock clock_;
  OpenScratch scratch_;

  static std::optional<RunUser> user() {
    if (geteuid() != 0) return std::nullopt;
    const passwd* nobody = getpwnam("nobody");
    return nobody ? std::optional(RunUser{nobody->pw_uid, nobody->pw_gid, {nobody->pw_gid}}) : std::nullopt;
  }
  RunOrder order(const std::string& shell) const {
    RunOrder made;
    made.program = "/bin/sh";
    made.arguments = {"sh", "-c", shell};
    made.environment = {"PATH=/usr/bin:/bin"};
    made.user = user();
    made.patience = std::chrono::seconds(60);
    return made;
  }
  RunEnd run(const RunOrder& order) {
    auto started = SupervisedRun::start(order, clock_);
    EXPECT_TRUE(started) << started.error().message;
    if (!started) return {};
    return end_of(**started);
  }
  RunEnd end_of(SupervisedRun& run) {
    std::optional<RunEnd> end;
    EXPECT_TRUE(becomes_true([&] { return (end = run.poll()).has_value(); }, 90'000)) << "a run ends";
    return end.value_or(RunEnd{});
  }
  // The process ids a program wrote into a file, one a line.
  static std::vector<pid_t> pids_in(const std::string& file) {
    std::ifstream in(file);
    std::vector<pid_t> pids;
    for (pid_t pid = 0; in >> pid;) pids.push_back(pid);
    return pids;
  }
};

TEST_F(SupervisedRunTest, TellsOutputAndStatus) {
  const RunEnd end = run(order("echo one; echo two >&2; exit 7"));
  EXPECT_EQ(end.how, How::exited);
  EXPECT_EQ(end.number, 7);
  EXPECT_EQ(end.output, "one\n");
  EXPECT_EQ(end.output_bytes, 4u);
}

TEST_F(SupervisedRunTest, ErrorsAreOutputWhenAskedFor) {
  RunOrder both = order("echo one; echo two >&2");
  both.errors_too = true;
  EXPECT_EQ(run(both).output, "one\ntwo\n");
}

TEST_F(SupervisedRunTest, TellsASignal) {
  const RunEnd end = run(order("kill -USR1 $$"));
  EXPECT_EQ(end.how, How::signalled);
  EXPECT_EQ(end.number, SIGUSR1);
}

TEST_F(SupervisedRunTest, TellsThatNothingWasRun) {
  RunOrder none = order("");
  none.program = scratch_.file("absent");
  RunEnd end = run(none);
  EXPECT_EQ(end.how, How::not_started);
  EXPECT_EQ(end.number, ENOENT);
  std::ofstream(scratch_.file("no-format")) << "text";
  chmod(scratch_.file("no-format").c_str(), 0755);
  none.program = scratch_.file("no-format");
  end = run(none);
  EXPECT_EQ(end.how, How::not_started);
  EXPECT_EQ(end.number, ENOEXEC);
}

// A program may end with the status that our own failure would have.
TEST_F(SupervisedRunTest, StatusOfTheProgramIsNeverTakenForAFailureToRunIt) {
  for (const int status : {125, 126, 127}) {
    const RunEnd end = run(order("exit " + std::to_string(status)));
    EXPECT_EQ(end.how, How::exited);
    EXPECT_EQ(end.number, status);
  }
}

TEST_F(SupervisedRunTest, StartsWithAnEnvironmentOfOursInRootWithoutInputOrDescriptors) {
  const int ours = open("/dev/null", O_RDONLY);  // without close-on-exec
  RunOrder look = order("env | grep -v '^_=' | sort; pwd; cat; ls /proc/self/fd | tr '\\n' ' '; umask");
  look.environment = {"PATH=/usr/bin:/bin", "A=b c"};
  const RunEnd end = run(look);
  close(ours);
  EXPECT_EQ(end.output, "A=b c\nPATH=/usr/bin:/bin\nPWD=/\n/\n0 1 2 3 0077\n");  // 3 is ls reading the folder
}

TEST_F(SupervisedRunTest, RunsAsTheUserWithoutAnyOtherGroupOrNewPrivilege) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const RunEnd end = run(order("id -u; id -g; id -G; grep -E '^(NoNewPrivs|CapEff|CapPrm|CapAmb)' /proc/self/status | tr -d '\\t'"));
  const passwd* nobody = getpwnam("nobody");
  const std::string uid = std::to_string(nobody->pw_uid), gid = std::to_string(nobody->pw_gid);
  EXPECT_EQ(end.output, uid + "\n" + gid + "\n" + gid + "\nCapPrm:0000000000000000\nCapEff:0000000000000000\nCapAmb:0000000000000000\nNoNewPrivs:1\n");
}

TEST_F(SupervisedRunTest, SleeperIsEndedAtItsTimeWithAllItStarted) {
  RunOrder sleeper = order("sleep 1000 & echo $! >" + scratch_.file("pids") + "; echo $$ >>" + scratch_.file("pids") + "; echo said; wait");
  chmod(scratch_.path().c_str(), 0777);
  sleeper.patience = std::chrono::milliseconds(1'500);
  const RunEnd end = run(sleeper);
  EXPECT_EQ(end.how, How::timeout);
  EXPECT_EQ(end.output, "said\n");
  const auto pids = pids_in(scratch_.file("pids"));
  ASSERT_EQ(pids.size(), 2u);
  for (const pid_t pid : pids) EXPECT_FALSE(alive(pid)) << pid;
}

TEST_F(SupervisedRunTest, SleeperThatIgnoresSignalsIsEndedToo) {
  RunOrder sleeper = order("trap '' TERM INT HUP QUIT; while :; do sleep 1000; done");
  sleeper.patience = std::chrono::milliseconds(500);
  EXPECT_EQ(run(sleeper).how, How::timeout);
}

TEST_F(SupervisedRunTest, ClosedOutputIsNoEndAndDoesNotOutwitTheTime) {
  EXPECT_EQ(run(order("exec >&- 2>&-; sleep 0.3; exit 5")).number, 5);
  RunOrder sleeper = order("exec >&- 2>&-; sleep 1000");
  sleeper.patience = std::chrono::milliseconds(500);
  EXPECT_EQ(run(sleeper).how, How::timeout);
}

TEST_F(SupervisedRunTest, EndlessOutputIsEndedAtItsBoundAndNeverGathered) {
  RunOrder endless = order("yes");
  endless.output_bytes_max = 200'000;
  const RunEnd end = run(endless);
  EXPECT_EQ(end.how, How::output);
  EXPECT_EQ(end.output.size(), endless.output_kept_max);
  EXPECT_GT(end.output_bytes, endless.output_bytes_max);
  EXPECT_LE(end.output_bytes, endless.output_bytes_max + (1 << 20));
}

TEST_F(SupervisedRunTest, OutputBeyondWhatIsKeptIsCountedAndRead) {
  const RunEnd end = run(order("head -c 300000 /dev/zero; exit 3"));
  EXPECT_EQ(end.number, 3);
  EXPECT_EQ(end.output, std::string(4'096, '\0'));
  EXPECT_EQ(end.output_bytes, 300'000u);
}

// What leaves group and session, and whose parents are gone: a daemon.
TEST_F(SupervisedRunTest, DaemonThatLeftTheSessionIsFoundAtTheEnd) {
  chmod(scratch_.path().c_str(), 0777);
  const std::string pids = scratch_.file("pids");
  const RunEnd end = run(order("setsid sh -c 'echo $$ >>" + pids + "; (setsid sh -c \"echo \\$\\$ >>" + pids + "; exec sleep 1000\" &) ; exec sleep 1000' >/dev/null 2>&1 & "
                               "while [ $(wc -l 2>/dev/null <" + pids + " || echo 0) -lt 2 ]; do sleep 0.05; done; exit 0"));
  EXPECT_EQ(end.how, How::exited);
  const auto left = pids_in(pids);
  ASSERT_EQ(left.size(), 2u);
  for (const pid_t pid : left) EXPECT_FALSE(alive(pid)) << pid;
}

TEST_F(SupervisedRunTest, ProgramThatMultipliesIsBoundedAndEnded) {
  if (geteuid() != 0) GTEST_SKIP() << "a bound on our own user's processes would bound this test";
  // Each of them goes on forking, whatever the system says to that, and leaves the session. They are known by a word of their own, as others
  // may run as nobody meanwhile.
  const std::string word = "bomb-of-" + std::to_string(getpid());
  RunOrder bomb = order("exec python3 -c 'import os # " + word + "\nwhile True:\n  try:\n    os.fork() or os.setsid()\n  except OSError: pass'");
  bomb.limits.processes = 40;
  bomb.patience = std::chrono::milliseconds(1'500);
  const auto left = [&word] {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      std::ifstream file(entry.path() / "cmdline");
      const std::string command((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
      if (command.find(word) != std::string::npos && alive(std::stoi(entry.path().filename()))) ++count;
    }
    return count;
  };
  const RunEnd end = run(bomb);
  EXPECT_EQ(end.how, How::timeout);
  EXPECT_EQ(left(), 0);
}

TEST_F(SupervisedRunTest, MemoryAndFilesAreBounded) {
  RunOrder greedy = order("head -c 300000000 /dev/zero | tail -c 299000000 | wc -c");
  greedy.limits.memory_bytes = 64 << 20;
  EXPECT_EQ(run(greedy).output, "0\n");
  chmod(scratch_.path().c_str(), 0777);
  RunOrder writer = order("head -c 2000000 /dev/zero >" + scratch_.file("large"));
  writer.limits.file_bytes = 1'000'000;
  (void)run(writer);
  EXPECT_LE(std::filesystem::file_size(scratch_.file("large")), 1'000'000u);
}

TEST_F(SupervisedRunTest, BusyProgramIsEndedByItsProcessorTime) {
  RunOrder busy = order("while :; do :; done");
  busy.limits.cpu_seconds = 1;
  const RunEnd end = run(busy);
  EXPECT_EQ(end.how, How::signalled);
}

TEST_F(SupervisedRunTest, EverythingEndsWithTheObject) {
  chmod(scratch_.path().c_str(), 0777);
  const std::string pids = scratch_.file("pids");
  auto started = SupervisedRun::start(order("echo $$ >" + pids + "; setsid sh -c 'echo $$ >>" + pids + "; exec sleep 1000' & wait"), clock_);
  ASSERT_TRUE(started);
  ASSERT_TRUE(becomes_true([&] { return pids_in(pids).size() == 2; }));
  started->reset();
  for (const pid_t pid : pids_in(pids)) EXPECT_FALSE(alive(pid));
}

// The agent may be killed at any moment; nobody is then left who would end the program but the process beside it.
TEST_F(SupervisedRunTest, EverythingEndsWithTheAgentHoweverItEnds) {
  chmod(scratch_.path().c_str(), 0777);
  const std::string pids = scratch_.file("pids");
  const RunOrder sleeper = order("echo $$ >" + pids + "; setsid sh -c 'echo $$ >>" + pids + "; exec sleep 1000' & wait");
  const pid_t agent = fork();
  if (agent == 0) {
    auto started = SupervisedRun::start(sleeper, clock_);
    for (;;) pause();
  }
  ASSERT_TRUE(becomes_true([&] { return pids_in(pids).size() == 2; }));
  kill(agent, SIGKILL);
  waitpid(agent, nullptr, 0);
  for (const pid_t pid : pids_in(pids)) EXPECT_TRUE(becomes_true([&] { return !alive(pid); })) << pid;
}

TEST_F(SupervisedRunTest, ReadableDescriptorTellsThatThereIsSomethingToDo) {
  auto started = SupervisedRun::start(order("exit 0"), clock_);
  ASSERT_TRUE(started);
  std::optional<RunEnd> end;
  for (int turns = 0; !end && turns < 100; ++turns) {
    pollfd waiting{(*started)->fd(), POLLIN, 0};
    ASSERT_EQ(poll(&waiting, 1, 60'000), 1) << "woken without a look at the time";
    end = (*started)->poll();
  }
  ASSERT_TRUE(end);
  EXPECT_EQ(end->number, 0);
}

}  // namespace
}  // namespace greengate::test
