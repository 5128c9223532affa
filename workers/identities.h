#pragma once

#include "adapters/mp/message.h"
#include "core/ids.h"
#include "core/result.h"
#include "store/device_registry.h"
#include "store/sealer.h"
#include "workers/common_identity.h"

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace greengate::workers {

/// Opens agents' sealed site identities and keeps the recently used ones open. With a common identity, an agent's record holds its mark
/// instead of a key; a key of its own from before still opens, until the site has confirmed the common one.
///
/// Limits    `open_max` identities in memory; the least recently used is closed first.
/// Threads   Any.
/// Errors    identity.none (retry): no key yet, or the mark of a common identity that is not ours. seal.broken (reject).
class Identities {
 public:
  Identities(const adapters::MpSettings& settings, store::DeviceRegistry& devices, store::Sealer sealer, std::size_t open_max,
             std::shared_ptr<CommonIdentity> common = nullptr);

  Result<adapters::MpIdentity> of(const AgentId& agent);
  Result<adapters::MpIdentity> of(const store::Device& device);

  /// As the agent would be with this box and SMSID; not kept open.
  Result<adapters::MpIdentity> with(const store::Device& device, const std::string& sealed, const SmsId& sms_id) const;
  /// Of the identity in use.
  Result<WallTime> certificate_ends(const store::Device& device) const;

  /// The common identity of every agent; null where each has its own.
  CommonIdentity* common() const { return common_.get(); }
  /// Can this box be opened here at all?
  bool usable(const std::string& sealed) const;
  /// Is it of the kind that agents have now?
  bool fits(const std::string& sealed) const;

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
  Result<adapters::KeyPair> open(const AgentId& agent, const std::string& sealed) const;

  const adapters::MpSettings& settings_;
  store::DeviceRegistry& devices_;
  const store::Sealer sealer_;
  const std::size_t open_max_;
  const std::shared_ptr<CommonIdentity> common_;
  std::mutex mutex_;  // guards everything below
  std::list<Open> newest_first_;
  std::unordered_map<AgentId, std::list<Open>::iterator> places_;
};

}  // namespace greengate::workers
