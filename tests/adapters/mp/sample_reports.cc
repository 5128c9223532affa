#include "tests/adapters/mp/sample_reports.h"

#include <gtest/gtest.h>

namespace greengate::test {

using namespace greengate::adapters;

v1::Discovery sample_discovery() {
  v1::Discovery discovery;
  discovery.set_host_name("lnx-a001");
  discovery.set_fqdn("lnx-a001.example.test");
  discovery.set_domain("example.test");
  discovery.set_kernel("Linux 6.8.0-45");
  discovery.set_model("Edge Box 3");
  discovery.set_serial_number("SN-0001");
  discovery.set_system_uuid("5A1B7C3D-0000-4000-8000-00000000A0FF");
  discovery.set_product_version("1");
  discovery.set_installed_at_ms(to_millis(sample_facts().made_at));
  auto* address = discovery.add_addresses();
  address->set_interface("eth0");
  address->set_index(1);
  address->set_mac("02:00:00:00:00:01");
  address->set_address("192.0.2.10");
  address->set_subnet("192.0.2.0");
  return discovery;
}

v1::HardwareInventory sample_inventory() {
  v1::HardwareInventory inventory;
  add_row(add_class(inventory, "Win32_OperatingSystem", "",
                    {"BuildNumber", "Caption", "InstallDate", "LastBootUpTime", "Name",
                     "TotalVisibleMemorySize", "Version"},
                    {4}),
          "6.8.0-45", "Ubuntu 24.04.1 LTS", on(2025, 3, 1, 8), on(2026, 1, 14, 9),
          "Ubuntu 24.04.1 LTS", 16301234, "24.04");
  add_row(add_class(inventory, "Win32_ComputerSystem", "root\\cimv2",
                    {"Domain", "Manufacturer", "Model", "Name", "NumberOfProcessors"}, {3}),
          "example.test", "Contoso", "Edge Box 3", "LNX-A001", 1);
  add_row(add_class(inventory, "Win32_BIOS", "",
                    {"Manufacturer", "ReleaseDate", "SerialNumber", "SMBIOSBIOSVersion"}, {2}),
          "Contoso", on(2024, 6, 1, 0), "SN-0001", "1.2.3");
  add_row(
      add_class(inventory, "Win32_NetworkAdapterConfiguration", "",
                {"DHCPEnabled", "Index", "IPAddress", "IPEnabled", "IPSubnet", "MACAddress"}, {1}),
      true, 1, list({"192.0.2.10"}), true, list({"255.255.255.0"}), "02:00:00:00:00:01");
  add_row(add_class(inventory, "SMS_LogicalDisk", "root\\cimv2\\sms",
                    {"DeviceID", "DriveType", "FileSystem", "FreeSpace", "Size"}, {0}),
          "/dev/sda1", 3, "ext4", 120000, 240000);
  add_row(add_class(inventory, "Win32Reg_AddRemovePrograms", "",
                    {"DisplayName", "InstallDate", "ProdID", "Publisher", "Version"}, {2}),
          "openssl", date("20251201"), "openssl", "Ubuntu", "3.0.13");
  return inventory;
}

Result<OutgoingMessage> sample_delta(const MpSettings& settings) {
  v1::HardwareInventory changes;
  auto* disks = add_class(changes, "SMS_LogicalDisk", "root\\cimv2\\sms",
                          {"DeviceID", "DriveType", "FileSystem", "FreeSpace", "Size"}, {0});
  add_row(disks, "/dev/sda1", 3, "ext4", 118000, 240000);
  auto* programs = add_class(changes, "Win32Reg_AddRemovePrograms", "",
                             {"DisplayName", "ProdID", "Publisher", "Version"}, {1});
  add_row(programs, "Telnet", "telnet", "Ubuntu", "0.17");
  add_row(programs, "jq", "jq", "Ubuntu", "1.7");
  ReportFacts facts = sample_facts();
  facts.version_minor = 1;
  const MpIdentity identity = sample_identity();
  HardwareInventoryWriter writer(settings, identity, facts, InventoryKind::delta);
  EXPECT_TRUE(writer.begin_class(*disks));
  EXPECT_TRUE(writer.instance(disks->instances(0), InstanceContent::updated));
  EXPECT_TRUE(writer.begin_class(*programs));
  EXPECT_TRUE(writer.instance(programs->instances(0), InstanceContent::deleted));
  EXPECT_TRUE(writer.instance(programs->instances(1), InstanceContent::added));
  return writer.finish();
}

v1::SoftwareFile sample_file() {
  v1::SoftwareFile file;
  file.set_name("edge-agent");
  file.set_path("/opt/contoso/bin/");
  file.set_size(1048576);
  file.set_modified_ms(to_millis(on(2026, 1, 1, 0)));
  file.set_company_name("Contoso");
  file.set_product_name("Edge Agent");
  file.set_product_version("2.4");
  file.set_product_language("0");
  file.set_file_version("2.4.0");
  file.set_file_description("Edge agent");
  return file;
}

std::vector<v1::StateMessage> sample_states() {
  std::vector<v1::StateMessage> states(2);
  states[0].set_time_ms(to_millis(on(2026, 1, 15, 10)) + 15 * 60'000);
  states[0].set_topic_type(500);
  states[0].set_topic_id("505fda07-b4f3-45fb-83d9-8642554e2773");
  states[0].set_topic_id_type(3);
  states[0].set_state_id(2);
  states[0].add_parameters("200");
  states[1].set_time_ms(states[0].time_ms() + 1000);
  states[1].set_topic_type(501);
  states[1].set_topic_id("{0A0B0C0D-0000-4000-8000-000000000501}");
  states[1].set_state_id(3);
  return states;
}

v1::StatusMessage sample_status() {
  v1::StatusMessage status;
  status.set_type("SoftwareDistributionPackageEvent");
  for (const auto& [name, value] : {std::pair("PackageId", "P0100012"), std::pair("PackageName", "P0100012"), std::pair("PackageVersion", "1")}) {
    auto* property = status.add_properties();
    property->set_name(name);
    property->set_value(value);
  }
  return status;
}

v1::MeteringData sample_metering() {
  v1::MeteringData data;
  data.set_from_ms(to_millis(on(2026, 1, 15, 9)));
  data.set_until_ms(to_millis(on(2026, 1, 15, 10)));
  auto* program = data.add_programs();
  program->set_company_name("Contoso");
  program->set_product_name("Edge Agent");
  program->set_product_version("2.4");
  program->set_product_language("0");
  program->set_file_name("edge-agent");
  program->set_file_description("Edge agent");
  program->set_file_version("2.4.0");
  program->set_file_size(1048576);
  auto* use = program->add_uses();
  use->set_user("operator");
  use->set_runs(3);
  use->set_seconds(420);
  use->set_first_start_ms(to_millis(on(2026, 1, 15, 9)));
  use->set_last_end_ms(to_millis(on(2026, 1, 15, 10)));
  return data;
}

std::string sample_file_bytes() {
  std::string bytes;
  while (bytes.size() < 812) bytes += "setting = value\n";
  return bytes.substr(0, 812);
}

v1::IdMif sample_idmif() {
  v1::IdMif file;
  file.set_file_name("asset.mif");
  file.set_text("Start Component\r\n  Name = \"Machine\"\r\nEnd Component\r\n");
  return file;
}

}  // namespace greengate::test
