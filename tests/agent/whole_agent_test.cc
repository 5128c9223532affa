// The real program against the strict router: what an administrator's machine does from its first
// start on.
#include "core/check.h"
#include "greengate/v1/report.pb.h"
#include "tests/agent/program.h"
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

const std::string agent = agent_program();

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

  ASSERT_TRUE(router.wait(
      [](const Seen& seen) {
        return has(seen, v1::KIND_DISCOVERY) && has(seen, v1::KIND_HARDWARE_INVENTORY) &&
               has(seen, v1::KIND_STATE_MESSAGES, 2);
      },
      60s));
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

TEST_F(WholeAgent, WaitsForAnOperatorAndReportsOnceApproved) {
  StrictRouter router({});
  router.start();
  Program running({agent, "--config", write_config(router)});
  ASSERT_TRUE(router.wait([](const Seen& seen) { return seen.enrols.size() >= 2; }))
      << "it asks again while pending";
  EXPECT_THAT(router.seen().hellos, ::testing::IsEmpty());
  router.approve();
  ASSERT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_HARDWARE_INVENTORY); }, 60s));
  EXPECT_THAT(router.seen().complaints, ::testing::IsEmpty());
}

TEST_F(WholeAgent, ComesBackAfterTheGatewayRestartedAndLosesNothing) {
  StrictRouter::Options options;
  options.tokens = {""};
  options.withhold_receipts = true;  // what was sent is not known to be stored
  StrictRouter router(options);
  router.start();
  const std::string config = write_config(router);
  Program running({agent, "--config", config});
  ASSERT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_STATE_MESSAGES, 2); }, 60s));
  router.stop();
  // While nobody listens, one more report is made.
  ASSERT_EQ(Program({agent, "--config", config, "send-state", "--topic-type", "501", "--topic-id",
                     "scan", "--state", "2", "--param", "one", "--param", "two"})
                .join(),
            0);
  router.change([](StrictRouter::Options& now) { now.withhold_receipts = false; });
  router.start();
  ASSERT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_STATE_MESSAGES, 3); }, 60s));
  const Seen seen = router.seen();
  EXPECT_THAT(seen.complaints, ::testing::IsEmpty());
  EXPECT_EQ(seen.hellos.size(), 2u);
  std::uint64_t expected = 0;
  for (const v1::Report& report : seen.stored) EXPECT_EQ(report.sequence(), ++expected);
  v1::StateMessages messages;
  ASSERT_TRUE(messages.ParseFromString(seen.stored.back().body()));
  EXPECT_EQ(messages.messages(0).topic_type(), 501u);
  EXPECT_EQ(messages.messages(0).parameters_size(), 2);
}

TEST_F(WholeAgent, NoticesAtOnceWhatAnotherProcessPutIntoTheOutbox) {
  StrictRouter::Options options;
  options.tokens = {""};
  StrictRouter router(options);
  router.start();
  const std::string config = write_config(router);
  Program running({agent, "--config", config});
  ASSERT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_STATE_MESSAGES, 2); }, 60s));
  ASSERT_EQ(Program({agent, "--config", config, "send-state", "--topic-type", "501", "--topic-id",
                     "scan", "--state", "2"})
                .join(),
            0);
  EXPECT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_STATE_MESSAGES, 3); }, 10s));
}

