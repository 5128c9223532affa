// What the open transaction adds to the registry in memory: looked up before it is committed, then published or dropped.

#include "store/embedded/device_registry.h"

namespace greengate::store {

std::optional<Device> EmbeddedDeviceRegistry::current(const AgentId& id) const {
  if (const auto staged = staged_devices_.find(id.raw()); staged != staged_devices_.end())
    return staged->second;
  return find(id);
}

std::optional<Device> EmbeddedDeviceRegistry::current_by_key(const AgentKey& key) const {
  if (const auto id = staged_keys_.find(key.raw()); id != staged_keys_.end())
    return current(AgentId(id->second));
  auto known = find_by_key(key);
  return known ? current(known->id) : std::nullopt;
}

std::optional<Token> EmbeddedDeviceRegistry::current_token(const std::string& id) const {
  if (const auto staged = staged_tokens_.find(id); staged != staged_tokens_.end())
    return staged->second;
  const std::shared_lock lock(mutex_);
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Token> EmbeddedDeviceRegistry::current_token_by_hash(const std::string& hash) const {
  for (const auto& [id, staged] : staged_tokens_) {
    if (staged && staged->hash == hash) return staged;
  }
  std::string id;
  {
    const std::shared_lock lock(mutex_);
    const auto found = token_ids_by_hash_.find(hash);
    if (found == token_ids_by_hash_.end()) return std::nullopt;
    id = found->second;
  }
  return current_token(id);
}

std::size_t EmbeddedDeviceRegistry::current_count(bool only_pending) const {
  const std::shared_lock lock(mutex_);
  std::size_t count = only_pending ? pending_ : devices_.size();
  for (const auto& [id, staged] : staged_devices_) {
    const auto committed = devices_.find(id);
    const bool counted = committed != devices_.end() &&
                         (!only_pending || committed->second.state == DeviceState::pending);
    const bool counts = !only_pending || staged.state == DeviceState::pending;
    if (counts && !counted) ++count;
    if (counted && !counts) --count;
  }
  return count;
}

void EmbeddedDeviceRegistry::committed() {
  if (staged_devices_.empty() && staged_tokens_.empty() && staged_counters_.empty()) return;
  const std::unique_lock lock(mutex_);
  for (auto& [id, staged] : staged_devices_) {
    auto [place, is_new] = devices_.try_emplace(id, staged);
    Device& device = place->second;
    if (is_new) {
      ids_by_key_.emplace(device.key.raw(), id);
      if (device.state == DeviceState::pending) ++pending_;
      continue;
    }
    if (device.state == DeviceState::pending) --pending_;
    // What note_seen() told while the transaction was open is newer than the staged copy.
    device.state = staged.state;
    device.enrolled_by = std::move(staged.enrolled_by);
    device.site = std::move(staged.site);
    if (device.state == DeviceState::pending) ++pending_;
  }
  for (auto& [id, staged] : staged_tokens_) {
    if (const auto old = tokens_.find(id); old != tokens_.end())
      token_ids_by_hash_.erase(old->second.hash);
    if (!staged) {
      tokens_.erase(id);
      continue;
    }
    token_ids_by_hash_[staged->hash] = id;
    tokens_.insert_or_assign(id, std::move(*staged));
  }
  for (const auto& [key, value] : staged_counters_) counters_[key] = value;
  rolled_back();
}

void EmbeddedDeviceRegistry::rolled_back() {
  staged_devices_.clear();
  staged_keys_.clear();
  staged_tokens_.clear();
  staged_counters_.clear();
}

}  // namespace greengate::store
