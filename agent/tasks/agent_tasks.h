#pragma once

#include "agent/config.h"
#include "agent/files/plan.h"
#include "agent/scripts/script_work.h"
#include "agent/tasks/collection_work.h"
#include "agent/tasks/log_work.h"
#include "agent/tasks/restart_work.h"
#include "agent/tasks/scan_work.h"
#include "agent/tasks/task_desk.h"
#include "agent/tasks/verbose_log_work.h"

#include <functional>
#include <string>

namespace greengate::agent {

/// The desk and everybody who works for it, as this agent is configured: which task is done by whom.
///
/// Threads   One.
class AgentTasks {
 public:
  /// What the agent does for them.
  struct Hooks {
    std::function<void(Collection)> want;           ///< Collect this as soon as possible.
    std::function<bool(Collection)> is_collecting;  ///< This, just now.
    std::function<void(PlannedFile)> send_file;     ///< Then file_sent().
  };
  /// `executable`: the agent's program, which packs logs too.
  AgentTasks(const AgentConfig& config, const std::string& executable, const std::string& host_name, Hooks hooks, Notebook& notebook,
             const Clock& clock);

  TaskDesk& desk() { return desk_; }
  /// A collection is over, whoever wanted it; `kept`: it is in the outbox.
  void collected(Collection what, const Result<void>& kept);
  void file_sent(bool whole) { logs_.sent(whole); }

 private:
  CollectionWork discovery_, hardware_, software_;
  ScanWork scan_;
  SignaturesWork signatures_;
  RestartWork restart_;
  VerboseLogWork verbose_log_;
  LogWork logs_;
  ScriptWork scripts_;
  TaskDesk desk_;
};

}  // namespace greengate::agent
