#pragma once

#include "core/config_reader.h"
#include "core/result.h"

#include "greengate/v1/notification.pb.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::gateway {

/// One row of the table: what the site's number asks for.
struct TaskRow {
  std::uint32_t task_type = 0;
  v1::Task task = v1::TASK_UNSPECIFIED;
  std::string basis;  ///< documented, captured or guessed; guessed ones are logged at start.
};

/// Which task the site's TaskType numbers mean, from a file (deploy/tasks.toml) or as built in.
///
/// Limits    1 024 rows.
/// Threads   Built once; then any.
/// Errors    config.tasks (reject): with the line and what to write instead.
/// Source    bgb-protocol 5.1, 5.2; docs/reference/tasks.md
class TaskTable {
 public:
  /// An empty path: the built-in table.
  static Result<TaskTable> read(const std::string& path);

  const TaskRow* find(std::uint32_t task_type) const;
  const std::vector<TaskRow>& rows() const { return rows_; }

 private:
  std::vector<TaskRow> rows_;
};

/// "full_scan" for TASK_FULL_SCAN: as operators and the table write it.
std::string_view task_name(v1::Task task);
std::optional<v1::Task> task_named(std::string_view name);
/// Two of these waiting for one device are one.
bool collapses(v1::Task task);
/// Scans, restarts and wipes are worth waking a sleeping device at once.
bool is_urgent(v1::Task task);

}  // namespace greengate::gateway
