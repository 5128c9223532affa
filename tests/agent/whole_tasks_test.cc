// The real program against the strict router: what a site asks for is done once and told, also over a kill.
#include "greengate/v1/report.pb.h"
#include "tests/agent/program.h"
#include "tests/agent/scratch.h"
#include "tests/agent/strict_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <fstream>

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using Seen = StrictRouter::Seen;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WholeTasks : public ::testing::Test {
 protected:
  static StrictRouter::Options open_doors() {
    StrictRouter::Options options;
    options.tokens = {""};
    return options;
  }
  std::string write_config(StrictRouter& router, const std::string& more) {
    const std::string path = scratch_.file("agent.toml");
    std::ofstream(path) << "gateway.endpoints = [\"" << router.endpoint() << "\"]\ngateway.key = \"" << router.public_key() << "\"\n"
                        << "agent.state_directory = \"" << scratch_.file("state") << "\"\n"
                        << "reconnect.min = \"100ms\"\nreconnect.max = \"1s\"\nsoftware.enabled = false\n"
                        << more;
    return path;
  }
  std::string script(const std::string& name, const std::string& body) {
    const std::string path = scratch_.file(name);
    std::ofstream(path) << "#!/bin/sh\n" << body << '\n';
    chmod(path.c_str(), 0755);
    return path;
  }
  std::string content(const std::string& name) const {
    std::ifstream file(scratch_.file(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static v1::Frame push(std::uint64_t id, v1::Task task) {
    v1::Frame frame;
    frame.mutable_notification()->set_notification_id(id);
    frame.mutable_notification()->set_task(task);
    return frame;
  }
  // "7 ACCEPTED"
  static std::vector<std::string> said(const Seen& seen) {
    std::vector<std::string> lines;
    for (const v1::TaskResult& result : seen.results) {
      lines.push_back(std::to_string(result.notification_id()) + " " + v1::TaskOutcome_Name(result.outcome()).substr(13) +
                      (result.code().empty() ? "" : " " + result.code()));
    }
    return lines;
  }
  static bool welcomed(StrictRouter& router, std::size_t times) {
    // A report stored on the new connection: the Welcome has been heard.
    return router.wait([&](const Seen& seen) { return seen.hellos.size() >= times && !seen.stored.empty(); }, 60s);
  }
  Scratch scratch_;
};

TEST_F(WholeTasks, AScanIsDoneOnceThoughTheAgentIsKilledInTheMiddle) {
  StrictRouter router(open_doors());
  router.start();
  // The first run stays until it is killed; later ones find something.
  const std::string scanner = script("clamscan", "echo run >> " + scratch_.file("runs") + "\n[ $(wc -l < " + scratch_.file("runs") +
                                                     ") = 1 ] && exec sleep 1000\necho '/tmp/bad: Name FOUND'\nexit 1");
  const std::string config = write_config(router, "[scan]\nscanners = [\"" + scanner + "\"]\nquick_paths = [\"" + scratch_.path() + "\"]\n");
  {
    Program running({agent_program(), "--config", config});
    ASSERT_TRUE(welcomed(router, 1));
    router.send(push(7, v1::TASK_QUICK_SCAN));
    ASSERT_TRUE(router.wait([&](const Seen& seen) { return said(seen) == std::vector<std::string>{"7 ACCEPTED"}; }, 60s));
    router.send(push(7, v1::TASK_QUICK_SCAN));
    ASSERT_TRUE(router.wait([&](const Seen& seen) { return seen.results.size() == 2; }, 60s));
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (content("runs").empty() && std::chrono::steady_clock::now() < until) ::poll(nullptr, 0, 5);
    EXPECT_EQ(content("runs"), "run\n");
    running.end(SIGKILL);
  }
  Program again({agent_program(), "--config", config});
  ASSERT_TRUE(router.wait([&](const Seen& seen) { return !seen.results.empty() && seen.results.back().code() == "task.infected"; }, 60s));
  router.send(push(7, v1::TASK_QUICK_SCAN));
  router.send(push(8, v1::TASK_WIPE));
  ASSERT_TRUE(router.wait([&](const Seen& seen) { return !seen.results.empty() && seen.results.back().notification_id() == 8; }, 60s));
  const Seen seen = router.seen();
  std::vector<std::string> lines = said(seen);
  ASSERT_GE(lines.size(), 5u);
  EXPECT_EQ(lines.back(), "8 UNKNOWN_TASK task.unknown");
  EXPECT_EQ(lines[lines.size() - 2], "7 COMPLETED task.infected") << "the same answer";
  EXPECT_EQ(lines[lines.size() - 3], "7 ACCEPTED");
  EXPECT_EQ(content("runs"), "run\nrun\n") << "the broken one, and one more";
  EXPECT_THAT(seen.complaints, IsEmpty());
}

TEST_F(WholeTasks, TheAgentsLogsArriveAsOneFile) {
  StrictRouter router(open_doors());
  router.start();
  std::ofstream(scratch_.file("agent.log")) << "a line of the log\n";
  const std::string config =
      write_config(router, "[logs]\nfiles = [\"" + scratch_.file("*.log") + "\"]\ncommand = []\n[files]\nchunk_bytes = \"4KiB\"\n");
  Program running({agent_program(), "--config", config});
  ASSERT_TRUE(welcomed(router, 1));
  router.send(push(7, v1::TASK_COLLECT_LOGS));
  ASSERT_TRUE(router.wait([&](const Seen& seen) { return seen.results.size() >= 2; }, 60s));
  const Seen seen = router.seen();
  EXPECT_THAT(said(seen), ElementsAre("7 ACCEPTED", "7 COMPLETED"));
  ASSERT_EQ(seen.files.size(), 1u);
  const auto& [name, package] = *seen.files.begin();
  EXPECT_THAT(name, ::testing::MatchesRegex(".*/greengate-agent-logs-.*\\.tar\\.gz"));
  std::ofstream(scratch_.file("package"), std::ios::binary) << package;
  const std::string unpack = "cd '" + scratch_.path() + "' && mkdir out && tar -xzf package -C out";
  ASSERT_EQ(std::system(unpack.c_str()), 0);
  EXPECT_EQ(content("out/agent.log"), "a line of the log\n");
  EXPECT_THAT(content("out/status.json"), ::testing::HasSubstr("\"reports\""));
  std::size_t left = 0;
  for (const auto& entry : std::filesystem::directory_iterator(scratch_.file("state"))) left += entry.path().extension() == ".gz" ? 1 : 0;
  EXPECT_EQ(left, 0u);
  EXPECT_THAT(seen.complaints, IsEmpty());
}

TEST_F(WholeTasks, WhatEndsWhileNoGatewayIsThereIsToldWhenOneIs) {
  StrictRouter router(open_doors());
  router.start();
  const std::string scanner = script("clamscan", "echo run >> " + scratch_.file("runs") + "\nwhile [ ! -e " + scratch_.file("go") + " ]; do sleep 0.02; done");
  const std::string config = write_config(router, "[scan]\nscanners = [\"" + scanner + "\"]\nquick_paths = [\"" + scratch_.path() + "\"]\n");
  Program running({agent_program(), "--config", config});
  ASSERT_TRUE(welcomed(router, 1));
  router.send(push(7, v1::TASK_QUICK_SCAN));
  ASSERT_TRUE(router.wait([&](const Seen& seen) { return seen.results.size() == 1; }, 60s));
  router.stop();
  std::ofstream(scratch_.file("go")) << "go";
  const auto until = std::chrono::steady_clock::now() + 60s;
  // The scan's state message waits in the outbox once it has ended.
  const auto waits = [&] {
    const std::string look = agent_program() + " --config " + config + " status --json | grep -q '\"waiting\"'";
    return std::system(look.c_str()) == 0;
  };
  while (!waits() && std::chrono::steady_clock::now() < until) ::poll(nullptr, 0, 20);
  ASSERT_TRUE(waits());
  router.start();
  ASSERT_TRUE(router.wait([&](const Seen& seen) { return said(seen).back() == "7 COMPLETED"; }, 60s));
  EXPECT_EQ(content("runs"), "run\n");
  EXPECT_THAT(router.seen().complaints, IsEmpty());
}

}  // namespace
}  // namespace greengate::test
