#pragma once

#include "adapters/mp/message.h"
#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/result.h"
#include "store/report_queue.h"
#include "workers/coalescer.h"
#include "workers/delivery_note.h"

#include <functional>
#include <string>
#include <vector>

namespace greengate::workers {

/// What a device's next message must be numbered with, and what its counters become when it is pinned.
struct Numbering {
  DeliveryNote note;
  std::vector<store::CounterValue> counters;
};

/// What a message's header says of it, by its note alone.
adapters::ReportFacts report_facts(const DeliveryNote& note);

/// Report bytes to a signed management-point message; inventories are InventoryPlanner's.
///
/// Threads   Any; holds nothing.
/// Errors    report.malformed, report.kind_unknown, files.hash, and what adapters/mp refuses (all reject).
/// Source    mp-protocol 5.5 to 5.10
class Translator {
 public:
  explicit Translator(const adapters::MpSettings& settings) : settings_(settings) {}

  /// Numbers a group that was not attempted before. `counter` answers the device's durable counters.
  Result<Numbering> number(const Group& group, WallTime now,
                           const std::function<std::uint64_t(const std::string&)>& counter) const;

  Result<adapters::OutgoingMessage> translate(const adapters::MpIdentity& identity, const Group& group,
                                              const DeliveryNote& note) const;

 private:
  const adapters::MpSettings& settings_;
};

}  // namespace greengate::workers
