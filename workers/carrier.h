#pragma once

#include "core/clock.h"
#include "core/log.h"
#include "core/metrics.h"
#include "store/device_registry.h"
#include "store/report_queue.h"
#include "workers/coalescer.h"
#include "workers/courier.h"
#include "workers/identities.h"
#include "workers/inventory_planner.h"
#include "workers/translator.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace greengate::workers {

/// [delivery], the part that concerns one batch.
struct CarrierConfig {
  std::uint32_t settle_messages_max = 16;         ///< Delivered messages of a batch settled by one sync; these may come again after a crash.
  std::chrono::milliseconds retry_base{5'000};    ///< Back-off of one device's reports when the site cannot take them.
  std::chrono::milliseconds retry_cap{900'000};
  std::chrono::milliseconds message_time_max{60'000};  ///< The longest one exchange can take; none is begun later than this before the lease ends.
  std::chrono::milliseconds file_wait_max{86'400'000};  ///< A collected file whose rest did not come for so long is given up.
  CoalescerConfig coalescer;
};

/// What became of one report, for its agent.
struct ReportOutcome {
  store::ReportName name;
  store::Outcome outcome = store::Outcome::delivered;
  std::string code, message;  ///< Why, when it was buried or not sent.
};
/// Called on a worker's thread after the outcome is on disk; must not wait. Reports of our own making have no agent to tell.
using OutcomeSink = std::function<void(const ReportOutcome&)>;
/// The site asked for a state we never had: only the agent can help. On a worker's thread; must not wait.
using StateWantedSink = std::function<void(const AgentId&, std::uint32_t kind)>;

/// Carries one device's batch from lease to settlement.
///
/// Promise   A report is settled only after the site's answer, and on disk; one that cannot be translated is buried with the reason and
///           does not hold up its neighbours. Everything a message is numbered with is on disk before its first attempt. An inventory's
///           baseline moves in the commit that settles it, and before the next inventory of its kind is numbered.
/// Order     Of one batch: oldest message first; a message that must wait makes later ones wait.
/// Limits    The batch, and at a time the states of one inventory beside it.
/// Threads   Any; a batch belongs to the thread that carries it.
/// Source    docs/life_of_a_report.md
class Carrier {
 public:
  Carrier(const CarrierConfig& config, store::ReportQueue& reports, store::DeviceRegistry& devices, Identities& identities,
          const Translator& translator, const InventoryPlanner& inventories, Courier& courier, const Clock& clock, Metrics& metrics,
          OutcomeSink outcomes);

  /// Before the first batch.
  void on_state_wanted(StateWantedSink listener) { state_wanted_ = std::move(listener); }

  /// Every report of the batch is settled, or put back, when it returns. No message is begun once `stopping`.
  void carry(const store::Batch& batch, const std::atomic<bool>& stopping);

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
  /// One message of the batch on its way.
  struct Errand {
    Group group;
    std::optional<DeliveryNote> note;    ///< On disk.
    std::optional<InventoryPlan> plan;   ///< Of the first inventory only, so that it need not be made twice.
    bool follows = false;                ///< An inventory behind another of its kind: numbered when that one is settled.
    bool counted = false;                ///< In the metric of decisions.
    bool done = false;
  };
  using Errands = std::vector<Errand>;
  /// Whether the lease goes on; if not, all that was open has been put back.
  enum class Next { go_on, over };

  Next number_ahead(Hand& hand, const adapters::MpIdentity& identity, Errands& errands);
  Next pin(Hand& hand, const std::vector<store::Pin>& pins, const std::vector<store::CounterValue>& counters);
  Next carry_message(Hand& hand, const adapters::MpIdentity& identity, Errand& errand);
  Next plan_inventory(Hand& hand, const adapters::MpIdentity& identity, Errand& errand, const InventoryPlanner::Counters& counters);
  Next carry_inventory(Hand& hand, const adapters::MpIdentity& identity, Errand& errand);
  /// What the courier said when it did not deliver.
  Next not_delivered(Hand& hand, const Errand& errand, const Error& why);
  Next inventory_delivered(Hand& hand, const Errand& errand, bool tells_report, const store::BaselineMove& move);

  void supersede(Hand& hand, const Reports& reports, const std::string& code);
  /// Buries what the plan calls hopeless, and puts back what has to wait for the rest of its file; what waited too long is buried.
  void set_aside(Hand& hand, const Plan& plan);
  /// Remembers a delivered message; settle_delivered() writes several with one sync.
  void delivered(Hand& hand, const Reports& reports, const std::string& tracking);
  void settle_delivered(Hand& hand);
  bool settle(Hand& hand, const std::vector<store::Settlement>& settlements, const std::vector<store::BaselineMove>& moves = {});
  void bury(Hand& hand, const Reports& reports, const Error& reason);
  void put_back(Hand& hand, const Error& why);
  void hand_back(Hand& hand);
  /// Counts settled reports and tells their agent.
  void tell(const Reports& reports, const std::vector<store::Settlement>& settlements);
  static void close(Hand& hand, const Reports& reports);

  const CarrierConfig config_;
  store::ReportQueue& reports_;
  store::DeviceRegistry& devices_;
  Identities& identities_;
  const Translator& translator_;
  const InventoryPlanner& inventories_;
  Courier& courier_;
  const Clock& clock_;
  const OutcomeSink outcomes_;
  StateWantedSink state_wanted_;
  const Log log_{"worker_pool"};
  const Counter delivered_, superseded_, buried_, postponed_, messages_;
  const Histogram delivery_seconds_;
};

}  // namespace greengate::workers
