#include "agent/collectors/machine.h"

#include "agent/collectors/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace greengate::agent {
namespace {

struct Fd {
  int fd;
  ~Fd() {
    if (fd >= 0) close(fd);
  }
};

ssize_t read_some(int fd, char* into, std::size_t bytes) {
  for (;;) {
    const ssize_t got = read(fd, into, bytes);
    if (got >= 0 || errno != EINTR) return got;
  }
}

const std::string recorded = "/recorded/";

}  // namespace

bool LineCutter::feed(std::string_view piece, const std::function<bool(std::string_view)>& take) {
  while (!stopped_ && !piece.empty()) {
    const std::size_t end = piece.find('\n');
    const std::string_view part = piece.substr(0, end);
    const std::size_t room = limits::line_bytes - std::min(line_.size(), limits::line_bytes);
    if (end != std::string_view::npos && line_.empty()) {
      stopped_ = !take(part.substr(0, room));  // the common case needs no copy
    } else {
      line_ += part.substr(0, room);
      if (end != std::string_view::npos) {
        stopped_ = !take(line_);
        line_.clear();
      }
    }
    piece.remove_prefix(end == std::string_view::npos ? piece.size() : end + 1);
  }
  return !stopped_;
}

void LineCutter::finish(const std::function<bool(std::string_view)>& take) {
  if (!stopped_ && !line_.empty()) take(line_);
}

