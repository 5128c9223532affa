#pragma once

#include "agent/collectors/facts.h"
#include "agent/collectors/machine.h"
#include "core/clock.h"
#include "greengate/v1/report.pb.h"

/// One function a class or a family of classes; each adds what it finds and is silent about what it
/// does not.
namespace greengate::agent {

void collect_firmware(const Machine&, const Facts&, v1::HardwareInventory&);  // Win32_BIOS
void collect_computer_system(const Machine&, const Facts&, WallTime now, v1::HardwareInventory&);
void collect_processors(const Machine&, const Facts&, v1::HardwareInventory&);  // SMS_Processor
void collect_operating_system(const Machine&, const Facts&, WallTime now, v1::HardwareInventory&);
void collect_disks(const Machine&, const Facts&,
                   v1::HardwareInventory&);  // Win32_DiskDrive, Win32_DiskPartition
void collect_logical_disks(const Machine&, const Facts&,
                           v1::HardwareInventory&);  // SMS_LogicalDisk
void collect_network(const Machine&, const Facts&,
                     v1::HardwareInventory&);  // Win32_NetworkAdapter(Configuration)
void collect_processes(const Machine&, const Facts&, v1::HardwareInventory&);  // Win32_Process
void collect_services(const Machine&, const Facts&, v1::HardwareInventory&);   // Win32_Service
void collect_packages(const Machine&, const Facts&,
                      v1::HardwareInventory&);  // Win32Reg_AddRemovePrograms

/// People logged on now: how many, and who sits at the machine itself.
struct Sessions {
  std::optional<std::uint64_t> count;
  std::string console_user;
};
Sessions look_at_sessions(const Machine&);

/// CIM's number for Linux, in TargetOperatingSystem and OSType (MOF of CIM_OperatingSystem.OSType).
constexpr std::uint64_t cim_linux = 36;

}  // namespace greengate::agent
