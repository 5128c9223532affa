#include "gateway/presence.h"

namespace greengate::gateway {

bool Presence::connected(const AgentId& agent) const {
  std::lock_guard lock(mutex_);
  return connected_.contains(agent);
}

std::optional<Connected> Presence::find(const AgentId& agent) const {
  std::lock_guard lock(mutex_);
  const auto found = connected_.find(agent);
  if (found == connected_.end()) return std::nullopt;
  return found->second;
}

std::size_t Presence::count() const {
  std::lock_guard lock(mutex_);
  return connected_.size();
}

std::vector<Connected> Presence::list() const {
  std::vector<Connected> all;
  std::lock_guard lock(mutex_);
  all.reserve(connected_.size());
  for (const auto& [agent, entry] : connected_) all.push_back(entry);
  return all;
}

void Presence::arrived(const store::Device& device, WallTime since, std::string remote) {
  bool is_new = false;
  {
    std::lock_guard lock(mutex_);
    is_new = connected_.insert_or_assign(device.id, Connected{device.id, since, std::move(remote)})
                 .second;
  }
  // A second Hello on the same session is news of the device, not of its presence.
  if (!is_new) return;
  for (PresenceListener* listener : listeners_) listener->on_connected(device);
}

void Presence::left(const AgentId& agent) {
  {
    std::lock_guard lock(mutex_);
    if (connected_.erase(agent) == 0) return;
  }
  for (PresenceListener* listener : listeners_) listener->on_disconnected(agent);
}

}  // namespace greengate::gateway
