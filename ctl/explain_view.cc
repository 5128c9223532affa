#include "ctl/json_read.h"
#include "ctl/table.h"
#include "ctl/views.h"

#include <boost/json.hpp>

namespace greengate::ctl {
namespace json = boost::json;

namespace {

// What another part told as an object: a line a member. Times end in _ms and spans in _for_ms.
std::string members(const json::value* of) {
  const json::object* object = of ? of->if_object() : nullptr;
  if (!object) return {};
  std::vector<std::pair<std::string, std::string>> lines;
  for (const auto& [key, value] : *object) {
    std::string name(key);
    std::string shown = text(*of, name);
    if (shown == "-") continue;
    if (name.ends_with("_for_ms")) {
      shown = span_text(number(*of, name).value_or(0));
      name.resize(name.size() - 7);
    } else if (name.ends_with("_at_ms")) {
      shown = time_at(*of, name) + " UTC";
      name.resize(name.size() - 6);
    } else if (name.ends_with("_ms")) {
      shown = span_text(number(*of, name).value_or(0));
      name.resize(name.size() - 3);
    }
    for (char& c : name) c = c == '_' ? ' ' : c;
    lines.emplace_back("  " + name, shown);
  }
  return facts(lines);
}

std::string rows(const json::value* of) {
  const json::array* array = of ? of->if_array() : nullptr;
  if (!array) return members(of);
  std::string shown;
  for (const json::value& one : *array) {
    if (!shown.empty()) shown += "\n";
    shown += members(&one);
  }
  return shown;
}

std::string section(const std::string& title, const std::string& body) {
  return body.empty() ? std::string() : "\n" + title + "\n" + body;
}

}  // namespace

std::string show_explanation(const json::value& about) {
  std::string shown = facts({
      {"agent", text(about, "id") + "  " + text(about, "host_name") + " (" + text(about, "fqdn") + ")"},
      {"system", find(about, "operating_system") && !text(about, "operating_system").starts_with("-") ? text(about, "operating_system") + ", agent " + text(about, "agent_version")
                                                                                                   : std::string("not told yet")},
      {"enrolment", text(about, "state") + ", enrolled " + time_at(about, "enrolled_at_ms") + " UTC by " + text(about, "enrolled_by")},
      {"connection", (is_true(about, "connected") ? std::string("connected") : std::string("away")) + ", last seen " + time_at(about, "last_seen_ms") + " UTC"},
      {"notification", "session " + text(about, "session")},
      {"at the site", text(about, "site.state") + " since " + time_at(about, "site.since_ms") + " UTC, " + text(about, "site.sms_id")},
  });
  Table last({"LAST REPORT OF EACH KIND", "STATE", "SIZE", "COLLECTED (UTC)", "STORED", "SETTLED", "DELAYS", "WHY / MESSAGE ID"});
  for (const json::value& report : items(about, "last_reports")) {
    const std::string why = text(report, "code") == "-" ? text(report, "tracking") : text(report, "code") + ": " + text(report, "message");
    last.add({text(report, "kind"), text(report, "state"), bytes_text(number(report, "bytes").value_or(0)), time_at(report, "collected_at_ms"),
              step(report, "collected_at_ms", "stored_at_ms"), step(report, "stored_at_ms", "settled_at_ms"), text(report, "attempts"), why});
  }
  shown += "\n" + (items(about, "last_reports").empty() ? std::string("No reports of this agent are known.\n") : last.text());

  const auto now = number(about, "now_ms");
  if (!items(about, "waiting").empty()) {
    Table waiting({"WAITING IN LANE", "REPORTS", "SIZE", "OLDEST", "DELAYS", "WHY"});
    for (const json::value& lane : items(about, "waiting")) {
      const auto oldest = number(lane, "oldest_stored_at_ms");
      waiting.add({text(lane, "lane"), text(lane, "reports"), bytes_text(number(lane, "bytes").value_or(0)),
                   oldest && now ? span_text(*now - *oldest) : "-", text(lane, "attempts"),
                   is_true(lane, "in_a_workers_hands") ? "on its way now" : text(lane, "code") + (text(lane, "message") == "-" ? "" : ": " + text(lane, "message"))});
    }
    shown += "\n" + waiting.text();
  }
  if (number(about, "dead_letters.letters").value_or(0) > 0) {
    shown += "\n" + counted(number(about, "dead_letters.letters").value_or(0), "dead letter") + ", the newest " + text(about, "dead_letters.newest_id") + " of " +
             time_at(about, "dead_letters.newest_at_ms") + " UTC:\n";
    for (const json::value& code : items(about, "dead_letters.codes")) {
      shown += "  " + text(code, "letters") + " × " + text(code, "code") + ": " + text(code, "cause") + " " + text(code, "advice") + "\n";
    }
  }
  if (!items(about, "notifications").empty()) {
    Table notifications({"LAST NOTIFICATIONS", "TASK", "FROM", "ASKED (UTC)", "STATE", "SINCE (UTC)", "WHY"});
    for (const json::value& one : items(about, "notifications")) {
      notifications.add({text(one, "id"), text(one, "task"), text(one, "origin"), time_at(one, "created_at_ms"), text(one, "state"), time_at(one, "changed_at_ms"),
                         text(one, "code") + (text(one, "message") == "-" ? "" : ": " + text(one, "message"))});
    }
    shown += "\n" + notifications.text();
  }
  for (const auto& [name, title] : {std::pair("identity", "Identity at the site"), std::pair("inventory", "What the site has of its inventory"),
                                    std::pair("policy", "Policy"), std::pair("notification_servers", "Notification servers"), std::pair("pacing", "Pacing"), std::pair("slots", "Slots"), std::pair("windows", "Windows device")}) {
    shown += section(title, rows(find(about, name)));
  }
  return shown;
}

}  // namespace greengate::ctl
