#include "workers/identities.h"

#include "workers/key_pair_box.h"

namespace greengate::workers {
namespace {

std::string context_of(const AgentId& agent) { return "site-identity:" + agent.raw(); }

std::string fqdn_of(const store::Device& device) { return device.fqdn.empty() ? device.host_name : device.fqdn; }

}  // namespace

Identities::Identities(const adapters::MpSettings& settings, store::DeviceRegistry& devices, store::Sealer sealer,
                       std::size_t open_max, std::shared_ptr<CommonIdentity> common)
    : settings_(settings), devices_(devices), sealer_(std::move(sealer)), open_max_(open_max), common_(std::move(common)) {}

Result<adapters::MpIdentity> Identities::of(const AgentId& agent) {
  const auto device = devices_.find(agent);
  if (!device) return fail(Remedy::reject, "registry.unknown", "no such agent.");
  return of(*device);
}

Result<adapters::MpIdentity> Identities::of(const store::Device& device) {
  if (device.site.sealed.empty()) {
    return fail(Remedy::retry, "identity.none", "this agent has no identity at the site yet.");
  }
  const std::string netbios_name = adapters::netbios_name_of(device.host_name);
  const std::string fqdn = fqdn_of(device);
  {
    std::lock_guard lock(mutex_);
    const auto place = places_.find(device.id);
    if (place != places_.end()) {
      const Open& open = *place->second;
      // A new box means a new key; a new SMSID or name means other signed bytes.
      if (open.sealed == device.site.sealed && open.identity.sms_id == device.site.sms_id &&
          open.identity.netbios_name == netbios_name && open.identity.fqdn == fqdn) {
        newest_first_.splice(newest_first_.begin(), newest_first_, place->second);
        return open.identity;
      }
    }
  }
  auto identity = with(device, device.site.sealed, device.site.sms_id);
  if (!identity) return pass(identity);
  if (auto prepared = adapters::prepare_identity(settings_, *identity); !prepared) return pass(prepared);

  std::lock_guard lock(mutex_);
  if (const auto old = places_.find(device.id); old != places_.end()) {
    newest_first_.erase(old->second);
    places_.erase(old);
  }
  newest_first_.push_front({device.id, device.site.sealed, *identity});
  places_[device.id] = newest_first_.begin();
  if (newest_first_.size() > open_max_) {
    places_.erase(newest_first_.back().agent);
    newest_first_.pop_back();
  }
  return identity;
}

Result<adapters::MpIdentity> Identities::with(const store::Device& device, const std::string& sealed, const SmsId& sms_id) const {
  auto pair = open(device.id, sealed);
  if (!pair) return pass(pair);
  adapters::MpIdentity identity;
  identity.key = std::move(pair->key);
  identity.certificate_der = std::move(pair->certificate_der);
  identity.sms_id = sms_id;
  identity.netbios_name = adapters::netbios_name_of(device.host_name);
  identity.fqdn = fqdn_of(device);
  if (CommonIdentity::is_mark(sealed)) identity.proxy_sms_id = common_->proxy_sms_id();
  return identity;
}

Result<adapters::KeyPair> Identities::open(const AgentId& agent, const std::string& sealed) const {
  if (CommonIdentity::is_mark(sealed)) {
    if (usable(sealed)) return common_->pair();
    return fail(Remedy::retry, "identity.none", "this agent was registered under a common key that is not configured any more.");
  }
  auto packed = sealer_.open(sealed, context_of(agent));
  if (!packed) return pass(packed);
  return unpack_key_pair(*packed);
}

Result<WallTime> Identities::certificate_ends(const store::Device& device) const {
  if (CommonIdentity::is_mark(device.site.sealed)) {
    auto pair = open(device.id, device.site.sealed);
    if (!pair) return pass(pair);
    return adapters::certificate_ends(pair->certificate_der);
  }
  auto packed = sealer_.open(device.site.sealed, context_of(device.id));
  if (!packed) return pass(packed);
  auto certificate = certificate_in(*packed);
  if (!certificate) return pass(certificate);
  return adapters::certificate_ends(*certificate);
}

bool Identities::usable(const std::string& sealed) const {
  if (!CommonIdentity::is_mark(sealed)) return !sealed.empty();
  return common_ && common_->same_key(sealed);
}

bool Identities::fits(const std::string& sealed) const {
  return common_ ? sealed == common_->mark() : !sealed.empty() && !CommonIdentity::is_mark(sealed);
}

Result<std::string> Identities::seal(const AgentId& agent, const adapters::SigningKey& key,
                                     const std::string& certificate_der) {
  auto packed = pack_key_pair(key, certificate_der);
  if (!packed) return pass(packed);
  return sealer_.seal(*packed, context_of(agent));
}

void Identities::forget(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  const auto place = places_.find(agent);
  if (place == places_.end()) return;
  newest_first_.erase(place->second);
  places_.erase(place);
}

}  // namespace greengate::workers
