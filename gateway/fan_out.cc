#include "gateway/fan_out.h"

#include "core/random.h"

namespace greengate::gateway {
namespace {

Counter push_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_fanout_pushes_total", "Client notifications by what became of them.",
                         {{"outcome", outcome}});
}

}  // namespace

std::vector<ConfigProblem> FanOutConfig::problems() const {
  std::vector<ConfigProblem> found;
  if (answer_within < std::chrono::milliseconds(100) || answer_within > std::chrono::milliseconds(4'400)) {
    found.push_back({"notifications.answer_within", "notifications.answer_within is " + duration_text(answer_within) +
                                                        "; it can be 100ms to 4400ms, as the site is answered within 5s."});
  }
  return found;
}

FanOut::FanOut(FanOutConfig config, TaskTable tasks, store::DeviceRegistry& devices, const Clock& clock, Metrics& metrics)
    : config_(std::move(config)),
      tasks_(std::move(tasks)),
      devices_(devices),
      clock_(clock),
      pushes_(metrics.counter("greengate_fanout_pushes_received_total", "Client notifications received from the site.")),
      accepted_(push_counter(metrics, "accepted")),
      failed_(push_counter(metrics, "failed")),
      unknown_(push_counter(metrics, "unknown_task")),
      unanswered_(push_counter(metrics, "unanswered")),
      next_notification_(random_u64() >> 16) {}

// Opening and closing only leave a wish with the session pool. They are called under the lock, so that of a connection and a
// disconnection close together the later one wins at the pool too.
void FanOut::agent_connected(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  connected_.insert(agent);
  const auto device = devices_.find(agent);
  if (device && device->site.state == store::IdentityState::ready) ways_.open_session(agent);
}

void FanOut::agent_disconnected(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  connected_.erase(agent);
  ways_.close_session(agent);
}

void FanOut::identity_ready(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  if (connected_.contains(agent)) ways_.open_session(agent);
}

void FanOut::identity_gone(const AgentId& agent) { ways_.close_session(agent); }

void FanOut::on_online(const AgentId& agent) { log_.debug("session online", kv("agent", agent.raw())); }

void FanOut::on_offline(const AgentId& agent, const Error& why) {
  log_.debug("session offline", kv("agent", agent.raw()), kv("code", why.code));
}

void FanOut::on_push(const AgentId& agent, const adapters::BgbPush& push) {
  pushes_.add();
  const TaskRow* row = tasks_.find(push.task_type);
  const v1::Task task = row == nullptr ? v1::TASK_UNSPECIFIED : row->task;
  std::uint64_t id = 0;
  bool full = false;
  {
    std::lock_guard lock(mutex_);
    ++counts_.received;
    full = waiting_.size() >= config_.waiting_max;
    if (task == v1::TASK_UNSPECIFIED) {
      ++counts_.unknown;
    } else if (full) {
      ++counts_.failed;
    } else {
      id = ++next_notification_;
      waiting_[id] = {agent, push.push_id, push.task_id, task, clock_.steady() + config_.answer_within};
    }
  }
  if (task == v1::TASK_UNSPECIFIED) {
    unknown_.add();
    log_.warn("push of an unknown TaskType", kv("agent", agent.raw()), kv("task_type", push.task_type));
    return ways_.respond(agent, push.push_id, push.task_id, false);
  }
  if (full) {
    failed_.add();
    return ways_.respond(agent, push.push_id, push.task_id, false);
  }

  v1::Notification notification;
  notification.set_notification_id(id);
  notification.set_task(task);
  notification.set_answer_within_ms(static_cast<std::uint32_t>(config_.answer_within.count()));
  notification.set_site_task_id(push.task_guid);
  log_.info("push on its way", kv("agent", agent.raw()), kv("push_id", push.push_id), kv("task_id", push.task_id),
            kv("task", task_name(task)));
  if (ways_.send(agent, notification)) return;

  // Not connected after all: it left between the push and now.
  v1::TaskResult result;
  result.set_notification_id(id);
  result.set_outcome(v1::TASK_OUTCOME_FAILED);
  result.set_message("the agent is not connected");
  task_result(agent, result);
}

void FanOut::task_result(const AgentId& agent, const v1::TaskResult& result) {
  Waiting answered;
  const bool accepted = result.outcome() == v1::TASK_OUTCOME_ACCEPTED;
  {
    std::lock_guard lock(mutex_);
    const auto waiting = waiting_.find(result.notification_id());
    // Too late, twice, or another agent's: the site has its one answer already, or must not get this one.
    if (waiting == waiting_.end() || waiting->second.agent != agent) return;
    answered = std::move(waiting->second);
    waiting_.erase(waiting);
    ++(accepted ? counts_.accepted : counts_.failed);
  }
  (accepted ? accepted_ : failed_).add();
  log_.info("push answered", kv("agent", agent.raw()), kv("push_id", answered.push_id), kv("task_id", answered.task_id),
            kv("outcome", v1::TaskOutcome_Name(result.outcome())));
  ways_.respond(agent, answered.push_id, answered.task_id, accepted);
  if (accepted && answered.task == v1::TASK_MACHINE_POLICY) {
    const auto window = static_cast<std::uint64_t>(config_.policy_window.count());
    ways_.ask_policy(agent, std::chrono::milliseconds(window > 0 ? random_u64() % window : 0));
  }
}

void FanOut::sweep() {
  std::vector<Waiting> silent;
  {
    std::lock_guard lock(mutex_);
    const SteadyTime now = clock_.steady();
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (it->second.answer_by > now) {
        ++it;
        continue;
      }
      silent.push_back(std::move(it->second));
      it = waiting_.erase(it);
      ++counts_.unanswered;
    }
  }
  for (const Waiting& push : silent) {
    unanswered_.add();
    log_.warn("push not answered by its agent", kv("agent", push.agent.raw()), kv("push_id", push.push_id));
    ways_.respond(push.agent, push.push_id, push.task_id, false);
  }
}

PushCounts FanOut::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

}  // namespace greengate::gateway
