#include "agent/collectors/collectors.h"
#include "agent/collectors/limits.h"
#include "core/random.h"
#include "tests/agent/collectors/recorded_machine.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <random>

namespace greengate::test {
namespace {

namespace fs = std::filesystem;
using agent::collect_discovery;
using agent::collect_hardware_inventory;

std::string wrong_with(const RecordedMachine& machine) {
  const RecordingClock clock;
  std::string wrong = what_is_wrong(collect_hardware_inventory(machine.view(), clock));
  return wrong.empty() ? what_is_wrong(collect_discovery(machine.view(), clock)) : wrong;
}

std::uint64_t resident_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6));
  }
  return 0;
}

TEST(Hostile, LinksNeverLeadOutOfARecording) {
  const RecordedMachine machine("hostile");  // its /etc/os-release climbs to ours, or so it hopes
  machine.remove("/etc/os-release");
  fs::create_symlink("/etc/hostname", machine.root() / "etc/os-release");
  const RecordedMachine secret("");
  secret.write("/os-release", "PRETTY_NAME=\"from outside\"\n");
  fs::remove(machine.root() / "etc/os-release");
  fs::create_symlink(secret.root() / "os-release", machine.root() / "etc/os-release");
  EXPECT_NE(collect_discovery(machine.view(), RecordingClock()).operating_system(), "from outside");
  fs::remove(machine.root() / "etc/os-release");
  std::string climb;
  for (int i = 0; i < 40; ++i) climb += "../";
  fs::create_symlink(climb + secret.root().string().substr(1) + "/os-release",
                     machine.root() / "etc/os-release");
  EXPECT_NE(collect_discovery(machine.view(), RecordingClock()).operating_system(), "from outside");
}

// A pipe in a file's place would hold a reader for ever; the test's own time limit is the judge.
TEST(Hostile, PipesInPlaceOfFilesDoNotHoldUsUp) {
  const RecordedMachine machine("debian12-vm");
  for (const char* path :
       {"/proc/cpuinfo", "/proc/meminfo", "/etc/hosts", "/var/lib/dpkg/status",
        "/sys/class/dmi/id/product_name", "/proc/612/stat", "/recorded/systemctl-show"}) {
    machine.remove(path);
    ASSERT_EQ(mkfifo((machine.root() / (path + 1)).c_str(), 0600), 0);
  }
  EXPECT_EQ(wrong_with(machine), "");
}

TEST(Hostile, AGigabyteOfPackagesCostsABoundedAmount) {
  const RecordedMachine machine("debian12-vm");
  const fs::path status = machine.root() / "var/lib/dpkg/status";
  {
    std::ofstream file(status, std::ios::binary);
    for (int i = 0; i < 30'000; ++i) {
      file << "Package: p" << i
           << "\nStatus: install ok installed\nVersion: 1\nMaintainer: " << std::string(300, 'm')
           << "\n\n";
    }
  }
  fs::resize_file(status, 1ull << 30);  // the rest is one line of a gigabyte
  const std::uint64_t before = resident_kilobytes();
  const auto started = std::chrono::steady_clock::now();
  const v1::HardwareInventory inventory =
      collect_hardware_inventory(machine.view(), RecordingClock());
  const v1::InventoryClass* packages = find_class(inventory, "Win32Reg_AddRemovePrograms");
  ASSERT_TRUE(packages);
  EXPECT_EQ(static_cast<std::size_t>(packages->instances_size()), agent::limits::packages);
  EXPECT_EQ(what_is_wrong(inventory), "");
  EXPECT_LT(resident_kilobytes() - before, 64'000u);  // roomy for the sanitizers' own bookkeeping
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(30));
}

