#pragma once

#include "adapters/wns/waker.h"
#include "store/device_registry.h"
#include "store/sealer.h"

namespace greengate::gateway {

/// Where devices' channels survive a restart: a fact of each device, sealed, for whoever has a channel can wake its device.
///
/// Threads   Any.
/// Errors    The registry's and the sealer's own.
class SealedChannels final : public adapters::ChannelBook {
 public:
  SealedChannels(store::DeviceRegistry& devices, store::Sealer sealer) : devices_(devices), sealer_(std::move(sealer)) {}
  Result<std::optional<std::string>> find(const AgentId& device) override;
  Result<void> keep(const AgentId& device, const std::string& record) override;

 private:
  store::DeviceRegistry& devices_;
  const store::Sealer sealer_;
};

}  // namespace greengate::gateway
