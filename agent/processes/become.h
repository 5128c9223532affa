#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace greengate::agent {

/// What one process may use; 0: as much as ours.
struct ChildLimits {
  std::uint64_t memory_bytes = 0;  ///< Address space.
  std::uint64_t cpu_seconds = 0;
  std::uint64_t file_bytes = 64u << 20;  ///< Of a file it writes.
  std::uint64_t open_files = 256;
  std::uint64_t processes = 0;  ///< Of its user together, threads included.
};

/// As whom it runs; only root can become another.
struct ChildUser {
  uid_t uid = 0;
  gid_t gid = 0;
  const gid_t* groups = nullptr;
  std::size_t group_count = 0;
};

/// A program about to be run. Everything it points to was made before the fork.
struct ChildImage {
  const char* program = nullptr;
  char* const* arguments = nullptr;
  char* const* environment = nullptr;
  int input = -1, output = -1, errors = -1;
  /// Told why nothing was run: an errno as an int; closed without a word when the program runs. -1: nobody is told.
  int report = -1;
  ChildLimits limits;
  bool own_session = false;        ///< Else a process group of its own.
  bool lowest_priority = false;    ///< For processor and disk.
  bool no_new_privileges = false;  ///< Neither setuid programs nor file or inherited capabilities raise it.
  const ChildUser* user = nullptr; ///< None: as ours.
  pid_t parent = 0;                ///< Who forks: it ends when that thread does. 0: it outlives us.
};

inline constexpr int exit_no_format = 125;    ///< The system does not know how to run it.
inline constexpr int exit_not_started = 126;  ///< Anything else that went wrong before it ran.

/// Between fork and exec: becomes the program with its bounds, no signal blocked or ignored, no descriptor of ours, in folder /. Only system
/// calls, since other threads may hold any lock.
[[noreturn]] void become(const ChildImage& image);

/// Closes every descriptor of this process from `first` on that is not one of `kept`. System calls only.
void close_all_but(int first, const int* kept, std::size_t count);

}  // namespace greengate::agent
