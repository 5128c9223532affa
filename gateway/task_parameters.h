#pragma once

#include "adapters/bgb/push_memory.h"
#include "core/config_reader.h"
#include "core/ids.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/result.h"

#include "greengate/v1/notification.pb.h"

#include <string>
#include <vector>

namespace greengate::gateway {

/// [notifications], the part that concerns what a push may carry.
struct TaskParametersConfig {
  std::string scripts = "refuse";       ///< "refuse" or "allow": whether script tasks reach agents, which have allow-lists of their own.
  std::string live_queries = "refuse";  ///< The same for the site's live queries, which come as script tasks of one fixed name.
  /// "strict" or "loose": whether a script task with a wrong hash of its parameters is refused. That it must be right is inferred (I).
  std::string scripts_parameter_hash = "strict";

  std::vector<ConfigProblem> problems() const;
};

/// What a push says beyond its task: turned from the site's form into the parameters of a Notification, or refused.
///
/// Promise   A script task leaves here only where `scripts` allows it and its hashes are right; every one that came is in the log, and none
///           of its parameters' values is.
/// Limits    Those of parse_script_task.
/// Threads   Any.
/// Errors    notify.script_refused, notify.live_query_refused, notify.script_task_guid, and bgb.script_* of parse_script_task (reject).
/// Source    bgb-protocol 5.3; docs/reference/script-tasks.md
class TaskParameters {
 public:
  TaskParameters(TaskParametersConfig config, Metrics& metrics);

  /// A serialized v1::Notification with the parameters alone (store::Action::parameters); empty for tasks that have none. A refusal is
  /// answered with the failure code.
  Result<std::string> of(const AgentId& agent, v1::Task task, const adapters::BgbPush& push) const;

 private:
  Result<v1::RunScript> script(const AgentId& agent, const adapters::BgbPush& push) const;

  const TaskParametersConfig config_;
  const Log log_{"scripts"};
  const Counter passed_, refused_, invalid_;
};

}  // namespace greengate::gateway
