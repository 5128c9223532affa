#pragma once

#include "core/channel.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "gateway/token_bucket.h"
#include "store/device_registry.h"

#include "greengate/v1/frame.pb.h"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace greengate::gateway {

struct EnrolmentConfig {
  std::uint32_t enrolments_per_second = 50;
  std::chrono::milliseconds enrol_interval{5'000};
  std::chrono::milliseconds pending_retry{60'000};
  std::size_t peers_max = 4'096;  ///< Keys whose pace is remembered; the longest silent is forgotten first.
};

/// Lets new agents in: a token, or an operator.
///
/// Promise   A token's secret goes no further than this class. What the registry decided is on disk before the agent is told.
/// Limits    EnrolmentConfig; as many requests on their way to the registry as it answers a second, then enrol.busy.
/// Threads   The ingest thread; `woken` runs on the store's writer thread when answers() has something.
/// Errors    In EnrolResult.code: those of DeviceRegistry::enrol, and enrol.rate, enrol.busy.
/// Source    docs/adr/0007-transport-key-and-site-key.md
class Enrolment {
 public:
  Enrolment(EnrolmentConfig config, store::DeviceRegistry& registry, std::function<void()> woken);

  /// Nothing when the registry was asked: the outcome comes in answers(). Otherwise why it was not.
  std::optional<v1::EnrolResult> ask(const AgentKey& key, const v1::Enrol& enrol, SteadyTime now);

  struct Answer {
    AgentKey key;
    Result<store::Device> outcome;
  };
  /// Everything decided since the last time.
  std::vector<Answer> answers();

  v1::EnrolResult tell(const store::Device& device) const;
  v1::EnrolResult tell(const Error& error) const;

 private:
  bool peer_may(const AgentKey& key, SteadyTime now, std::chrono::milliseconds& retry_after);

  struct Pace {
    TokenBucket bucket;
    SteadyTime asked_at;
  };
  /// Outlives us when the store answers late.
  struct Inbox {
    explicit Inbox(std::size_t capacity) : answers(capacity) {}
    Channel<Answer> answers;
  };

  const EnrolmentConfig config_;
  store::DeviceRegistry& registry_;
  const std::function<void()> woken_;
  TokenBucket all_;
  std::unordered_map<AgentKey, Pace> paces_;
  std::shared_ptr<Inbox> inbox_;
  std::size_t asked_ = 0;  ///< On their way; never more than the inbox holds.
};

}  // namespace greengate::gateway
