#pragma once

#include "core/clock.h"
#include "store/device_registry.h"
#include "store/embedded/database.h"
#include "store/embedded/readers.h"
#include "store/embedded/writer.h"
#include "store/report_queue.h"

#include <functional>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace greengate::store {

struct RegistrySettings {
  std::uint32_t devices_max = 200'000;
  std::uint32_t pending_max = 1'000;
  std::uint32_t tokens_max = 1'000;
  std::chrono::milliseconds seen_written_every{30'000};
};

/// The device registry in the store's one file, and whole in memory.
///
/// How       Changes judge against memory plus what the open transaction stages; commit publishes, rollback drops.
/// Threads   As DeviceRegistry says. write_counter() and the Ledger's methods: the writer's thread.
///
/// Its parts are device_registry.cc, …_load.cc (from disk) and …_staged.cc (the open transaction).
class EmbeddedDeviceRegistry final : public DeviceRegistry, public Ledger {
 public:
  EmbeddedDeviceRegistry(RegistrySettings settings, Readers& readers, const Clock& clock)
      : settings_(settings), readers_(readers), clock_(clock) {}

  /// Prepares statements on the writer's connection and reads everything. Before attach().
  Result<void> load(Database& database);
  void attach(Writer& writer) { writer_ = &writer; }

  std::optional<Device> find(const AgentId& id) const override;
  std::optional<Device> find_by_key(const AgentKey& key) const override;
  std::vector<Device> list() const override;
  void for_each(const std::function<void(const Device&)>& look) const override;
  std::size_t size() const override;
  void enrol(EnrolRequest request, std::function<void(Result<Device>)> done) override;
  Result<Device> set_state(const AgentId& id, DeviceState state) override;
  Result<void> set_site_identity(const AgentId& id, const SiteIdentity& identity) override;
  void note_seen(const AgentId& id, WallTime at, const std::string& host_name,
                 const std::string& fqdn, const std::string& operating_system,
                 const std::string& agent_version) override;
  std::uint64_t counter(const AgentId& id, const std::string& name) const override;
  Result<std::optional<std::string>> fact(const AgentId& id, const std::string& name) override;
  Result<void> set_fact(const AgentId& id, const std::string& name,
                        const std::string& value) override;
  Result<void> add_token(const Token& token) override;
  Result<void> revoke_token(const std::string& token_id) override;
  std::vector<Token> tokens() const override;

  /// For ReportQueue::pin(): part of the caller's change.
  Result<void> write_counter(Database& database, const AgentId& id, const CounterValue& counter);
  /// Writes what note_seen() left, when it is time for that or `now_at_all`. Any thread.
  void write_seen(bool now_at_all);

  Result<void> before_commit(Database&) override { return {}; }
  void committed() override;
  void rolled_back() override;

 private:
  class RegistryChange;
  using CounterKey = std::pair<std::string, std::string>;  ///< Agent and name.

  /// The device as the open transaction has it.
  std::optional<Device> current(const AgentId& id) const;
  std::optional<Device> current_by_key(const AgentKey& key) const;
  std::optional<Token> current_token(const std::string& id) const;
  std::optional<Token> current_token_by_hash(const std::string& hash) const;
  std::size_t current_count(bool only_pending) const;
  Result<Device> apply_enrol(Database& database, const EnrolRequest& request,
                             std::optional<Error>& refused);
  Result<void> spend(Database& database, const std::string& token_hash, std::string& token_id,
                     std::optional<Error>& refused);
  Result<void> write_device(Database& database, const Device& device);
  Result<void> write_token(Database& database, const Token& token);
  Result<void> submit_and_wait(std::function<Result<void>(Database&, std::optional<Error>&)> apply);

  const RegistrySettings settings_;
  Readers& readers_;
  const Clock& clock_;
  Writer* writer_ = nullptr;

  // The writer's thread only.
  Statement put_device_, put_seen_, put_token_, drop_token_, put_counter_, put_fact_, drop_fact_,
      count_facts_;
  std::unordered_map<std::string, Device> staged_devices_;     ///< By id.
  std::unordered_map<std::string, std::string> staged_keys_;   ///< Key to id, of new devices.
  std::map<std::string, std::optional<Token>> staged_tokens_;  ///< By id; nothing: dropped.
  std::map<CounterKey, std::uint64_t> staged_counters_;

  mutable std::shared_mutex mutex_;                  ///< Guards the members below.
  std::unordered_map<std::string, Device> devices_;  ///< By id.
  std::unordered_map<std::string, std::string> ids_by_key_;
  std::size_t pending_ = 0;
  std::map<std::string, Token> tokens_;  ///< By id.
  std::unordered_map<std::string, std::string> token_ids_by_hash_;
  std::map<CounterKey, std::uint64_t> counters_;
  std::unordered_set<std::string>
      seen_unwritten_;  ///< Devices whose note_seen() is only in memory.
  std::optional<SteadyTime> seen_written_;
};

}  // namespace greengate::store
