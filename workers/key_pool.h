#pragma once

#include "adapters/mp/signing_key.h"
#include "core/channel.h"
#include "core/lifecycle.h"
#include "core/result.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

namespace greengate::workers {

/// Keys made ahead of need, so that a wave of new agents does not wait for RSA key generation.
///
/// Limits    Holds `ready_max` keys; when none is ready, the taker makes one itself.
/// Threads   take(): any. One thread of its own, at low priority, makes keys: on a busy machine somebody who needs one cannot wait for it.
/// Errors    keys.stopping (halt); what the maker fails with.
class KeyPool : public Component {
 public:
  /// Called by several threads at once; returns soon when `unwanted` becomes true.
  using Maker = std::function<Result<adapters::SigningKey>(const std::atomic<bool>& unwanted)>;
  explicit KeyPool(std::uint32_t ready_max, Maker make = [](const std::atomic<bool>& unwanted) {
    return adapters::SigningKey::generate(&unwanted);
  });
  ~KeyPool() override;

  Result<adapters::SigningKey> take();

  std::string_view name() const override { return "key pool"; }
  Result<void> start() override;
  /// Keys in the making are given up, also by who makes one itself.
  void refuse() override;
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  void make_keys();

  const Maker make_;
  Channel<adapters::SigningKey> ready_;
  std::atomic<bool> stopping_{false};
  std::thread maker_;
};

}  // namespace greengate::workers
