#pragma once

#include "adapters/mp/settings.h"
#include "core/channel.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/ids.h"
#include "core/lifecycle.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gateway/token_bucket.h"
#include "store/device_registry.h"
#include "workers/policy_watch.h"
#include "workers/site_locator.h"
#include "workers/site_map.h"

#include "greengate/v1/frame.pb.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace greengate::gateway {

/// [policy], the part that concerns agents' questions.
struct EnquiriesConfig {
  std::uint32_t asks_per_minute = 12;                                ///< Of one agent, with a burst of five.
  std::chrono::milliseconds location_ttl{std::chrono::minutes(15)};  ///< How long a location is remembered.

  std::vector<ConfigProblem> problems() const;
};

/// Answers what agents ask the site: their policy, and where things are.
///
/// Promise   Every Ask gets one Answer, if its agent is still connected then: from what is known, from the site, or with a code that says
///           why not. An Answer has at most 512 KiB.
/// Limits    One question an agent at a time; 256 waiting for the site in all; EnquiriesConfig::asks_per_minute.
/// Threads   asked(): the ingest thread, never waits. Two of its own ask for locations.
/// Errors    In Answers: ask.busy, ask.malformed, ask.not_ready, policy.no_room, and what PolicyWatch, SiteMap and SiteLocator say.
/// Source    docs/reference/agent-protocol.md
class Enquiries : public Component {
 public:
  /// The ways out, given by the composition root before start().
  struct Ways {
    std::function<bool(const AgentId&, const v1::Answer&)> answer;
    std::function<std::string(const AgentId&)> address;  ///< IP address of a connected agent; empty if it is gone.
  };

  Enquiries(EnquiriesConfig config, store::DeviceRegistry& devices, workers::PolicyWatch& policy, workers::SiteMap& map,
            workers::SiteLocator& locator, const Clock& clock, Metrics& metrics);
  ~Enquiries() override;
  void connect(Ways ways) { ways_ = std::move(ways); }

  void asked(const AgentId& agent, const v1::Ask& ask);
  void agent_disconnected(const AgentId& agent);

  std::string_view name() const override { return "enquiries"; }
  Result<void> start() override;
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  struct Question {
    AgentId agent;
    v1::Ask ask;
  };
  struct Asker {
    explicit Asker(double per_second) : rate(per_second, 5) {}
    TokenBucket rate;
    bool waits = false;
    bool gone = false;
  };
  bool admitted(const AgentId& agent, v1::Answer& refusal);
  void answer_policy(const AgentId& agent, const v1::Ask& ask);
  void locate(const Question& question);
  void work();
  /// The one place answers leave by.
  void answer(const AgentId& agent, v1::Answer answer);

  const EnquiriesConfig config_;
  store::DeviceRegistry& devices_;
  workers::PolicyWatch& policy_;
  workers::SiteMap& map_;
  workers::SiteLocator& locator_;
  const Clock& clock_;
  const Log log_{"enquiries"};
  const Counter answered_, refused_;
  Ways ways_;
  Channel<Question> waiting_;
  std::mutex mutex_;  // guards everything below
  std::unordered_map<AgentId, Asker> askers_;
  std::vector<std::thread> threads_;
};

}  // namespace greengate::gateway
