#pragma once

#include "agent/processes/supervised_run.h"
#include "agent/scripts/audit.h"
#include "agent/scripts/settings.h"
#include "agent/tasks/task_work.h"
#include "core/clock.h"
#include "core/log.h"

#include <memory>
#include <optional>
#include <string>

namespace greengate::agent {

/// Script tasks: runs the local command that this machine's administrator put in the place of one of the site's scripts, and nothing else.
///
/// Promise   Nothing of the site's is ever run or interpreted: a task chooses an entry of the allow-list by GUID and hash, and gives values to
///           the parameters that entry names. Without a line in the audit nothing is run; refusals are in it too. Every command that was run
///           ends in a result for the site, whatever its end.
/// Limits    The entry's. One command at a time.
/// Threads   The agent's one.
/// Errors    task.scripts_off, task.script_not_allowed, task.script_changed, task.script_parameter, task.script_user, task.script_command,
///           task.script_audit, run.start; of ends task.script_timeout, task.script_output, task.script_signal, task.script_start,
///           task.script_lost, task.script_rows, task.interrupted; in the audit also task.script_left_some.
/// Source    docs/reference/script-tasks.md, bgb-protocol 5.3, 5.4
class ScriptWork final : public TaskWork {
 public:
  ScriptWork(ScriptSettings settings, const Clock& clock);
  ~ScriptWork() override;

  Result<void> check(const v1::Notification& asked) override;
  Result<void> start(const v1::Notification& task) override;
  std::optional<TaskEnd> resume(const v1::Notification& task, const std::string& memory) override;
  int fd() const override { return run_ ? run_->fd() : -1; }
  SteadyTime next_due() const override { return run_ ? run_->next_due() : SteadyTime::max(); }
  std::optional<TaskEnd> poll() override;
  void stop() override;

 private:
  Result<const AllowedScript*> entry_for(const v1::RunScript& asked) const;
  Result<RunOrder> order_for(const v1::Notification& task);
  AuditRecord record_of(const char* event, const v1::Notification& task) const;
  void write_down(const AuditRecord& record);
  TaskEnd told(const v1::Notification& task, const RunEnd& end, bool as_table) const;

  const ScriptSettings settings_;
  const Clock& clock_;
  const Log log_{"scripts"};
  Audit audit_;
  std::unique_ptr<SupervisedRun> run_;
  v1::Notification task_;          // while run_
  const AllowedScript* entry_ = nullptr;
};

/// What the site is told as the result's number: the command's exit status, 128 + N for signal N, and of ends that were none of the command's
/// own those that timeout(1) and a shell use.
inline constexpr int result_timeout = 124;
inline constexpr int result_output = 125;
inline constexpr int result_not_started = 126;
inline constexpr int result_lost = 127;

}  // namespace greengate::agent
