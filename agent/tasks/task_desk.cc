#include "agent/tasks/task_desk.h"

#include "core/check.h"

#include <algorithm>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

// A clock this little wrong is not set right.
constexpr milliseconds clocks_agree{2'000};
// What ended longer before this start than a gateway would wait for it need not be told again.
constexpr milliseconds remembered_over_restart = std::chrono::hours(24);

}  // namespace

TaskDesk::TaskDesk(TaskDeskConfig config, Notebook& notebook, const Clock& clock)
    : config_(std::move(config)), clock_(clock), book_(notebook) {}

void TaskDesk::add(v1::Task task, TaskWork& work) {
  works_[task] = &work;
  if (std::find(each_work_.begin(), each_work_.end(), &work) == each_work_.end()) each_work_.push_back(&work);
}

TaskWork* TaskDesk::work_of(v1::Task task) const {
  const auto found = works_.find(task);
  return found == works_.end() ? nullptr : found->second;
}

TaskDesk::Times TaskDesk::times_of(const OpenTask& task) const {
  const std::int64_t wall = to_millis(clock_.wall());
  const SteadyTime now = clock_.steady();
  const SteadyTime due = now + milliseconds(std::max<std::int64_t>(0, task.due_at_ms - wall));
  if (task.expires_at_ms == 0) return {due, SteadyTime::max()};
  // Years ahead is never, and must not run over.
  const milliseconds left = std::clamp<milliseconds>(milliseconds(task.expires_at_ms - wall), milliseconds(0), std::chrono::hours(24 * 3'650));
  return {due, now + left};
}

void TaskDesk::begin() {
  for (const OpenTask& task : book_.open()) times_[task.id] = times_of(task);
  const SteadyTime now = clock_.steady();
  const std::int64_t wall = to_millis(clock_.wall());
  for (const PastTask& past : book_.past()) {
    if (past.ended_at_ms + remembered_over_restart.count() > wall) recent_[past.id] = {now, false};
  }
}

// ---- what is said ----

void TaskDesk::say(std::uint64_t id, v1::TaskOutcome outcome, const std::string& code, const std::string& message) {
  v1::TaskResult& result = results_.emplace_back();
  result.set_notification_id(id);
  result.set_outcome(outcome);
  result.set_code(code);
  result.set_message(message);
}

void TaskDesk::say_past(const PastTask& past) {
  if (past.outcome == v1::TASK_OUTCOME_COMPLETED || past.outcome == v1::TASK_OUTCOME_NOT_COMPLETED) say(past.id, v1::TASK_OUTCOME_ACCEPTED);
  say(past.id, past.outcome, past.code, past.message);
}

std::vector<v1::TaskResult> TaskDesk::take_results(bool connected) {
  std::vector<v1::TaskResult> taken = std::exchange(results_, {});
  if (!connected) return {};
  for (const v1::TaskResult& result : taken) {
    const auto recent = recent_.find(result.notification_id());
    if (recent != recent_.end() && result.outcome() != v1::TASK_OUTCOME_ACCEPTED) recent->second.told = true;
  }
  return taken;
}

void TaskDesk::welcomed(std::int64_t gateway_time_ms) {
  if (gateway_time_ms > 0) {
    gateway_ahead_ = milliseconds(gateway_time_ms - to_millis(clock_.wall()));
    if (std::chrono::abs(gateway_ahead_) < clocks_agree) gateway_ahead_ = milliseconds(0);
  }
  const SteadyTime now = clock_.steady();
  std::erase_if(recent_, [&](const auto& each) {
    return (each.second.told && each.second.ended + config_.tell_again <= now) || book_.find_past(each.first) == nullptr;
  });
  for (const auto& [id, recent] : recent_) say_past(*book_.find_past(id));
}

// ---- what is asked ----

void TaskDesk::refuse(const v1::Notification& asked, v1::TaskOutcome outcome, const std::string& code, const std::string& message) {
  log_.warn("task refused", kv("task", task_name(asked.task())), kv("notification", asked.notification_id()), kv("code", code), kv("why", message));
  PastTask past{asked.notification_id(), print_of(asked), asked.task(), outcome, to_millis(clock_.wall()), code, message};
  // Not kept, it is judged again should it come again.
  (void)book_.end(std::move(past), {});
  say(asked.notification_id(), outcome, code, message);
}

void TaskDesk::asked(const v1::Notification& asked) {
  const std::uint64_t id = asked.notification_id();
  const std::uint64_t print = print_of(asked);
  if (const OpenTask* open = book_.find_open(id)) {
    if (open->print == print) return say(id, v1::TASK_OUTCOME_ACCEPTED);
    return say(id, v1::TASK_OUTCOME_FAILED, "task.busy", "Another task of this number is not over yet.");
  }
  if (const PastTask* past = book_.find_past(id); past != nullptr && past->print == print) return say_past(*past);
  TaskWork* work = work_of(asked.task());
  if (work == nullptr) {
    log_.warn("unknown task", kv("task", static_cast<int>(asked.task())), kv("notification", id));
    // Not remembered: there is nothing that could be done twice.
    return say(id, v1::TASK_OUTCOME_UNKNOWN_TASK, "task.unknown", "This agent does not know task " + std::to_string(asked.task()) + ".");
  }
  const std::string name = task_name(asked.task());
  if (std::find(config_.refuse.begin(), config_.refuse.end(), name) != config_.refuse.end())
    return refuse(asked, v1::TASK_OUTCOME_FAILED, "task.forbidden", "This machine's administrator does not allow " + name + " (tasks.refuse).");
  OpenTask task;
  task.id = id;
  task.print = print;
  task.asked = asked;
  const std::int64_t wall = to_millis(clock_.wall());
  task.due_at_ms = wall + asked.start_after_ms();
  if (asked.expires_at_ms() > 0) task.expires_at_ms = std::max<std::int64_t>(1, asked.expires_at_ms() - gateway_ahead_.count());
  if (task.expires_at_ms > 0 && task.expires_at_ms <= wall)
    return refuse(asked, v1::TASK_OUTCOME_FAILED, "task.expired", "It came too late to be begun.");
  if (!book_.has_room_for(asked))
    return refuse(asked, v1::TASK_OUTCOME_FAILED, "task.busy", "Too many tasks are open on this machine.");
  if (const auto checked = work->check(asked); !checked)
    return refuse(asked, v1::TASK_OUTCOME_FAILED, checked.error().code, checked.error().message);
  const Times times = times_of(task);
  if (!book_.add(std::move(task)))
    return say(id, v1::TASK_OUTCOME_FAILED, "task.disk", "It could not be noted, so it might be forgotten.");
  times_[id] = times;
  log_.info("task accepted", kv("task", name), kv("notification", id), kv("task_guid", asked.site_task_id()),
            kv("delay_ms", asked.start_after_ms()));
  say(id, v1::TASK_OUTCOME_ACCEPTED);
}

// ---- what is done ----

bool TaskDesk::is_running(std::uint64_t id) const {
  return std::any_of(running_.begin(), running_.end(), [&](const auto& each) { return each.second.task == id; });
}

bool TaskDesk::may_begin(const TaskWork& work) const {
  return std::none_of(running_.begin(), running_.end(), [&](const auto& each) {
    return each.first == &work || (work.heavy() && each.first->heavy());
  });
}

SteadyTime TaskDesk::next_due() const {
  SteadyTime due = SteadyTime::max();
  for (const TaskWork* work : each_work_) due = std::min(due, work->next_due());
  for (const auto& [work, running] : running_) {
    if (running.end) due = std::min(due, disk_pause_);
  }
  const SteadyTime now = clock_.steady();
  for (const OpenTask& task : book_.open()) {
    if (is_running(task.id)) continue;
    const TaskWork* work = work_of(task.asked.task());
    const Times& times = times_.at(task.id);
    // What waits for a work in use is begun when that one is free.
    const SteadyTime when = times.due > now ? times.due : work != nullptr && !may_begin(*work) ? SteadyTime::max() : std::max(now, disk_pause_);
    due = std::min({due, when, std::max(times.expires, disk_pause_)});
  }
  return due;
}

std::vector<int> TaskDesk::descriptors() const {
  std::vector<int> all;
  for (const TaskWork* work : each_work_) {
    if (const int fd = work->fd(); fd >= 0) all.push_back(fd);
  }
  return all;
}

void TaskDesk::tick() {
  poll_works();
  begin_what_is_due();
}

void TaskDesk::poll_works() {
  for (TaskWork* work : each_work_) {
    std::optional<TaskEnd> ended = work->poll();
    const auto running = running_.find(work);
    if (running == running_.end()) continue;
    if (ended) {
      end(work, running->second.task, std::move(*ended));
    } else if (running->second.end && clock_.steady() >= disk_pause_) {
      end(work, running->second.task, std::move(*running->second.end));
    }
  }
}

void TaskDesk::begin_what_is_due() {
  if (clock_.steady() < disk_pause_) return;
  std::vector<std::uint64_t> ids;
  for (const OpenTask& task : book_.open()) ids.push_back(task.id);
  for (const std::uint64_t id : ids) {
    OpenTask* task = book_.find_open(id);
    if (task == nullptr || is_running(id)) continue;
    const SteadyTime now = clock_.steady();
    const Times& times = times_.at(id);
    TaskWork* work = work_of(task->asked.task());
    if (work == nullptr) {
      end(nullptr, id, {false, "task.unknown", "This agent can no longer do it."});
    } else if (task->starts == 0 && times.expires <= now) {
      end(nullptr, id, {false, "task.expired", "It could not be begun in time."});
    } else if (task->starts >= config_.starts_max) {
      end(nullptr, id, {false, "task.interrupted", "The agent was ended " + std::to_string(task->starts) + " times before this was done."});
    } else if (times.due <= now && may_begin(*work)) {
      begin_one(*task, *work);
    }
    if (clock_.steady() < disk_pause_) return;
  }
}

// For the first time, or again after the agent was ended in the middle of it.
void TaskDesk::begin_one(OpenTask& task, TaskWork& work) {
  const std::uint64_t id = task.id;
  const v1::Notification asked = task.asked;
  const bool again = task.starts > 0;
  const std::string memory = again ? task.memory : work.memory(asked);
  if (!book_.begin(task, memory)) {
    disk_pause_ = clock_.steady() + config_.disk_patience;
    return;
  }
  log_.info(again ? "task taken up" : "task begun", kv("task", task_name(asked.task())), kv("notification", id));
  running_[&work] = {id, std::nullopt};
  if (again) {
    if (auto ended = work.resume(asked, memory)) end(&work, id, std::move(*ended));
  } else if (auto started = work.start(asked); !started) {
    end(&work, id, {false, started.error().code, started.error().message});
  }
}

void TaskDesk::end(TaskWork* work, std::uint64_t id, TaskEnd end) {
  if (!keep_end(id, end)) {
    disk_pause_ = clock_.steady() + config_.disk_patience;
    if (work != nullptr) running_[work] = {id, std::move(end)};
    return;
  }
  if (work != nullptr) running_.erase(work);
}

bool TaskDesk::keep_end(std::uint64_t id, const TaskEnd& end) {
  const OpenTask* open = book_.find_open(id);
  GREENGATE_CHECK(open != nullptr, "what ends was open");
  const v1::Task task = open->asked.task();
  const auto outcome = end.completed ? v1::TASK_OUTCOME_COMPLETED : v1::TASK_OUTCOME_NOT_COMPLETED;
  PastTask past{id, open->print, task, outcome, to_millis(clock_.wall()), end.code, end.message};
  if (!book_.end(past, end.reports)) return false;
  times_.erase(id);
  recent_[id] = {clock_.steady(), false};
  if (end.completed) {
    log_.info("task completed", kv("task", task_name(task)), kv("notification", id), kv("code", end.code), kv("why", end.message));
  } else {
    log_.warn("task not completed", kv("task", task_name(task)), kv("notification", id), kv("code", end.code), kv("why", end.message));
  }
  const PastTask* kept = book_.find_past(id);
  say(id, kept->outcome, kept->code, kept->message);
  return true;
}

void TaskDesk::close() {
  for (TaskWork* work : each_work_) work->stop();
}

}  // namespace greengate::agent
