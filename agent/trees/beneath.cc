#include "agent/trees/beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <optional>

namespace greengate::agent {
namespace {

constexpr int renames_outlasted = 8;  // while somebody moves folders about, the kernel says EAGAIN

Descriptor refused(int why) {
  errno = why;
  return {};
}

bool is_plain(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) return false;
  for (;;) {
    const std::size_t slash = path.find('/');
    const std::string_view component = path.substr(0, slash);
    if (component.empty() || component == "." || component == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

// Nothing: this kernel, or a filter before it, does not know the call.
std::optional<Descriptor> open_at_once(int base, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (int tries = 0;; ++tries) {
    const long fd = syscall(SYS_openat2, base, path.c_str(), &how, sizeof how);
    if (fd >= 0) return Descriptor(static_cast<int>(fd));
    if (errno == ENOSYS || errno == EPERM) return std::nullopt;
    const bool again = errno == EINTR || errno == EAGAIN;
    if (!again || tries == renames_outlasted) return Descriptor();
  }
}

Descriptor open_by_steps(int base, std::string_view path, int flags) {
  Descriptor held;
  for (;;) {
    const int here = held ? held.get() : base;
    const std::size_t slash = path.find('/');
    const std::string component(path.substr(0, slash));
    if (slash == std::string_view::npos) {
      // O_PATH opens a link itself instead of refusing it.
      struct stat about {};
      if ((flags & O_PATH) && fstatat(here, component.c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0 &&
          S_ISLNK(about.st_mode)) {
        return refused(ELOOP);
      }
      Descriptor last(openat(here, component.c_str(), flags));
      if (last && (flags & O_PATH) && fstat(last.get(), &about) == 0 && S_ISLNK(about.st_mode))
        return refused(ELOOP);
      return last;
    }
    Descriptor next(
        openat(here, component.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return next;
    held = std::move(next);
    path.remove_prefix(slash + 1);
  }
}

}  // namespace

Descriptor open_beneath(int base, std::string_view path, int flags, Opening how) {
  if (!is_plain(path)) return refused(EINVAL);
  flags |= O_NOFOLLOW | O_CLOEXEC;
  if (how == Opening::at_once) {
    if (auto opened = open_at_once(base, std::string(path), flags)) return std::move(*opened);
  }
  return open_by_steps(base, path, flags);
}

Descriptor open_folder(std::string_view absolute_path, Opening how) {
  while (absolute_path.size() > 1 && absolute_path.back() == '/') absolute_path.remove_suffix(1);
  if (!absolute_path.starts_with('/')) return refused(EINVAL);
  Descriptor root(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root || absolute_path == "/") return root;
  return open_beneath(root.get(), absolute_path.substr(1), O_RDONLY | O_DIRECTORY | O_NONBLOCK,
                      how);
}

Descriptor open_regular(int base, std::string_view path, struct stat& about, Opening how) {
  // First a handle that opens nothing: even O_NONBLOCK wakes some devices.
  const Descriptor handle = open_beneath(base, path, O_PATH, how);
  if (!handle || fstat(handle.get(), &about) != 0) return {};
  if (S_ISLNK(about.st_mode)) return refused(ELOOP);
  if (!S_ISREG(about.st_mode)) return refused(EINVAL);
  const int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  Descriptor file(open(("/proc/self/fd/" + std::to_string(handle.get())).c_str(), flags));
  if (file || errno != ENOENT) return file;
  // Without /proc: by name again, and it must be the same file.
  file = open_beneath(base, path, flags, how);
  struct stat again {};
  if (!file || fstat(file.get(), &again) != 0) return {};
  if (again.st_dev != about.st_dev || again.st_ino != about.st_ino) return refused(EINVAL);
  about = again;
  return file;
}

Standing standing_of(const struct stat& about) {
  const auto nanoseconds = [](const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
  };
  return {static_cast<std::uint64_t>(about.st_size), static_cast<std::uint64_t>(about.st_ino),
          nanoseconds(about.st_mtim), nanoseconds(about.st_ctim)};
}

}  // namespace greengate::agent
