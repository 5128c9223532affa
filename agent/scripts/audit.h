#pragma once

#include "core/clock.h"
#include "core/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace greengate::agent {

/// One line of the audit. Parameters are told by name; their values are never kept.
struct AuditRecord {
  const char* event = "";  ///< "refused", "started", "ended", "interrupted".
  std::uint64_t notification = 0;
  std::string site_task, task_guid, script_guid, script_hash;
  std::string name, user;  ///< The allow-list's entry and whom it ran as; empty when refused before that was known.
  std::vector<std::string> parameters;
  std::string code;  ///< Of a refusal, or of an end that was none of the command's own.
  std::optional<int> exit, signal;
  std::optional<std::int64_t> took_ms;
  std::optional<std::uint64_t> output_bytes;
};

/// The append-only record of everything script tasks did or were refused: one JSON object a line.
///
/// Promise   What write() reported is on disk, synced. Nothing is ever rewritten; a file at its bound is renamed to FILE.1 (which replaces an
///           older one) and a new one begun.
/// Limits    bytes_max a file; 4 KiB a line.
/// Threads   One.
/// Errors    task.script_audit (retry). Without audit nothing is run.
class Audit {
 public:
  Audit(std::string file, std::int64_t bytes_max, const Clock& clock) : file_(std::move(file)), bytes_max_(bytes_max), clock_(clock) {}
  Result<void> write(const AuditRecord& record);

 private:
  const std::string file_;
  const std::int64_t bytes_max_;
  const Clock& clock_;
};

}  // namespace greengate::agent
