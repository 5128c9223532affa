#pragma once

#include "agent/tasks/task_work.h"
#include "core/log.h"

#include <chrono>
#include <functional>

namespace greengate::agent {

/// Turns the agent's log to its most talkative level for a while, also over restarts of the agent, and back.
///
/// Threads   One.
/// Errors    task.disk: it could not be remembered, so nothing was changed.
class VerboseLogWork final : public TaskWork {
 public:
  /// `set` changes the level; `usual` is the configured one.
  VerboseLogWork(std::chrono::milliseconds longest, LogLevel usual, std::function<void(LogLevel)> set, Notebook& notebook, const Clock& clock);

  Result<void> start(const v1::Notification& task) override;
  std::optional<TaskEnd> resume(const v1::Notification& task, const std::string& memory) override;
  SteadyTime next_due() const override { return until_; }
  std::optional<TaskEnd> poll() override;

 private:
  const std::chrono::milliseconds longest_;
  const LogLevel usual_;
  const std::function<void(LogLevel)> set_;
  Notebook& notebook_;
  const Clock& clock_;
  Log log_{"tasks"};
  bool done_ = false;
  SteadyTime until_ = SteadyTime::max();  // max: not talkative
};

}  // namespace greengate::agent
