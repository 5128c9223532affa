#include "agent/collectors/classes.h"
#include "agent/collectors/limits.h"
#include "agent/collectors/table.h"
#include "agent/collectors/text.h"

#include <algorithm>
#include <cstdio>

namespace greengate::agent {
namespace {

// Kilobytes of the few lines of /proc/meminfo that Windows asks for.
struct Memory {
  std::optional<std::uint64_t> total, free, available, swap_total, swap_free;
};

Memory look_at_memory(const Machine& machine) {
  Memory memory;
  machine.lines("/proc/meminfo", [&](std::string_view line) {
    std::string_view value;
    const std::string_view key = cut_at(line, ':', &value);
    auto kilobytes = to_number(next_word(value));
    if (kilobytes && *kilobytes >= (1ull << 50)) kilobytes.reset();
    if (key == "MemTotal") memory.total = kilobytes;
    if (key == "MemFree") memory.free = kilobytes;
    if (key == "MemAvailable") memory.available = kilobytes;
    if (key == "SwapTotal") memory.swap_total = kilobytes;
    if (key == "SwapFree") memory.swap_free = kilobytes;
    return true;
  });
  if (!memory.available) memory.available = memory.free;  // before Linux 3.14
  return memory;
}

std::optional<std::uint64_t> sum(std::optional<std::uint64_t> a, std::optional<std::uint64_t> b) {
  return a && b ? std::optional(*a + *b) : std::nullopt;
}

struct Language {
  const char* locale;
  std::uint16_t lcid;
};

// Windows' language ids of the locales that servers are set to (Microsoft's MS-LCID).
constexpr Language languages[] = {
    {"ar_SA", 0x0401}, {"bg_BG", 0x0402}, {"zh_TW", 0x0404}, {"cs_CZ", 0x0405}, {"da_DK", 0x0406},
    {"de_DE", 0x0407}, {"el_GR", 0x0408}, {"en_US", 0x0409}, {"fi_FI", 0x040B}, {"fr_FR", 0x040C},
    {"he_IL", 0x040D}, {"hu_HU", 0x040E}, {"is_IS", 0x040F}, {"it_IT", 0x0410}, {"ja_JP", 0x0411},
    {"ko_KR", 0x0412}, {"nl_NL", 0x0413}, {"nb_NO", 0x0414}, {"pl_PL", 0x0415}, {"pt_BR", 0x0416},
    {"ro_RO", 0x0418}, {"ru_RU", 0x0419}, {"hr_HR", 0x041A}, {"sk_SK", 0x041B}, {"sv_SE", 0x041D},
    {"th_TH", 0x041E}, {"tr_TR", 0x041F}, {"id_ID", 0x0421}, {"uk_UA", 0x0422}, {"sl_SI", 0x0424},
    {"et_EE", 0x0425}, {"lv_LV", 0x0426}, {"lt_LT", 0x0427}, {"vi_VN", 0x042A}, {"hi_IN", 0x0439},
    {"zh_CN", 0x0804}, {"de_CH", 0x0807}, {"en_GB", 0x0809}, {"es_MX", 0x080A}, {"fr_BE", 0x080C},
    {"it_CH", 0x0810}, {"nl_BE", 0x0813}, {"nn_NO", 0x0814}, {"pt_PT", 0x0816}, {"de_AT", 0x0C07},
    {"en_AU", 0x0C09}, {"es_ES", 0x0C0A}, {"fr_CA", 0x0C0C}, {"en_CA", 0x1009}, {"fr_CH", 0x100C},
    {"en_NZ", 0x1409}, {"en_IE", 0x1809}, {"en_ZA", 0x1C09}, {"en_IN", 0x4009},
};

void describe_language(const Machine& machine, Row& row) {
  std::string setting = machine.assigned("/etc/locale.conf", "LANG");
  if (setting.empty()) setting = machine.assigned("/etc/default/locale", "LANG");
  std::string_view coding;
  const std::string_view name = cut_at(setting, '.', &coding);
  const std::string code_set = upper(coding);
  if (code_set == "UTF-8" || code_set == "UTF8")
    row.text("CodeSet", "65001");  // Windows' code page for UTF-8
  for (const Language& language : languages) {
    if (name != language.locale) continue;
    char hex[8];
    std::snprintf(hex, sizeof hex, "%04x", language.lcid);
    std::string tag(name);
    std::replace(tag.begin(), tag.end(), '_', '-');
    row.text("Locale", hex).number("OSLanguage", language.lcid).list("MUILanguages", {tag});
  }
}

// Linux keeps no installation date; installers leave things that are written once.
std::optional<std::int64_t> installed_at(const Machine& machine) {
  for (const char* witness : {"/var/log/installer/initial-status.gz", "/var/log/installer",
                              "/root/anaconda-ks.cfg", "/etc/machine-id", "/lost+found"}) {
    const auto time = machine.modified_ms(witness);
    if (time && *time > 0) return time;
  }
  return std::nullopt;
}

// 1 workstation, 3 server, as far as somebody has said so.
std::optional<std::uint64_t> product_type(const Machine& machine) {
  const std::string variant = machine.assigned("/etc/os-release", "VARIANT_ID");
  if (variant.find("server") != std::string::npos) return 3;
  if (variant.find("workstation") != std::string::npos ||
      variant.find("desktop") != std::string::npos)
    return 1;
  const std::string target = machine.link("/etc/systemd/system/default.target");
  if (target.ends_with("graphical.target")) return 1;
  if (target.ends_with("multi-user.target")) return 3;
  return std::nullopt;
}

}  // namespace

Sessions look_at_sessions(const Machine& machine) {
  // logind's own notes, one file a session; readable by everyone.
  Sessions sessions;
  const auto names = machine.list("/run/systemd/sessions", 2 * limits::sessions);
  if (!names) return sessions;
  std::uint64_t count = 0;
  for (const std::string& name : *names) {
    if (name.ends_with(".ref") || count >= limits::sessions) continue;
    std::string user, session_class, seat, remote;
    machine.lines("/run/systemd/sessions/" + name, [&](std::string_view line) {
      const auto take = [&](std::string_view key, std::string& into) {
        if (const auto value = assignment(line, key)) into = *value;
      };
      take("USER", user), take("CLASS", session_class), take("SEAT", seat), take("REMOTE", remote);
      return true;
    });
    if (session_class != "user") continue;
    ++count;
    if (!seat.empty() && remote != "1") sessions.console_user = user;
  }
  sessions.count = count;
  return sessions;
}

void collect_operating_system(const Machine& machine, const Facts& facts, WallTime now,
                              v1::HardwareInventory& inventory) {
  Table table(inventory, "Win32_OperatingSystem", cimv2, 1,
              {"Name",
               "BootDevice",
               "BuildNumber",
               "BuildType",
               "Caption",
               "CodeSet",
               "CSDVersion",
               "CurrentTimeZone",
               "Description",
               "FreePhysicalMemory",
               "FreeSpaceInPagingFiles",
               "FreeVirtualMemory",
               "InstallDate",
               "LastBootUpTime",
               "LocalDateTime",
               "Locale",
               "Manufacturer",
               "MaxNumberOfProcesses",
               "MUILanguages",
               "NumberOfProcesses",
               "NumberOfUsers",
               "OSArchitecture",
               "OSLanguage",
               "OSType",
               "OtherTypeDescription",
               "Primary",
               "ProductType",
               "SizeStoredInPagingFiles",
               "Status",
               "SystemDevice",
               "TotalSwapSpaceSize",
               "TotalVirtualMemorySize",
               "TotalVisibleMemorySize",
               "Version"});
  table.churning({"FreePhysicalMemory", "FreeSpaceInPagingFiles", "FreeVirtualMemory", "LocalDateTime",
                  "NumberOfProcesses", "NumberOfUsers"});
  if (facts.os_name.empty()) return;
  Row row = *table.add(1);
  row.text("Name", facts.os_name).text("Caption", facts.os_name).text("Version", facts.os_version);
  row.text("BuildNumber", facts.kernel)
      .text("BuildType", machine.value("/proc/sys/kernel/version"));
  row.text("Manufacturer", facts.os_vendor)
      .number("OSType", cim_linux)
      .flag("Primary", true)
      .text("Status", "OK");
  if (!facts.kernel.empty()) row.text("OtherTypeDescription", "Linux " + facts.kernel);
  if (facts.os_id == "debian")
    row.text("CSDVersion", machine.value("/etc/debian_version"));  // the point release
  row.text("Description", machine.assigned("/etc/machine-info", "PRETTY_HOSTNAME"));
  if (!facts.architecture.empty()) {
    const bool wide =
        facts.architecture.find("64") != std::string::npos || facts.architecture == "s390x";
    row.text("OSArchitecture", wide ? "64-bit" : "32-bit");
  }

  const Memory memory = look_at_memory(machine);
  row.number("TotalVisibleMemorySize", memory.total).number("FreePhysicalMemory", memory.available);
  row.number("SizeStoredInPagingFiles", memory.swap_total)
      .number("FreeSpaceInPagingFiles", memory.swap_free);
  row.number("TotalSwapSpaceSize", memory.swap_total);
  row.number("TotalVirtualMemorySize", sum(memory.total, memory.swap_total));
  row.number("FreeVirtualMemory", sum(memory.available, memory.swap_free));

  row.time("LocalDateTime", to_millis(now)).time("LastBootUpTime", facts.booted_at_ms);
  row.time("InstallDate", installed_at(machine));
  if (const auto zone = machine.zone(to_millis(now)))
    row.signed_number("CurrentTimeZone", zone->offset_minutes);
  describe_language(machine, row);

  row.number("MaxNumberOfProcesses", machine.number("/proc/sys/kernel/pid_max"));
  std::uint64_t running = 0;
  const bool counted = machine.each_name("/proc", [&](std::string_view name) {
    running += to_number(name).has_value() ? 1 : 0;
    return true;
  });
  if (counted) row.number("NumberOfProcesses", running);
  row.number("NumberOfUsers", look_at_sessions(machine).count)
      .number("ProductType", product_type(machine));

  std::string root_device, boot_device;
  for (const Mount& mount : look_at_mounts(machine)) {
    if (!mount.source.starts_with("/dev/")) continue;
    if (mount.mount_point == "/") root_device = mount.source;
    if (mount.mount_point == "/boot") boot_device = mount.source;
  }
  row.text("SystemDevice", root_device)
      .text("BootDevice", boot_device.empty() ? root_device : boot_device);
}

}  // namespace greengate::agent