TEST_F(WholeAgent, DoesWhatAPushAsksAndAnswersAtOnce) {
  StrictRouter::Options options;
  options.tokens = {""};
  StrictRouter router(options);
  router.start();
  Program running({agent, "--config", write_config(router)});
  ASSERT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_STATE_MESSAGES, 2); }, 60s));
  v1::Frame push;
  push.mutable_notification()->set_notification_id(7);
  push.mutable_notification()->set_task(v1::TASK_HARDWARE_INVENTORY);
  push.mutable_notification()->set_answer_within_ms(30'000);
  router.send(push);
  ASSERT_TRUE(router.wait([](const Seen& seen) { return seen.results.size() >= 1; }));
  EXPECT_EQ(router.seen().results[0].notification_id(), 7u);
  EXPECT_EQ(router.seen().results[0].outcome(), v1::TASK_OUTCOME_ACCEPTED);
  EXPECT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_HARDWARE_INVENTORY, 2); }, 60s));
  ASSERT_TRUE(router.wait([](const Seen& seen) { return seen.results.size() >= 2; }));
  EXPECT_EQ(router.seen().results[1].outcome(), v1::TASK_OUTCOME_COMPLETED);
  EXPECT_THAT(router.seen().complaints, ::testing::IsEmpty());
}

TEST_F(WholeAgent, KilledAgentGoesOnWhereItWas) {
  StrictRouter::Options options;
  options.tokens = {""};
  options.withhold_receipts = true;
  StrictRouter router(options);
  router.start();
  const std::string config = write_config(router);
  {
    Program running({agent, "--config", config});
    ASSERT_TRUE(
        router.wait([](const Seen& seen) { return has(seen, v1::KIND_STATE_MESSAGES, 2); }, 60s));
    running.end(SIGKILL);
  }
  router.change([](StrictRouter::Options& now) { now.withhold_receipts = false; });
  Program again({agent, "--config", config});
  ASSERT_TRUE(router.wait([](const Seen& seen) { return seen.hellos.size() == 2; }));
  ASSERT_EQ(Program({agent, "--config", config, "send-state", "--topic-type", "501", "--topic-id",
                     "x", "--state", "1"})
                .join(),
            0);
  ASSERT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_STATE_MESSAGES, 3); }, 60s));
  const Seen seen = router.seen();
  EXPECT_THAT(seen.complaints, ::testing::IsEmpty());
  EXPECT_EQ(seen.enrols.size(), 1u) << "it remembers that it is enrolled";
  EXPECT_EQ(seen.hellos[0].incarnation(), seen.hellos[1].incarnation());
}

TEST_F(WholeAgent, WorksAsUserNobody) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become nobody";
  StrictRouter::Options options;
  options.tokens = {""};
  StrictRouter router(options);
  router.start();
  const std::string config = write_config(router);
  std::filesystem::permissions(scratch_.path(), std::filesystem::perms::all);
  std::filesystem::permissions(
      config, std::filesystem::perms::owner_read | std::filesystem::perms::others_read);
  // The build tree may lie where nobody may not go.
  std::filesystem::copy_file(agent, scratch_.file("greengate-agent"));
  std::filesystem::permissions(scratch_.file("greengate-agent"), std::filesystem::perms(0755));
  Program running({scratch_.file("greengate-agent"), "--config", config}, true);
  ASSERT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_HARDWARE_INVENTORY); }, 60s));
  EXPECT_THAT(router.seen().complaints, ::testing::IsEmpty());
}

TEST_F(WholeAgent, EnrolCommandMakesAKeyAndSaysWhatTheGatewayAnswered) {
  StrictRouter::Options options;
  options.tokens = {"T"};
  StrictRouter router(options);
  router.start();
  const std::vector<std::string> words = {agent,
                                          "enrol",
                                          "--gateway",
                                          router.endpoint(),
                                          "--gateway-key",
                                          router.public_key(),
                                          "--state-directory",
                                          scratch_.file("state")};
  EXPECT_EQ(Program(words).join(), 0) << "pending is an answer";
  auto with_token = words;
  with_token.insert(with_token.end(), {"--token", "T"});
  EXPECT_EQ(Program(with_token).join(), 0);
  EXPECT_EQ(router.seen().keys.size(), 1u) << "one key, however often it asks";
  // And run goes on from there, without a token.
  Program running({agent, "--config", write_config(router)});
  EXPECT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_HARDWARE_INVENTORY); }, 60s));
}

