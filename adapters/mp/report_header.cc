#include "adapters/mp/report_header.h"

#include "adapters/mp/wire_time.h"

namespace greengate::adapters {
namespace {

/// The name of the header report's attachment in the one public capture (S 2.2); any GUID would do.
constexpr std::string_view captured_name = "403838f7-69bb-43d5-8362-28a5755b97b5";

std::string_view description(InventoryAction action) {
  switch (action) {
    case InventoryAction::hardware: return "Hardware";
    case InventoryAction::software: return "Software";
    case InventoryAction::discovery: return "Discovery";
    case InventoryAction::files: return "File Collection";
    case InventoryAction::idmif:
    case InventoryAction::idmif_otherwise: return "IDMIF";
  }
  return "";
}

/// The capture's gaps are 00 00 0D 0A; whoever asks for its layout gets them whatever `trailing_crlf` says.
std::string_view end_in_layout(const MpSettings& settings) {
  return settings.inventory_layout == InventoryLayout::captured ? whole_text_end : text_end(settings);
}

/// File collection has an action of its own name and no date (D 5.8); all others share one form (5.1).
void write_action(XmlWriter& to, const ReportFacts& facts, InventoryAction action) {
  if (action == InventoryAction::files) {
    to.markup("<FileCollectionAction>");
    to.element("FileCollectionActionID", action_id(action));
    to.element("Description", description(action));
    to.markup("</FileCollectionAction>");
    return;
  }
  to.markup("<InventoryAction ActionType=\"Predefined\">");
  to.element("InventoryActionID", action_id(action));
  to.element("Description", description(action));
  to.element("InventoryActionLastUpdateTime", cim_datetime(facts.inventory_policy_date));
  to.markup("</InventoryAction>");
}

}  // namespace

std::string_view action_id(InventoryAction action) {
  switch (action) {
    case InventoryAction::hardware: return "{00000000-0000-0000-0000-000000000001}";
    case InventoryAction::software: return "{00000000-0000-0000-0000-000000000002}";
    case InventoryAction::discovery: return "{00000000-0000-0000-0000-000000000003}";
    case InventoryAction::files: return "{00000000-0000-0000-0000-000000000010}";
    case InventoryAction::idmif: return "{00000000-0000-0000-0000-000000000011}";
    case InventoryAction::idmif_otherwise: return "{00000000-0000-0000-0000-000000000012}";
  }
  return "";
}

void write_report_header(XmlWriter& to, const MpSettings& settings, const MpIdentity& identity,
                         const ReportFacts& facts, const ReportHeader& header) {
  to.markup(
      "<Report><ReportHeader><Identification><Machine><ClientInstalled>1</ClientInstalled>"
      "<ClientType>1</ClientType>");
  to.element("ClientID", identity.sms_id.raw());
  to.element("ClientVersion", settings.client_version);
  to.element("NetBIOSName", identity.netbios_name);
  to.markup("<CodePage>");
  to.unsigned_number(settings.code_page);
  to.markup("</CodePage><SystemDefaultLCID>");
  to.unsigned_number(settings.lcid);
  to.markup("</SystemDefaultLCID>");
  if (header.priority >= 0) {
    to.markup("<Priority>");
    to.number(header.priority);
    to.markup("</Priority>");
  }
  to.markup("</Machine></Identification><ReportDetails>");
  to.element("ReportContent", header.content);
  to.element("ReportType", header.type);
  to.element("Date", cim_datetime(facts.made_at));
  to.markup("<Version>");
  to.unsigned_number(facts.version_major);
  to.markup(".");
  to.unsigned_number(facts.version_minor);
  to.markup("</Version>");
  to.element("Format", header.format);
  to.markup("</ReportDetails>");
  if (header.action) write_action(to, facts, *header.action);
  to.markup("</ReportHeader>");
}

std::size_t begin_inventory(XmlWriter& to, const MpSettings& settings, const MpIdentity& identity,
                            const ReportFacts& facts, const ReportHeader& header) {
  if (settings.inventory_layout != InventoryLayout::inline_body) {
    write_report_header(to, settings, identity, facts, header);
    to.markup("<ReportBody /></Report>");
    to.raw(end_in_layout(settings));
  }
  const std::size_t full_begins = to.size();
  write_report_header(to, settings, identity, facts, header);
  to.markup("<ReportBody>");
  return full_begins;
}

Draft end_inventory(XmlWriter& to, const MpSettings& settings, const ReportHeader& header,
                    std::string_view endpoint, std::size_t full_begins) {
  to.markup("</ReportBody></Report>");
  const std::size_t full_bytes = to.size() - full_begins;
  const std::string_view end = end_in_layout(settings);
  to.raw(end);
  Draft draft;
  draft.endpoint = endpoint;
  draft.stream = to.take();
  // An attachment's length leaves the NUL out, the body's counts it (S 2.2).
  switch (settings.inventory_layout) {
    case InventoryLayout::inline_body:
      draft.body = {0, full_bytes + nul_bytes, {}, true};
      break;
    case InventoryLayout::attach:
      draft.body = {0, full_begins - end.size() + nul_bytes, {}, true};
      draft.attachments.push_back({full_begins, full_bytes, std::string(action_id(*header.action)), true});
      break;
    case InventoryLayout::captured:
      draft.body = {full_begins, full_bytes + nul_bytes, {}, true};
      draft.attachments.push_back({0, full_begins - end.size(), std::string(captured_name), true});
      draft.attachments.push_back({full_begins, full_bytes, {}, false});
      break;
  }
  return draft;
}

}  // namespace greengate::adapters
