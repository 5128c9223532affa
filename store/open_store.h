#pragma once

#include "core/clock.h"
#include "core/config_reader.h"
#include "core/lifecycle.h"
#include "core/metrics.h"
#include "store/baselines.h"
#include "store/device_registry.h"
#include "store/mailbox.h"
#include "store/report_queue.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace greengate::store {

/// [store]
struct StoreConfig {
  std::string kind = "embedded";
  std::string directory = "/var/lib/greengate";
  std::int64_t queue_bytes_max = std::int64_t{8} << 30;  ///< Waiting report bodies, all lanes.
  std::uint32_t reserve_percent = 10;                    ///< Of queue_bytes_max, only for control and state.
  std::chrono::milliseconds lease_time{120'000};         ///< A worker that is silent this long has lost its batch.
  std::uint32_t history_per_device = 100;                ///< Settled reports an operator can still see.
  std::uint32_t devices_max = 200'000;
  std::uint32_t pending_max = 1'000;
  std::uint32_t tokens_max = 1'000;
  MailboxConfig mailbox;

  std::vector<ConfigProblem> problems() const;
};

/// The store as one component: the interfaces it offers live as long as it does.
class Store : public Component {
 public:
  virtual ReportQueue& reports() = 0;
  virtual DeviceRegistry& devices() = 0;
  virtual Baselines& baselines() = 0;
  virtual Mailbox& mailbox() = 0;
};

/// The only place that knows every kind. Fails config.store_kind (reject), store.open (retry).
Result<std::unique_ptr<Store>> open_store(const StoreConfig& config, const Clock& clock, Metrics& metrics);

}  // namespace greengate::store