TEST(Hostile, AGigabyteWithoutALineIsNotReadToItsEnd) {
  const RecordedMachine machine("debian12-vm");
  fs::resize_file(machine.root() / "var/lib/dpkg/status", 1ull << 30);
  const std::uint64_t before = resident_kilobytes();
  const v1::HardwareInventory inventory =
      collect_hardware_inventory(machine.view(), RecordingClock());
  EXPECT_EQ(find_class(inventory, "Win32Reg_AddRemovePrograms")->instances_size(), 5);
  EXPECT_LT(resident_kilobytes() - before, 16'000u);
}

TEST(Hostile, ThousandsOfProcessesAreCutAtTheBound) {
  const RecordedMachine machine("");
  machine.write("/proc/stat", "btime 1768381200\n");
  for (std::size_t pid = 1; pid <= agent::limits::processes + 50; ++pid) {
    const std::string id = std::to_string(pid);
    machine.write("/proc/" + id + "/stat",
                  id + " (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0\n");
  }
  const v1::HardwareInventory inventory =
      collect_hardware_inventory(machine.view(), RecordingClock());
  const v1::InventoryClass* processes = find_class(inventory, "Win32_Process");
  ASSERT_TRUE(processes);
  EXPECT_EQ(static_cast<std::size_t>(processes->instances_size()), agent::limits::processes);
  EXPECT_EQ(value_of(inventory, "Win32_Process", 0, "Handle").text(), "1");
}

TEST(Hostile, NamesWithEscapesAreShownAsText) {
  const RecordedMachine machine("");
  machine.write("/proc/7/stat",
                "7 (a\x1b[2J\n) S 9 b) R 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0\n");
  machine.write("/sys/block/\x1b]0;owned\x07/size", "8\n");
  const v1::HardwareInventory inventory =
      collect_hardware_inventory(machine.view(), RecordingClock());
  EXPECT_EQ(what_is_wrong(inventory), "");
  EXPECT_EQ(value_of(inventory, "Win32_Process", 0, "Name").text(), "a [2J ) S 9 b");
  EXPECT_EQ(value_of(inventory, "Win32_Process", 0, "ParentProcessId").unsigned_integer(), 1u);
  EXPECT_EQ(value_of(inventory, "Win32_DiskDrive", 0, "DeviceID").text(), "/dev/ ]0;owned");
}

// Goal: whatever bytes any file holds, we neither crash nor report what is not clean. Method: every
// file of every recording in turn is damaged: replaced by noise, cut, or sprinkled with noise. A
// failure prints the seed and the file.
class Damaged : public testing::TestWithParam<const char*> {};

TEST_P(Damaged, MachinesNeverCrashUs) {
  const char* wanted = std::getenv("GREENGATE_SEED");
  const std::uint64_t seed = wanted ? std::stoull(wanted) : random_u64();
  std::mt19937_64 random(seed);
  const RecordedMachine machine(GetParam());
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(machine.root())) {
    if (!entry.is_symlink() && entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  ASSERT_GT(files.size(), 20u);
  // In each round one file in five is damaged, and repaired afterwards.
  for (int round = 0; round < 12; ++round) {
    std::vector<std::pair<fs::path, std::string>> originals;
    for (const fs::path& path : files) {
      if (random() % 5 != 0) continue;
      std::ifstream in(path, std::ios::binary);
      std::string bytes((std::istreambuf_iterator<char>(in)), {});
      originals.emplace_back(path, bytes);
      const auto kind = random() % 3;
      if (kind == 0) {
        bytes.resize(random() % 3'000);
        for (char& c : bytes) c = static_cast<char>(random());
      } else if (kind == 1) {
        bytes.resize(bytes.empty() ? 0 : random() % bytes.size());
      } else {
        for (std::size_t i = 0; i < bytes.size(); i += 1 + random() % 40)
          bytes[i] = static_cast<char>(random());
      }
      std::ofstream(path, std::ios::binary) << bytes;
    }
    ASSERT_EQ(wrong_with(machine), "") << "GREENGATE_SEED=" << seed << " round " << round;
    for (const auto& [path, bytes] : originals) std::ofstream(path, std::ios::binary) << bytes;
  }
  RecordProperty("seed", std::to_string(seed));
}

INSTANTIATE_TEST_SUITE_P(Machines, Damaged,
                         testing::Values("debian12-vm", "rhel9-server", "raspberry-pi",
                                         "container-minimal", "hostile"),
                         [](const auto& machine) {
                           std::string name = machine.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace greengate::test
