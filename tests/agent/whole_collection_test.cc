// The real program against the strict router: software inventory and file collection, with the
// connection and the program cut in the middle.
#include "core/random.h"
#include "greengate/v1/report.pb.h"
#include "tests/agent/program.h"
#include "tests/agent/scratch.h"
#include "tests/agent/strict_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace greengate::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Seen = StrictRouter::Seen;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string agent = agent_program();

class WholeCollection : public ::testing::Test {
 protected:
  WholeCollection() : router_(options()) {
    router_.start();
    fs::create_directories(scratch_.file("tree"));
  }
  static StrictRouter::Options options() {
    StrictRouter::Options made;
    made.tokens = {""};
    return made;
  }
  std::string write_config(const std::string& more) {
    const std::string path = scratch_.file("agent.toml");
    std::ofstream file(path);
    file << "gateway.endpoints = [\"" << router_.endpoint() << "\"]\n"
         << "gateway.key = \"" << router_.public_key() << "\"\n"
         << "agent.state_directory = \"" << scratch_.file("state") << "\"\n"
         << "reconnect.min = \"100ms\"\nreconnect.max = \"1s\"\n"
         << more;
    return path;
  }
  std::string files_config() {
    return write_config("software.enabled = false\nfiles.collect = [\"" + scratch_.file("tree") +
                        "/*.conf\"]\nfiles.file_bytes_max = \"8MiB\"\nfiles.chunk_bytes = "
                        "\"64KiB\"\nfiles.bytes_per_second = \"512MiB\"\n");
  }
  void write(const std::string& name, const std::string& content) {
    // Beside and renamed, as an editor would: never half of it is seen.
    std::ofstream(scratch_.file("new"), std::ios::binary) << content;
    fs::rename(scratch_.file("new"), scratch_.file("tree/" + name));
  }
  std::string place(const std::string& name) const { return scratch_.file("tree/" + name); }
  static std::size_t chunks(const Seen& seen) {
    return static_cast<std::size_t>(
        std::count_if(seen.stored.begin(), seen.stored.end(), [](const v1::Report& report) {
          return report.kind() == v1::KIND_FILE_CHUNK;
        }));
  }
  static std::string content_of(std::size_t bytes) { return random_bytes(bytes); }

  Scratch scratch_;
  StrictRouter router_;
};

TEST_F(WholeCollection, SoftwareInventoryComesWithPackagesAndItsRhythmMayBeDirected) {
  const std::string config = write_config("software.paths = [\"/usr/bin\"]\n");
  Program running({agent, "--config", config});
  const auto inventories = [](const Seen& seen) {
    std::vector<v1::SoftwareInventory> list;
    for (const v1::Report& report : seen.stored) {
      if (report.kind() == v1::KIND_SOFTWARE_INVENTORY)
        list.emplace_back().ParseFromString(report.body());
    }
    return list;
  };
  ASSERT_TRUE(router_.wait([&](const Seen& seen) { return inventories(seen).size() == 1; }, 90s));
  const v1::SoftwareInventory first = inventories(router_.seen())[0];
  EXPECT_GT(first.files_size(), 50);
  EXPECT_GT(first.collected_at_ms(), 1'700'000'000'000);
  bool packaged = !fs::exists("/var/lib/dpkg/status");
  for (const v1::SoftwareFile& file : first.files()) packaged |= !file.product_version().empty();
  EXPECT_TRUE(packaged);
  EXPECT_TRUE(fs::exists(scratch_.file("state/software.cache")));

  v1::Frame wanted;
  wanted.mutable_full_state_wanted()->set_reason("baseline lost");
  router_.send(wanted);
  ASSERT_TRUE(router_.wait([&](const Seen& seen) { return inventories(seen).size() == 2; }, 90s));
  EXPECT_EQ(inventories(router_.seen())[1].files_size(), first.files_size());
  v1::Frame directions;
  directions.mutable_directions()->set_software_inventory_interval_s(60);
  router_.send(directions);
  ASSERT_EQ(Program({agent, "--config", config, "send-state", "--topic-type", "501", "--topic-id",
                     "still-there", "--state", "1"})
                .join(),
            0);
  EXPECT_TRUE(router_.wait([](const Seen& seen) {
    return seen.stored.back().kind() == v1::KIND_STATE_MESSAGES;
  })) << "Directions are no reason to leave";
  EXPECT_THAT(router_.seen().complaints, IsEmpty());
}

