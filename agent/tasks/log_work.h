#pragma once

#include "agent/files/plan.h"
#include "agent/tasks/child.h"
#include "agent/tasks/task_work.h"

#include <functional>
#include <string>
#include <vector>

namespace greengate::agent {

/// Packs the agent's own logs in a process of its own and has the package sent as a collected file.
///
/// Promise   COMPLETED when the gateway has the whole package. The package is deleted then, and when it could not be sent.
/// Threads   One.
/// Errors    task.log_package_failed, task.logs_not_sent.
class LogWork final : public TaskWork {
 public:
  struct Config {
    std::vector<std::string> packer;  ///< Gets the package's path as its last argument and prints its SHA-256.
    std::string folder;               ///< Where the package lies meanwhile; no part of it a link.
    std::string host_name;            ///< For the package's name.
    std::chrono::milliseconds patience{300'000};
  };
  LogWork(Config config, std::function<void(PlannedFile)> send, const Clock& clock);

  Result<void> start(const v1::Notification& task) override;
  std::optional<TaskEnd> resume(const v1::Notification& task, const std::string& memory) override;
  int fd() const override { return packer_.fd(); }
  SteadyTime next_due() const override { return end_ ? SteadyTime{} : packer_.next_due(); }
  std::optional<TaskEnd> poll() override;
  void stop() override { packer_.end(); }

  /// The package has been sent whole, or given up.
  void sent(bool whole);

 private:
  TaskEnd over(TaskEnd end);
  std::string path() const { return config_.folder + "/" + name_; }

  const Config config_;
  const std::function<void(PlannedFile)> send_;
  const Clock& clock_;
  ChildProcess packer_;
  std::string name_;  // of the package; empty: none
  std::optional<TaskEnd> end_;
};

}  // namespace greengate::agent
