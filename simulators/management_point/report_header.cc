#include "simulators/common/text.h"
#include "simulators/common/xml.h"
#include "simulators/management_point/report_parts.h"

#include <algorithm>

namespace greengate::sim {
namespace {

constexpr KindRules kinds[] = {
    {ReportKind::discovery, "Inventory Data", "1.1", "{00000000-0000-0000-0000-000000000003}",
     false, true},
    {ReportKind::hardware, "Inventory Data", "1.1", "{00000000-0000-0000-0000-000000000001}", true,
     true},
    {ReportKind::software, "Inventory Data", "1.1", "{00000000-0000-0000-0000-000000000002}", true,
     false},
    {ReportKind::files, "Inventory Data", "1.1", "", false, false},
    {ReportKind::state, "State Message Data", "1.0", "", false, false},
    {ReportKind::metering, "Software Metering Data", "1.0", "", false, false},
};

}  // namespace

const KindRules* rules_of(ReportKind kind) {
  const auto* const known = std::find_if(std::begin(kinds), std::end(kinds), [&](const KindRules& k) { return k.kind == kind; });
  return known == std::end(kinds) ? nullptr : known;
}

void read_machine(const pugi::xml_node& machine, Report& report, Findings& findings) {
  if (const auto text = child_text(machine, "ClientInstalled"); text != "0" && text != "1")
    findings.add("report.client_installed",
                 "ClientInstalled is " + shown(text) + "; it is 1 for a managed client.");
  if (const auto text = child_text(machine, "ClientType"); text != "1")
    findings.add("report.client_type", "ClientType is " + shown(text) + "; it is 1.");
  report.client_id = child_text(machine, "ClientID");
  report.client_version = child_text(machine, "ClientVersion");
  report.netbios_name = child_text(machine, "NetBIOSName");
  if (report.client_version.empty())
    findings.add("report.client_version", "ClientVersion is missing.");
  if (report.netbios_name.empty()) findings.add("report.netbios_name", "NetBIOSName is missing.");
  if (!parse_number(child_text(machine, "CodePage")))
    findings.add("report.code_page", "CodePage is no number.");
  if (!parse_number(child_text(machine, "SystemDefaultLCID")))
    findings.add("report.lcid", "SystemDefaultLCID is no number.");
  if (const auto priority = machine.child("Priority")) {
    const std::string text = priority.text().get();
    if (!text.empty() && (text.size() != 1 || text[0] < '0' || text[0] > '5'))
      findings.add("report.priority", "Priority is " + shown(text) + "; it is empty or 0 to 5.");
    if (priority.next_sibling())
      findings.add("report.priority", "Priority is not the last child of Machine.");
  }
}

void read_action(const pugi::xml_node& header, const KindRules& kind, const ReportRules& rules,
                 Findings& findings) {
  const auto action = header.child("InventoryAction");
  if (!action) {
    findings.add("report.action_missing", "InventoryAction is missing.");
    return;
  }
  if (std::string_view(action.attribute("ActionType").value()) != "Predefined")
    findings.add(
        "report.action_type",
        "ActionType is " + shown(action.attribute("ActionType").value()) + "; it is Predefined.");
  if (const auto id = child_text(action, "InventoryActionID"); id != kind.action_id)
    findings.add("report.action_id", "InventoryActionID is " + shown(id) +
                                         "; this endpoint takes " + std::string(kind.action_id) +
                                         ".");
  const std::string updated = child_text(action, "InventoryActionLastUpdateTime");
  if (updated.empty()) {
    if (kind.update_time_required)
      findings.add("report.update_time_missing", "InventoryActionLastUpdateTime is missing.");
    return;
  }
  const auto time = parse_cim_utc(updated);
  if (!time)
    findings.add("report.update_time_form", "InventoryActionLastUpdateTime is " + shown(updated) +
                                                "; it is a CIM time in UTC.");
  else if (*time > rules.now)
    findings.add("report.update_time_future",
                 "InventoryActionLastUpdateTime is " + updated + ", which is still to come.");
  else if (*time > rules.hardware_policy_date)
    findings.add("report.update_time_policy", "InventoryActionLastUpdateTime is " + updated +
                                                  ", later than the inventory policy's date " +
                                                  to_cim_utc(rules.hardware_policy_date) +
                                                  "; the report would wait in the retry queue.");
}

void read_details(const pugi::xml_node& details, const KindRules& kind, const ReportRules& rules,
                  Report& report, Findings& findings) {
  if (const auto text = child_text(details, "ReportContent"); text != kind.content)
    findings.add("report.content", "ReportContent is " + shown(text) + "; it is \"" +
                                       std::string(kind.content) + "\".");
  const std::string type = child_text(details, "ReportType");
  report.delta = type == "Delta";
  if (type != "Full" && !(report.delta && kind.delta_allowed))
    findings.add("report.type", "ReportType is " + shown(type) + "; this kind is Full" +
                                    (kind.delta_allowed ? " or Delta." : "."));
  const auto date = parse_cim_utc(child_text(details, "Date"));
  constexpr std::chrono::minutes skew_max{5};
  if (!date)
    findings.add("report.date",
                 "Date is " + shown(child_text(details, "Date")) + "; it is a CIM time in UTC.");
  else if (*date > rules.now + skew_max)
    findings.add("report.date_future", "Date is still to come.");
  const auto version = parse_version(child_text(details, "Version"));
  if (!version)
    findings.add("report.version_form", "Version is " + shown(child_text(details, "Version")) +
                                            "; it is <major>.<minor>.");
  report.version = version.value_or(ReportVersion{});
  if (version && kind.delta_allowed && !report.delta && version->minor != 0)
    findings.add("report.version_order",
                 "A full report has the version " + to_text(*version) + "; its minor number is 0.");
  if (version && report.delta && version->minor == 0)
    findings.add("report.version_order", "A delta report has the version " + to_text(*version) +
                                             "; its minor number begins at 1.");
  if (version && kind.kind == ReportKind::discovery && version->minor != 0)
    findings.add("report.version_order", "Discovery data has the version " + to_text(*version) +
                                             "; its minor number is 0.");
  if (const auto text = child_text(details, "Format"); text != kind.format)
    findings.add("report.format",
                 "Format is " + shown(text) + "; it is " + std::string(kind.format) + ".");
}

}  // namespace greengate::sim
