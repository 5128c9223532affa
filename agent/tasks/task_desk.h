#pragma once

#include "agent/tasks/task_book.h"
#include "agent/tasks/task_work.h"
#include "core/clock.h"
#include "core/log.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace greengate::agent {

struct TaskDeskConfig {
  std::vector<std::string> refuse;  ///< By name: this machine's administrator does not want them done.
  std::uint64_t starts_max = 5;     ///< Of one task; an agent that dies of a task shall not die of it for ever.
  std::chrono::milliseconds disk_patience{10'000};
  /// After a new connection, outcomes this young are told again: the last words on the old one may be lost.
  std::chrono::milliseconds tell_again{std::chrono::minutes(15)};
};

/// Takes tasks, has them done when their time comes, and says what became of them.
///
/// Promise   What is ACCEPTED ends once with COMPLETED or NOT_COMPLETED, also over restarts of the agent. The same task asked for again is
///           answered as before and not done again. A task's outcome and its reports are in the outbox together or not at all.
/// Order     Works run beside each other; each has one task at a time, in the order they were asked for, and of heavy works only one runs.
/// Limits    TaskBook's.
/// Threads   One.
/// Errors    In results: task.unknown; refused with task.forbidden, task.busy, task.expired, task.disk, and what a work's check() says; ended
///           with task.expired, task.interrupted, and what a work says.
class TaskDesk {
 public:
  TaskDesk(TaskDeskConfig config, Notebook& notebook, const Clock& clock);

  /// Who does tasks of this kind; the work outlives the desk. One work may do several kinds.
  void add(v1::Task task, TaskWork& work);
  /// Takes up what an earlier life of the agent left. Once, after the last add().
  void begin();

  void asked(const v1::Notification& asked);
  /// A new connection. `gateway_time_ms` (0: not told) sets right what its clock and ours think of a task's expiry.
  void welcomed(std::int64_t gateway_time_ms);
  /// What is to be told now. With no connection it is dropped, and comes again after the next welcomed().
  std::vector<v1::TaskResult> take_results(bool connected);

  SteadyTime next_due() const;
  std::vector<int> descriptors() const;
  void tick();
  /// The agent ends; what is under way is taken up by the next one.
  void close();

 private:
  struct Times {
    SteadyTime due, expires;
  };
  struct Running {
    std::uint64_t task;
    std::optional<TaskEnd> end;  // waits for the disk
  };
  struct Recent {
    SteadyTime ended;
    bool told;
  };
  TaskWork* work_of(v1::Task task) const;
  Times times_of(const OpenTask& task) const;
  bool is_running(std::uint64_t id) const;
  void say(std::uint64_t id, v1::TaskOutcome outcome, const std::string& code = "", const std::string& message = "");
  void say_past(const PastTask& past);
  void refuse(const v1::Notification& asked, v1::TaskOutcome outcome, const std::string& code, const std::string& message);
  bool may_begin(const TaskWork& work) const;
  void begin_what_is_due();
  void poll_works();
  void begin_one(OpenTask& task, TaskWork& work);
  void end(TaskWork* work, std::uint64_t id, TaskEnd end);
  bool keep_end(std::uint64_t id, const TaskEnd& end);

  TaskDeskConfig config_;
  const Clock& clock_;
  Log log_{"tasks"};
  TaskBook book_;
  std::map<v1::Task, TaskWork*> works_;
  std::vector<TaskWork*> each_work_;  // once each
  std::map<TaskWork*, Running> running_;
  std::map<std::uint64_t, Times> times_;  // of open tasks, on the clock that does not jump
  std::map<std::uint64_t, Recent> recent_;  // past tasks the gateway may not have heard of
  std::vector<v1::TaskResult> results_;
  std::chrono::milliseconds gateway_ahead_{0};
  SteadyTime disk_pause_{};
};

}  // namespace greengate::agent
