#pragma once

#include "adapters/mp/message.h"
#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/ids.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/result.h"
#include "store/baselines.h"
#include "store/report_queue.h"
#include "workers/coalescer.h"
#include "workers/delivery_note.h"
#include "workers/inventory_delta.h"
#include "workers/inventory_policy.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace greengate::workers {

/// [inventory]
struct InventoryConfig {
  /// A whole inventory at least this often, though changes would do: heals what the site silently rejected. 7 d is the specification's figure
  /// for a gateway that does not hear a site's wish for a resync (I, mp-protocol 6.4); this one hears it.
  std::chrono::milliseconds full_interval{std::chrono::days(28)};
  std::uint32_t deltas_max = 100;     ///< Deltas on one whole inventory.
  std::vector<std::string> churning;  ///< "Class.Property", beside what agents mark.

  std::vector<ConfigProblem> problems() const;
};

/// What is to be done with an inventory report or a request for a resync, and why. The metric greengate_inventory_decisions_total has these names.
enum class InventoryDecision {
  // Sent whole
  full_first,     ///< The site has nothing, as far as we know, or nothing under the name it has for the device now.
  full_resync,    ///< The site asked.
  full_due,       ///< full_interval is over, or deltas_max reached.
  full_gap,       ///< The last numbered message was not taken: a delta would have nothing to stand on.
  full_shape,     ///< No delta can tell the change (HardwareChanges::can_be_told).
  full_smaller,   ///< The delta would have more instances than the whole.
  full_repeated,  ///< Numbered before; the same message again.
  // Sent as changes
  delta,
  delta_repeated,
  // Not sent; settled as superseded with the code of decision_code()
  unchanged,      ///< The site has all of it.
  older,          ///< The site has a newer one, as can be after a dead letter was tried again.
  empty,          ///< A whole inventory would be due, and there is nothing in it: it would delete the client's inventory.
  nothing_known,  ///< A resync of a state we never had.
};
const char* decision_name(InventoryDecision decision);
/// "inventory.unchanged", …; empty when something is sent.
const char* decision_code(InventoryDecision decision);

/// A message made from a plan, and what the site has once it took it.
struct PreparedInventory {
  adapters::OutgoingMessage message;
  store::BaselineMove move;
};

/// One group's decision and, when something is to be sent, the states it is made from.
class InventoryPlan {
 public:
  InventoryDecision decision = InventoryDecision::empty;
  DeliveryNote note;                         ///< Set when something is sent.
  std::vector<store::CounterValue> counters; ///< What pinning the note makes of them.
  bool to_pin = false;                       ///< The note is new.
  bool tells_report = false;                 ///< What is sent is the group's own state, not the baseline's.

  bool sends() const { return *decision_code(decision) == '\0'; }

  /// Spends the plan: its states are gone when the message is compressed and signed.
  /// Errors    mp.…, what adapters/mp refuses.
  Result<PreparedInventory> write(const adapters::MpSettings& settings, const adapters::MpIdentity& identity) &&;

  struct Content;
  std::unique_ptr<Content> content;

  InventoryPlan();
  InventoryPlan(InventoryPlan&&) noexcept;
  InventoryPlan& operator=(InventoryPlan&&) noexcept;
  ~InventoryPlan();
};

/// Decides what of a full state the site must be told: nothing, the changes, or all of it.
///
/// Promise   A delta is made only against a baseline whose version is that of the last numbered message, so each stands on the one before;
///           versions of a kind only rise; a whole inventory without instances is never sent. With a note the content follows from the
///           report and the unmoved baseline; where that baseline is gone, the message is numbered anew as a whole.
/// Threads   Any.
/// Errors    baseline.disk (retry); what parse_hardware() and parse_software() refuse, note.unreadable (reject).
/// Source    mp-protocol 5.1, 5.6, 5.7, 6.4; docs/adr/0013-inventory-as-a-state.md
class InventoryPlanner {
 public:
  /// `baselines` and `settings` outlive this.
  InventoryPlanner(const InventoryConfig& config, const adapters::MpSettings& settings, store::Baselines& baselines, Metrics& metrics);

  /// What the site's policy says of inventories; before the first use. Without one, dates are safely past and every class is sent.
  void ask_of_policy(const InventoryPolicy& policy) { policy_ = &policy; }

  using Counters = std::function<std::uint64_t(const std::string&)>;
  /// `group` is one with is_inventory(group.kind). `note` is what it was pinned with, if it was. `client` is who the agent is at the site now.
  Result<InventoryPlan> plan(const AgentId& agent, const SmsId& client, const Group& group, const std::optional<DeliveryNote>& note,
                             const Counters& counters, WallTime now) const;
  /// Once a report, however often it was planned.
  void count(InventoryDecision decision) const { decisions_.at(decision).add(); }

  const adapters::MpSettings& settings() const { return settings_; }

 private:
  template <class State>
  Result<InventoryPlan> plan_state(const AgentId& agent, const SmsId& client, const Group& group, const std::optional<DeliveryNote>& note,
                                   const Counters& counters, WallTime now) const;

  const InventoryConfig config_;
  const Churn churn_;
  const adapters::MpSettings& settings_;
  store::Baselines& baselines_;
  const InventoryPolicy* policy_ = nullptr;
  const Log log_{"inventory"};
  std::map<InventoryDecision, Counter> decisions_;
  const Counter dropped_;
};

}  // namespace greengate::workers
