#pragma once

#include "core/clock.h"
#include "core/config_reader.h"
#include "core/lifecycle.h"
#include "core/log.h"
#include "core/metrics.h"
#include "store/device_registry.h"
#include "store/report_queue.h"
#include "workers/coalescer.h"
#include "workers/courier.h"
#include "workers/identities.h"
#include "workers/pacer.h"
#include "workers/translator.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace greengate::workers {

/// [delivery], the part that concerns workers.
struct PoolConfig {
  std::uint32_t workers = 8;                      ///< Messages in the making or on their way at once.
  std::uint32_t batch_reports_max = 256;          ///< Reports of one device in one worker's hands.
  std::uint32_t settle_messages_max = 16;         ///< Delivered messages of a batch settled by one sync; these may come again after a crash.
  std::int64_t batch_bytes_max = 32 << 20;
  std::chrono::milliseconds retry_base{5'000};    ///< Back-off of one device's reports when the site cannot take them.
  std::chrono::milliseconds retry_cap{900'000};
  std::chrono::milliseconds message_time_max{60'000};  ///< The longest one exchange can take; none is begun later than this before the lease ends.
  std::chrono::milliseconds file_wait_max{86'400'000};  ///< A collected file whose rest did not come for so long is given up.
  CoalescerConfig coalescer;

  std::vector<ConfigProblem> problems() const;
};

/// What became of one report, for its agent.
struct ReportOutcome {
  store::ReportName name;
  store::Outcome outcome = store::Outcome::delivered;
  std::string code, message;  ///< When buried: why.
};
/// Called on a worker's thread after the outcome is on disk; must not wait.
using OutcomeSink = std::function<void(const ReportOutcome&)>;

/// n workers; each carries one device's batch from lease to settlement.
///
/// Promise   A report is settled only after the site's answer, and on disk; one that cannot be translated is buried with the reason and
///           does not hold up its neighbours; only what the site's budget and a management point have room for is leased (Pacer).
/// Order     Of one device: oldest message first; a message that must wait makes later ones of that device wait.
/// Threads   PoolConfig::workers of its own.
/// Source    design.md 4 (Deliver), docs/life_of_a_report.md
class Pool : public Component {
 public:
  Pool(PoolConfig config, store::ReportQueue& reports, store::DeviceRegistry& devices, Identities& identities,
       const Translator& translator, Courier& courier, const Clock& clock, Metrics& metrics, OutcomeSink outcomes);
  ~Pool() override;

  std::string_view name() const override { return "worker pool"; }
  Result<void> start() override;
  void drain(SteadyTime until) override;
  /// Back when every worker has ended: after the message in its hand, which the courier's draining cuts short.
  void stop() override;

 private:
  using Reports = std::vector<const store::LeasedReport*>;
  /// A batch, and which of its reports the lease still holds.
  struct Hand {
    const store::Batch& batch;
    Reports open;
    std::vector<store::Settlement> delivered;  ///< Taken by the site, not yet settled.
    Reports delivered_reports;
    std::uint32_t delivered_messages = 0;
  };

  void work();
  void carry(const store::Batch& batch);
  /// False when the rest of the batch was put back and the lease is over.
  bool carry_message(Hand& hand, const adapters::MpIdentity& identity, Group& group);
  void supersede(Hand& hand, const Reports& reports);
  /// Buries what the plan calls hopeless, and puts back what has to wait for the rest of its file; what waited too long is buried.
  void set_aside(Hand& hand, const Plan& plan);
  /// Remembers a delivered message; settle_delivered() writes several with one sync.
  void delivered(Hand& hand, const Reports& reports, const std::string& tracking);
  void settle_delivered(Hand& hand);
  bool settle(Hand& hand, const std::vector<store::Settlement>& settlements);
  void bury(Hand& hand, const Reports& reports, const Error& reason);
  void put_back(Hand& hand, const Error& why);
  static void close(Hand& hand, const Reports& reports);

  const PoolConfig config_;
  store::ReportQueue& reports_;
  store::DeviceRegistry& devices_;
  Identities& identities_;
  const Translator& translator_;
  Courier& courier_;
  Pacer pacer_;
  const Clock& clock_;
  const OutcomeSink outcomes_;
  const Log log_{"worker_pool"};
  const Counter delivered_, superseded_, buried_, postponed_, messages_;
  const Histogram delivery_seconds_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_{false};
};

}  // namespace greengate::workers
