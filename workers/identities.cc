#include "workers/identities.h"

#include <cstdint>

namespace greengate::workers {
namespace {

std::string context_of(const AgentId& agent) { return "site-identity:" + agent.raw(); }

// The sealed form: four bytes, little endian, with the key's length, then key and certificate.
std::string pack(const std::string& key_der, const std::string& certificate_der) {
  std::string packed;
  for (int shift = 0; shift < 32; shift += 8) packed += static_cast<char>((key_der.size() >> shift) & 0xff);
  return packed + key_der + certificate_der;
}

Result<std::pair<std::string, std::string>> unpack(const std::string& packed) {
  std::size_t key_bytes = 0;
  if (packed.size() >= 4) {
    for (int i = 0; i < 4; ++i) key_bytes |= std::size_t{static_cast<unsigned char>(packed[i])} << (8 * i);
  }
  if (packed.size() < 4 || key_bytes > packed.size() - 4) {
    return fail(Remedy::reject, "seal.broken", "a sealed identity does not hold a key and a certificate.");
  }
  return std::pair(packed.substr(4, key_bytes), packed.substr(4 + key_bytes));
}

}  // namespace

Identities::Identities(const adapters::MpSettings& settings, store::DeviceRegistry& devices, store::Sealer sealer,
                       std::size_t open_max)
    : settings_(settings), devices_(devices), sealer_(std::move(sealer)), open_max_(open_max) {}

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
  const std::string& fqdn = device.fqdn.empty() ? device.host_name : device.fqdn;
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
  auto identity = open(device);
  if (!identity) return pass(identity);
  identity->sms_id = device.site.sms_id;
  identity->netbios_name = netbios_name;
  identity->fqdn = fqdn;
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

Result<adapters::MpIdentity> Identities::open(const store::Device& device) const {
  auto packed = sealer_.open(device.site.sealed, context_of(device.id));
  if (!packed) return pass(packed);
  auto parts = unpack(*packed);
  if (!parts) return pass(parts);
  auto key = adapters::SigningKey::from_pkcs8_der(parts->first);
  if (!key) return pass(key);
  adapters::MpIdentity identity;
  identity.key = std::move(*key);
  identity.certificate_der = std::move(parts->second);
  return identity;
}

Result<std::string> Identities::seal(const AgentId& agent, const adapters::SigningKey& key,
                                     const std::string& certificate_der) {
  auto key_der = key.pkcs8_der();
  if (!key_der) return pass(key_der);
  return sealer_.seal(pack(*key_der, certificate_der), context_of(agent));
}

void Identities::forget(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  const auto place = places_.find(agent);
  if (place == places_.end()) return;
  newest_first_.erase(place->second);
  places_.erase(place);
}

}  // namespace greengate::workers
