#pragma once

#include "adapters/mp/message.h"
#include "core/ids.h"
#include "core/result.h"
#include "store/device_registry.h"
#include "store/sealer.h"

#include <cstddef>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace greengate::workers {

/// Opens agents' sealed site identities and keeps the recently used ones open.
///
/// Limits    `open_max` identities in memory; the least recently used is closed first.
/// Threads   Any.
/// Errors    identity.none (retry): not registered yet. seal.broken (reject).
class Identities {
 public:
  Identities(const adapters::MpSettings& settings, store::DeviceRegistry& devices, store::Sealer sealer, std::size_t open_max);

  Result<adapters::MpIdentity> of(const AgentId& agent);
  Result<adapters::MpIdentity> of(const store::Device& device);

  /// The box for SiteIdentity::sealed.
  Result<std::string> seal(const AgentId& agent, const adapters::SigningKey& key, const std::string& certificate_der);
  /// After a change of key or SMSID.
  void forget(const AgentId& agent);

 private:
  struct Open {
    AgentId agent;
    std::string sealed;  // the box this came from: a new box means a new key
    adapters::MpIdentity identity;
  };
  Result<adapters::MpIdentity> open(const store::Device& device) const;

  const adapters::MpSettings& settings_;
  store::DeviceRegistry& devices_;
  const store::Sealer sealer_;
  const std::size_t open_max_;
  std::mutex mutex_;  // guards everything below
  std::list<Open> newest_first_;
  std::unordered_map<AgentId, std::list<Open>::iterator> places_;
};

}  // namespace greengate::workers
