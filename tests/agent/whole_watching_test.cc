// The real program against the strict router: what happens between collections, custom inventory, and questions.
#include "greengate/v1/report.pb.h"
#include "tests/agent/program.h"
#include "tests/agent/scratch.h"
#include "tests/agent/strict_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using Seen = StrictRouter::Seen;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string content(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class WholeWatching : public ::testing::Test {
 protected:
  WholeWatching() {
    std::filesystem::create_directory(scratch_.file("inventory.d"));
    chmod(scratch_.file("inventory.d").c_str(), 0755);
    std::filesystem::create_directory(scratch_.file("mif"));
    std::ofstream(scratch_.file("dpkg.log")) << "";
  }
  std::string write_config(StrictRouter& router, const std::string& more = "") {
    const std::string path = scratch_.file("agent.toml");
    std::ofstream(path) << "gateway.endpoints = [\"" << router.endpoint() << "\"]\ngateway.key = \"" << router.public_key() << "\"\n"
                        << "agent.state_directory = \"" << scratch_.file("state") << "\"\nreconnect.min = \"100ms\"\nreconnect.max = \"1s\"\n"
                        << "software.enabled = false\nstatus.interval = \"10s\"\nstatus.logs = [\"" << scratch_.file("dpkg.log") << "\"]\n"
                        << "mif.interval = \"1s\"\nmif.folder = \"" << scratch_.file("mif") << "\"\ncustom.folder = \"" << scratch_.file("inventory.d")
                        << "\"\n"
                        << more;
    return path;
  }
  void script(const std::string& name, const std::string& text) {
    const std::string path = scratch_.file("inventory.d/" + name);
    std::ofstream(path) << "#!/bin/sh\n" << text;
    chmod(path.c_str(), 0755);
  }
  static StrictRouter::Options open_doors() {
    StrictRouter::Options options;
    options.tokens = {""};
    return options;
  }
  template <class Message>
  static std::vector<Message> bodies(const Seen& seen, v1::Kind kind) {
    std::vector<Message> all;
    for (const v1::Report& report : seen.stored) {
      if (report.kind() == kind) all.emplace_back().ParseFromString(report.body());
    }
    return all;
  }
  static std::vector<std::string> custom_states(const Seen& seen) {
    std::vector<std::string> told;
    for (const auto& messages : bodies<v1::StateMessages>(seen, v1::KIND_STATE_MESSAGES)) {
      for (const v1::StateMessage& one : messages.messages()) {
        if (one.topic_id().find("custom-inventory") == std::string::npos) continue;
        told.push_back(one.topic_id() + " " + std::to_string(one.state_id()) + (one.parameters_size() ? " " + one.parameters(0) : ""));
      }
    }
    return told;
  }
  Scratch scratch_;
};

