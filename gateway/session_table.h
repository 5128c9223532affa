#pragma once

#include "adapters/agents/router_socket.h"
#include "core/clock.h"
#include "core/ids.h"
#include "gateway/admission.h"

#include "greengate/v1/frame.pb.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace greengate::gateway {

/// One connection and who speaks on it.
struct Session {
  Session(adapters::RoutingId its_route, AgentKey its_key, std::uint64_t its_serial,
          const AdmissionConfig& config)
      : route(its_route), key(std::move(its_key)), serial(its_serial), account(config) {}

  const adapters::RoutingId route;
  const AgentKey key;
  const std::uint64_t serial;  ///< Never reused, so that late answers find only the session they belong to.
  std::string remote;
  Standing standing = Standing::unknown;
  AgentId agent;  ///< Empty while unknown.
  std::uint64_t incarnation = 0;
  SteadyTime heard_at{};
  Account account;
  bool enrolling = false;  ///< The registry is looking at its Enrol.
  SteadyTime told_at{};    ///< A revoked or replaced one is told why once a while, not for each frame.
  SteadyTime full_state_asked_at{};
  bool full_state_ever_asked = false;

  /// The last thing that was throttled: what comes after it shares its fate until then (see Ingest::settle).
  std::uint64_t throttled_from = 0;  ///< 0: nothing.
  SteadyTime throttled_until{};
  std::string throttled_code;

  std::vector<v1::Receipt> receipts;  ///< Of this round, oldest first.
};

/// Every connection, found by its routing id, its key or its agent.
///
/// Promise   At most one session of a key speaks for it; an older one stays as `replaced` while it is heard, so that it cannot
///           take the place back.
/// Limits    sessions_max in all, unknown_max of them unknown; open() gives nothing beyond.
/// Threads   The ingest thread.
class SessionTable {
 public:
  SessionTable(std::size_t sessions_max, std::size_t unknown_max, AdmissionConfig admission)
      : sessions_max_(sessions_max), unknown_max_(unknown_max), admission_(admission) {}

  Session* find(adapters::RoutingId route);
  Session* find_key(const AgentKey& key);      ///< The one that speaks for it.
  Session* find_agent(const AgentId& agent);   ///< The same.
  Session* find_serial(adapters::RoutingId route, std::uint64_t serial);

  /// A new connection; nothing at a bound. The session that spoke for the key until now is handed to `replaced` first.
  Session* open(adapters::RoutingId route, std::string_view key, Standing standing,
                const AgentId& agent, const std::function<void(Session&)>& replaced);
  /// Moves it to another standing, keeping the counts right. An unknown one gets its agent here.
  void stand(Session& session, Standing standing, const AgentId& agent);
  void close(Session& session);

  void for_each(const std::function<void(Session&)>& visit);
  /// Closes every session last heard before `since`, each handed to `leaving` first.
  void close_silent(SteadyTime since, const std::function<void(Session&)>& leaving);

  std::size_t size() const { return by_route_.size(); }
  std::size_t unknown() const { return unknown_; }
  std::size_t active() const { return active_; }

 private:
  void forget_names(Session& session);

  const std::size_t sessions_max_, unknown_max_;
  const AdmissionConfig admission_;
  std::uint64_t next_serial_ = 1;
  std::size_t unknown_ = 0, active_ = 0;
  std::unordered_map<adapters::RoutingId, std::unique_ptr<Session>> by_route_;
  std::unordered_map<AgentKey, Session*> by_key_;
  std::unordered_map<AgentId, Session*> by_agent_;
};

}  // namespace greengate::gateway