TEST_F(WholeCollection, InventoryCommandShowsSoftware) {
  const std::string config = write_config("software.paths = [\"/usr/bin\"]\n");
  EXPECT_EQ(Program({"/bin/sh", "-c",
                     agent + " --config " + config + " inventory --software --json > " +
                         scratch_.file("out")})
                .join(),
            0);
  std::ifstream out(scratch_.file("out"));
  const std::string text((std::istreambuf_iterator<char>(out)), {});
  EXPECT_NE(text.find("\"path\": \"/usr/bin/\""), std::string::npos);
}

TEST_F(WholeCollection, FilesArriveWholeAndOnlyOnce) {
  const std::string content = content_of(3 << 20);
  write("large.conf", content);
  write("small.conf", "small");
  fs::create_symlink("/etc/shadow", place("shadow.conf"));
  const std::string config = files_config();
  {
    Program running({agent, "--config", config});
    ASSERT_TRUE(router_.wait([](const Seen& seen) { return seen.files.size() == 2; }, 90s));
    EXPECT_EQ(router_.seen().files[place("large.conf")], content);
    EXPECT_EQ(router_.seen().files[place("small.conf")], "small");
    EXPECT_EQ(WEXITSTATUS(running.end(SIGTERM)), 0);
  }
  Program again({agent, "--config", config});
  ASSERT_TRUE(router_.wait([](const Seen& seen) { return seen.hellos.size() == 2; }));
  ASSERT_EQ(Program({agent, "--config", config, "send-state", "--topic-type", "501", "--topic-id",
                     "x", "--state", "1"})
                .join(),
            0);
  ASSERT_TRUE(router_.wait([](const Seen& seen) {
    v1::StateMessages messages;
    return messages.ParseFromString(seen.stored.back().body()) &&
           messages.messages_size() == 1 && messages.messages(0).topic_id() == "x";
  }));
  const Seen seen = router_.seen();
  EXPECT_EQ(chunks(seen), 49u);
  EXPECT_THAT(seen.transfers, SizeIs(2));
  EXPECT_THAT(seen.complaints, IsEmpty());
}

TEST_F(WholeCollection, TransferGoesOnAfterGatewayAndAgentWereCutOff) {
  const std::string content = content_of(6 << 20);
  write("large.conf", content);
  const std::string config = files_config();
  std::size_t before = 0;
  for (const std::size_t enough : {10u, 40u}) {
    Program running({agent, "--config", config});
    ASSERT_TRUE(
        router_.wait([&](const Seen& seen) { return chunks(seen) >= enough; }, 90s));
    router_.stop();
    running.end(SIGKILL);
    before = chunks(router_.seen());
    ASSERT_LT(before, 96u) << "there must be a middle to cut in";
    router_.start();
  }
  Program running({agent, "--config", config});
  ASSERT_TRUE(router_.wait([](const Seen& seen) { return seen.files.size() == 1; }, 90s));
  const Seen seen = router_.seen();
  EXPECT_EQ(seen.files.at(place("large.conf")), content);
  EXPECT_THAT(seen.transfers, SizeIs(1)) << "the first transfer went on";
  EXPECT_EQ(chunks(seen), 96u);
  EXPECT_THAT(seen.complaints, IsEmpty());
}

