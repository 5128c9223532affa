#include "gateway/fan_out.h"

#include "core/random.h"

#include <charconv>
#include <optional>

namespace greengate::gateway {
namespace {

std::optional<std::uint32_t> task_type_number(const std::string& text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Counter push_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_fanout_pushes_total", "Client notifications by what became of them.",
                         {{"outcome", outcome}});
}

}  // namespace

std::vector<ConfigProblem> FanOutConfig::problems() const {
  std::vector<ConfigProblem> found;
  std::map<std::uint32_t, std::string> taken;
  const auto look_at = [&](const char* key, const std::vector<std::string>& types) {
    for (const std::string& text : types) {
      const auto number = task_type_number(text);
      if (!number) {
        found.push_back({key, std::string(key) + " holds \"" + text + "\"; give TaskType numbers as texts, such as [\"1\"]."});
      } else if (const auto [place, fresh] = taken.try_emplace(*number, key); !fresh) {
        found.push_back({key, std::string(key) + " holds \"" + text + "\", which " + place->second +
                                  " has too; a TaskType can mean one task only."});
      }
    }
  };
  look_at("notifications.machine_policy_types", machine_policy_types);
  look_at("notifications.discovery_types", discovery_types);
  look_at("notifications.hardware_inventory_types", hardware_inventory_types);
  if (answer_within < std::chrono::milliseconds(100) || answer_within > std::chrono::milliseconds(4'400)) {
    found.push_back({"notifications.answer_within", "notifications.answer_within is " + duration_text(answer_within) +
                                                        "; it can be 100ms to 4400ms, as the site is answered within 5s."});
  }
  return found;
}

FanOut::FanOut(FanOutConfig config, store::DeviceRegistry& devices, const Clock& clock, Metrics& metrics)
    : config_(std::move(config)),
      devices_(devices),
      clock_(clock),
      pushes_(metrics.counter("greengate_fanout_pushes_received_total", "Client notifications received from the site.")),
      accepted_(push_counter(metrics, "accepted")),
      failed_(push_counter(metrics, "failed")),
      unknown_(push_counter(metrics, "unknown_task")),
      unanswered_(push_counter(metrics, "unanswered")),
      next_notification_(random_u64() >> 16) {
  const auto map_types = [&](const std::vector<std::string>& types, v1::Task task) {
    for (const std::string& text : types) {
      if (const auto number = task_type_number(text)) tasks_[*number] = task;
    }
  };
  map_types(config_.machine_policy_types, v1::TASK_MACHINE_POLICY);
  map_types(config_.discovery_types, v1::TASK_DISCOVERY);
  map_types(config_.hardware_inventory_types, v1::TASK_HARDWARE_INVENTORY);
}

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
  if (!config_.sessions_always) ways_.close_session(agent);
}

void FanOut::open_standing_sessions() {
  if (!config_.sessions_always) return;
  std::vector<AgentId> ready;
  devices_.for_each([&](const store::Device& device) {
    if (device.state == store::DeviceState::active && device.site.state == store::IdentityState::ready) ready.push_back(device.id);
  });
  log_.info("sessions for all agents that are ready", kv("sessions", ready.size()));
  for (const AgentId& agent : ready) ways_.open_session(agent);
}

bool FanOut::may_hold_session(const AgentId& agent, const SmsId& sms_id) const {
  const auto device = devices_.find(agent);
  if (!device || device->state != store::DeviceState::active || device->site.sms_id != sms_id) return false;
  return device->site.state == store::IdentityState::ready || device->site.state == store::IdentityState::pending;
}

void FanOut::identity_ready(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  if (config_.sessions_always || connected_.contains(agent)) ways_.open_session(agent);
}

void FanOut::identity_gone(const AgentId& agent) { ways_.close_session(agent); }

void FanOut::on_online(const AgentId& agent) { log_.debug("session online", kv("agent", agent.raw())); }

void FanOut::on_offline(const AgentId& agent, const Error& why) {
  log_.debug("session offline", kv("agent", agent.raw()), kv("code", why.code));
}

v1::Task FanOut::task_of(std::uint32_t task_type) const {
  const auto task = tasks_.find(task_type);
  return task == tasks_.end() ? v1::TASK_UNSPECIFIED : task->second;
}

void FanOut::on_push(const AgentId& agent, const adapters::BgbPush& push) {
  pushes_.add();
  const v1::Task task = task_of(push.task_type);
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
            kv("task", v1::Task_Name(task)));
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
