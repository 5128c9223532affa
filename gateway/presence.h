#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "store/device_registry.h"

#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace greengate::gateway {

/// Hears when an agent comes and goes. Called on the ingest thread: quick, no waiting, and not back into Ingest except
/// its send_…().
class PresenceListener {
 public:
  virtual ~PresenceListener() = default;
  virtual void on_connected(const store::Device& device) = 0;
  virtual void on_disconnected(const AgentId& agent) = 0;
};

/// One agent that said Hello and has been heard since.
struct Connected {
  AgentId agent;
  WallTime since;
  std::string remote;  ///< IP address.
};

/// Who is connected, for everyone who is not the ingest thread.
///
/// Promise   Listeners hear on_connected and on_disconnected in turns for each agent, never twice the same.
/// Limits    As many as there are sessions (AgentsConfig::sessions_max).
/// Threads   Asking: any. arrived(), left(): the ingest thread. listen(): before the ingest starts.
class Presence {
 public:
  void listen(PresenceListener& listener) { listeners_.push_back(&listener); }

  bool connected(const AgentId& agent) const;
  std::optional<Connected> find(const AgentId& agent) const;
  std::size_t count() const;
  std::vector<Connected> list() const;

  void arrived(const store::Device& device, WallTime since, std::string remote);
  void left(const AgentId& agent);

 private:
  std::vector<PresenceListener*> listeners_;
  mutable std::mutex mutex_;  // guards everything below
  std::unordered_map<AgentId, Connected> connected_;
};

}  // namespace greengate::gateway
