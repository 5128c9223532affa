#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace greengate::store {

/// Where an agent stands with us. A key we do not know is in none of these.
enum class DeviceState : std::uint8_t { pending = 1, active = 2, revoked = 3 };

/// Where an agent's identity stands with the site (spec mp-protocol 6.3).
enum class IdentityState : std::uint8_t {
  none = 0,      ///< Nothing was sent yet.
  pending = 1,   ///< Registered; the site has not confirmed yet.
  ready = 2,     ///< Confirmed: messages may be sent.
  rejected = 3,  ///< The site said no; tried again rarely.
};

/// The site's side of an agent: who it is there, and its sealed key.
struct SiteIdentity {
  IdentityState state = IdentityState::none;
  SmsId sms_id;                 ///< Empty until the site gave one.
  std::string sealed;           ///< Private key and certificate, sealed (store/sealer.h).
  WallTime state_since;
  std::string last_code;        ///< Why the last step failed, a stable code; empty when it did not.
};

/// One agent.
struct Device {
  AgentId id;
  AgentKey key;
  DeviceState state = DeviceState::pending;
  std::string host_name, fqdn, operating_system, agent_version;
  std::string enrolled_by;  ///< "token <id>" or "operator".
  WallTime enrolled_at;
  WallTime last_seen;
  SiteIdentity site;
};

/// What an unknown key says of itself.
struct EnrolRequest {
  AgentKey key;
  std::string token_hash;  ///< SHA-256 of the presented token, 32 bytes; empty asks for an operator's approval.
  std::string host_name, fqdn, operating_system, agent_version;
};

/// An enrolment token as kept: never the secret itself.
struct Token {
  std::string id;    ///< Short, for people: eight hex digits.
  std::string hash;  ///< SHA-256 of the secret, 32 bytes.
  std::string note;
  std::uint32_t uses_max = 1;
  std::uint32_t uses = 0;
  WallTime created_at;
  WallTime expires_at;
  bool revoked = false;
};

/// Who each agent is, its sealed identity at the site, its counters, and the tokens that let new ones in.
///
/// Promise   A change is on disk, synced, when its call returns (or its `done` runs).
/// Limits    pending_max devices waiting for approval, devices_max in all, tokens_max (a token that has ended makes room for a new one);
///           texts are cut at 256 bytes.
/// Threads   Any. find…() and list() answer from memory. Changing calls wait for the sync, except enrol(), which calls `done` on
///           the store's writer thread: short, and not back into the store.
/// Errors    enrol.token_unknown, enrol.token_spent, enrol.token_expired, enrol.token_revoked, enrol.revoked (this key was revoked),
///           enrol.pending_full, enrol.devices_full (reject); registry.unknown, registry.token_exists, registry.tokens_full, registry.fact_too_large (reject); registry.disk (retry);
///           registry.stopping (halt).
/// Source    docs/adr/0007-transport-key-and-site-key.md
class DeviceRegistry {
 public:
  virtual ~DeviceRegistry() = default;

  virtual std::optional<Device> find(const AgentId& id) const = 0;
  virtual std::optional<Device> find_by_key(const AgentKey& key) const = 0;
  virtual std::vector<Device> list() const = 0;
  /// Shows each device without copying it. `look` is short and does not come back to the registry; a device that comes meanwhile
  /// may be left out.
  virtual void for_each(const std::function<void(const Device&)>& look) const {
    for (const Device& device : list()) look(device);
  }
  virtual std::size_t size() const = 0;

  /// A known pending or active key gets its device again and spends no token; a pending one with a good token becomes active,
  /// with a bad one it stays pending. Token uses and device appear together.
  virtual void enrol(EnrolRequest request, std::function<void(Result<Device>)> done) = 0;

  virtual Result<Device> set_state(const AgentId& id, DeviceState state) = 0;
  virtual Result<void> set_site_identity(const AgentId& id, const SiteIdentity& identity) = 0;
  /// What Hello told; written to disk lazily (within a minute), as nothing depends on it.
  virtual void note_seen(const AgentId& id, WallTime at, const std::string& host_name, const std::string& fqdn,
                         const std::string& operating_system, const std::string& agent_version) = 0;

  /// A device's durable number, moved by ReportQueue::pin(); 0 when it was never set.
  virtual std::uint64_t counter(const AgentId& id, const std::string& name) const = 0;

  /// A small durable text of one device, such as the last resync answered; absent when it was never set. Reads the disk.
  virtual Result<std::optional<std::string>> fact(const AgentId& id, const std::string& name) = 0;
  /// Empty forgets it. At most 64 KiB and 64 names a device: registry.fact_too_large (reject). The device must be known. Waits for the sync.
  virtual Result<void> set_fact(const AgentId& id, const std::string& name, const std::string& value) = 0;

  virtual Result<void> add_token(const Token& token) = 0;
  virtual Result<void> revoke_token(const std::string& token_id) = 0;
  virtual std::vector<Token> tokens() const = 0;
};

}  // namespace greengate::store
