#include "agent/watchers/process_table.h"

#include "agent/collectors/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

namespace greengate::agent {
namespace {

constexpr std::size_t processes_max = 65'536;

std::string content(const std::string& path, std::size_t bytes_max) {
  const int fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return "";
  std::string bytes(bytes_max, '\0');
  const ssize_t got = read(fd, bytes.data(), bytes.size());
  close(fd);
  bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return bytes;
}

}  // namespace

std::string ProcessTable::file(std::uint32_t process_id, const char* name) const {
  return root_ + "/" + std::to_string(process_id) + "/" + name;
}

std::vector<RunningProcess> ProcessTable::processes() const {
  std::vector<RunningProcess> found;
  DIR* folder = opendir(root_.c_str());
  if (!folder) return found;
  for (const dirent* entry = readdir(folder); entry && found.size() < processes_max; entry = readdir(folder)) {
    const auto id = to_number(entry->d_name);
    if (!id || *id == 0 || *id > 0xffffffffu) continue;
    RunningProcess process;
    process.process_id = static_cast<std::uint32_t>(*id);
    // "12 (a name) may hold anything) S 1 …": the name ends at the last bracket; the start is word 22 of all.
    const std::string stat = content(file(process.process_id, "stat"), 1'024);
    const std::size_t open = stat.find('('), close = stat.rfind(')');
    if (open == std::string::npos || close == std::string::npos || close < open) continue;  // gone meanwhile
    process.command = stat.substr(open + 1, close - open - 1);
    std::string_view rest = std::string_view(stat).substr(close + 1);
    for (int word = 3; word < 22; ++word) next_word(rest);
    const auto start = to_number(next_word(rest));
    if (!start) continue;
    process.start_ticks = *start;
    found.push_back(std::move(process));
  }
  closedir(folder);
  return found;
}

std::optional<std::int64_t> ProcessTable::since_boot_ms() const {
  const std::string text = content(root_ + "/uptime", 128);
  std::string_view fraction;
  std::string_view rest = text;
  const std::string_view seconds = cut_at(next_word(rest), '.', &fraction);
  const auto whole = to_number(seconds);
  if (!whole || *whole > 1'000'000'000'000) return std::nullopt;
  const auto part = to_number(fraction.substr(0, 2));
  return static_cast<std::int64_t>(*whole) * 1'000 + static_cast<std::int64_t>(part.value_or(0)) * 10;
}

std::string ProcessTable::boot_id() const {
  return std::string(trimmed(content(root_ + "/sys/kernel/random/boot_id", 64)));
}

std::int64_t ProcessTable::ticks_per_second() const {
  const long ticks = sysconf(_SC_CLK_TCK);
  return ticks > 0 ? ticks : 100;
}

std::string ProcessTable::program(std::uint32_t process_id) const {
  std::array<char, 4'096> text;
  const ssize_t got = readlink(file(process_id, "exe").c_str(), text.data(), text.size());
  if (got <= 0 || static_cast<std::size_t>(got) == text.size()) return "";
  std::string path(text.data(), static_cast<std::size_t>(got));
  constexpr std::string_view gone = " (deleted)";  // upgraded while it runs
  if (path.ends_with(gone)) path.resize(path.size() - gone.size());
  return path;
}

std::vector<std::string> ProcessTable::command_line(std::uint32_t process_id) const {
  const std::string text = content(file(process_id, "cmdline"), 4'096);
  std::vector<std::string> words;
  std::string_view rest = text;
  while (!rest.empty() && words.size() < 4) {
    std::string_view after;
    words.emplace_back(cut_at(rest, '\0', &after));
    rest = after;
  }
  return words;
}

std::optional<std::uint32_t> ProcessTable::user(std::uint32_t process_id) const {
  struct stat facts {};
  if (stat((root_ + "/" + std::to_string(process_id)).c_str(), &facts) != 0) return std::nullopt;
  return facts.st_uid;
}

}  // namespace greengate::agent