// For a Release build, as in whole_agent_test.cc: what the agent needed at most, a 20 MiB file and a
// software inventory included, stays within twice the promise for the idle agent.
TEST_F(WholeCollection, LargeFileTravelsInLittleMemory) {
  const char* bound = std::getenv("GREENGATE_AGENT_RSS_KB_MAX");
  if (!bound) GTEST_SKIP() << "GREENGATE_AGENT_RSS_KB_MAX is not set";
  write("large.conf", content_of(20 << 20));
  Program running({agent, "--config",
                   write_config("files.collect = [\"" + scratch_.file("tree") +
                                "/*.conf\"]\nfiles.file_bytes_max = \"24MiB\"\n"
                                "files.bytes_per_second = \"64MiB\"\n")});
  ASSERT_TRUE(router_.wait([](const Seen& seen) { return seen.files.size() == 1; }, 120s));
  std::ifstream status("/proc/" + std::to_string(running.pid()) + "/status");
  std::string line;
  long peak_kb = 0;
  while (std::getline(status, line)) {
    if (line.starts_with("VmHWM:")) peak_kb = std::atol(line.c_str() + 6);
  }
  EXPECT_GT(peak_kb, 0);
  EXPECT_LE(peak_kb, 2 * std::atol(bound));
  RecordProperty("peak_kb", static_cast<int>(peak_kb));
}

TEST_F(WholeCollection, ConnectionCutAloneLosesNothing) {
  const std::string content = content_of(6 << 20);
  write("large.conf", content);
  Program running({agent, "--config", files_config()});
  ASSERT_TRUE(router_.wait([](const Seen& seen) { return chunks(seen) >= 10; }, 90s));
  router_.stop();
  router_.start();
  ASSERT_TRUE(router_.wait([](const Seen& seen) { return seen.files.size() == 1; }, 90s));
  EXPECT_EQ(router_.seen().files.at(place("large.conf")), content);
  EXPECT_THAT(router_.seen().transfers, SizeIs(1));
  EXPECT_THAT(router_.seen().complaints, IsEmpty());
}

TEST_F(WholeCollection, FileThatChangedDuringTheBreakIsSentAnew) {
  write("large.conf", content_of(6 << 20));
  const std::string config = files_config();
  {
    Program running({agent, "--config", config});
    ASSERT_TRUE(router_.wait([](const Seen& seen) { return chunks(seen) >= 10; }, 90s));
    router_.stop();
    running.end(SIGKILL);
  }
  const std::string content = content_of(1 << 20);
  write("large.conf", content);
  router_.start();
  Program running({agent, "--config", config});
  ASSERT_TRUE(router_.wait([](const Seen& seen) { return seen.files.size() == 1; }, 90s));
  EXPECT_EQ(router_.seen().files.at(place("large.conf")), content);
  EXPECT_THAT(router_.seen().transfers, SizeIs(2));
  EXPECT_THAT(router_.seen().complaints, IsEmpty());
}

TEST_F(WholeCollection, LinkPutInAFilesPlaceDuringTheBreakIsNotFollowed) {
  const std::string secret = content_of(6 << 20);
  std::ofstream(scratch_.file("secret"), std::ios::binary) << secret;
  write("a.conf", content_of(6 << 20));
  const std::string config = files_config();
  {
    Program running({agent, "--config", config});
    ASSERT_TRUE(router_.wait([](const Seen& seen) { return chunks(seen) >= 10; }, 90s));
    router_.stop();
    running.end(SIGKILL);
  }
  fs::remove(place("a.conf"));
  fs::create_symlink(scratch_.file("secret"), place("a.conf"));
  write("b.conf", "the run goes on");
  router_.start();
  Program running({agent, "--config", config});
  ASSERT_TRUE(
      router_.wait([&](const Seen& seen) { return seen.files.contains(place("b.conf")); }, 90s));
  for (const v1::Report& report : router_.seen().stored) {
    v1::FileChunk chunk;
    if (report.kind() != v1::KIND_FILE_CHUNK || !chunk.ParseFromString(report.body())) continue;
    EXPECT_EQ(secret.find(chunk.data().substr(0, 64)), std::string::npos);
  }
  EXPECT_EQ(router_.seen().files.size(), 1u);
  EXPECT_THAT(router_.seen().complaints, IsEmpty());
}

}  // namespace
}  // namespace greengate::test
