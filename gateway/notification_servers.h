#pragma once

#include "adapters/bgb/session_pool.h"
#include "core/backoff.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/lifecycle.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/result.h"
#include "workers/site_locator.h"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace greengate::gateway {

/// What of [bgb] and [policy] says whose notification servers an agent has.
struct NotificationServersConfig {
  std::vector<std::string> settings;                        ///< bgb.servers: until there is an answer; may be none.
  std::uint32_t port = 10'123;                              ///< Of a server that only an answer names.
  std::uint32_t servers_max = 64;                           ///< Of one answer.
  std::chrono::milliseconds ttl{std::chrono::minutes(15)};  ///< Then an answer is asked for again; at least a second.
  std::uint32_t subnets_max = 4'096;
};

/// Where one agent's servers come from.
struct ServersOfAgent {
  bool by_location = false;          ///< Else from the settings.
  bool waits = false;                ///< It has none, so no session either.
  adapters::BgbServers servers;      ///< With by_location.
  std::string last_failure;          ///< Why the newest question for its subnet came to nothing; empty when it did not.
};

/// Opens sessions with the notification servers that the site's location answer names for each agent.
///
/// Promise   An agent has the servers of the settings until the first answer for its subnet is there, and those of the newest good answer
///           from then on: a question that failed, or an answer without any server that may be used, changes nothing. Without servers in
///           the settings it waits for the first answer. The agents of one subnet ask once, and again, spread, when their answer has run
///           out; what has not changed disturbs no session.
/// Limits    subnets_max subnets; agents of further ones, and those whose address is not known, have the site-wide answer. One question
///           of a subnet at a time, two in all. About 100 bytes an agent.
/// Threads   open(), close(), view(): any; they never wait for the site. Two of its own ask.
/// Errors    In view(): what the locator says, and notify.no_server (retry): an answer names none that may be used.
/// Source    bgb-protocol 1.5; docs/reference/bgb-facts.md
class NotificationServers : public Component {
 public:
  /// The ways out, given by the composition root before start().
  struct Ways {
    std::function<Result<workers::Located>(const AgentId&, const std::string& address)> locate;  ///< May wait for the site.
    std::function<std::string(const AgentId&)> address;  ///< IP address of a connected agent; empty for any other.
    /// May a host that no setting names be used?
    std::function<bool(const std::string& host, bool https)> allow;
    // As of adapters::SessionPool; called under a lock of ours, so they only leave a wish.
    std::function<void(const AgentId&, const adapters::BgbServers&)> open, change;
    std::function<void(const AgentId&)> close;
  };

  NotificationServers(NotificationServersConfig config, const Clock& clock, Metrics& metrics, std::uint64_t seed);
  ~NotificationServers() override;
  void connect(Ways ways) { ways_ = std::move(ways); }

  /// Wants a session for this agent. Again when it may have come from elsewhere.
  void open(const AgentId& agent);
  void close(const AgentId& agent);
  std::optional<ServersOfAgent> view(const AgentId& agent) const;

  /// Asks one question that is due. False when none is. The threads' work; alone in tests.
  bool ask_due();

  std::string_view name() const override { return "notification servers"; }
  Result<void> start() override;
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  struct Subnet {
    explicit Subnet(BackoffConfig config, std::uint64_t seed) : failures(config, seed) {}
    std::string address;           // of the agent that came last
    AgentId asker;                 // likewise
    adapters::BgbServers servers;  // of the newest good answer
    Backoff failures;
    std::string last_failure;
    SteadyTime due{};
    std::size_t agents = 0;
    bool asking = false;
  };
  struct Member {
    Subnet* subnet = nullptr;
    bool opened = false;
  };
  using Due = std::pair<SteadyTime, std::string>;  // and whose answer, by subnet

  Subnet& subnet_of(const std::string& address);
  void forget_empty_subnets();
  AgentId asker_of(Subnet& subnet);
  std::vector<std::string> usable(const std::vector<adapters::Location>& places) const;
  void answered(const std::string& key, Subnet& subnet, const Result<workers::Located>& located);
  void tell(Subnet& subnet);
  std::chrono::milliseconds random_up_to(std::chrono::milliseconds bound);
  void work();

  const NotificationServersConfig config_;
  const Clock& clock_;
  const Log log_{"notification_servers"};
  const Counter changed_, same_, failed_, refused_;
  const Gauge subnets_known_;
  Ways ways_;

  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable wanted_;
  std::unordered_map<std::string, Subnet> subnets_;  // "" for the whole site
  std::unordered_map<AgentId, Member> agents_;
  std::set<Due> due_;
  std::uint64_t random_;
  bool full_said_ = false;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace greengate::gateway
