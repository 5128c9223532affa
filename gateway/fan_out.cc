#include "gateway/fan_out.h"

#include <algorithm>
#include <utility>

namespace greengate::gateway {
namespace {

using std::chrono::milliseconds;
using store::EntryState;

// Noted at an entry whose push was answered with the failure code before its agent spoke: a repeat of the push is answered alike.
constexpr const char* unanswered_code = "push.unanswered";
constexpr std::uint32_t entries_at_once_max = 1'000;
constexpr int agents_per_release_max = 1'000;
constexpr std::size_t code_bytes_max = 64;

Counter push_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_fanout_pushes_total", "Client notifications by what became of them.",
                         {{"outcome", outcome}});
}

Counter result_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_fanout_results_total", "What agents said about what they were asked to do.", {{"outcome", outcome}});
}

Counter handed_counter(Metrics& metrics, const char* way) {
  return metrics.counter("greengate_fanout_handed_total", "Notifications handed to devices, repeats included.", {{"way", way}});
}

// By the task's own GUID when there is one, as the session's memory does (bgb-protocol 2.6): a site that lost its database counts from 1 again.
std::string key_of(const adapters::BgbPush& push) {
  const std::string numbers = std::to_string(push.push_id) + "/" + std::to_string(push.task_id);
  return push.task_guid.empty() || push.task_guid.size() > 64 ? numbers : push.task_guid;
}

// An agent's word for a failure goes to logs and receipts: it has the form of a code, whatever was sent.
std::string code_word(std::string_view given) {
  std::string word(given.substr(0, code_bytes_max));
  const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'; };
  std::replace_if(word.begin(), word.end(), [&](char c) { return !fits(c); }, '_');
  return word;
}

}  // namespace

