#include "gateway/sealed_channels.h"

namespace greengate::gateway {
namespace {

constexpr const char* channel_fact = "mdm.channel";

/// A box moved to another device does not open there.
std::string context_of(const AgentId& device) { return "channel:" + device.raw(); }

}  // namespace

Result<std::optional<std::string>> SealedChannels::find(const AgentId& device) {
  auto box = devices_.fact(device, channel_fact);
  if (!box) return pass(box);
  if (!*box) return std::optional<std::string>();
  auto record = sealer_.open(**box, context_of(device));
  if (!record) return pass(record);
  return std::optional(std::move(*record));
}

Result<void> SealedChannels::keep(const AgentId& device, const std::string& record) {
  if (record.empty()) return devices_.set_fact(device, channel_fact, "");
  auto box = sealer_.seal(record, context_of(device));
  if (!box) return pass(box);
  return devices_.set_fact(device, channel_fact, *box);
}

}  // namespace greengate::gateway
