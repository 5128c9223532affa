#pragma once

#include "core/clock.h"
#include "core/config_reader.h"
#include "core/lifecycle.h"
#include "core/log.h"
#include "core/metrics.h"
#include "store/device_registry.h"
#include "store/report_queue.h"
#include "workers/carrier.h"
#include "workers/courier.h"
#include "workers/identities.h"
#include "workers/inventory_planner.h"
#include "workers/pacer.h"
#include "workers/translator.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <thread>
#include <vector>

namespace greengate::workers {

/// [delivery], the part that concerns workers.
struct PoolConfig : CarrierConfig {
  std::uint32_t workers = 8;                      ///< Messages in the making or on their way at once.
  std::uint32_t batch_reports_max = 256;          ///< Reports of one device in one worker's hands.
  std::int64_t batch_bytes_max = 32 << 20;

  std::vector<ConfigProblem> problems() const;
};

/// n workers; each carries one device's batch from lease to settlement.
///
/// Promise   What Carrier promises of each batch; only what the site's budget and a management point have room for is leased (Pacer).
/// Threads   PoolConfig::workers of its own.
/// Source    design.md 4 (Deliver), docs/life_of_a_report.md
class Pool : public Component {
 public:
  Pool(PoolConfig config, store::ReportQueue& reports, store::DeviceRegistry& devices, Identities& identities,
       const Translator& translator, const InventoryPlanner& inventories, Courier& courier, const Clock& clock, Metrics& metrics, OutcomeSink outcomes);
  ~Pool() override;

  /// Before start().
  void on_state_wanted(StateWantedSink listener) { carrier_.on_state_wanted(std::move(listener)); }

  std::string_view name() const override { return "worker pool"; }
  Result<void> start() override;
  void refuse() override { drain({}); }
  void drain(SteadyTime until) override;
  /// Back when every worker has ended: after the message in its hand, which the courier's draining cuts short.
  void stop() override;

 private:
  void work();

  const PoolConfig config_;
  store::ReportQueue& reports_;
  Courier& courier_;
  Pacer pacer_;
  Carrier carrier_;
  const Log log_{"worker_pool"};
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_{false};
};

}  // namespace greengate::workers
