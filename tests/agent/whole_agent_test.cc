// The real program against the strict router: what an administrator's machine does from its first start on.
#include "core/check.h"
#include "greengate/v1/report.pb.h"
#include "tests/agent/scratch.h"
#include "tests/agent/strict_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

extern char** environ;

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using Seen = StrictRouter::Seen;

/// A started program; killed, if need be, when the test ends.
class Program {
 public:
  explicit Program(std::vector<std::string> words, bool as_nobody = false) {
    pid_ = fork();
    GREENGATE_CHECK(pid_ >= 0, "a test may fork");
    if (pid_ == 0) {
      if (as_nobody) {
        const passwd* nobody = getpwnam("nobody");
        if (!nobody || setgid(nobody->pw_gid) != 0 || setuid(nobody->pw_uid) != 0) _exit(99);
      }
      std::vector<char*> arguments;
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      execv(arguments.front(), arguments.data());
      _exit(98);
    }
  }
  ~Program() { end(SIGKILL); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  int end(int signal) {
    if (pid_ <= 0) return status_;
    if (signal) kill(pid_, signal);
    waitpid(pid_, &status_, 0);
    pid_ = 0;
    return status_;
  }
  /// Its exit status; it must end by itself.
  int join() {
    end(0);
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 1000 + WTERMSIG(status_);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  int status_ = 0;
};

const std::string agent = GREENGATE_AGENT_PROGRAM;

class WholeAgent : public ::testing::Test {
 protected:
  std::string write_config(StrictRouter& router, const std::string& more = "") {
    const std::string path = scratch_.file("agent.toml");
    std::ofstream file(path);
    file << "gateway.endpoints = [\"" << router.endpoint() << "\"]\n"
         << "gateway.key = \"" << router.public_key() << "\"\n"
         << "agent.state_directory = \"" << scratch_.file("state") << "\"\n"
         << "reconnect.min = \"100ms\"\nreconnect.max = \"1s\"\n"
         << more;
    return path;
  }
  static bool has(const Seen& seen, v1::Kind kind, std::size_t times = 1) {
    std::size_t count = 0;
    for (const v1::Report& report : seen.stored) count += report.kind() == kind ? 1 : 0;
    return count >= times;
  }
  Scratch scratch_;
};

TEST_F(WholeAgent, EnrolsByTokenAndReportsTheMachineInFull) {
  StrictRouter::Options options;
  options.tokens = {"open-sesame"};
  StrictRouter router(options);
  router.start();
  Program running({agent, "--config", write_config(router, "enrolment.token = \"open-sesame\"\n")});

  ASSERT_TRUE(router.wait([](const Seen& seen) {
    return has(seen, v1::KIND_DISCOVERY) && has(seen, v1::KIND_HARDWARE_INVENTORY) && has(seen, v1::KIND_STATE_MESSAGES, 2);
  }, 60s));
  EXPECT_EQ(WEXITSTATUS(running.end(SIGTERM)), 0);

  const Seen seen = router.seen();
  EXPECT_THAT(seen.complaints, ::testing::IsEmpty());
  EXPECT_EQ(seen.enrols.size(), 1u);
  EXPECT_EQ(seen.hellos.size(), 1u);
  for (const v1::Report& report : seen.stored) {
    if (report.kind() == v1::KIND_DISCOVERY) {
      v1::Discovery discovery;
      ASSERT_TRUE(discovery.ParseFromString(report.body()));
      EXPECT_EQ(discovery.agent_version(), "greengate-agent 0.1.0");
      EXPECT_GT(discovery.installed_at_ms(), 0);
      EXPECT_EQ(discovery.fqdn(), seen.hellos[0].fqdn());
    } else if (report.kind() == v1::KIND_HARDWARE_INVENTORY) {
      v1::HardwareInventory inventory;
      ASSERT_TRUE(inventory.ParseFromString(report.body()));
      EXPECT_GT(inventory.classes_size(), 5);
    }
  }
}

}  // namespace
}  // namespace greengate::test
