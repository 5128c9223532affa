#pragma once

#include "adapters/mp/message.h"
#include "adapters/mp/xml_writer.h"

#include <optional>
#include <string_view>

namespace greengate::adapters {

/// What an inventory report is about (mp-protocol 5.1). The number is the end of its action id.
enum class InventoryAction { hardware = 1, software = 2, discovery = 3 };

/// "{00000000-0000-0000-0000-000000000001}": the action's id, and the name of its attachment.
std::string_view action_id(InventoryAction action);

/// The parts of the common header that differ between families.
struct ReportHeader {
  std::string_view content = "Inventory Data";
  std::string_view type = "Full";
  std::string_view format = "1.1";
  std::optional<InventoryAction> action;
  int priority = -1;  ///< Machine/Priority; -1 leaves it out.
};

/// Everything from <Report> to </ReportHeader>; the caller goes on with ReportBody and closes
/// Report.
void write_report_header(XmlWriter& to, const MpSettings& settings, const MpIdentity& identity,
                         const ReportFacts& facts, const ReportHeader& header);

/// A report laid out in its stream as `inventory_layout` says. `full` is the whole report.
Draft inventory_draft(const MpSettings& settings, const MpIdentity& identity,
                      const ReportFacts& facts, const ReportHeader& header,
                      std::string_view endpoint, std::string full);

}  // namespace greengate::adapters
