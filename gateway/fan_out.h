#pragma once

#include "adapters/bgb/session_pool.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/ids.h"
#include "core/log.h"
#include "core/metrics.h"
#include "store/device_registry.h"

#include "greengate/v1/notification.pb.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace greengate::gateway {

/// [notifications], the part that concerns tasks.
struct FanOutConfig {
  /// The site's TaskType numbers for each task. 1 is documented (bgb-protocol 5.1); numbers of other actions are rows of the site's own
  /// BGB_TaskTemplate (grade unknown): the defaults are 900 + the operation's number, as the simulator has them.
  std::vector<std::string> machine_policy_types{"1"};
  std::vector<std::string> discovery_types{"910"};
  std::vector<std::string> hardware_inventory_types{"912"};
  /// An agent that has not said by then that it took the task is answered for with the failure code.
  std::chrono::milliseconds answer_within{4'000};
  /// After a policy push, requests to the site are spread over this window (bgb-protocol 7.2).
  std::chrono::milliseconds policy_window{60'000};
  std::uint32_t waiting_max = 100'000;  ///< Pushes on their way to agents at once.
  bool sessions_always = false;         ///< bgb.sessions is "always": a session does not wait for its agent, nor end with it.

  std::vector<ConfigProblem> problems() const;
};

/// What a push became, for an operator.
struct PushCounts {
  std::uint64_t received = 0, accepted = 0, failed = 0, unknown = 0, unanswered = 0;
};

/// Carries the site's client notifications to the right agents and their answers back.
///
/// Promise   Every push is answered exactly once: by the agent's own word, or with the failure code when it cannot be asked or does not
///           answer in time. An agent's session at the site is open exactly while the agent is connected and ready there
///           (with sessions_always: while it is ready there).
/// Limits    FanOutConfig::waiting_max; above it pushes are answered with the failure code at once.
/// Threads   Any.
/// Source    design.md 8, docs/life_of_a_notification.md, bgb-protocol 2.6, 5.1, 6.1
class FanOut : public adapters::BgbListener {
 public:
  /// The ways out, given by the composition root. `send` answers false when the agent is not connected.
  struct Ways {
    std::function<bool(const AgentId&, const v1::Notification&)> send;
    std::function<void(const AgentId&)> open_session;
    std::function<void(const AgentId&)> close_session;
    std::function<void(const AgentId&, std::uint64_t push_id, std::uint64_t task_id, bool success)> respond;
    std::function<void(const AgentId&, std::chrono::milliseconds delay)> ask_policy;
  };

  FanOut(FanOutConfig config, store::DeviceRegistry& devices, const Clock& clock, Metrics& metrics);
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
  void task_result(const AgentId& agent, const v1::TaskResult& result);

  // From the site's side.
  /// The agent's identity at the site became ready, or was taken away.
  void identity_ready(const AgentId& agent);
  void identity_gone(const AgentId& agent);
  void on_push(const AgentId& agent, const adapters::BgbPush& push) override;
  void on_online(const AgentId& agent) override;
  void on_offline(const AgentId& agent, const Error& why) override;

  /// Answers pushes whose agents stayed silent; the composition root calls it a few times a second.
  void sweep();
  PushCounts counts() const;

 private:
  struct Waiting {
    AgentId agent;
    std::uint64_t push_id = 0, task_id = 0;
    v1::Task task = v1::TASK_UNSPECIFIED;
    SteadyTime answer_by;
  };
  v1::Task task_of(std::uint32_t task_type) const;

  const FanOutConfig config_;
  store::DeviceRegistry& devices_;
  const Clock& clock_;
  Ways ways_;
  const Log log_{"fan_out"};
  const Counter pushes_, accepted_, failed_, unknown_, unanswered_;
  std::map<std::uint32_t, v1::Task> tasks_;

  mutable std::mutex mutex_;  // guards everything below
  std::unordered_set<AgentId> connected_;
  std::unordered_map<std::uint64_t, Waiting> waiting_;  // by notification id
  std::uint64_t next_notification_;
  PushCounts counts_;
};

}  // namespace greengate::gateway
