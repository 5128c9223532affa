#pragma once

#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/lifecycle.h"
#include "core/log.h"
#include "core/metrics.h"
#include "store/device_registry.h"
#include "store/report_queue.h"
#include "workers/courier.h"
#include "workers/identities.h"
#include "workers/identity_life.h"
#include "workers/identity_steps.h"
#include "workers/key_pool.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace greengate::workers {

/// [registration]
struct SiteErrandsConfig {
  std::uint32_t workers = 2;                                    ///< Requests to the site at once.
  std::uint32_t keys_ready_max = 32;                            ///< RSA keys made ahead.
  std::chrono::milliseconds confirm_first{30'000};              ///< mp-protocol 4.1: 30 s to 5 min while pending.
  std::chrono::milliseconds confirm_cap{300'000};
  std::chrono::milliseconds rejected_retry{3'600'000};          ///< How often a rejected agent asks again.
  std::chrono::milliseconds failure_base{60'000};               ///< mp-protocol 6.3: 1 min to 1 h with jitter.
  std::chrono::milliseconds failure_cap{3'600'000};
  std::chrono::milliseconds refused_base{4'000};                ///< mp-protocol 1.8: 4 s to 5 min after 200 and nothing.
  std::chrono::milliseconds refused_cap{300'000};
  std::uint32_t refusals_max = 3;                               ///< mp-protocol 6.3: then a Confirmation asks whether we are known.
  std::chrono::milliseconds refusal_spacing{300'000};           ///< Closer refusals count as one.
  std::chrono::milliseconds renew_before{2'592'000'000};        ///< Before a certificate ends; 0 never renews.
  bool renew_with_new_key = false;                              ///< Else a new certificate of the same key.
  std::chrono::milliseconds renew_retry{86'400'000};            ///< After the site refused a renewal.
  std::chrono::milliseconds certificate_check{86'400'000};      ///< Between two looks at an agent's certificate.

  LifeRules rules() const;
  std::vector<ConfigProblem> problems() const;
};

/// How an agent's identity stands with the site, for operators.
struct IdentityView {
  LifeState state = LifeState::none;
  WallTime since;
  std::string next_step;                     ///< "confirmation"
  WallTime next_at;
  std::string last_code;                     ///< Why the last step did not do it; empty when it did.
  std::uint32_t refusals = 0;                ///< Signed questions in a row that the site answered with nothing.
  bool holds_reports = false;
  std::optional<WallTime> certificate_ends;  ///< Nothing: not looked at yet.
  SmsId sms_id;
  bool common_key = false;                   ///< The key is not the agent's own.
};

/// Keeps every agent known at the site: registration, confirmation, and again when the site forgets it or a certificate ends. The
/// schedule and its threads; IdentityLife has the rules, IdentitySteps does what they say.
///
/// Promise   Reports of an agent the site may not know are held in the queue, and released the moment it confirms.
/// Limits    One errand an agent; SiteErrandsConfig::workers at once. About 400 bytes an agent.
/// Threads   Public functions: any. Its own worker threads do the asking.
/// Source    mp-protocol 4.1, 4.4, 4.5, 6.3
class SiteErrands : public Component {
 public:
  /// Called on an errand thread when an agent became ready at the site, perhaps under another SMSID or key than before.
  using ReadyListener = std::function<void(const AgentId&)>;

  SiteErrands(SiteErrandsConfig config, const adapters::MpSettings& settings, store::DeviceRegistry& devices,
              store::ReportQueue& reports, Identities& identities, KeyPool& keys, Courier& courier, const Clock& clock,
              Metrics& metrics, ReadyListener on_ready);
  ~SiteErrands() override;

  /// Devices of which the site shall not hear. Before start().
  void leave_out(std::function<bool(const store::Device&)> which) { left_out_ = std::move(which); }

  /// The agent is active: bring it to ready, unless it is.
  void agent_active(const AgentId& agent);
  /// The agent was revoked: nothing more is asked for it.
  void agent_gone(const AgentId& agent);

  /// A signed Invoke of this agent was answered.
  void invoke_answered(const AgentId& agent);
  /// A signed Invoke of this agent was answered 200 and nothing: the site may have lost it. How long to wait before the next.
  std::chrono::milliseconds invoke_refused(const AgentId& agent);
  /// A signed Invoke was answered with something that is not its reply, perhaps a registration reset (Q10): asks whether it is known.
  void reply_unexpected(const AgentId& agent);
  /// Gives the agent another key and registers it; the old one serves until the site took the new one.
  /// Fails identity.common_key, identity.not_ready, registry.unknown (reject).
  Result<void> rotate(const AgentId& agent);
  /// Nothing for an agent that is not active.
  std::optional<IdentityView> view(const AgentId& agent) const;

  std::string_view name() const override { return "site errands"; }
  Result<void> start() override;
  void refuse() override { drain({}); }
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  /// An agent's life, and what others said of it while a step of it was under way.
  struct Entry {
    IdentityLife life;
    bool busy = false;  ///< A thread has the life in its hands; only it holds or releases the agent's reports.
    std::vector<std::function<void(IdentityLife&)>> heard_meanwhile;
  };

  void put_locked(const AgentId& agent, SteadyTime due);
  void work();
  void identity_step(const AgentId& agent);
  /// Lets `say` change the agent's life, now or when the step under way has ended.
  void tell(const AgentId& agent, std::function<void(IdentityLife&)> say);
  /// Puts back the life of a busy entry, with all that was said meanwhile, and plans what is due next.
  void put_back(const AgentId& agent, IdentityLife life, bool over = false);

  const SiteErrandsConfig config_;
  store::DeviceRegistry& devices_;
  store::ReportQueue& reports_;
  Identities& identities_;
  const Clock& clock_;
  const ReadyListener on_ready_;
  std::function<bool(const store::Device&)> left_out_;
  const Log log_{"site_errands"};
  const LifeRules rules_;
  IdentitySteps steps_;
  std::map<std::string_view, Counter> outcomes_;
  std::vector<Gauge> agents_in_state_;

  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable due_changed_;
  std::multimap<SteadyTime, AgentId> schedule_;
  std::unordered_map<AgentId, SteadyTime> planned_;
  std::unordered_map<AgentId, Entry> lives_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace greengate::workers
