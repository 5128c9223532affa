#include "adapters/mp/report_header.h"

#include "adapters/mp/wire_time.h"

namespace greengate::adapters {
namespace {

/// The name of the header report's attachment in the one public capture (S 2.2); any GUID would do.
constexpr std::string_view captured_name = "403838f7-69bb-43d5-8362-28a5755b97b5";

std::string_view description(InventoryAction action) {
  switch (action) {
    case InventoryAction::hardware:
      return "Hardware";
    case InventoryAction::software:
      return "Software";
    case InventoryAction::discovery:
      return "Discovery";
  }
  return "";
}

}  // namespace

std::string_view action_id(InventoryAction action) {
  switch (action) {
    case InventoryAction::hardware:
      return "{00000000-0000-0000-0000-000000000001}";
    case InventoryAction::software:
      return "{00000000-0000-0000-0000-000000000002}";
    case InventoryAction::discovery:
      return "{00000000-0000-0000-0000-000000000003}";
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
  if (header.action) {
    to.markup("<InventoryAction ActionType=\"Predefined\">");
    to.element("InventoryActionID", action_id(*header.action));
    to.element("Description", description(*header.action));
    to.element("InventoryActionLastUpdateTime", cim_datetime(facts.inventory_policy_date));
    to.markup("</InventoryAction>");
  }
  to.markup("</ReportHeader>");
}

Draft inventory_draft(const MpSettings& settings, const MpIdentity& identity,
                      const ReportFacts& facts, const ReportHeader& header,
                      std::string_view endpoint, std::string full) {
  if (settings.inventory_layout == InventoryLayout::inline_body)
    return draft_of(settings, endpoint, std::move(full));

  XmlWriter header_report;
  write_report_header(header_report, settings, identity, facts, header);
  header_report.markup("<ReportBody /></Report>");

  Draft draft;
  draft.endpoint = endpoint;
  draft.stream = header_report.take();
  const std::size_t header_bytes = draft.stream.size();
  close_text(settings, draft.stream);
  const std::size_t second = draft.stream.size();
  draft.stream += full;
  close_text(settings, draft.stream);
  // An attachment's length leaves the NUL out, the body's counts it (S 2.2).
  if (settings.inventory_layout == InventoryLayout::attach) {
    draft.body = {0, header_bytes + 2, {}, true};
    draft.attachments.push_back(
        {second, full.size(), std::string(action_id(*header.action)), true});
  } else {
    draft.body = {second, full.size() + 2, {}, true};
    draft.attachments.push_back({0, header_bytes, std::string(captured_name), true});
    draft.attachments.push_back({second, full.size(), {}, false});
  }
  return draft;
}

}  // namespace greengate::adapters
