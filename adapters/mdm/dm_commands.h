#pragma once

#include "adapters/mdm/syncml.h"
#include "core/result.h"

#include "greengate/v1/notification.pb.h"

#include <optional>
#include <string>
#include <vector>

namespace greengate::adapters {

/// How a Windows device is asked to do a task.
struct DmPlan {
  std::vector<DmCommand> commands;   ///< None: the session itself is the work.
  std::string watched;               ///< A node whose value changes when the work is over; empty: the device's word for the command is the end.
  bool at_end = false;               ///< Ends the session's usefulness: sent when all else is answered.
  bool once = false;                 ///< Never sent a second time under one id, whatever became of the first (R-62).
  bool reads = false;                ///< Get commands whose results are of use.
};

struct DmTaskRules {
  bool allow_wipe = false;           ///< The operator's standing permission; each order needs its own confirmation besides.
};

/// Why a Windows device cannot do this; nothing when it can. To be asked when the task is given and again before it is sent.
/// Codes     task.unsupported, task.wipe_refused, task.restart_grace.
std::optional<Error> refused_for_windows(const v1::Notification& task, const DmTaskRules& rules);

/// For a task that is not refused.
DmPlan plan_of(const v1::Notification& task);

/// What a status of the device means for the task: empty code when it went well.
struct DmVerdict {
  bool good = false;
  std::string code, message;
};
DmVerdict verdict_of(int status);

/// May two of them within the window be one command?
bool is_same_work(const v1::Notification& left, const v1::Notification& right);

}  // namespace greengate::adapters
