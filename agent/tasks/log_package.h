#pragma once

#include "agent/tasks/settings.h"
#include "core/result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace greengate::agent {

/// One file of a log package, or the end of it.
struct LogPart {
  std::string name;     ///< Without folders.
  std::string content;
  std::int64_t modified_s = 0;
};

/// The ends of the log files that match, and of what the command prints; `bytes_max` of each. Links are not followed.
std::vector<LogPart> gather_logs(const LogSettings& settings, bool may_run_commands, std::size_t bytes_max);

/// A gzipped tar archive of these parts.
std::string pack_logs(const std::vector<LogPart>& parts);

/// Gathers, packs and writes the package to `file` (mode 0600), as much of each log as settings.bytes_max lets in: the newest. `extra` goes in
/// whole. Answers the file's SHA-256.
///
/// Limits    bytes_max for the package; 64 files; four times bytes_max in memory.
/// Threads   The packing process.
/// Errors    logs.none (reject): there is nothing to pack; logs.disk (retry).
Result<std::string> write_log_package(const LogSettings& settings, bool may_run_commands, const std::vector<LogPart>& extra, const std::string& file);

}  // namespace greengate::agent
