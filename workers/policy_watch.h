#pragma once

#include "adapters/mp/policy.h"
#include "adapters/mp/settings.h"
#include "core/backoff.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/lifecycle.h"
#include "core/log.h"
#include "core/metrics.h"
#include "store/device_registry.h"
#include "store/report_queue.h"
#include "workers/courier.h"
#include "workers/errand_schedule.h"
#include "workers/identities.h"
#include "workers/inventory_policy.h"
#include "workers/policy_bodies.h"
#include "workers/policy_book.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace greengate::workers {

/// [policy]
struct PolicyConfig {
  bool enabled = true;
  std::uint32_t workers = 2;                                          ///< Requests to the site at once.
  std::chrono::milliseconds interval{std::chrono::minutes(60)};       ///< Between two requests of one agent (D, mp-protocol 6.3).
  std::chrono::milliseconds first_window{std::chrono::minutes(1)};    ///< New agents' first requests are spread over it.
  std::chrono::milliseconds idle_after{std::chrono::hours(24 * 7)};   ///< An agent away this long is no longer asked for.
  std::chrono::milliseconds failure_base{std::chrono::minutes(1)};    ///< mp-protocol 6.3: 1 min to 1 h with jitter.
  std::chrono::milliseconds failure_cap{std::chrono::hours(1)};
  std::chrono::milliseconds bad_body_retry{std::chrono::minutes(15)}; ///< Before a body that was no good is fetched again.
  std::int64_t bodies_bytes_max = 64 << 20;                           ///< What bodies say, shared by all agents.
  std::int64_t assignments_bytes_max = 64 << 20;                      ///< Distinct lists of assignments.
  bool apply_schedules = true;                                        ///< Intervals of policy go to agents as Directions.
  bool apply_classes = false;                                         ///< Inventory classes the site did not ask for are left out (I).

  std::vector<ConfigProblem> problems() const;
};

/// Asks the site for each ready agent's policy, understands it as far as a gateway should, and acts on it.
///
/// Promise   A resync the policy asks for is kept as a report of our own once per policy and version, over restarts too (a crash at the
///           wrong moment repeats it, and never loses it). Bodies are fetched once for all agents (PolicyBodies).
/// Limits    One request at a time an agent, PolicyConfig::workers in all; memory as configured.
/// Threads   Public functions: any, and none waits. Its own threads do the asking.
/// Errors    Told to refresh(): ask.not_ready (retry), mp.refused (retry), whatever the courier and the parser say, mp.stopping (halt).
/// Source    mp-protocol 5.2, 5.3, 6.3, 6.4; docs/reference/policy.md
class PolicyWatch : public Component, public InventoryPolicy {
 public:
  /// The ways out, given by the composition root before start(); each may be left empty.
  struct Ways {
    /// The site answered an agent's request; or answered it with nothing, so that its standing there may be lost: how long to
    /// wait before the next.
    std::function<void(const AgentId&)> answered;
    std::function<std::chrono::milliseconds(const AgentId&)> refused;
    /// The site answered with something that is no policy.
    std::function<void(const AgentId&)> unexpected;
    std::function<bool(const AgentId&)> connected;
    /// Tell an agent the site's rhythm.
    std::function<void(const AgentId&, const PolicyRhythm&)> direct;
  };
  using Told = std::function<void(Result<AgentPolicy>)>;

  PolicyWatch(PolicyConfig config, const adapters::MpSettings& settings, store::DeviceRegistry& devices, store::ReportQueue& reports,
              Identities& identities, Courier& courier, const Clock& clock, Metrics& metrics);
  ~PolicyWatch() override;
  void connect(Ways ways) { ways_ = std::move(ways); }

  /// The agent became ready at the site, or said Hello.
  void agent_ready(const AgentId& agent);
  void agent_connected(const AgentId& agent);
  void agent_gone(const AgentId& agent);
  /// Ask for it after `delay`; a second wish before then joins the first.
  void ask(const AgentId& agent, std::chrono::milliseconds delay);
  /// Ask now and tell, on a thread of this.
  void refresh(const AgentId& agent, Told told);
  std::optional<AgentPolicy> known(const AgentId& agent) const { return book_.find(agent); }

  std::optional<WallTime> last_update(const AgentId& agent, std::uint32_t kind) const override;
  bool keep_wanted(const AgentId& agent, v1::HardwareInventory& inventory) const override;

  std::string_view name() const override { return "policy watch"; }
  Result<void> start() override;
  void refuse() override { drain({}); }
  void drain(SteadyTime until) override;
  void stop() override;
  /// One due request on the caller's thread, for tests with a clock of their own; false when none is due.
  bool run_due() { return schedule_.run_due(); }

 private:
  /// One assigned policy that wants an inventory whole again.
  struct Resync {
    std::uint32_t kind = 0;
    std::string policy_id, version;
  };
  std::optional<std::chrono::milliseconds> step(const AgentId& agent);
  Result<AgentPolicy> learn(const AgentId& agent, bool& incomplete);
  Result<adapters::PolicyReply> request(const AgentId& agent, const adapters::MpIdentity& identity, const std::string& cookie);
  void answer_resyncs(const AgentId& agent, const std::vector<Resync>& wanted, bool& incomplete);
  std::chrono::milliseconds after_failure(const AgentId& agent, const Error& error);
  void tell(const AgentId& agent, const Result<AgentPolicy>& told);
  std::chrono::milliseconds spread(const AgentId& agent, std::chrono::milliseconds over) const;

  const PolicyConfig config_;
  const adapters::MpSettings& settings_;
  store::DeviceRegistry& devices_;
  store::ReportQueue& reports_;
  Identities& identities_;
  Courier& courier_;
  const Clock& clock_;
  const Log log_{"policy"};
  const Counter received_, unchanged_, refused_, failed_, resyncs_;
  const Gauge agents_known_, book_bytes_, bodies_bytes_;
  Ways ways_;
  PolicyBodies bodies_;
  PolicyBook book_;

  std::mutex mutex_;  // guards everything below
  std::unordered_map<AgentId, Backoff> failures_;
  std::unordered_map<AgentId, std::vector<Told>> waiting_;
  bool stopping_ = false;
  ErrandSchedule schedule_;  // last: its threads use all of the above
};

}  // namespace greengate::workers
