#pragma once

#include "agent/schedule.h"
#include "agent/tasks/task_work.h"

#include <functional>

namespace greengate::agent {

/// One of the agent's own collections, asked for by a task. The schedule has it collected; this waits for it.
///
/// Promise   COMPLETED when a collection that began after the task did is in the outbox.
/// Threads   One.
/// Errors    task.disabled, task.collection_failed.
class CollectionWork final : public TaskWork {
 public:
  struct Hooks {
    std::function<void()> want;            ///< Collect as soon as possible.
    std::function<bool()> is_collecting;   ///< This kind, just now.
    bool enabled = true;
  };
  CollectionWork(Collection what, Hooks hooks) : what_(what), hooks_(std::move(hooks)) {}

  Result<void> check(const v1::Notification&) override;
  Result<void> start(const v1::Notification& task) override;
  std::optional<TaskEnd> resume(const v1::Notification& task, const std::string& memory) override;
  SteadyTime next_due() const override { return end_ ? SteadyTime{} : SteadyTime::max(); }
  std::optional<TaskEnd> poll() override { return std::exchange(end_, std::nullopt); }

  Collection what() const { return what_; }
  /// A collection of this kind is over; `kept`: it is in the outbox.
  void finished(const Result<void>& kept);

 private:
  const Collection what_;
  const Hooks hooks_;
  bool under_way_ = false;
  bool too_old_ = false;  // the collection in hand began before the task
  std::optional<TaskEnd> end_;
};

}  // namespace greengate::agent