TEST_F(WholeWatching, CustomClassesTravelWithTheInventoryAndBadScriptsAreTold) {
  script("10-assets", "echo '{\"class\": \"Contoso_Asset\", \"keys\": [\"Tag\"], \"instances\": [{\"Tag\": \"A1\", \"Seats\": 4}]}'\n");
  script("20-broken", "echo oops\n");
  StrictRouter router(open_doors());
  router.start();
  Program running({agent_program(), "--config", write_config(router)});
  ASSERT_TRUE(router.wait([](const Seen& seen) { return !bodies<v1::HardwareInventory>(seen, v1::KIND_HARDWARE_INVENTORY).empty() && !custom_states(seen).empty(); }, 60s));
  const auto inventory = bodies<v1::HardwareInventory>(router.seen(), v1::KIND_HARDWARE_INVENTORY).at(0);
  std::vector<std::string> names;
  for (const auto& one : inventory.classes()) names.push_back(one.name());
  EXPECT_THAT(names, ::testing::Contains("Contoso_Asset"));
  EXPECT_THAT(names, ::testing::Contains("Win32_OperatingSystem"));
  EXPECT_THAT(custom_states(router.seen()), ::testing::ElementsAre("greengate:custom-inventory:20-broken 2 custom.json"));

  // Asked again: still broken is no news; mended is.
  const auto inventories = [](const Seen& seen) { return bodies<v1::HardwareInventory>(seen, v1::KIND_HARDWARE_INVENTORY).size(); };
  const auto push = [&](std::uint64_t id) {
    v1::Frame frame;
    frame.mutable_notification()->set_notification_id(id);
    frame.mutable_notification()->set_task(v1::TASK_HARDWARE_INVENTORY);
    router.send(frame);
  };
  push(1);
  ASSERT_TRUE(router.wait([&](const Seen& seen) { return inventories(seen) >= 2; }, 60s));
  script("20-broken", "echo '{\"class\": \"Contoso_Late\", \"keys\": [\"Id\"], \"instances\": []}'\n");
  push(2);
  ASSERT_TRUE(router.wait([&](const Seen& seen) { return inventories(seen) >= 3 && custom_states(seen).size() >= 2; }, 60s));
  EXPECT_THAT(custom_states(router.seen()), ::testing::ElementsAre("greengate:custom-inventory:20-broken 2 custom.json", "greengate:custom-inventory:20-broken 1"));
  EXPECT_EQ(WEXITSTATUS(running.end(SIGTERM)), 0);
  EXPECT_THAT(router.seen().complaints, IsEmpty());
}

TEST_F(WholeWatching, PackagesAndMifFilesAreReportedAlsoOverAKill) {
  StrictRouter router(open_doors());
  router.start();
  const std::string config = write_config(router);
  const std::string asset = content(GREENGATE_SOURCE_DIR "/tests/data/mif/asset.mif");
  const auto events = [](const Seen& seen) { return bodies<v1::StatusMessage>(seen, v1::KIND_STATUS); };
  {
    Program running({agent_program(), "--config", config});
    ASSERT_TRUE(router.wait([](const Seen& seen) { return !seen.hellos.empty(); }, 60s));
    std::ofstream(scratch_.file("mif/asset.mif")) << asset;
    std::ofstream(scratch_.file("dpkg.log"), std::ios::app) << content(GREENGATE_SOURCE_DIR "/tests/data/logs/dpkg.log");
    ASSERT_TRUE(router.wait([&](const Seen& seen) { return events(seen).size() >= 6 && !bodies<v1::IdMif>(seen, v1::KIND_IDMIF).empty(); }, 60s));
    running.end(SIGKILL);
  }
  Program again({agent_program(), "--config", config});
  ASSERT_TRUE(router.wait([](const Seen& seen) { return seen.hellos.size() >= 2; }, 60s));
  std::ofstream(scratch_.file("dpkg.log"), std::ios::app) << "2026-01-15 09:10:00 install last:all <none> 1\n2026-01-15 09:10:01 status installed last:all 1\n";
  ASSERT_TRUE(router.wait([&](const Seen& seen) { return events(seen).size() >= 7; }, 60s));
  EXPECT_EQ(WEXITSTATUS(again.end(SIGTERM)), 0);
  const Seen seen = router.seen();
  EXPECT_EQ(events(seen).size(), 7u);
  EXPECT_EQ(events(seen)[0].type(), "package_installed");
  const auto files = bodies<v1::IdMif>(seen, v1::KIND_IDMIF);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].text(), asset);
  EXPECT_THAT(seen.complaints, IsEmpty());
}

