#pragma once

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
#include "workers/identities.h"
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

  std::vector<ConfigProblem> problems() const;
};

/// Asks the site, on behalf of each agent, to be known there: registration and its confirmation.
///
/// Promise   An agent's key is on disk before the site hears of it; reports of an agent that is not ready are held in the queue,
///           and released the moment the site confirms.
/// Limits    One errand an agent; SiteErrandsConfig::workers at once.
/// Threads   Public functions: any. Its own worker threads do the asking.
/// Source    mp-protocol 4.1, 4.4, 4.5, 6.3
class SiteErrands : public Component {
 public:
  /// Called on an errand thread when an agent became ready at the site.
  using ReadyListener = std::function<void(const AgentId&)>;

  SiteErrands(SiteErrandsConfig config, const adapters::MpSettings& settings, store::DeviceRegistry& devices,
              store::ReportQueue& reports, Identities& identities, KeyPool& keys, Courier& courier, const Clock& clock,
              Metrics& metrics, ReadyListener on_ready);
  ~SiteErrands() override;

  /// The agent is active: bring it to ready, unless it is.
  void agent_active(const AgentId& agent);
  /// The agent was revoked: nothing more is asked for it.
  void agent_gone(const AgentId& agent);

  std::string_view name() const override { return "site errands"; }
  Result<void> start() override;
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  void put(const AgentId& agent, std::chrono::milliseconds delay);
  void work();
  /// How long until the next step; nothing when there is none.
  std::optional<std::chrono::milliseconds> identity_step(const AgentId& agent);
  std::chrono::milliseconds after_failure(const AgentId& agent, const Error& error);
  std::chrono::milliseconds after_pending(const AgentId& agent);

  const SiteErrandsConfig config_;
  const adapters::MpSettings& settings_;
  store::DeviceRegistry& devices_;
  store::ReportQueue& reports_;
  Identities& identities_;
  KeyPool& keys_;
  Courier& courier_;
  const Clock& clock_;
  const ReadyListener on_ready_;
  const Log log_{"site_errands"};
  const Counter registered_, confirmed_, rejected_, failed_;

  std::mutex mutex_;  // guards everything below
  std::condition_variable due_changed_;
  std::multimap<SteadyTime, AgentId> schedule_;
  std::unordered_map<AgentId, SteadyTime> planned_;
  std::unordered_map<AgentId, Backoff> failures_;  // waits after a failed step
  std::unordered_map<AgentId, Backoff> pendings_;  // waits between confirmations
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace greengate::workers
