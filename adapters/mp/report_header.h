#pragma once

#include "adapters/mp/message.h"
#include "adapters/mp/xml_writer.h"

#include <cstddef>
#include <optional>
#include <string_view>

namespace greengate::adapters {

/// What an inventory report is about (mp-protocol 5.1). The number is the end of its action id. Two documents disagree about IDMIF's,
/// so it has two.
enum class InventoryAction { hardware = 1, software = 2, discovery = 3, files = 10, idmif = 11, idmif_otherwise = 12 };

/// "{00000000-0000-0000-0000-000000000001}": the action's id, and the name of an inventory's attachment.
std::string_view action_id(InventoryAction action);

/// What every relayed body begins with and no other (D 1.4).
inline constexpr std::string_view relay_declaration = "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\n";

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

/// Begins an inventory report: what lies before the full report where `inventory_layout` wants a header report there, the full report's
/// header, and <ReportBody>. Answers where the full report begins.
std::size_t begin_inventory(XmlWriter& to, const MpSettings& settings, const MpIdentity& identity,
                            const ReportFacts& facts, const ReportHeader& header);

/// Ends it and lays its ranges out; the text is moved, never copied. `to` is empty afterwards.
Draft end_inventory(XmlWriter& to, const MpSettings& settings, const ReportHeader& header,
                    std::string_view endpoint, std::size_t full_begins);

}  // namespace greengate::adapters
