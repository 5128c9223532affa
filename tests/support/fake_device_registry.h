#pragma once

#include "core/channel.h"
#include "store/device_registry.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace greengate::test {

/// A device registry in memory; enrol() answers on a thread of its own, as the store's does.
class FakeDeviceRegistry : public store::DeviceRegistry {
 public:
  FakeDeviceRegistry() : writer_([this] { write(); }) {}
  ~FakeDeviceRegistry() override {
    asked_.close();
    writer_.join();
  }

  /// A device that is there already.
  store::Device put(const AgentKey& key, store::DeviceState state) {
    std::lock_guard lock(mutex_);
    return made(key, state, "operator");
  }
  void set_pending_max(std::size_t count) {
    std::lock_guard lock(mutex_);
    pending_max_ = count;
  }

  std::optional<store::Device> find(const AgentId& id) const override {
    std::lock_guard lock(mutex_);
    const auto found = devices_.find(id);
    if (found == devices_.end()) return std::nullopt;
    return found->second;
  }
  std::optional<store::Device> find_by_key(const AgentKey& key) const override {
    std::lock_guard lock(mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return std::nullopt;
    return devices_.at(found->second);
  }
  std::vector<store::Device> list() const override {
    std::vector<store::Device> all;
    std::lock_guard lock(mutex_);
    for (const auto& [id, device] : devices_) all.push_back(device);
    return all;
  }
  std::size_t size() const override {
    std::lock_guard lock(mutex_);
    return devices_.size();
  }
  void enrol(store::EnrolRequest request,
             std::function<void(Result<store::Device>)> done) override {
    asked_.push({std::move(request), std::move(done)});
  }
  Result<store::Device> set_state(const AgentId& id, store::DeviceState state) override {
    std::lock_guard lock(mutex_);
    const auto found = devices_.find(id);
    if (found == devices_.end())
      return fail(Remedy::reject, "registry.unknown", "There is no such agent.");
    found->second.state = state;
    return found->second;
  }
  Result<void> set_site_identity(const AgentId& id, const store::SiteIdentity& identity) override {
    std::lock_guard lock(mutex_);
    const auto found = devices_.find(id);
    if (found == devices_.end()) return fail(Remedy::reject, "registry.unknown", "There is no such agent.");
    found->second.site = identity;
    return {};
  }
  void note_seen(const AgentId& id, WallTime at, const std::string& host_name,
                 const std::string& fqdn, const std::string& operating_system,
                 const std::string& agent_version) override {
    std::lock_guard lock(mutex_);
    store::Device& device = devices_.at(id);
    device.last_seen = at;
    device.host_name = host_name;
    device.fqdn = fqdn;
    device.operating_system = operating_system;
    device.agent_version = agent_version;
  }
  std::uint64_t counter(const AgentId&, const std::string&) const override { return 0; }
  Result<std::optional<std::string>> fact(const AgentId& id, const std::string& name) override {
    std::lock_guard lock(mutex_);
    const auto found = facts_.find({id, name});
    return found == facts_.end() ? std::optional<std::string>() : std::optional(found->second);
  }
  Result<void> set_fact(const AgentId& id, const std::string& name, const std::string& value) override {
    std::lock_guard lock(mutex_);
    if (!devices_.contains(id)) return fail(Remedy::reject, "registry.unknown", "There is no such agent.");
    if (value.empty())
      facts_.erase({id, name});
    else
      facts_[{id, name}] = value;
    return {};
  }
  Result<void> add_token(const store::Token& token) override {
    std::lock_guard lock(mutex_);
    tokens_.push_back(token);
    return {};
  }
  Result<void> revoke_token(const std::string& token_id) override {
    std::lock_guard lock(mutex_);
    for (auto& token : tokens_)
      if (token.id == token_id) token.revoked = true;
    return {};
  }
  std::vector<store::Token> tokens() const override {
    std::lock_guard lock(mutex_);
    return tokens_;
  }

 private:
  struct Asked {
    store::EnrolRequest request;
    std::function<void(Result<store::Device>)> done;
  };

  store::Device made(const AgentKey& key, store::DeviceState state, std::string by) {
    std::array<char, 17> id{};
    std::snprintf(id.data(), id.size(), "%016zx", devices_.size() + 1);
    store::Device device;
    device.id = AgentId(id.data());
    device.key = key;
    device.state = state;
    device.enrolled_by = std::move(by);
    devices_[device.id] = device;
    by_key_[key] = device.id;
    return device;
  }

  Result<store::Device> judge(const store::EnrolRequest& request) {
    std::lock_guard lock(mutex_);
    store::Device* known = nullptr;
    if (const auto found = by_key_.find(request.key); found != by_key_.end())
      known = &devices_.at(found->second);
    if (known != nullptr && known->state == store::DeviceState::revoked)
      return fail(Remedy::reject, "enrol.revoked", "This key was revoked.");
    if (known != nullptr && (known->state == store::DeviceState::active || request.token_hash.empty()))
      return *known;
    if (request.token_hash.empty()) {
      const auto pending = std::count_if(devices_.begin(), devices_.end(), [](const auto& each) {
        return each.second.state == store::DeviceState::pending;
      });
      if (static_cast<std::size_t>(pending) >= pending_max_)
        return fail(Remedy::reject, "enrol.pending_full", "Too many wait for approval.");
      return made(request.key, store::DeviceState::pending, "operator");
    }
    for (store::Token& token : tokens_) {
      if (token.hash != request.token_hash) continue;
      if (token.revoked) return fail(Remedy::reject, "enrol.token_revoked", "The token was revoked.");
      if (token.uses >= token.uses_max)
        return fail(Remedy::reject, "enrol.token_spent", "The token was used up.");
      token.uses += 1;
      if (known != nullptr) {
        known->state = store::DeviceState::active;
        return *known;
      }
      return made(request.key, store::DeviceState::active, "token " + token.id);
    }
    return fail(Remedy::reject, "enrol.token_unknown", "There is no such token.");
  }

  void write() {
    while (auto asked = asked_.pop()) asked->done(judge(asked->request));
  }

  Channel<Asked> asked_{1'024};
  mutable std::mutex mutex_;  // guards everything below
  std::map<AgentId, store::Device> devices_;
  std::map<AgentKey, AgentId> by_key_;
  std::vector<store::Token> tokens_;
  std::size_t pending_max_ = 1'000;
  std::map<std::pair<AgentId, std::string>, std::string> facts_;
  std::thread writer_;
};

}  // namespace greengate::test
