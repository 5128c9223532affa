#include "simulators/management_point/site_record.h"

#include "simulators/common/text.h"
#include "simulators/common/xml.h"

#include <algorithm>

namespace greengate::sim {
namespace {

namespace json = boost::json;

constexpr std::size_t client_states_kept_max = 50;
constexpr std::size_t classes_shown_max = 64;

json::object summary_of(const Report& report) {
  json::object out{{"kind", name_of(report.kind)},
                   {"type", report.delta ? "Delta" : "Full"},
                   {"version", to_text(report.version)}};
  json::object classes;
  for (const auto& [name, count] : report.instances_by_class()) {
    if (classes.size() >= classes_shown_max) break;
    classes[name] = count;
  }
  if (report.kind == ReportKind::discovery || report.kind == ReportKind::hardware ||
      report.kind == ReportKind::software)
    out["instances"] = std::move(classes);
  if (report.kind == ReportKind::state) {
    out["state_messages"] = report.states.size();
    if (!report.states.empty() && report.states.front().serial && report.states.back().serial) {
      out["serial_first"] = *report.states.front().serial;
      out["serial_last"] = *report.states.back().serial;
    }
  }
  if (report.kind == ReportKind::files) out["files"] = report.collected_files;
  return out;
}

}  // namespace

Outgoing Site::answer_post(const Envelope& envelope, std::string_view stream,
                           const std::string& body, Record& record, Findings& findings) {
  const auto report =
      read_report(envelope, stream, body, {record.time, answers_->policy_date()}, findings);
  if (!report) return {};
  record.report = summary_of(*report);
  if (report->kind != ReportKind::status && report->client_id != envelope.source_id)
    findings.add("report.client_id", "Machine/ClientID is " + shown(report->client_id) +
                                         "; the message comes from " + shown(envelope.source_id) +
                                         ".");

  std::string said = envelope.target_endpoint + '\n' + name_of(report->kind) +
                     (report->delta ? "\nd" : "\nf") + to_text(report->version);
  for (const StateMessage& state : report->states)
    said += '\n' + std::to_string(state.serial.value_or(0)) + state.topic_id;
  if (report->kind == ReportKind::status || report->kind == ReportKind::mif) said += body;
  const std::uint64_t print = fingerprint_of(said);

  const std::lock_guard lock(mutex_);
  Client* const client = book_.find(envelope.source_id);
  if (client == nullptr) return {};  // forgotten meanwhile
  if (!report->netbios_name.empty() &&
      !equals_ignoring_case(report->netbios_name, client->netbios_name))
    findings.add("report.netbios_name_changed", "NetBIOSName is " + shown(report->netbios_name) +
                                                    "; the client registered as " +
                                                    shown(client->netbios_name) + ".");
  if (const auto seen = client->recent.seen(envelope.id)) {
    if (*seen == print && !findings.failed()) {
      record.repeat = !findings.add("message.repeat",
                                    "This message was accepted before; it is not applied again.");
      return settings_.post_reply_header && record.repeat
                 ? reply_message(envelope, settings_.host_name, "", record.time)
                 : Outgoing{};
    }
    if (*seen != print)
      findings.add("message.id_reused", "The message id was used before for another report.");
  }
  check_order(*report, *client, findings);
  if (findings.failed()) return {};
  apply(*report, *client, record.time);
  client->recent.remember(envelope.id, print);
  book_.save_progress(*client, report->kind, envelope.id, print);
  return settings_.post_reply_header ? reply_message(envelope, settings_.host_name, "", record.time)
                                     : Outgoing{};
}

// Readings 2 to 5. Called with the lock held.
void Site::check_order(const Report& report, Client& client, Findings& findings) const {
  const auto held = client.versions.find(report.kind);
  const bool any = held != client.versions.end();
  const ReportVersion last = any ? held->second : ReportVersion{};
  const std::string now = to_text(report.version), before = any ? to_text(last) : "none";
  if (report.kind == ReportKind::discovery && any && report.version < last)
    findings.add("report.version_order", "Discovery data " + now + " came after " + before + ".");
  if (report.kind == ReportKind::hardware || report.kind == ReportKind::software) {
    if (!report.delta && any && report.version.major <= last.major)
      findings.add("report.version_order", "The full report " + now + " came after " + before +
                                               "; its major number must be larger.");
    // A delta builds on all before it: n.1, n.2, … without a gap (5.1).
    if (report.delta &&
        (!any || report.version.major != last.major || report.version.minor != last.minor + 1))
      findings.add("report.version_order", "The delta report " + now + " came after " + before +
                                               "; deltas follow their full report one by one.");
    client.picture.check(report, findings);
  }
  if (report.kind == ReportKind::state && !report.states.empty() && client.last_serial) {
    const auto first = std::find_if(report.states.begin(), report.states.end(),
                                    [](const StateMessage& s) { return s.serial.has_value(); });
    if (first != report.states.end() && *first->serial <= *client.last_serial)
      findings.add("state.serial_order", "The serial number " + std::to_string(*first->serial) +
                                             " came after " + std::to_string(*client.last_serial) +
                                             ".");
    else if (first != report.states.end() && *first->serial != *client.last_serial + 1)
      findings.add("state.serial_gap", "The serial number " + std::to_string(*first->serial) +
                                           " came after " + std::to_string(*client.last_serial) +
                                           ".");
  }
}

void Site::apply(const Report& report, Client& client, WallTime now) {
  if (report.kind != ReportKind::status && report.kind != ReportKind::state)
    client.versions[report.kind] = report.version;
  client.picture.apply(report, picture_bytes_left_);
  if (report.kind == ReportKind::discovery) client.last_discovery_ms = to_millis(now);
  // Readings 5: any full report with a larger major number ends a resync.
  if (!report.delta)
    if (const auto it = client.resync_wanted.find(report.kind); it != client.resync_wanted.end())
      it->second = 0;
  for (const StateMessage& state : report.states) {
    if (state.serial) client.last_serial = state.serial;
    ++client.state_messages;
    client.last_states.push_back(state);
    if (client.last_states.size() > client_states_kept_max) client.last_states.pop_front();
  }
}

}  // namespace greengate::sim
