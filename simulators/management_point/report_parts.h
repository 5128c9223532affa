// The parts of a report, as read_report() puts them together: report_header.cc what stands above every kind's body,
// report_instances.cc an inventory's rows, report_bodies.cc the other kinds' bodies.
#pragma once

#include "simulators/management_point/report.h"

namespace greengate::sim {

/// What section 5 asks of each kind's header.
struct KindRules {
  ReportKind kind;
  std::string_view content, format;
  std::string_view action_id;  ///< Empty: no InventoryAction.
  bool delta_allowed, update_time_required;
};
/// Null: a kind whose header is not public.
const KindRules* rules_of(ReportKind kind);

void read_machine(const pugi::xml_node& machine, Report& report, Findings& findings);
void read_action(const pugi::xml_node& header, const KindRules& kind, const ReportRules& rules, Findings& findings);
void read_details(const pugi::xml_node& details, const KindRules& kind, const ReportRules& rules, Report& report, Findings& findings);

void read_instances(const pugi::xml_node& body, Report& report, Findings& findings);
void read_states(const pugi::xml_node& body, Report& report, Findings& findings);
void read_metering(const pugi::xml_node& body, Findings& findings);
void read_files(const pugi::xml_node& header, const pugi::xml_node& body, const Envelope& envelope, Report& report, Findings& findings);
void read_status(const pugi::xml_node& root, Report& report, Findings& findings);

}  // namespace greengate::sim
