#pragma once

#include "agent/tasks/child.h"
#include "agent/tasks/settings.h"
#include "agent/tasks/task_work.h"

#include <string>

namespace greengate::agent {

/// Restarts the machine, after a grace and unless its administrator vetoed it.
///
/// Promise   COMPLETED only after the machine has really started anew: its boot id is another. A veto counts when the task is asked for and again
///           when it begins.
/// Threads   One.
/// Errors    task.vetoed, task.no_restart_command, task.no_rights, task.restart_failed, task.restart_not_seen.
class RestartWork final : public TaskWork {
 public:
  struct Machine {
    std::string boot_id_file = "/proc/sys/kernel/random/boot_id";
    bool privileged = true;  ///< To say what a failure probably means.
  };
  RestartWork(const RestartSettings& settings, Machine machine, const Clock& clock);

  Result<void> check(const v1::Notification& task) override;
  std::string memory(const v1::Notification& task) override;
  Result<void> start(const v1::Notification& task) override;
  std::optional<TaskEnd> resume(const v1::Notification& task, const std::string& memory) override;
  int fd() const override { return child_.running() ? child_.fd() : warner_.fd(); }
  SteadyTime next_due() const override;
  std::optional<TaskEnd> poll() override;
  void stop() override {
    warner_.end();
    child_.end();
  }

 private:
  std::chrono::seconds grace_of(const v1::Notification& task) const;
  std::string filled(std::string text, std::chrono::seconds grace) const;
  Result<void> run_command();
  std::string boot_id() const;

  const RestartSettings settings_;
  const Machine machine_;
  const Clock& clock_;
  ChildProcess warner_, child_;
  std::chrono::seconds grace_{0};
  bool warning_ = false, waiting_ = false;
  SteadyTime give_up_{};  // waiting for the machine to go down
};

}  // namespace greengate::agent
