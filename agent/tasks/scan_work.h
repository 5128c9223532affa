#pragma once

#include "agent/collectors/machine.h"
#include "agent/tasks/child.h"
#include "agent/tasks/settings.h"
#include "agent/tasks/task_work.h"

#include <functional>
#include <string>
#include <vector>

namespace greengate::agent {

/// The places of local file systems, each named once: a bind mount of what is scanned anyway, and what lies on a server, is left out.
std::vector<std::string> local_file_systems(const Machine& machine);

/// Full and quick malware scans with ClamAV.
///
/// Promise   Lowest priority, one scan at a time, ended at time_max. What is found is told in the outcome (COMPLETED, task.infected) and as a
///           state message; nothing is moved or deleted.
/// Limits    20 finds are named, all are counted.
/// Threads   One.
/// Errors    task.no_scanner, task.nothing_to_scan, task.scan_failed, task.scan_timeout.
class ScanWork final : public TaskWork {
 public:
  /// `places`: what a full scan covers when nothing is configured.
  ScanWork(const ScanSettings& settings, std::function<std::vector<std::string>()> places, const Clock& clock);

  Result<void> check(const v1::Notification& task) override;
  Result<void> start(const v1::Notification& task) override;
  std::optional<TaskEnd> resume(const v1::Notification& task, const std::string& memory) override;
  int fd() const override { return child_.fd(); }
  SteadyTime next_due() const override { return child_.next_due(); }
  std::optional<TaskEnd> poll() override;
  void stop() override { child_.end(); }
  bool heavy() const override { return true; }

 private:
  bool is_daemon(const std::string& scanner) const;
  std::vector<std::string> scanners_here() const;
  std::vector<std::string> paths_of(bool full) const;
  Result<void> try_next();
  Result<void> scan_with(const std::string& scanner);
  void hear(std::string_view line);
  TaskEnd scanned(const ChildProcess::Ended& ended);
  TaskEnd with_state(TaskEnd end, bool infected) const;

  const ScanSettings settings_;
  const std::function<std::vector<std::string>()> places_;
  const Clock& clock_;
  ChildProcess child_;
  bool full_ = false, asking_ = false;  // asking: does the daemon answer?
  std::vector<std::string> left_;       // scanners not tried, the next one last
  std::string asked_;                   // the one that is asked
  std::uint64_t found_ = 0;
  std::vector<std::string> finds_;      // "/tmp/a: Name"
};

/// Fetches malware signatures with ClamAV's updater.
/// Errors    task.no_updater, task.update_failed, task.update_timeout.
class SignaturesWork final : public TaskWork {
 public:
  SignaturesWork(const ScanSettings& settings, const Clock& clock);

  Result<void> check(const v1::Notification& task) override;
  Result<void> start(const v1::Notification& task) override;
  std::optional<TaskEnd> resume(const v1::Notification& task, const std::string& memory) override;
  int fd() const override { return child_.fd(); }
  SteadyTime next_due() const override { return child_.next_due(); }
  std::optional<TaskEnd> poll() override;
  void stop() override { child_.end(); }
  bool heavy() const override { return true; }

 private:
  const ScanSettings settings_;
  ChildProcess child_;
};

/// What start() refused, as an end.
TaskEnd end_of(const Error& error);

}  // namespace greengate::agent