TEST_F(WholeAgent, CommandLineAnswersWithItsExitStatus) {
  StrictRouter router({});
  router.start();
  const std::string config = write_config(router);
  EXPECT_EQ(Program({agent, "--config", config, "--check-config"}).join(), 0);
  EXPECT_EQ(Program({agent, "--config", scratch_.file("absent.toml"), "--check-config"}).join(),
            78);
  EXPECT_EQ(Program({agent, "--nonsense"}).join(), 2);
  EXPECT_EQ(Program({agent, "--version"}).join(), 0);
  EXPECT_EQ(Program({agent, "--config", config, "status"}).join(), 1) << "nothing has run yet";
  EXPECT_EQ(Program({"/bin/sh", "-c", agent + " inventory --json > /dev/null"}).join(), 0);
}

// The agent of docs/reference/agent-protocol.md, in another language, against the same strict
// router.
TEST(ProtocolExample, SpeaksTheProtocolFromItsPageAlone) {
  const std::string python = "/usr/bin/python3";
  ASSERT_EQ(Program({python, "-c", "import zmq, google.protobuf"}).join(), 0)
      << "needs python3-zmq and python3-protobuf, which tests/run installs";
  StrictRouter::Options options;
  options.tokens = {"T"};
  StrictRouter router(options);
  router.start();
  Scratch scratch;
  const std::vector<std::string> words = {
      "/usr/bin/env",  "PYTHONPATH=" GREENGATE_PYTHON_PROTO,
      python,          GREENGATE_SOURCE_DIR "/tests/agent/protocol_example.py",
      "--gateway",     router.endpoint(),
      "--gateway-key", router.public_key(),
      "--state",       scratch.file("state"),
      "--token",       "T"};
  EXPECT_EQ(Program(words).join(), 0);
  EXPECT_EQ(Program(words).join(), 0) << "and goes on where it was";
  const Seen seen = router.seen();
  EXPECT_THAT(seen.complaints, ::testing::IsEmpty());
  EXPECT_EQ(seen.enrols.size(), 1u);
  ASSERT_EQ(seen.stored.size(), 4u);
  EXPECT_EQ(seen.stored[3].sequence(), 4u);
  EXPECT_EQ(seen.pings, 2);
}

// For a Release build, whose program GREENGATE_AGENT_PROGRAM names: a build with sanitizers weighs
// what it weighs. GREENGATE_AGENT_RSS_KB_MAX=8192 is the promise.
TEST_F(WholeAgent, GivesItsMemoryBackOnceIdle) {
  const char* bound = std::getenv("GREENGATE_AGENT_RSS_KB_MAX");
  if (!bound) GTEST_SKIP() << "GREENGATE_AGENT_RSS_KB_MAX is not set";
  StrictRouter::Options options;
  options.tokens = {""};
  StrictRouter router(options);
  router.start();
  Program running({agent, "--config", write_config(router)});
  ASSERT_TRUE(
      router.wait([](const Seen& seen) { return has(seen, v1::KIND_STATE_MESSAGES, 2); }, 60s));
  const auto resident_kb = [&] {
    std::ifstream status("/proc/" + std::to_string(running.pid()) + "/status");
    std::string line;
    while (std::getline(status, line)) {
      if (line.starts_with("VmRSS:")) return std::atol(line.c_str() + 6);
    }
    return 0L;
  };
  const auto until = std::chrono::steady_clock::now() + 15s;
  // Nothing else happens meanwhile, so the wait of the router is the pause between two looks.
  while (resident_kb() > std::atol(bound) && std::chrono::steady_clock::now() < until) {
    router.wait([](const Seen&) { return false; }, 200ms);
  }
  EXPECT_GT(resident_kb(), 0);
  EXPECT_LE(resident_kb(), std::atol(bound));
  RecordProperty("resident_kb", static_cast<int>(resident_kb()));
}

}  // namespace
}  // namespace greengate::test
