#pragma once

#include "agent/watchers/notebook.h"
#include "core/clock.h"
#include "core/result.h"

#include "greengate/v1/notification.pb.h"

#include <optional>
#include <string>
#include <vector>

namespace greengate::agent {

/// What a task came to.
struct TaskEnd {
  bool completed = false;
  std::string code;     ///< Stable, "task.…"; empty when all went well. May be there with `completed` too: task.infected.
  std::string message;  ///< One sentence for a person; empty when there is nothing to say.
  /// Put into the outbox together with the outcome, or not at all.
  std::vector<Finding> reports = {};
};

/// One kind of work an agent does when it is asked to: collecting, scanning, restarting, running an allowed script.
/// The TaskDesk gives it one task at a time, keeps what it must remember, and tells the gateway.
///
/// Promise   Nothing here waits: a program runs in a process of its own, and poll() looks how far it is.
/// Usage     check() when the task is asked for; then, when its time has come, memory() and start(); poll() until it answers.
///           When the agent ended in between: resume() instead, with what memory() said.
/// Threads   The agent's one.
/// Errors    Codes "task.…", which docs/reference/tasks.md lists.
class TaskWork {
 public:
  virtual ~TaskWork() = default;

  /// Will it be done? The task is accepted, or refused with this error, within a second: no program is run here.
  virtual Result<void> check(const v1::Notification&) { return {}; }

  /// What resume() needs to know; kept on disk before start(). At most 4 KiB.
  virtual std::string memory(const v1::Notification&) { return {}; }

  /// Begins. An error means that nothing was begun, and is what the gateway hears (NOT_COMPLETED).
  virtual Result<void> start(const v1::Notification& task) = 0;

  /// The agent was ended while this task was under way. An end answers for it; nothing: it is under way (again).
  virtual std::optional<TaskEnd> resume(const v1::Notification&, const std::string& /*memory*/) {
    return TaskEnd{false, "task.interrupted", "The agent was ended before this was done."};
  }

  /// Becomes readable when poll() may have something to do; -1: time alone counts.
  virtual int fd() const { return -1; }
  /// When poll() must be called at the latest; max() while nothing is under way.
  virtual SteadyTime next_due() const = 0;
  /// The end, once. Never waits.
  virtual std::optional<TaskEnd> poll() = 0;

  /// The agent ends: whatever runs for the task is ended too, unless it is to outlive the agent.
  virtual void stop() {}

  /// Of heavy works only one is under way at a time.
  virtual bool heavy() const { return false; }
};

}  // namespace greengate::agent
