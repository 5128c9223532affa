#pragma once

#include "adapters/mp/settings.h"
#include "core/result.h"
#include "store/device_registry.h"
#include "store/report_queue.h"
#include "workers/identities.h"
#include "workers/inventory_planner.h"
#include "workers/translator.h"

#include <string>

namespace greengate::workers {

/// What a report would be sent to the site as, for an operator's eyes: nothing is sent, nothing is numbered for good.
///
/// Limits    As the message's own (MpSettings::message_bytes_max).
/// Threads   Any.
/// Errors    What stands in the message's way: identity.none, seal.broken, report.malformed, …
class Preview {
 public:
  /// The references outlive this.
  Preview(const adapters::MpSettings& settings, store::DeviceRegistry& devices, Identities& identities, const Translator& translator,
          const InventoryPlanner& inventories)
      : settings_(settings), devices_(devices), identities_(identities), translator_(translator), inventories_(inventories) {}

  /// The body's XML as UTF-8; attachments are left out.
  Result<std::string> xml_of(const store::LeasedReport& report) const;

 private:
  Result<adapters::OutgoingMessage> message_of(const adapters::MpIdentity& identity, const store::LeasedReport& report) const;

  const adapters::MpSettings& settings_;
  store::DeviceRegistry& devices_;
  Identities& identities_;
  const Translator& translator_;
  const InventoryPlanner& inventories_;
};

}  // namespace greengate::workers
