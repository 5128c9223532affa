#include "agent/inventory_view.h"

#include "agent/collectors/helper_process.h"
#include "tests/agent/collectors/recorded_machine.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace greengate::test {
namespace {

using agent::inventory_json;
using agent::inventory_table;
using agent::InventoryViewOptions;

struct Seen {
  v1::HardwareInventory inventory;
  v1::Discovery discovery;
};

Seen look_at(const char* name) {
  const RecordedMachine machine(name);
  const RecordingClock clock;
  return {collect_hardware_inventory(machine.view(), clock),
          collect_discovery(machine.view(), clock)};
}

// An inventory nobody would collect: what a view must withstand.
v1::HardwareInventory awkward() {
  v1::HardwareInventory inventory;
  v1::InventoryClass& one = *inventory.add_classes();
  one.set_name("Class\"\\");
  for (const char* property : {"Text", "Whole", "Large", "Flag", "When", "List", "Day", "Nothing"})
    one.add_properties(property);
  v1::InventoryInstance& row = *one.add_instances();
  row.add_values()->set_text("quote \" back \\ line \n bell \x07 del \x7f é");
  row.add_values()->set_integer(-5);
  row.add_values()->set_unsigned_integer(18'446'744'073'709'551'615ull);
  row.add_values()->set_boolean(true);
  row.add_values()->set_time_ms(1'768'472'430'000);
  row.add_values()->mutable_list()->add_items("a\"b");
  row.add_values()->set_date("20250301");
  row.add_values();
  return inventory;
}

// Goal: any script can read it. Method: Python's own parser, which is strict, reads what we print.
void expect_python_reads(const std::string& json) {
  ASSERT_TRUE(std::filesystem::exists("/usr/bin/python3")) << "tests/run installs it";
  const RecordedMachine place("");
  place.write("/inventory.json", json);
  EXPECT_EQ(agent::run_program({"/usr/bin/python3"},
                               {"-m", "json.tool", (place.root() / "inventory.json").string()},
                               std::chrono::seconds(60), [](std::string_view) { return true; }),
            agent::Ran::well)
      << json.substr(0, 2'000);
}

TEST(Json, IsReadByPython) {
  for (const char* name : {"debian12-vm", "hostile", ""}) {
    const Seen seen = look_at(name);
    expect_python_reads(inventory_json(seen.inventory, seen.discovery));
  }
  expect_python_reads(inventory_json(awkward(), {}));
  expect_python_reads(inventory_json({}, {}));
}

TEST(Json, KeepsTypesAndEscapes) {
  EXPECT_NE(
      inventory_json(awkward(), {})
          .find(
              R"({"Text": "quote \" back \\ line \n bell \u0007 del \u007f é", "Whole": -5, "Large": 18446744073709551615, )"
              R"("Flag": true, "When": "2026-01-15T10:20:30Z", "List": ["a\"b"], "Day": "2025-03-01"})"),
      std::string::npos);
}

TEST(Json, TellsTheShapeOfTheClassThatIsAskedFor) {
  const Seen seen = look_at("debian12-vm");
  InventoryViewOptions one;
  one.class_name = "win32_bios";
  const std::string json = inventory_json(seen.inventory, seen.discovery, one);
  expect_python_reads(json);
  EXPECT_NE(json.find(R"("shapes": {
    "Win32_BIOS": {"class": "Win32_BIOS", "namespace": "root\\cimv2", "keys": ["Name", )"), std::string::npos)
      << json;
  one.class_name = "Class\"\\";
  const std::string strange = inventory_json(awkward(), {}, one);
  expect_python_reads(strange);
  EXPECT_NE(strange.find(R"("Whole": "integer", "Large": "unsigned", "Flag": "boolean", "When": "datetime", "List": "list", "Day": "string", "Nothing": "string")"),
            std::string::npos)
      << strange;
}

TEST(Json, ShowsOneClassWhenAsked) {
  const Seen seen = look_at("debian12-vm");
  const std::string json =
      inventory_json(seen.inventory, seen.discovery, {.class_name = "win32_bios"});
  EXPECT_NE(json.find("\"Win32_BIOS\""), std::string::npos);
  EXPECT_EQ(json.find("\"Win32_Service\""), std::string::npos);
}

TEST(TableView, ShortensLongListsWithACount) {
  v1::HardwareInventory inventory;
  v1::InventoryClass& one = *inventory.add_classes();
  one.set_name("Win32_Service");
  for (const char* property : {"Name", "State"}) one.add_properties(property);
  for (int i = 0; i < 40; ++i) {
    v1::InventoryInstance& row = *one.add_instances();
    row.add_values()->set_text("service" + std::to_string(i));
    row.add_values()->set_text("Running");
  }
  const std::string shortened = inventory_table(inventory, {});
  EXPECT_NE(shortened.find("… and 28 more (--full, or --class Win32_Service)"), std::string::npos);
  EXPECT_EQ(shortened.find("service39"), std::string::npos);
  EXPECT_NE(inventory_table(inventory, {}, {.full = true}).find("service39"), std::string::npos);
  EXPECT_NE(inventory_table(inventory, {}, {.class_name = "Win32_Service"}).find("service39"),
            std::string::npos);
}

TEST(TableView, LinesUpItsColumns) {
  const Seen seen = look_at("debian12-vm");
  const std::string table =
      inventory_table(seen.inventory, seen.discovery, {.class_name = "SMS_LogicalDisk"});
  EXPECT_EQ(table,
            "\nSMS_LogicalDisk (3)\n"
            "  DeviceID                         Name             FileSystem   Size  FreeSpace  "
            "Description\n"
            "  /dev/vda2                        /                ext4        30761      23046  "
            "Local Fixed Disk\n"
            "  /dev/vda1                        /boot/efi        vfat          511        502  "
            "Local Fixed Disk\n"
            "  files.example.test:/export/team  /mnt/team share  nfs4            -          -  "
            "Network Connection\n");
}

TEST(TableView, SurvivesAnythingItIsGiven) {
  EXPECT_NE(inventory_table(awkward(), {}).find("18446744073709551615"), std::string::npos);
  const Seen seen = look_at("hostile");
  EXPECT_EQ(inventory_table(seen.inventory, seen.discovery, {.full = true}).find('\x1b'),
            std::string::npos);
  EXPECT_EQ(inventory_table({}, {}), "");
}

}  // namespace
}  // namespace greengate::test
