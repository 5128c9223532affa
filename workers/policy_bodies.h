#pragma once

#include "adapters/mp/policy.h"
#include "adapters/mp/policy_body.h"
#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/metrics.h"
#include "workers/courier.h"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace greengate::workers {

/// What became of one assigned policy's body.
struct PolicyStanding {
  std::shared_ptr<const adapters::PolicyBody> body;  ///< None: not fetched, or not usable.
  std::string text;      ///< For people: "applied", "read: nothing for us", "not fetched: secret", "hash does not match", …
  bool try_again = false;  ///< The site could not be asked just now.
};

/// Fetches policy bodies, each once for all agents, and keeps what they say.
///
/// Promise   A body whose flags forbid it is never asked for. A body is asked for once however many agents need it at the same moment;
///           one that does not match its hash, or cannot be read, is not asked for again before `bad_retry`. Only path and query of a location
///           are used: whatever host it names, the site's own management points are asked.
/// Limits    `bytes_max` of what bodies say; the least recently used are forgotten first.
/// Threads   Any; of() may wait for the site, or for another thread that asks it the same.
class PolicyBodies {
 public:
  PolicyBodies(std::size_t bytes_max, std::chrono::milliseconds bad_retry, const adapters::MpSettings& settings, Courier& courier,
               const Clock& clock, Metrics& metrics);

  PolicyStanding of(const adapters::PolicyAssignment& assignment);
  std::size_t bytes() const;

 private:
  struct Kept {
    std::string key;
    PolicyStanding standing;
    std::size_t bytes = 0;
    std::optional<SteadyTime> again_at;  // of what was bad
  };
  std::optional<PolicyStanding> forbidden(const adapters::PolicyAssignment& assignment) const;
  PolicyStanding fetch(const adapters::PolicyAssignment& assignment);
  void keep(std::string key, const PolicyStanding& standing);

  const std::size_t bytes_max_;
  const std::chrono::milliseconds bad_retry_;
  const adapters::MpSettings& settings_;
  Courier& courier_;
  const Clock& clock_;
  const Log log_{"policy"};
  const Counter fetched_, shared_, forbidden_, bad_, failed_;

  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable arrived_;
  std::list<Kept> newest_first_;
  std::unordered_map<std::string, std::list<Kept>::iterator> places_;
  std::unordered_map<std::string, std::shared_ptr<PolicyStanding>> on_the_way_;  // null until it is there
  std::size_t bytes_ = 0;
};

}  // namespace greengate::workers
