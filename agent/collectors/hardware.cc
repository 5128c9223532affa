#include "agent/collectors/classes.h"
#include "agent/collectors/limits.h"
#include "agent/collectors/table.h"
#include "agent/collectors/text.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

namespace greengate::agent {
namespace {

// "04/01/2014" as DMI writes it.
std::optional<std::int64_t> dmi_date(std::string_view text) {
  std::string_view rest;
  const auto month = to_number(cut_at(text, '/', &rest));
  std::string_view year_text;
  const auto day = to_number(cut_at(rest, '/', &year_text));
  const auto year = to_number(year_text);
  if (!month || !day || !year || *year > 2199) return std::nullopt;
  const int full_year = static_cast<int>(*year < 100 ? *year + (*year < 70 ? 2000 : 1900) : *year);
  if (*month > 12 || *day > 31) return std::nullopt;
  return utc_ms(full_year, static_cast<int>(*month), static_cast<int>(*day));
}

struct SmbiosVersion {
  std::optional<std::uint64_t> major, minor;
};

// The entry point, "_SM3_" or "_SM_" (DMTF DSP0134, 5.2); only root may read it.
SmbiosVersion smbios_version(const Machine& machine) {
  const auto entry = machine.bytes("/sys/firmware/dmi/tables/smbios_entry_point", 64);
  const auto at = [&](std::size_t i) {
    return static_cast<std::uint64_t>(static_cast<std::uint8_t>((*entry)[i]));
  };
  if (entry && entry->starts_with("_SM3_") && entry->size() >= 9) return {at(7), at(8)};
  if (entry && entry->starts_with("_SM_") && entry->size() >= 8) return {at(6), at(7)};
  return {};
}

std::string windows_system_type(std::string_view architecture) {
  if (architecture == "x86_64") return "x64-based PC";
  if (architecture == "aarch64") return "ARM64-based PC";
  if (architecture.starts_with("arm")) return "ARM-based PC";
  if (architecture.size() == 4 && architecture[0] == 'i' && architecture.ends_with("86"))
    return "X86-based PC";
  return architecture.empty() ? std::string() : std::string(architecture) + "-based PC";
}

// Win32_Processor.Architecture (Microsoft Learn, Win32_Processor class); nothing for what Windows
// has no number for.
std::optional<std::uint64_t> windows_architecture(std::string_view architecture) {
  if (architecture == "x86_64") return 9;
  if (architecture == "aarch64") return 12;
  if (architecture.starts_with("arm")) return 5;
  if (architecture.starts_with("mips")) return 1;
  if (architecture.starts_with("ppc")) return 3;
  if (architecture == "ia64") return 6;
  if (architecture.size() == 4 && architecture[0] == 'i' && architecture.ends_with("86")) return 0;
  return std::nullopt;
}

std::optional<bool> is_64_bit(std::string_view architecture) {
  if (architecture.empty()) return std::nullopt;
  return architecture.find("64") != std::string_view::npos || architecture == "s390x";
}

// ARM names its designs by number (MIDR_EL1 implementer and part).
std::string arm_design(std::uint64_t implementer, std::uint64_t part) {
  if (implementer != 0x41) return {};
  switch (part) {
    case 0xB76:
      return "ARM1176";
    case 0xC07:
      return "ARM Cortex-A7";
    case 0xC08:
      return "ARM Cortex-A8";
    case 0xC09:
      return "ARM Cortex-A9";
    case 0xC0F:
      return "ARM Cortex-A15";
    case 0xD03:
      return "ARM Cortex-A53";
    case 0xD04:
      return "ARM Cortex-A35";
    case 0xD05:
      return "ARM Cortex-A55";
    case 0xD07:
      return "ARM Cortex-A57";
    case 0xD08:
      return "ARM Cortex-A72";
    case 0xD09:
      return "ARM Cortex-A73";
    case 0xD0A:
      return "ARM Cortex-A75";
    case 0xD0B:
      return "ARM Cortex-A76";
    case 0xD0C:
      return "ARM Neoverse-N1";
    case 0xD40:
      return "ARM Neoverse-V1";
    case 0xD41:
      return "ARM Cortex-A78";
    case 0xD49:
      return "ARM Neoverse-N2";
    case 0xD4F:
      return "ARM Neoverse-V2";
    default:
      return {};
  }
}

// One physical package, gathered from the logical processors in it.
struct Package {
  std::uint64_t first_cpu = 0;
  std::string vendor, name, family, model, stepping;
  double mhz = 0;
  std::uint64_t logical = 0;
  std::set<std::uint64_t> cores;
  bool hyperthreading_capable = false, virtualization = false, trusted_execution = false;
};

bool has_word(std::string_view words, std::string_view wanted) {
  for (std::string_view word = next_word(words); !word.empty(); word = next_word(words)) {
    if (word == wanted) return true;
  }
  return false;
}

// "cpu MHz : 2600.000" without the C library's locale.
double to_mhz(std::string_view text) {
  std::string_view fraction;
  const auto whole = to_number(cut_at(trimmed(text), '.', &fraction));
  return whole && *whole < 100'000 ? static_cast<double>(*whole) : 0;
}

// cpuinfo has one paragraph a logical processor; on ARM with one paragraph for the whole machine at
// the end.
std::map<std::uint64_t, Package> look_at_packages(const Machine& machine) {
  std::map<std::uint64_t, Package> packages;
  Package one;
  std::optional<std::uint64_t> cpu, physical, core;
  std::uint64_t implementer = 0, part = 0;
  std::size_t seen = 0;
  const auto finish = [&] {
    if (!cpu) return;
    if (!physical) {
      const std::string topology =
          "/sys/devices/system/cpu/cpu" + std::to_string(*cpu) + "/topology/";
      physical = machine.number(topology + "physical_package_id");
      if (!core) core = machine.number(topology + "core_id");
    }
    if (one.name.empty()) one.name = arm_design(implementer, part);
    const std::uint64_t id = physical.value_or(0);
    if (packages.size() < limits::processors || packages.contains(id)) {
      auto [at, fresh] = packages.try_emplace(id, one);
      if (fresh) at->second.first_cpu = *cpu;
      ++at->second.logical;
      at->second.cores.insert(core.value_or(*cpu));
    }
    one = {};
    cpu = physical = core = std::nullopt;
  };
  machine.lines("/proc/cpuinfo", [&](std::string_view line) {
    std::string_view value;
    const std::string_view key = trimmed(cut_at(line, ':', &value));
    value = trimmed(value);
    if (key == "processor") {
      finish();
      if (++seen > limits::logical_processors) return false;
      cpu = to_number(value);
    } else if (key == "vendor_id") {
      one.vendor = std::string(value);
    } else if (key == "model name" || key == "cpu") {
      one.name = std::string(value);
    } else if (key == "cpu family") {
      one.family = std::string(value);
    } else if (key == "model" && cpu) {
      one.model = std::string(value);
    } else if (key == "stepping") {
      one.stepping = std::string(value);
    } else if (key == "cpu MHz") {
      one.mhz = to_mhz(value);
    } else if (key == "physical id") {
      physical = to_number(value);
    } else if (key == "core id") {
      core = to_number(value);
    } else if (key == "CPU implementer") {
      implementer = to_number_hex(value).value_or(0);
      if (implementer == 0x41) one.vendor = "ARM";
    } else if (key == "CPU part") {
      part = to_number_hex(value).value_or(0);
    } else if (key == "CPU revision") {
      one.stepping = std::string(value);
    } else if (key == "flags" || key == "Features") {
      one.hyperthreading_capable = has_word(value, "ht");
      one.virtualization = has_word(value, "vmx") || has_word(value, "svm");
      one.trusted_execution = has_word(value, "smx");
    }
    return true;
  });
  finish();
  return packages;
}

// Kilobytes of all caches of one level in the package of `cpus`: each shared cache once.
std::optional<std::uint64_t> cache_kilobytes(const Machine& machine, std::uint64_t first_cpu,
                                             std::uint64_t cores, std::uint64_t logical,
                                             std::uint64_t wanted_level) {
  const std::string cpu = "/sys/devices/system/cpu/cpu" + std::to_string(first_cpu) + "/cache/";
  for (int index = 0; index < 8; ++index) {
    const std::string cache = cpu + "index" + std::to_string(index) + "/";
    if (machine.number(cache + "level") != wanted_level) continue;
    std::string size = machine.value(cache + "size");
    if (size.empty() || size.back() != 'K') return std::nullopt;
    size.pop_back();
    const auto kilobytes = to_number(size);
    if (!kilobytes || *kilobytes > (1u << 30)) return std::nullopt;
    // How many logical processors share one: bits of "shared_cpu_map", "00000000,0000000f".
    std::uint64_t sharers = 0;
    for (const char c : machine.value(cache + "shared_cpu_map")) {
      const auto digit = to_number_hex(std::string_view(&c, 1));
      if (digit) sharers += static_cast<std::uint64_t>(__builtin_popcountll(*digit));
    }
    const std::uint64_t threads_a_core =
        std::max<std::uint64_t>(logical / std::max<std::uint64_t>(cores, 1), 1);
    const std::uint64_t sharing_cores = std::max<std::uint64_t>(sharers / threads_a_core, 1);
    return *kilobytes * std::max<std::uint64_t>(cores / sharing_cores, 1);
  }
  return std::nullopt;
}

// "Intel(R) … CPU @ 2.60GHz": the speed it is sold with.
std::optional<std::uint64_t> advertised_mhz(std::string_view name) {
  const std::size_t at = name.find("@ ");
  const std::size_t unit = name.find("GHz");
  if (at == std::string_view::npos || unit == std::string_view::npos || unit < at)
    return std::nullopt;
  std::string_view fraction;
  const auto whole = to_number(cut_at(name.substr(at + 2, unit - at - 2), '.', &fraction));
  if (!whole || *whole > 100) return std::nullopt;
  std::string digits(fraction.substr(0, 3));
  digits.resize(3, '0');
  return *whole * 1'000 + to_number(digits).value_or(0);
}

}  // namespace

void collect_firmware(const Machine& machine, const Facts& facts,
                      v1::HardwareInventory& inventory) {
  Table table(inventory, "Win32_BIOS", cimv2, 5,
              {"Name", "SoftwareElementID", "SoftwareElementState", "TargetOperatingSystem",
               "Version", "BIOSVersion", "Caption", "Description", "Manufacturer", "PrimaryBIOS",
               "ReleaseDate", "SerialNumber", "SMBIOSBIOSVersion", "SMBIOSMajorVersion",
               "SMBIOSMinorVersion", "SMBIOSPresent", "Status"});
  if (!facts.container.empty()) return;  // the firmware is the host's
  const auto dmi = [&](const char* name) {
    return machine.value(std::string("/sys/class/dmi/id/") + name);
  };
  const bool has_dmi = machine.exists("/sys/class/dmi/id");
  const bool has_tree = machine.exists("/proc/device-tree/model");
  if (!has_dmi && !has_tree) return;

  // Where there is no SMBIOS, U-Boot or another boot loader may have left its version.
  std::string version =
      has_dmi ? dmi("bios_version") : machine.value("/proc/device-tree/chosen/u-boot,version");
  const std::string name = !version.empty() ? version : has_dmi ? "BIOS" : "Device tree";
  if (version.empty()) version = "unknown";  // it is a key, and a key has a value
  Row row = *table.add(1);
  row.text("Name", name)
      .text("SoftwareElementID", name)
      .number("SoftwareElementState", 3);  // 3: running
  row.number("TargetOperatingSystem", cim_linux).text("Version", version).text("Caption", name);
  row.text("Description", name).flag("PrimaryBIOS", true).text("SerialNumber", facts.serial_number);
  row.flag("SMBIOSPresent", has_dmi).text("Status", "OK");
  if (!has_dmi) return;
  const SmbiosVersion smbios = smbios_version(machine);
  if (!dmi("bios_version").empty()) row.list("BIOSVersion", {dmi("bios_version")});
  row.text("Manufacturer", dmi("bios_vendor")).time("ReleaseDate", dmi_date(dmi("bios_date")));
  row.text("SMBIOSBIOSVersion", dmi("bios_version"));
  row.number("SMBIOSMajorVersion", smbios.major).number("SMBIOSMinorVersion", smbios.minor);
}

void collect_computer_system(const Machine& machine, const Facts& facts, WallTime now,
                             v1::HardwareInventory& inventory) {
  Table table(inventory, "Win32_ComputerSystem", cimv2, 1,
              {"Name", "Caption", "CurrentTimeZone", "DaylightInEffect", "Description", "Domain",
               "Manufacturer", "Model", "NumberOfProcessors", "Status", "SystemType",
               "TotalPhysicalMemory", "UserName"});
  if (facts.host_name.empty()) return;
  Row row = *table.add(1);
  row.text("Name", facts.host_name).text("Caption", facts.host_name);
  if (const auto zone = machine.zone(to_millis(now))) {
    row.signed_number("CurrentTimeZone", zone->offset_minutes)
        .flag("DaylightInEffect", zone->summer);
  }
  row.text("Description", machine.assigned("/etc/machine-info", "PRETTY_HOSTNAME"))
      .text("Domain", facts.domain);
  row.text("Manufacturer", facts.manufacturer).text("Model", facts.model);
  const auto packages = look_at_packages(machine);
  if (!packages.empty()) row.number("NumberOfProcessors", packages.size());
  row.text("Status", "OK").text("SystemType", windows_system_type(facts.architecture));
  machine.lines("/proc/meminfo", [&](std::string_view line) {
    if (!line.starts_with("MemTotal:")) return true;
    line.remove_prefix(9);
    const auto kilobytes = to_number(next_word(line));
    if (kilobytes && *kilobytes < (1ull << 50))
      row.number("TotalPhysicalMemory", *kilobytes * 1'024);
    return false;
  });
  row.text("UserName", look_at_sessions(machine).console_user);
}

void collect_processors(const Machine& machine, const Facts& facts,
                        v1::HardwareInventory& inventory) {
  const auto packages = look_at_packages(machine);
  if (packages.empty() && !machine.exists("/proc/cpuinfo")) return;
  Table table(inventory, "SMS_Processor", cimv2_sms, 1,
              {"DeviceID",
               "AddressWidth",
               "Architecture",
               "Availability",
               "Caption",
               "CpuStatus",
               "CurrentClockSpeed",
               "DataWidth",
               "Description",
               "Is64Bit",
               "IsHyperthreadCapable",
               "IsHyperthreadEnabled",
               "IsTrustedExecutionCapable",
               "IsVitualizationCapable",
               "L2CacheSize",
               "L3CacheSize",
               "Level",
               "Manufacturer",
               "MaxClockSpeed",
               "Name",
               "NormSpeed",
               "NumberOfCores",
               "NumberOfLogicalProcessors",
               "ProcessorType",
               "Revision",
               "Role",
               "Status",
               "StatusInfo",
               "Stepping",
               "SystemName",
               "Version"});
  table.churning({"CurrentClockSpeed"});
  std::size_t position = 0;
  for (const auto& [id, package] : packages) {
    std::optional<Row> added = table.add(limits::processors);
    if (!added) break;
    Row& row = *added;
    const std::string cpu = "/sys/devices/system/cpu/cpu" + std::to_string(package.first_cpu);
    const std::uint64_t width = is_64_bit(facts.architecture).value_or(false) ? 64 : 32;
    const bool x86 = !package.family.empty();
    const auto model = to_number(package.model), stepping = to_number(package.stepping);
    row.text("DeviceID", "CPU" + std::to_string(position++));
    if (!facts.architecture.empty()) row.number("AddressWidth", width).number("DataWidth", width);
    row.number("Architecture", windows_architecture(facts.architecture)).number("Availability", 3);
    std::string caption = package.name;
    if (x86) {
      // Windows' own words for a processor model.
      caption = (package.vendor == "GenuineIntel" && width == 64)   ? "Intel64"
                : (package.vendor == "AuthenticAMD" && width == 64) ? "AMD64"
                                                                    : "x86";
      caption +=
          " Family " + package.family + " Model " + package.model + " Stepping " + package.stepping;
      row.text("Version", "Model " + package.model + ", Stepping " + package.stepping);
      row.number("Level", to_number(package.family)).text("Stepping", package.stepping);
      if (model && stepping && *model < 256 && *stepping < 256)
        row.number("Revision", *model << 8 | *stepping);
      row.flag("IsTrustedExecutionCapable", package.trusted_execution);
      row.flag("IsVitualizationCapable", package.virtualization);  // the site's own spelling
      row.flag("IsHyperthreadCapable", package.hyperthreading_capable);
    } else {
      row.text("Stepping", package.stepping);
    }
    row.text("Caption", caption).text("Description", caption).number("CpuStatus", 1);
    const auto khz = [&](const char* name) -> std::optional<std::uint64_t> {
      const auto value = machine.number(cpu + "/cpufreq/" + name);
      return value && *value < 100'000'000 ? std::optional(*value / 1'000) : std::nullopt;
    };
    auto current = khz("scaling_cur_freq");
    if (!current && package.mhz > 0) current = static_cast<std::uint64_t>(package.mhz);
    auto normal = khz("base_frequency");
    if (!normal) normal = advertised_mhz(package.name);
    auto most = khz("cpuinfo_max_freq");
    if (!most) most = normal ? normal : current;
    row.number("CurrentClockSpeed", current)
        .number("MaxClockSpeed", most)
        .number("NormSpeed", normal);
    row.flag("Is64Bit", is_64_bit(facts.architecture));
    row.flag("IsHyperthreadEnabled", package.logical > package.cores.size());
    row.number("L2CacheSize", cache_kilobytes(machine, package.first_cpu, package.cores.size(),
                                              package.logical, 2));
    row.number("L3CacheSize", cache_kilobytes(machine, package.first_cpu, package.cores.size(),
                                              package.logical, 3));
    row.text("Manufacturer", package.vendor).text("Name", package.name);
    row.number("NumberOfCores", package.cores.size())
        .number("NumberOfLogicalProcessors", package.logical);
    row.number("ProcessorType", 3).text("Role", "CPU").text("Status", "OK").number("StatusInfo", 3);
    row.text("SystemName", facts.host_name);
  }
}

}  // namespace greengate::agent
