#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace greengate::agent {

/// What [tasks], [scan], [restart] and [logs] in greengate-agent.toml say; deploy/greengate-agent.toml explains each key.
struct ScanSettings {
  std::vector<std::string> scanners{"/usr/bin/clamdscan", "/usr/bin/clamscan"};  ///< The first that is there and answers.
  std::string database;                                                           ///< Empty: the scanner's own.
  std::vector<std::string> quick_paths{"/tmp", "/var/tmp", "/dev/shm", "/root", "/home", "/usr/local/bin", "/usr/local/sbin"};
  std::vector<std::string> full_paths;  ///< Empty: every local file system.
  std::vector<std::string> arguments;   ///< Further ones, for clamscan.
  std::chrono::milliseconds time_max{std::chrono::hours(12)};
  std::vector<std::string> updater{"/usr/bin/freshclam", "--stdout", "--no-warnings"};
  std::chrono::milliseconds update_time_max{std::chrono::minutes(30)};
  /// Told after each scan; topic type 0 tells nothing.
  std::uint32_t topic_type = 1300, infected_state_id = 2, clean_state_id = 1;

  bool operator==(const ScanSettings&) const = default;
};

struct RestartSettings {
  /// Run without a shell; "{minutes}" and "{seconds}" are the grace.
  std::vector<std::string> command{"/sbin/shutdown", "-r", "+{minutes}", "Restart asked for by the site's administrator."};
  std::chrono::milliseconds grace{std::chrono::minutes(5)};  ///< Where the site gives none.
  std::string veto_file = "/etc/greengate/no-restart";       ///< While it is there, no task restarts this machine. Empty: none.
  bool warn = true;                                          ///< Tell who is logged on.
  std::vector<std::string> warn_command{"/usr/bin/wall"};    ///< Gets the text on its input.
  std::string warn_text = "This machine will be restarted in {minutes} minutes, as its site's administrator asked. Save your work.";

  bool operator==(const RestartSettings&) const = default;
};

struct LogSettings {
  std::vector<std::string> files{"/var/log/greengate-agent*.log"};  ///< Only the last part of a path may hold "*" and "?".
  std::vector<std::string> command{"/usr/bin/journalctl", "--unit=greengate-agent", "--no-pager", "--output=short-iso", "--lines=50000"};
  std::int64_t bytes_max = 8 << 20;  ///< Of the package, compressed.

  bool operator==(const LogSettings&) const = default;
};

struct TaskSettings {
  std::vector<std::string> refuse;  ///< Tasks by name ("restart") that this machine's administrator does not want done.
  std::chrono::milliseconds verbose_log_for{std::chrono::hours(4)};
  ScanSettings scan;
  RestartSettings restart;
  LogSettings logs;

  bool operator==(const TaskSettings&) const = default;
};

}  // namespace greengate::agent
