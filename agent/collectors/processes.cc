#include "agent/collectors/classes.h"
#include "agent/collectors/limits.h"
#include "agent/collectors/table.h"
#include "agent/collectors/text.h"

#include <algorithm>
#include <array>

namespace greengate::agent {
namespace {

constexpr std::uint64_t kernel_thread = 0x0020'0000;  // PF_KTHREAD in /proc/[pid]/stat's flags
constexpr std::size_t open_files_counted = 65'536;

// The fields of /proc/[pid]/stat we use, by proc(5)'s numbers less one.
struct Stat {
  std::string name;
  char state = 0;
  std::uint64_t parent = 0, flags = 0, minor_faults = 0, major_faults = 0, user_ticks = 0,
                kernel_ticks = 0;
  std::uint64_t threads = 0, start_ticks = 0, virtual_bytes = 0, resident_pages = 0;
};

std::optional<Stat> parse_stat(std::string_view text) {
  // The name is in brackets and may hold brackets, spaces and anything else; the last ')' ends it.
  const std::size_t open = text.find('('), close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return std::nullopt;
  Stat stat;
  stat.name = std::string(text.substr(open + 1, close - open - 1));
  std::string_view rest = text.substr(close + 1);
  std::array<std::string_view, 22> words;  // words[0] is field 3, the state
  for (auto& word : words) word = next_word(rest);
  if (words[21].empty()) return std::nullopt;
  const auto field = [&](std::size_t proc_number) {
    return to_number(words[proc_number - 3]).value_or(0);
  };
  stat.state = words[0].front();
  stat.parent = field(4);
  stat.flags = field(9);
  stat.minor_faults = field(10);
  stat.major_faults = field(12);
  stat.user_ticks = field(14);
  stat.kernel_ticks = field(15);
  stat.threads = field(20);
  stat.start_ticks = field(22);
  stat.virtual_bytes = field(23);
  stat.resident_pages = field(24);
  return stat;
}

// CIM_Process.ExecutionState: 3 running, 4 blocked, 5 suspended, 7 terminated.
std::optional<std::uint64_t> execution_state(char state) {
  switch (state) {
    case 'R':
      return 3;
    case 'S':
    case 'D':
    case 'I':
      return 4;
    case 'T':
    case 't':
      return 5;
    case 'Z':
    case 'X':
      return 7;
    default:
      return std::nullopt;
  }
}

std::string executable(const Machine& machine, const std::string& folder) {
  std::string path = machine.link(folder + "exe");
  constexpr std::string_view deleted = " (deleted)";
  if (path.ends_with(deleted)) path.resize(path.size() - deleted.size());
  if (!path.empty()) return path;
  // Another user's: what it was started as, if that is a path. Arguments are never read: they may
  // hold secrets.
  const auto command = machine.bytes(folder + "cmdline", limits::value_file_bytes);
  if (command && command->starts_with('/')) return std::string(cut_at(*command, '\0'));
  return {};
}

std::optional<std::uint64_t> open_files(const Machine& machine, const std::string& folder) {
  std::uint64_t count = 0;
  const bool seen = machine.each_name(
      folder + "fd", [&](std::string_view) { return ++count < open_files_counted; });
  return seen && count < open_files_counted ? std::optional(count) : std::nullopt;
}

struct Units {
  std::uint64_t ticks_per_second, page_bytes;
};

void add_process(const Machine& machine, const Facts& facts, const Units& units, std::uint64_t pid,
                 Row& row, const Stat& stat) {
  const std::string folder = "/proc/" + std::to_string(pid) + "/";
  const std::string path = executable(machine, folder);
  // The kernel keeps only 15 characters of a name; the program's own is better when it begins with
  // them.
  std::string name = stat.name;
  if (name.size() == 15 && last_component(path).starts_with(name))
    name = std::string(last_component(path));
  row.text("Handle", std::to_string(pid))
      .number("ProcessId", pid)
      .number("ParentProcessId", stat.parent);
  row.text("Name", name)
      .text("Caption", name)
      .text("Description", name)
      .text("ExecutablePath", path);
  const std::uint64_t per_second = units.ticks_per_second;
  if (facts.booted_at_ms && stat.start_ticks < (1ull << 52)) {
    row.time("CreationDate", *facts.booted_at_ms +
                                 static_cast<std::int64_t>(stat.start_ticks * 1'000 / per_second));
  }
  constexpr std::uint64_t windows_ticks_per_second = 10'000'000;  // 100 ns
  const auto windows_time = [&](std::uint64_t ticks) -> std::optional<std::uint64_t> {
    return ticks < (1ull << 40)
               ? std::optional(ticks * (windows_ticks_per_second / 1'000) * 1'000 / per_second)
               : std::nullopt;
  };
  row.number("KernelModeTime", windows_time(stat.kernel_ticks))
      .number("UserModeTime", windows_time(stat.user_ticks));
  row.number("PageFaults", stat.minor_faults + stat.major_faults)
      .number("ThreadCount", stat.threads);
  row.number("ExecutionState", execution_state(stat.state))
      .number("VirtualSize", stat.virtual_bytes);
  if (stat.resident_pages < (1ull << 48))
    row.number("WorkingSetSize", stat.resident_pages * units.page_bytes);
  machine.lines(folder + "status", [&](std::string_view line) {
    std::string_view value;
    const std::string_view key = cut_at(line, ':', &value);
    const auto kilobytes = [&] { return to_number(next_word(value)); };
    if (key == "VmPeak") {
      if (const auto peak = kilobytes(); peak && *peak < (1ull << 50))
        row.number("PeakVirtualSize", *peak * 1'024);
    } else if (key == "VmHWM") {
      row.number("PeakWorkingSetSize", kilobytes());
    } else if (key == "VmSwap") {
      row.number("PageFileUsage", kilobytes());
    }
    return true;
  });
  row.number("HandleCount", open_files(machine, folder));
  machine.lines(folder + "io", [&](std::string_view line) {
    std::string_view value;
    const std::string_view key = cut_at(line, ':', &value);
    if (key == "rchar") row.number("ReadTransferCount", to_number(value));
    if (key == "wchar") row.number("WriteTransferCount", to_number(value));
    if (key == "syscr") row.number("ReadOperationCount", to_number(value));
    if (key == "syscw") row.number("WriteOperationCount", to_number(value));
    return true;
  });
}

}  // namespace

void collect_processes(const Machine& machine, const Facts& facts,
                       v1::HardwareInventory& inventory) {
  std::vector<std::uint64_t> pids;
  const bool seen = machine.each_name("/proc", [&](std::string_view name) {
    const auto pid = to_number(name);
    if (pid && *pid > 0 && *pid <= 0xFFFF'FFFF) pids.push_back(*pid);
    return true;
  });
  if (!seen) return;
  std::sort(pids.begin(), pids.end());
  Table table(inventory, "Win32_Process", cimv2, 1,
              {"Handle",
               "Caption",
               "CreationDate",
               "Description",
               "ExecutablePath",
               "ExecutionState",
               "HandleCount",
               "KernelModeTime",
               "Name",
               "PageFaults",
               "PageFileUsage",
               "ParentProcessId",
               "PeakVirtualSize",
               "PeakWorkingSetSize",
               "ProcessId",
               "ReadOperationCount",
               "ReadTransferCount",
               "ThreadCount",
               "UserModeTime",
               "VirtualSize",
               "WorkingSetSize",
               "WriteOperationCount",
               "WriteTransferCount"});
  table.churning({"ExecutionState", "HandleCount", "KernelModeTime", "PageFaults", "PageFileUsage",
                  "PeakVirtualSize", "PeakWorkingSetSize", "ReadOperationCount", "ReadTransferCount",
                  "ThreadCount", "UserModeTime", "VirtualSize", "WorkingSetSize", "WriteOperationCount",
                  "WriteTransferCount"});
  const Units units{machine.ticks_per_second(), machine.page_bytes()};
  for (const std::uint64_t pid : pids) {
    const auto text = machine.bytes("/proc/" + std::to_string(pid) + "/stat");
    const std::optional<Stat> stat = text ? parse_stat(*text) : std::nullopt;
    // Gone meanwhile, or a thread of the kernel, which Windows does not list either.
    if (!stat || (stat->flags & kernel_thread)) continue;
    std::optional<Row> row = table.add(limits::processes);
    if (!row) break;
    add_process(machine, facts, units, pid, *row, *stat);
  }
}

}  // namespace greengate::agent