std::vector<ConfigProblem> FanOutConfig::problems() const {
  std::vector<ConfigProblem> found = wave.problems();
  const auto outside = [&](const char* key, milliseconds value, milliseconds least, milliseconds most, const char* why) {
    if (value >= least && value <= most) return;
    found.push_back({key, std::string(key) + " is " + duration_text(value) + "; it can be " + duration_text(least) + " to " + duration_text(most) + why + "."});
  };
  outside("notifications.answer_within", answer_within, milliseconds(100), milliseconds(4'400), ", as the site is answered within 5s");
  outside("mailbox.time_to_live", time_to_live, std::chrono::seconds(1), std::chrono::hours(24 * 366), "");
  outside("mailbox.script_time_to_live", script_time_to_live, std::chrono::seconds(1), std::chrono::hours(24 * 366), "");
  if (release_per_second < 1 || release_per_second > 100'000) {
    found.push_back({"mailbox.release_per_second", "mailbox.release_per_second is " + std::to_string(release_per_second) + "; it can be 1 to 100000."});
  }
  return found;
}

FanOut::FanOut(FanOutConfig config, TaskTable tasks, store::DeviceRegistry& devices, store::Mailbox& mailbox, const Clock& clock, Metrics& metrics)
    : config_(std::move(config)),
      tasks_(std::move(tasks)),
      devices_(devices),
      mailbox_(mailbox),
      clock_(clock),
      pushes_(metrics.counter("greengate_fanout_pushes_received_total", "Client notifications received from the site.")),
      accepted_(push_counter(metrics, "accepted")),
      failed_(push_counter(metrics, "failed")),
      unknown_(push_counter(metrics, "unknown_task")),
      unanswered_(push_counter(metrics, "unanswered")),
      repeated_(push_counter(metrics, "repeated")),
      sent_(handed_counter(metrics, "sent")),
      collected_(handed_counter(metrics, "collected")),
      results_{result_counter(metrics, "accepted"), result_counter(metrics, "refused"), result_counter(metrics, "unknown_task"),
               result_counter(metrics, "completed"), result_counter(metrics, "not_completed")},
      returning_(metrics.gauge("greengate_fanout_returning_agents", "Agents that came back and whose mailbox was not looked into yet.")),
      answers_(config_.waiting_max),
      pacer_(config_.release_per_second) {}

// Opening and closing only leave a wish with the session pool. They are called under the lock, so that of a connection and a
// disconnection close together the later one wins at the pool too.
void FanOut::agent_connected(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  connected_.insert(agent);
  in_hand_.erase(agent);  // what was sent over an earlier connection may be lost
  pacer_.arrived(agent);
  const auto device = devices_.find(agent);
  if (device && device->site.state == store::IdentityState::ready) ways_.open_session(agent);
}

void FanOut::agent_disconnected(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  connected_.erase(agent);
  in_hand_.erase(agent);
  pacer_.left(agent);
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

void FanOut::on_push(const AgentId& agent, const adapters::BgbPush& push) {
  pushes_.add();
  const TaskRow* row = tasks_.find(push.task_type);
  // A push is a poke: it never wipes, whatever a table says.
  const v1::Task task = row == nullptr || row->task == v1::TASK_WIPE ? v1::TASK_UNSPECIFIED : row->task;
  const PushName name{agent, push.push_id, push.task_id};
  if (task == v1::TASK_UNSPECIFIED) {
    {
      std::lock_guard lock(mutex_);
      ++counts_.received;
      ++counts_.unknown;
    }
    unknown_.add();
    log_.warn("push of an unknown TaskType", kv("agent", agent.raw()), kv("task_type", push.task_type));
    return ways_.respond(agent, push.push_id, push.task_id, false);
  }

  Result<std::string> parameters = std::string();
  if (ways_.parameters) {
    parameters = ways_.parameters(agent, task, push);
  } else if (task == v1::TASK_RUN_SCRIPT) {
    parameters = fail(Remedy::reject, "notify.script_refused", "This gateway takes no scripts.");
  }
  bool refused = !parameters;
  {
    std::lock_guard lock(mutex_);
    ++counts_.received;
    refused = refused || !answers_.begin(name, clock_.steady() + config_.answer_within);
    if (refused) ++counts_.failed;
  }
  if (refused) {
    failed_.add();
    return ways_.respond(agent, push.push_id, push.task_id, false);
  }

  store::Action action;
  action.task = static_cast<std::uint32_t>(task);
  action.parameters = std::move(*parameters);
  if (collapses(task)) action.collapse = task_name(task);
  action.origin = "site";
  action.origin_key = key_of(push);
  action.created_at = clock_.wall();
  action.expires_at = action.created_at + (task == v1::TASK_RUN_SCRIPT ? config_.script_time_to_live : config_.time_to_live);
  action.urgent = is_urgent(task);
  log_.info("push on its way", kv("agent", agent.raw()), kv("push_id", push.push_id), kv("task_id", push.task_id), kv("task", task_name(task)));
  mailbox_.post(action, agent, [this, name, action](const Result<store::Posted>& result) { posted(name, action, result); });
}

// The mailbox has it, or says why not.
void FanOut::posted(const PushName& push, const store::Action& action, const Result<store::Posted>& result) {
  if (!result) {
    log_.warn("push not kept", kv("agent", push.agent.raw()), kv("push_id", push.push_id), kv("code", result.error().code));
    return answer(push, false);
  }
  if (!result->fresh) {
    repeated_.add();
    const bool over = is_over(result->state), told_no = result->code == unanswered_code;
    if (told_no || over || result->taken) return answer(push, result->taken && !told_no);
  }
  bool waits = false;
  {
    std::lock_guard lock(mutex_);
    waits = answers_.bind(push, result->entry);
  }
  // The disk took longer than the site waits.
  if (!waits) move(result->entry, push.agent, EntryState::waiting, unanswered_code, "The site was told that it failed, as keeping it took too long.");
  store::Action kept = action;
  kept.id = result->action;
  if (hand_over(push.agent, result->entry, kept)) return;
  std::lock_guard lock(mutex_);
  pacer_.arrived(push.agent);
}

bool FanOut::hand_over(const AgentId& agent, std::uint64_t entry, const store::Action& action) {
  const auto task = static_cast<v1::Task>(action.task);
  bool connected = false;
  {
    std::lock_guard lock(mutex_);
    connected = connected_.contains(agent);
    if (connected && !in_hand_[agent].try_emplace(entry, task).second) return true;  // it has it
  }
  if (!connected) {
    wake(agent, action);
    return true;
  }
  if (ways_.send(agent, notification_of(entry, action))) {
    sent_.add();
    move(entry, agent, EntryState::handed);
    return true;
  }
  std::lock_guard lock(mutex_);
  if (const auto found = in_hand_.find(agent); found != in_hand_.end()) {
    found->second.erase(entry);
    if (found->second.empty()) in_hand_.erase(found);
  }
  return !connected_.contains(agent);
}

v1::Notification FanOut::notification_of(std::uint64_t entry, const store::Action& action) const {
  v1::Notification notification;
  // What does not parse was not written by this version: then there are no parameters, which an agent refuses where it needs them.
  if (!notification.ParseFromString(action.parameters)) notification.Clear();
  const auto task = static_cast<v1::Task>(action.task);
  notification.set_notification_id(entry);
  notification.set_task(task);
  notification.set_answer_within_ms(static_cast<std::uint32_t>(config_.answer_within.count()));
  if (action.origin == "site") notification.set_site_task_id(action.origin_key);
  notification.set_expires_at_ms(to_millis(action.expires_at));
  if (makes_a_wave(task)) {
    // Half of what is left of its life stays for doing it.
    const auto latest = std::max(milliseconds(0), std::chrono::floor<milliseconds>(action.expires_at - clock_.wall()) / 2);
    notification.set_start_after_ms(static_cast<std::uint32_t>(config_.wave.delay(devices_.size(), latest).count()));
  }
  return notification;
}

WallTime FanOut::start_of(const AgentId& agent, const store::Action& action) const {
  if (!makes_a_wave(static_cast<v1::Task>(action.task))) return action.created_at;
  return config_.wave.start(action.id, agent, action.created_at, action.expires_at, devices_.size());
}

void FanOut::wake(const AgentId& agent, const store::Action& action) const {
  if (ways_.wake) ways_.wake(agent, static_cast<v1::Task>(action.task), start_of(agent, action), action.expires_at, action.urgent);
}

void FanOut::answer(const PushName& push, bool success) {
  {
    std::lock_guard lock(mutex_);
    if (!answers_.take(push)) return;
    ++(success ? counts_.accepted : counts_.failed);
  }
  (success ? accepted_ : failed_).add();
  ways_.respond(push.agent, push.push_id, push.task_id, success);
}

void FanOut::task_result(const AgentId& agent, const v1::TaskResult& result) {
  const std::uint64_t entry = result.notification_id();
  const v1::TaskOutcome outcome = result.outcome();
  if (outcome < v1::TASK_OUTCOME_ACCEPTED || outcome > v1::TASK_OUTCOME_NOT_COMPLETED) return;
  const std::string code = code_word(result.code());
  // An end says that it was accepted, should that word have been lost.
  const bool accepted = outcome != v1::TASK_OUTCOME_FAILED && outcome != v1::TASK_OUTCOME_UNKNOWN_TASK;
  std::vector<PushName> pushes;
  v1::Task task = v1::TASK_UNSPECIFIED;  // known when this is its first word over this connection
  {
    std::lock_guard lock(mutex_);
    pushes = answers_.take(entry, agent);
    (accepted ? counts_.accepted : counts_.failed) += pushes.size();
    if (const auto hand = in_hand_.find(agent); hand != in_hand_.end()) {
      if (const auto found = hand->second.find(entry); found != hand->second.end()) {
        task = found->second;
        hand->second.erase(found);
        if (hand->second.empty()) in_hand_.erase(hand);
      }
    }
  }
  results_[static_cast<std::size_t>(outcome) - 1].add();
  log_.info("agent told what came of a notification", kv("agent", agent.raw()), kv("notification", entry),
            kv("outcome", v1::TaskOutcome_Name(outcome)), kv("code", code));
  for (const PushName& push : pushes) {
    (accepted ? accepted_ : failed_).add();
    log_.info("push answered", kv("agent", agent.raw()), kv("push_id", push.push_id), kv("task_id", push.task_id),
              kv("outcome", v1::TaskOutcome_Name(outcome)));
    ways_.respond(agent, push.push_id, push.task_id, accepted);
  }

  switch (outcome) {
    case v1::TASK_OUTCOME_ACCEPTED: move(entry, agent, EntryState::accepted); break;
    case v1::TASK_OUTCOME_COMPLETED: move(entry, agent, EntryState::done, code, result.message()); break;
    case v1::TASK_OUTCOME_NOT_COMPLETED:
      if (task != v1::TASK_UNSPECIFIED || !pushes.empty()) move(entry, agent, EntryState::accepted);
      move(entry, agent, EntryState::failed, code.empty() ? "task.not_completed" : code, result.message());
      break;
    default:
      move(entry, agent, EntryState::failed,
           !code.empty() ? code : outcome == v1::TASK_OUTCOME_UNKNOWN_TASK ? "task.unknown" : "task.refused", result.message());
  }
  if (accepted && task == v1::TASK_MACHINE_POLICY) ways_.ask_policy(agent, config_.wave.delay(devices_.size()));
}

void FanOut::move(std::uint64_t entry, const AgentId& agent, EntryState to, std::string code, std::string message) {
  mailbox_.move(entry, agent, to, std::move(code), std::move(message), [this, entry, agent, to](const Result<store::Entry>& moved) {
    if (moved) return;
    // A word said twice, or about what is over, changes nothing.
    if (moved.error().remedy == Remedy::reject) {
      log_.debug("entry not moved", kv("agent", agent.raw()), kv("notification", entry), kv("state", store::entry_state_name(to)));
    } else {
      log_.warn("entry not moved", kv("agent", agent.raw()), kv("notification", entry), kv("state", store::entry_state_name(to)),
                kv("code", moved.error().code));
    }
  });
}

std::vector<v1::Notification> FanOut::collect(const AgentId& agent, std::uint32_t count_max) {
  std::vector<v1::Notification> taken;
  // All of it: what is not due does not stand in the way of what is.
  auto waiting = mailbox_.open_entries(agent, entries_at_once_max);
  if (!waiting) {
    log_.warn("mailbox not read", kv("agent", agent.raw()), kv("code", waiting.error().code));
    return taken;
  }
  const WallTime now = clock_.wall();
  for (const auto& [entry, action] : *waiting) {
    // A start further away than the window is long is a clock that was set back: nobody waits for that.
    const WallTime start = start_of(agent, action);
    if (start > now && start - now <= config_.wave.window_max) {
      wake(agent, action);
      continue;
    }
    if (taken.size() >= count_max) continue;
    v1::Notification notification = notification_of(entry.id, action);
    notification.set_start_after_ms(0);
    taken.push_back(std::move(notification));
    collected_.add();
    move(entry.id, agent, EntryState::handed);
  }
  return taken;
}

void FanOut::remind(const AgentId& agent) const {
  const auto waiting = mailbox_.open_entries(agent, entries_at_once_max);
  if (!waiting) {
    log_.warn("mailbox not read", kv("agent", agent.raw()), kv("code", waiting.error().code));
    return;
  }
  for (const auto& [entry, action] : *waiting) wake(agent, action);
}

Result<store::Posted> FanOut::order(Order order) {
  store::Action action;
  action.task = static_cast<std::uint32_t>(order.task);
  action.parameters = order.parameters.SerializeAsString();
  if (collapses(order.task)) action.collapse = task_name(order.task);
  action.origin = order.by.empty() ? "operator" : order.by;
  action.origin_key = std::move(order.key);
  action.created_at = clock_.wall();
  action.expires_at = action.created_at + (order.time_to_live.count() > 0 ? order.time_to_live : config_.time_to_live);
  action.urgent = is_urgent(order.task);
  auto posted = mailbox_.post(action, order.devices);
  if (!posted) return posted;
  log_.info("order posted", kv("action", posted->action), kv("task", task_name(order.task)), kv("by", action.origin), kv("agents", posted->devices),
            kv("fresh", posted->fresh));
  if (posted->devices == 0) return posted;
  action.id = posted->action;
  for (const AgentId& device : order.devices) {
    {
      std::lock_guard lock(mutex_);
      if (connected_.contains(device)) {
        pacer_.arrived(device);
        continue;
      }
    }
    wake(device, action);
  }
  return posted;
}

void FanOut::sweep() {
  std::vector<PushAnswers::Late> late;
  {
    std::lock_guard lock(mutex_);
    late = answers_.take_late(clock_.steady());
    counts_.unanswered += late.size();
  }
  for (const auto& [push, entry] : late) {
    unanswered_.add();
    log_.warn("push not answered by its agent", kv("agent", push.agent.raw()), kv("push_id", push.push_id));
    ways_.respond(push.agent, push.push_id, push.task_id, false);
    if (entry == 0) continue;
    bool handed = false;
    {
      std::lock_guard lock(mutex_);
      const auto hand = in_hand_.find(push.agent);
      handed = hand != in_hand_.end() && hand->second.contains(entry);
    }
    move(entry, push.agent, handed ? EntryState::handed : EntryState::waiting, unanswered_code, "The site was told that it failed, as the agent did not answer in time.");
  }
}

void FanOut::release() {
  std::vector<AgentId> later;
  for (int looked_at = 0; looked_at < agents_per_release_max; ++looked_at) {
    std::optional<AgentId> agent;
    {
      std::lock_guard lock(mutex_);
      agent = pacer_.next(clock_.steady());
    }
    if (!agent) break;
    const auto waiting = mailbox_.open_entries(*agent, entries_at_once_max);
    if (!waiting) {
      log_.warn("mailbox not read", kv("agent", agent->raw()), kv("code", waiting.error().code));
      later.push_back(*agent);
      break;  // the next one would fail alike
    }
    std::size_t taken = 0;
    for (const auto& [entry, action] : *waiting) {
      {
        std::lock_guard lock(mutex_);
        if (!connected_.contains(*agent)) break;
        const auto hand = in_hand_.find(*agent);
        if (hand != in_hand_.end() && hand->second.contains(entry.id)) continue;
      }
      if (!hand_over(*agent, entry.id, action)) {
        later.push_back(*agent);
        break;
      }
      ++taken;
    }
    std::lock_guard lock(mutex_);
    pacer_.took(taken);
  }
  std::lock_guard lock(mutex_);
  for (const AgentId& agent : later) {
    if (connected_.contains(agent)) pacer_.arrived(agent);
  }
  returning_.set(static_cast<double>(pacer_.size()));
}

PushCounts FanOut::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

}  // namespace greengate::gateway