Machine::Machine(const MachineView& view)
    : live_(view.root == "/"),
      may_run_commands_(view.may_run_commands && live_),
      patience_(view.command_patience),
      root_(::open(view.root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {}

Machine::~Machine() {
  if (root_ >= 0) close(root_);
}

int Machine::open(const std::string& path, int flags) const {
  // Non-blocking, so that a pipe in a file's place cannot hold us.
  flags |= O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  if (live_) return ::open(path.c_str(), flags);
  if (root_ < 0) return -1;
  // A recording is a world of its own: absolute links start at its root and none leads out.
  open_how how{};
  if (flags & O_PATH) flags &= ~(O_NONBLOCK | O_NOCTTY);
  how.flags = static_cast<std::uint64_t>(flags);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(syscall(SYS_openat2, root_, path.c_str(), &how, sizeof how));
}

std::optional<std::string> Machine::bytes(const std::string& path, std::size_t bytes_max) const {
  const Fd file{open(path, O_RDONLY)};
  struct stat about;
  if (file.fd < 0 || fstat(file.fd, &about) != 0 || !S_ISREG(about.st_mode)) return std::nullopt;
  std::string content;
  std::array<char, 4'096> buffer;
  while (content.size() < bytes_max) {
    const ssize_t got =
        read_some(file.fd, buffer.data(), std::min(buffer.size(), bytes_max - content.size()));
    if (got < 0 && content.empty()) return std::nullopt;
    if (got <= 0) break;
    content.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return content;
}

std::string Machine::value(const std::string& path) const {
  const std::optional<std::string> content = bytes(path);
  return content ? std::string(trimmed(*content)) : std::string();
}

std::optional<std::uint64_t> Machine::number(const std::string& path) const {
  const std::optional<std::string> content = bytes(path, 64);
  return content ? to_number(*content) : std::nullopt;
}

bool Machine::lines(const std::string& path, const std::function<bool(std::string_view)>& take,
                    std::uint64_t bytes_max) const {
  const Fd file{open(path, O_RDONLY)};
  struct stat about;
  if (file.fd < 0 || fstat(file.fd, &about) != 0 || !S_ISREG(about.st_mode)) return false;
  LineCutter cutter;
  std::array<char, 16'384> buffer;
  for (std::uint64_t seen = 0; seen < bytes_max;) {
    const ssize_t got =
        read_some(file.fd, buffer.data(), std::min<std::uint64_t>(buffer.size(), bytes_max - seen));
    if (got <= 0) break;
    seen += static_cast<std::uint64_t>(got);
    if (!cutter.feed({buffer.data(), static_cast<std::size_t>(got)}, take)) return true;
  }
  cutter.finish(take);
  return true;
}

std::string Machine::assigned(const std::string& path, std::string_view key) const {
  std::string found;
  lines(path, [&](std::string_view line) {
    std::optional<std::string> value = assignment(line, key);
    if (value) found = std::move(*value);
    return !value;
  });
  return found;
}

bool Machine::each_name(const std::string& path,
                        const std::function<bool(std::string_view)>& take) const {
  const int fd = open(path, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return false;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd), closedir);
  if (!directory) {
    close(fd);
    return false;
  }
  for (std::size_t seen = 0; seen < limits::directory_entries; ++seen) {
    const dirent* entry = readdir(directory.get());
    if (!entry) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != ".." && !take(name)) break;
  }
  return true;
}

std::optional<std::vector<std::string>> Machine::list(const std::string& path,
                                                      std::size_t names_max) const {
  std::vector<std::string> names;
  const bool seen = each_name(path, [&](std::string_view name) {
    if (names.size() < names_max) names.emplace_back(name);
    return names.size() < names_max;
  });
  if (!seen) return std::nullopt;
  std::sort(names.begin(), names.end());
  return names;
}

std::string Machine::link(const std::string& path) const {
  std::array<char, 4'096> text;
  ssize_t length = -1;
  if (live_) {
    length = readlink(path.c_str(), text.data(), text.size());
  } else {
    const Fd file{open(path, O_PATH | O_NOFOLLOW)};
    if (file.fd >= 0) length = readlinkat(file.fd, "", text.data(), text.size());
  }
  return length > 0 ? std::string(text.data(), static_cast<std::size_t>(length)) : std::string();
}

bool Machine::exists(const std::string& path) const {
  const Fd file{open(path, O_PATH)};
  return file.fd >= 0;
}

std::optional<std::int64_t> Machine::modified_ms(const std::string& path) const {
  const Fd file{open(path, O_PATH)};
  struct stat about;
  if (file.fd < 0 || fstat(file.fd, &about) != 0) return std::nullopt;
  return static_cast<std::int64_t>(about.st_mtim.tv_sec) * 1'000;
}

Ran Machine::command(const std::string& name, const std::string& program,
                     const std::vector<std::string>& arguments,
                     const std::function<bool(std::string_view)>& take) const {
  if (!live_) return lines(recorded + name, take, limits::command_bytes) ? Ran::well : Ran::absent;
  if (!may_run_commands_) return Ran::absent;
  LineCutter cutter;
  const Ran ran = run_program(
      {"/usr/bin/" + program, "/bin/" + program, "/usr/sbin/" + program, "/sbin/" + program},
      arguments, patience_, [&](std::string_view piece) { return cutter.feed(piece, take); });
  if (ran == Ran::well) cutter.finish(take);
  return ran;
}

std::vector<std::optional<Space>> Machine::space(
    const std::vector<std::string>& mount_points) const {
  if (live_) return look_at_space(mount_points, patience_);
  std::vector<std::optional<Space>> found(mount_points.size());
  lines(recorded + "space", [&](std::string_view line) {
    const std::string_view mount_point = next_word(line);
    const auto figure = [&] { return to_number(next_word(line)).value_or(0); };
    const Space space{figure(), figure(), figure(), figure()};
    for (std::size_t i = 0; i < mount_points.size(); ++i) {
      if (mount_points[i] == mount_point) found[i] = space;
    }
    return true;
  });
  return found;
}

std::vector<InterfaceAddress> Machine::addresses() const {
  if (live_) return kernel_addresses();
  std::vector<InterfaceAddress> found;
  lines(recorded + "addresses", [&](std::string_view line) {
    InterfaceAddress address;
    address.interface_index = static_cast<std::uint32_t>(to_number(next_word(line)).value_or(0));
    address.interface = std::string(next_word(line));
    std::string_view prefix;
    address.address = std::string(cut_at(next_word(line), '/', &prefix));
    address.prefix_length = static_cast<std::uint32_t>(to_number(prefix).value_or(0));
    address.leased = next_word(line) == "leased";
    if (complete_address(address)) found.push_back(std::move(address));
    return found.size() < limits::addresses;
  });
  return found;
}

std::string Machine::architecture() const {
  if (!live_) return value("/proc/sys/kernel/arch");
  utsname name;
  return uname(&name) == 0 ? name.machine : std::string();
}

std::optional<Machine::Zone> Machine::zone(std::int64_t time_ms) const {
  if (!live_) {
    const auto minutes = to_signed(value(recorded + "utc-offset-minutes"));
    if (!minutes || *minutes < -1'440 || *minutes > 1'440) return std::nullopt;
    return Zone{static_cast<int>(*minutes), false};
  }
  const std::time_t seconds = static_cast<std::time_t>(time_ms / 1'000);
  std::tm local{};
  tzset();
  if (!localtime_r(&seconds, &local)) return std::nullopt;
  return Zone{static_cast<int>(local.tm_gmtoff / 60), local.tm_isdst > 0};
}

std::uint64_t Machine::ticks_per_second() const {
  const long ticks = live_ ? sysconf(_SC_CLK_TCK) : 100;
  return ticks > 0 ? static_cast<std::uint64_t>(ticks) : 100;
}

std::uint64_t Machine::page_bytes() const {
  const long bytes = live_ ? sysconf(_SC_PAGESIZE) : 4'096;
  return bytes > 0 ? static_cast<std::uint64_t>(bytes) : 4'096;
}

std::string Machine::hypervisor_signature() const {
#if defined(__x86_64__) || defined(__i386__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned hypervisor_present = 1u << 31;  // CPUID leaf 1, ECX
  if (!live_ || !__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & hypervisor_present)) return {};
  __cpuid(0x4000'0000u, eax, ebx, ecx, edx);
  char signature[12];
  std::memcpy(signature, &ebx, 4);
  std::memcpy(signature + 4, &ecx, 4);
  std::memcpy(signature + 8, &edx, 4);
  return clean_text({signature, sizeof signature}, sizeof signature);
#else
  return {};
#endif
}

}  // namespace greengate::agent
