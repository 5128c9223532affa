#pragma once

#include "adapters/bgb/session_pool.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/ids.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gateway/push_answers.h"
#include "gateway/release_pacer.h"
#include "gateway/task_table.h"
#include "gateway/wave.h"
#include "store/device_registry.h"
#include "store/mailbox.h"

#include "greengate/v1/notification.pb.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace greengate::gateway {

/// [notifications] and what of [mailbox] is not the store's.
struct FanOutConfig {
  std::string tasks_file;  ///< What the site's numbers mean; empty: the built-in table.
  /// An agent that has not said by then that it took the task is answered for with the failure code.
  std::chrono::milliseconds answer_within{4'000};
  WaveConfig wave;
  std::uint32_t waiting_max = 100'000;  ///< Pushes on their way to agents at once.
  bool sessions_always = false;         ///< bgb.sessions is "always": a session does not wait for its agent, nor end with it.

  std::chrono::milliseconds time_to_live{std::chrono::hours(24)};        ///< Of what the site asks, and of an order that says nothing else.
  std::chrono::milliseconds script_time_to_live{std::chrono::hours(1)};  ///< Scripts time out after one hour (bgb-protocol 6.3, D).
  std::uint32_t release_per_second = 200;                                ///< Entries handed to agents that came back.

  std::vector<ConfigProblem> problems() const;
};

/// What a push became, for an operator.
struct PushCounts {
  std::uint64_t received = 0, accepted = 0, failed = 0, unknown = 0, unanswered = 0;
};

/// Something an operator wants done.
struct Order {
  v1::Task task = v1::TASK_UNSPECIFIED;
  v1::Notification parameters;  ///< Its parameters alone.
  std::vector<AgentId> devices;
  std::chrono::milliseconds time_to_live{0};  ///< 0: the usual one.
  std::string by;                             ///< Who orders it, for receipts.
  std::string key;                            ///< The same order again under the same key is not repeated; empty: always new.
};

/// Carries what is asked of devices (by the site's button or by an operator) to the right ones, now or at their return, and their answers
/// back. What is asked lies in the mailbox first; what is connected hears at once.
///
/// Promise   Every push is answered exactly once, within FanOutConfig::answer_within: by the agent's own word, or with the failure code when
///           it cannot be asked, kept, or does not answer in time. A repeated push is answered as before, also after a restart. What was
///           handed over and never answered goes out again under the same id. An agent's session at the site is open exactly while the
///           agent is connected and ready there (with sessions_always: while it is ready there).
/// Limits    FanOutConfig::waiting_max; above it pushes are answered with the failure code at once. Of devices that are away nothing is
///           in memory.
/// Threads   Any. order(), collect(), remind() and release() wait for the disk.
/// Errors    order(): those of store::Mailbox::post().
/// Source    design.md 8, docs/life_of_a_notification.md, docs/reference/mailbox.md, bgb-protocol 2.6, 5.1, 6.1, 6.3, 7.2
class FanOut : public adapters::BgbListener {
 public:
  /// The ways out, given by the composition root.
  struct Ways {
    /// False when the agent is not connected.
    std::function<bool(const AgentId&, const v1::Notification&)> send;
    std::function<void(const AgentId&)> open_session;
    std::function<void(const AgentId&)> close_session;
    std::function<void(const AgentId&, std::uint64_t push_id, std::uint64_t task_id, bool success)> respond;
    std::function<void(const AgentId&, std::chrono::milliseconds delay)> ask_policy;
    /// Of a push: a serialized Notification with its parameters, or why the push is refused. Left out: only tasks without any are taken.
    std::function<Result<std::string>(const AgentId&, v1::Task, const adapters::BgbPush&)> parameters = {};
    /// Something waits for a device that is not connected, and will be handed to it from `start` on. May do nothing, as it does for most; left out: nothing.
    std::function<void(const AgentId&, v1::Task, WallTime start, WallTime deadline, bool urgent)> wake = {};
  };

  /// All references outlive this; so does `this` the mailbox's last answer.
  FanOut(FanOutConfig config, TaskTable tasks, store::DeviceRegistry& devices, store::Mailbox& mailbox, const Clock& clock, Metrics& metrics);
  /// Before anything starts.
  void connect(Ways ways) { ways_ = std::move(ways); }

  // From the agents' side.
  void agent_connected(const AgentId& agent);
  void agent_disconnected(const AgentId& agent);
  /// With sessions_always: wants a session for every agent that is ready. Once, when the pool has started; its budgets pace them.
  void open_standing_sessions();
  /// Whether an open session may stay: its agent is active and the site knows it under this SMSID. A doubt the site may still settle
  /// does not end it; a refusal, a new registration or a revocation does (bgb-protocol 9.1).
  bool may_hold_session(const AgentId& agent, const SmsId& sms_id) const;
  /// From any device, connected or come to collect().
  void task_result(const AgentId& agent, const v1::TaskResult& result);
  /// What waits for a device that has come to fetch it; it counts as handed over. What is not due yet stays, and wakes the device when it is.
  std::vector<v1::Notification> collect(const AgentId& agent, std::uint32_t count_max);
  /// Wakes it for what waits: whatever was to wake it ended with the process before.
  void remind(const AgentId& agent) const;

  // From the site's side.
  /// The agent's identity at the site became ready, or was taken away.
  void identity_ready(const AgentId& agent);
  void identity_gone(const AgentId& agent);
  void on_push(const AgentId& agent, const adapters::BgbPush& push) override;
  void on_online(const AgentId& agent) override;
  void on_offline(const AgentId& agent, const Error& why) override;

  // From the operator's side.
  Result<store::Posted> order(Order order);

  /// Answers pushes whose agents stayed silent; the composition root calls it a few times a second.
  void sweep();
  /// Hands agents that came back what waits for them, at its rate; the composition root calls it likewise, on a thread that may wait.
  void release();
  PushCounts counts() const;

 private:
  void posted(const PushName& push, const store::Action& action, const Result<store::Posted>& result);
  /// To a device that is connected; the others are woken. False when it is connected and yet cannot be sent to now.
  bool hand_over(const AgentId& agent, std::uint64_t entry, const store::Action& action);
  v1::Notification notification_of(std::uint64_t entry, const store::Action& action) const;
  /// From when on a device that counts no time itself may have it.
  WallTime start_of(const AgentId& agent, const store::Action& action) const;
  void wake(const AgentId& agent, const store::Action& action) const;
  void answer(const PushName& push, bool success);
  void move(std::uint64_t entry, const AgentId& agent, store::EntryState to, std::string code = {}, std::string message = {});

  const FanOutConfig config_;
  const TaskTable tasks_;
  store::DeviceRegistry& devices_;
  store::Mailbox& mailbox_;
  const Clock& clock_;
  Ways ways_;
  const Log log_{"fan_out"};
  const Counter pushes_, accepted_, failed_, unknown_, unanswered_, repeated_, sent_, collected_;
  const std::array<Counter, 5> results_;  ///< By TaskOutcome - 1.
  const Gauge returning_;

  mutable std::mutex mutex_;  // guards everything below
  std::unordered_set<AgentId> connected_;
  /// Sent over the connection they have now and not yet accepted.
  std::unordered_map<AgentId, std::unordered_map<std::uint64_t, v1::Task>> in_hand_;
  PushAnswers answers_;
  ReleasePacer pacer_;
  PushCounts counts_;
};

}  // namespace greengate::gateway
