#include "agent/collectors/collectors.h"
#include "agent/inventory_view.h"
#include "tests/agent/collectors/recorded_machine.h"

#include <gtest/gtest.h>

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace greengate::test {
namespace {

using agent::collect_discovery;
using agent::collect_hardware_inventory;

v1::HardwareInventory collect(const RecordedMachine& machine) {
  return collect_hardware_inventory(machine.view(), RecordingClock());
}

class Recorded : public testing::TestWithParam<const char*> {};

// Goal: nothing about what we report changes unnoticed. Method: each recording against its
// expectation, read by a person once and kept beside it; GREENGATE_UPDATE_GOLDEN=1 writes it anew,
// for the next commit's reader to judge.
TEST_P(Recorded, GivesWhatIsExpectedOfIt) {
  const RecordedMachine machine(GetParam());
  const RecordingClock clock;
  const v1::HardwareInventory inventory = collect_hardware_inventory(machine.view(), clock);
  v1::Discovery discovery = collect_discovery(machine.view(), clock);
  EXPECT_EQ(discovery.agent_version(), "greengate-agent " GREENGATE_VERSION);
  discovery.set_agent_version("greengate-agent");  // a new version is no change of the machine
  EXPECT_EQ(what_is_wrong(inventory), "");
  EXPECT_EQ(what_is_wrong(discovery), "");
  const std::string seen = agent::inventory_json(inventory, discovery);

  const auto golden = machines_folder() / (std::string(GetParam()) + ".expected.json");
  if (std::getenv("GREENGATE_UPDATE_GOLDEN")) std::ofstream(golden, std::ios::binary) << seen;
  std::ostringstream expected;
  expected << std::ifstream(golden, std::ios::binary).rdbuf();
  ASSERT_GT(expected.str().size(), 500u) << golden << " is missing";
  EXPECT_EQ(seen, expected.str());
}

INSTANTIATE_TEST_SUITE_P(Machines, Recorded,
                         testing::Values("debian12-vm", "rhel9-server", "raspberry-pi",
                                         "container-minimal", "hostile"),
                         [](const auto& machine) {
                           std::string name = machine.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(Debian, HasAllTwelveClasses) {
  const v1::HardwareInventory inventory = collect(RecordedMachine("debian12-vm"));
  for (const char* name :
       {"Win32_BIOS", "Win32_ComputerSystem", "Win32_DiskDrive", "Win32_DiskPartition",
        "Win32_NetworkAdapter", "Win32_NetworkAdapterConfiguration", "Win32_OperatingSystem",
        "Win32_Process", "Win32_Service", "Win32Reg_AddRemovePrograms", "SMS_LogicalDisk",
        "SMS_Processor"}) {
    const v1::InventoryClass* one = find_class(inventory, name);
    ASSERT_TRUE(one) << name;
    EXPECT_GT(one->instances_size(), 0) << name;
    const bool sms = std::string_view(name).starts_with("SMS_");
    EXPECT_EQ(one->name_space(), sms ? "root\\cimv2\\sms" : "root\\cimv2") << name;
  }
  EXPECT_EQ(inventory.classes_size(), 12);
}

TEST(Debian, UsesTheUnitsOfWindows) {
  const v1::HardwareInventory inventory = collect(RecordedMachine("debian12-vm"));
  // kilobytes, bytes, megabytes, milliseconds since 1970, 100 ns
  EXPECT_EQ(
      value_of(inventory, "Win32_OperatingSystem", 0, "TotalVisibleMemorySize").unsigned_integer(),
      4'025'112u);
  EXPECT_EQ(
      value_of(inventory, "Win32_ComputerSystem", 0, "TotalPhysicalMemory").unsigned_integer(),
      4'121'714'688u);
  EXPECT_EQ(value_of(inventory, "Win32_DiskDrive", 0, "Size").unsigned_integer(), 34'359'738'368u);
  const int root = row_where(inventory, "SMS_LogicalDisk", "DeviceID", "/dev/vda2");
  EXPECT_EQ(value_of(inventory, "SMS_LogicalDisk", root, "Size").unsigned_integer(), 30'761u);
  EXPECT_EQ(value_of(inventory, "SMS_LogicalDisk", root, "FreeSpace").unsigned_integer(), 23'046u);
  EXPECT_EQ(value_of(inventory, "Win32_OperatingSystem", 0, "LastBootUpTime").time_ms(),
            1'768'381'200'000);
  const int nginx = row_where(inventory, "Win32_Process", "Name", "nginx");
  EXPECT_EQ(value_of(inventory, "Win32_Process", nginx, "UserModeTime").unsigned_integer(),
            15'000'000u);  // 1.5 s
  EXPECT_EQ(value_of(inventory, "Win32_Process", nginx, "CreationDate").time_ms(),
            1'768'381'209'000);
  EXPECT_EQ(value_of(inventory, "Win32_ComputerSystem", 0, "CurrentTimeZone").integer(), 60);
}

TEST(Debian, MarksTheKeysOfTheSite) {
  const v1::HardwareInventory inventory = collect(RecordedMachine("debian12-vm"));
  const auto keys = [&](const char* name) {
    std::string text;
    const v1::InventoryClass* one = find_class(inventory, name);
    for (const std::uint32_t key : one->key_properties())
      text += one->properties(static_cast<int>(key)) + " ";
    return text;
  };
  EXPECT_EQ(keys("Win32_BIOS"),
            "Name SoftwareElementID SoftwareElementState TargetOperatingSystem Version ");
  EXPECT_EQ(keys("Win32_Process"), "Handle ");
  EXPECT_EQ(keys("Win32_NetworkAdapterConfiguration"), "Index ");
  EXPECT_EQ(keys("Win32Reg_AddRemovePrograms"), "ProdID ");
  EXPECT_EQ(keys("SMS_LogicalDisk"), "DeviceID ");
}

TEST(Debian, MarksWhatChangesByItself) {
  const v1::HardwareInventory inventory = collect(RecordedMachine("debian12-vm"));
  std::string text;
  for (const v1::InventoryClass& one : inventory.classes()) {
    if (one.churning_properties().empty()) continue;
    text += one.name() + ":";
    for (const std::uint32_t column : one.churning_properties())
      text += " " + one.properties(static_cast<int>(column));
    text += "\n";
  }
  EXPECT_NE(text.find("Win32_OperatingSystem: FreePhysicalMemory FreeSpaceInPagingFiles "
                      "FreeVirtualMemory LocalDateTime"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("SMS_LogicalDisk: FreeSpace\n"), std::string::npos) << text;
  EXPECT_NE(text.find("Win32_Process: "), std::string::npos) << text;
  EXPECT_EQ(text.find("Win32Reg_AddRemovePrograms"), std::string::npos) << text;
}

// Goal: secrets on command lines never leave the machine. Method: the recordings start programs
// with one.
TEST(Debian, NeverShowsArguments) {
  for (const char* name : {"debian12-vm", "raspberry-pi"}) {
    const RecordedMachine machine(name);
    EXPECT_EQ(collect(machine).SerializeAsString().find("not-to-be-seen"), std::string::npos)
        << name;
  }
}

TEST(Debian, TellsArchitecturesOfOnePackageApart) {
  const v1::HardwareInventory inventory = collect(RecordedMachine("debian12-vm"));
  EXPECT_GE(row_where(inventory, "Win32Reg_AddRemovePrograms", "ProdID", "libc6"), 0);
  EXPECT_GE(row_where(inventory, "Win32Reg_AddRemovePrograms", "ProdID", "libc6:i386"), 0);
  EXPECT_EQ(row_where(inventory, "Win32Reg_AddRemovePrograms", "ProdID", "old-thing"), -1)
      << "it is removed";
}

TEST(Debian, LeavesOutThreadsOfTheKernel) {
  const v1::HardwareInventory inventory = collect(RecordedMachine("debian12-vm"));
  EXPECT_EQ(row_where(inventory, "Win32_Process", "Name", "kthreadd"), -1);
}

TEST(RedHat, NamesSeveralVersionsOfAPackageApart) {
  const v1::HardwareInventory inventory = collect(RecordedMachine("rhel9-server"));
  const char* arp = "Win32Reg_AddRemovePrograms";
  EXPECT_GE(row_where(inventory, arp, "ProdID", "kernel-core-5.14.0-503.14.1.el9_5.x86_64"), 0);
  EXPECT_GE(row_where(inventory, arp, "ProdID", "glibc-2.34-125.el9_5.1.i686"), 0);
  EXPECT_GE(row_where(inventory, arp, "ProdID", "bash"), 0);
  EXPECT_EQ(row_where(inventory, arp, "DisplayName", "gpg-pubkey"), -1);
  const int openssl = row_where(inventory, arp, "ProdID", "openssl");
  EXPECT_EQ(value_of(inventory, arp, openssl, "Version").text(), "1:3.2.2-6.el9_5");
  EXPECT_EQ(value_of(inventory, arp, openssl, "InstallDate").date(), "20241119");
}

TEST(RedHat, CountsCoresAndSharedCachesOfEachPackageOnce) {
  const v1::HardwareInventory inventory = collect(RecordedMachine("rhel9-server"));
  ASSERT_EQ(find_class(inventory, "SMS_Processor")->instances_size(), 2);
  EXPECT_EQ(value_of(inventory, "SMS_Processor", 1, "NumberOfCores").unsigned_integer(), 2u);
  EXPECT_EQ(value_of(inventory, "SMS_Processor", 1, "NumberOfLogicalProcessors").unsigned_integer(),
            4u);
  EXPECT_EQ(value_of(inventory, "SMS_Processor", 1, "L2CacheSize").unsigned_integer(), 2'048u);
  EXPECT_EQ(value_of(inventory, "SMS_Processor", 1, "L3CacheSize").unsigned_integer(), 22'528u);
  EXPECT_TRUE(value_of(inventory, "SMS_Processor", 1, "IsHyperthreadEnabled").boolean());
  EXPECT_EQ(value_of(inventory, "SMS_Processor", 1, "MaxClockSpeed").unsigned_integer(), 3'900u);
}

TEST(RedHat, NeverAsksARemoteFileSystemForItsSpace) {
  const v1::HardwareInventory inventory = collect(RecordedMachine("rhel9-server"));
  const int cloud = row_where(inventory, "SMS_LogicalDisk", "Name", "/mnt/cloud");
  ASSERT_GE(cloud, 0);
  EXPECT_EQ(value_of(inventory, "SMS_LogicalDisk", cloud, "DriveType").unsigned_integer(), 4u);
  EXPECT_EQ(value_of(inventory, "SMS_LogicalDisk", cloud, "Size").kind_case(),
            v1::Value::KIND_NOT_SET);
}

TEST(RaspberryPi, TakesModelAndSerialNumberFromTheDeviceTree) {
  const RecordedMachine machine("raspberry-pi");
  const v1::HardwareInventory inventory = collect(machine);
  EXPECT_EQ(value_of(inventory, "Win32_ComputerSystem", 0, "Model").text(),
            "Raspberry Pi 4 Model B Rev 1.4");
  EXPECT_EQ(value_of(inventory, "Win32_BIOS", 0, "SerialNumber").text(), "10000000e0000007");
  EXPECT_EQ(value_of(inventory, "SMS_Processor", 0, "Name").text(), "ARM Cortex-A72");
  EXPECT_EQ(collect_discovery(machine.view(), RecordingClock()).model(),
            "Raspberry Pi 4 Model B Rev 1.4");
}

TEST(RaspberryPi, ReadsServicesFromDiskWhereNobodyMayBeAsked) {
  const v1::HardwareInventory inventory = collect(RecordedMachine("raspberry-pi"));
  const auto mode = [&](const char* name) {
    return value_of(inventory, "Win32_Service", row_where(inventory, "Win32_Service", "Name", name),
                    "StartMode")
        .text();
  };
  EXPECT_EQ(mode("ssh"), "Auto");
  EXPECT_EQ(mode("bluetooth"), "Manual");
  EXPECT_EQ(mode("rsync"), "Disabled");  // masked
  EXPECT_EQ(mode("fake-hwclock"), "Auto");
  EXPECT_EQ(row_where(inventory, "Win32_Service", "Name", "sshd"), -1) << "an alias is no service";
  const int ssh = row_where(inventory, "Win32_Service", "Name", "ssh");
  EXPECT_EQ(value_of(inventory, "Win32_Service", ssh, "State").kind_case(),
            v1::Value::KIND_NOT_SET);
}

// Goal: a container never passes for its host. Method: the recording shows the host's DMI, as real
// containers do.
TEST(Container, KeepsTheIdentityOfItsHostToItself) {
  const RecordedMachine machine("container-minimal");
  const v1::HardwareInventory inventory = collect(machine);
  const v1::Discovery discovery = collect_discovery(machine.view(), RecordingClock());
  EXPECT_EQ(discovery.model(), "Container");
  EXPECT_EQ(discovery.serial_number(), "");
  EXPECT_EQ(discovery.system_uuid(), "");
  EXPECT_EQ(inventory.SerializeAsString().find("HOST-SERIAL"), std::string::npos);
  EXPECT_EQ(row_where(inventory, "SMS_LogicalDisk", "DeviceID", "/dev/vda2"), -1)
      << "a file lent by the host is no disk";
}

TEST(EmptyMachine, GivesEmptyOrAbsentClasses) {
  const RecordedMachine nothing("");
  const v1::HardwareInventory inventory = collect(nothing);
  EXPECT_EQ(what_is_wrong(inventory), "");
  for (const v1::InventoryClass& one : inventory.classes())
    EXPECT_EQ(one.instances_size(), 0) << one.name();
  EXPECT_FALSE(find_class(inventory, "Win32_Process"));
  EXPECT_FALSE(find_class(inventory, "Win32Reg_AddRemovePrograms"));
  const v1::Discovery discovery = collect_discovery(nothing.view(), RecordingClock());
  EXPECT_EQ(discovery.host_name(), "");
  EXPECT_EQ(discovery.addresses_size(), 0);
}

TEST(EmptyMachine, MayBeMissingAltogether) {
  agent::MachineView view;
  view.root = "/nowhere/at/all";
  const v1::HardwareInventory inventory = collect_hardware_inventory(view, RecordingClock());
  for (const v1::InventoryClass& one : inventory.classes())
    EXPECT_EQ(one.instances_size(), 0) << one.name();
}

TEST(PackageList, IsAbsentWithoutItsFile) {
  const RecordedMachine machine("debian12-vm");
  machine.remove("/var/lib/dpkg/status");
  EXPECT_FALSE(find_class(collect(machine), "Win32Reg_AddRemovePrograms"));
}

TEST(Inventory, IsTheSameOnAnArena) {
  const RecordedMachine machine("rhel9-server");
  google::protobuf::Arena arena;
  auto* inventory = google::protobuf::Arena::CreateMessage<v1::HardwareInventory>(&arena);
  collect_hardware_inventory(machine.view(), RecordingClock(), *inventory);
  EXPECT_EQ(inventory->SerializeAsString(), collect(machine).SerializeAsString());
}

// Goal: the reference tells about every property. Method: it is looked for in its class's own
// section.
TEST(Reference, NamesEveryPropertyOfEveryClass) {
  std::ostringstream text;
  text << std::ifstream(std::string(GREENGATE_SOURCE_DIR) + "/docs/reference/inventory.md").rdbuf();
  const v1::HardwareInventory inventory = collect(RecordedMachine("debian12-vm"));
  for (const v1::InventoryClass& one : inventory.classes()) {
    const std::size_t start = text.str().find("\n## " + one.name() + " ");
    ASSERT_NE(start, std::string::npos) << one.name();
    std::string section = text.str().substr(start + 1, text.str().find("\n## ", start + 1) - start);
    for (char& c : section) c = std::isalnum(static_cast<unsigned char>(c)) ? c : ' ';
    section = " " + section + " ";
    for (const std::string& property : one.properties()) {
      if (property == "SystemName") continue;  // told once, under Win32_DiskDrive
      EXPECT_NE(section.find(" " + property + " "), std::string::npos)
          << one.name() << "." << property;
    }
  }
}

}  // namespace
}  // namespace greengate::test