TEST_F(WholeWatching, QuestionsAreAnsweredThroughTheRunningAgent) {
  StrictRouter::Options options = open_doors();
  options.answers = [](const v1::Ask& ask) {
    v1::Answer answer;
    answer.set_at_ms(1'768'472'430'000);
    if (ask.has_policy()) {
      answer.add_policies()->set_policy_id("{policy-1}");
    } else if (ask.locate().kind() == v1::LOCATE_KIND_CONTENT && ask.locate().package_id() == "P0100012" && ask.locate().package_version() == 3) {
      answer.add_locations()->set_url("http://dp.example.com/P0100012");
    } else {
      answer.set_code("site.silent");
      answer.set_message("The site did not answer.");
    }
    return answer;
  };
  StrictRouter router(options);
  router.start();
  const std::string config = write_config(router), out = scratch_.file("out");
  const auto command = [&](const std::string& words) {
    return Program({"/bin/sh", "-c", agent_program() + " --config " + config + " " + words + " > " + out + " 2>&1"}).join();
  };
  EXPECT_EQ(command("policy"), 1);
  EXPECT_THAT(content(out), HasSubstr("agent.not_running"));
  Program running({agent_program(), "--config", config});
  ASSERT_TRUE(router.wait([](const Seen& seen) { return !seen.stored.empty(); }, 60s));
  EXPECT_EQ(command("policy --refresh"), 0);
  EXPECT_THAT(content(out), HasSubstr("{policy-1}"));
  EXPECT_EQ(command("locate content P0100012 3 --json"), 0);
  EXPECT_THAT(content(out), HasSubstr("\"url\":\"http://dp.example.com/P0100012\""));
  EXPECT_EQ(command("locate management-points"), 1);
  EXPECT_THAT(content(out), HasSubstr("The site did not answer. (site.silent)"));
  EXPECT_EQ(command("locate content"), 2);
  EXPECT_EQ(command("locate gold"), 2);
  const Seen seen = router.seen();
  ASSERT_EQ(seen.asks.size(), 3u);
  EXPECT_TRUE(seen.asks[0].policy().refresh());
  EXPECT_THAT(seen.complaints, IsEmpty());

  router.stop();
  // Until it has noticed, a question may be lost with the connection; afterwards the agent says so itself.
  const auto until = std::chrono::steady_clock::now() + 60s;
  do {
    EXPECT_EQ(command("policy --patience 2"), 1);
  } while (content(out).find("ask.not_connected") == std::string::npos && std::chrono::steady_clock::now() < until);
  EXPECT_THAT(content(out), HasSubstr("ask.not_connected"));
  EXPECT_EQ(WEXITSTATUS(running.end(SIGTERM)), 0);
}

TEST_F(WholeWatching, MeteredProgramsAreCountedFromTheRealProcessTable) {
  // A stretch is an hour at least, so what is looked at is what a stopped agent has counted.
  const std::string tool = scratch_.file("tool-of-this-test");
  std::filesystem::copy_file("/bin/sleep", tool);
  StrictRouter router(open_doors());
  router.start();
  const std::string config = write_config(router, "metering.programs = [\"" + tool + "\"]\nmetering.sample_interval = \"5s\"\n");
  {
    Program running({agent_program(), "--config", config});
    ASSERT_TRUE(router.wait([](const Seen& seen) { return !seen.stored.empty(); }, 60s));
    Program metered({tool, "3600"});
    const auto comm = "/proc/" + std::to_string(metered.pid()) + "/comm";
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (content(comm) != "tool-of-this-te\n" && std::chrono::steady_clock::now() < until) router.wait([](const Seen&) { return false; }, 10ms);
    EXPECT_EQ(WEXITSTATUS(running.end(SIGTERM)), 0);
  }
  const std::string dump = scratch_.file("notes");
  ASSERT_EQ(Program({"/usr/bin/python3", "-c",
                     "import sqlite3,sys; open(sys.argv[2],'w').write(sqlite3.connect(sys.argv[1]).execute(\"select value from meta where key='note.metering'\").fetchone()[0])",
                     scratch_.file("state/outbox.sqlite"), dump})
                .join(),
            0);
  EXPECT_THAT(content(dump), ::testing::ContainsRegex("\n1 [0-9]+ [0-9]+ [0-9]+ " + tool + "\t"));
  EXPECT_THAT(router.seen().complaints, IsEmpty());
}

}  // namespace
}  // namespace greengate::test
