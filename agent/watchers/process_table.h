#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace greengate::agent {

/// One process now running.
struct RunningProcess {
  std::uint32_t process_id = 0;
  std::uint64_t start_ticks = 0;  ///< Since the machine started; with the id it names a process for good.
  std::string command;            ///< The kernel's short name.
};

/// The processes of /proc, or of a folder that looks like it.
///
/// Limits    65,536 processes; each file is read to a bound and never waited for.
/// Threads   One.
/// Source    proc(5)
class ProcessTable {
 public:
  explicit ProcessTable(std::string root = "/proc") : root_(std::move(root)) {}

  std::vector<RunningProcess> processes() const;
  /// Milliseconds since the machine started, sleep included.
  std::optional<std::int64_t> since_boot_ms() const;
  /// Another one for each start of the machine; empty when unknown.
  std::string boot_id() const;
  std::int64_t ticks_per_second() const;

  /// The program file, when we may know it: of other users' processes only root may.
  std::string program(std::uint32_t process_id) const;
  /// The first words of the command line.
  std::vector<std::string> command_line(std::uint32_t process_id) const;
  std::optional<std::uint32_t> user(std::uint32_t process_id) const;

 private:
  std::string file(std::uint32_t process_id, const char* name) const;
  std::string root_;
};

}  // namespace greengate::agent
