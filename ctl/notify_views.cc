#include "ctl/json_read.h"
#include "ctl/table.h"
#include "ctl/views.h"

#include <boost/json.hpp>

namespace greengate::ctl {
namespace json = boost::json;

namespace {

// "12 done, 3 waiting"
std::string states(const json::value& notification) {
  const json::value* counts = find(notification, "states");
  const json::object* object = counts ? counts->if_object() : nullptr;
  std::string shown;
  if (!object) return "-";
  for (const auto& [state, count] : *object) shown += (shown.empty() ? "" : ", ") + text(*counts, state) + " " + std::string(state);
  return shown.empty() ? "-" : shown;
}

}  // namespace

std::string show_notifications(const json::value& notifications) {
  if (items(notifications, "notifications").empty()) return "Nobody was asked to do anything.\n";
  Table table({"ID", "ASKED (UTC)", "TASK", "FROM", "AGENTS", "STATES"});
  for (const json::value& one : items(notifications, "notifications")) {
    table.add({text(one, "id"), time_at(one, "created_at_ms"), text(one, "task"), text(one, "origin"), text(one, "devices"), states(one)});
  }
  return table.text();
}

std::string show_notification(const json::value& notification) {
  std::string shown = facts({{"notification", text(notification, "id") + (is_true(notification, "urgent") ? ", urgent" : "")},
                             {"task", text(notification, "task")},
                             {"from", text(notification, "origin") + (text(notification, "key") == "-" ? "" : ", its " + text(notification, "key"))},
                             {"asked", time_at(notification, "created_at_ms") + " UTC"},
                             {"until", time_at(notification, "expires_at_ms") + " UTC" + (is_true(notification, "expired") ? ", which is over" : "")},
                             {"agents", text(notification, "devices") + ": " + states(notification)}});
  Table table({"NOTIFICATION", "AGENT", "HOST", "STATE", "SINCE (UTC)", "WHY"});
  for (const json::value& entry : items(notification, "entries")) {
    table.add({text(entry, "notification"), text(entry, "agent"), text(entry, "host_name"), text(entry, "state"), time_at(entry, "changed_at_ms"),
               text(entry, "code") + (text(entry, "message") == "-" ? "" : ": " + text(entry, "message"))});
  }
  shown += "\n" + table.text();
  const auto devices = number(notification, "devices").value_or(0);
  if (const auto rows = static_cast<std::int64_t>(items(notification, "entries").size()); rows > 0 && rows < devices)
    shown += "More with --after " + text(items(notification, "entries")[static_cast<std::size_t>(rows - 1)], "notification") + ".\n";
  return shown;
}

std::string show_order(const json::value& order) {
  if (!is_true(order, "fresh")) return "Nothing new: every one of these agents had this order already (notification " + text(order, "id") + ").\n";
  std::string shown = "Notification " + text(order, "id") + ": " + text(order, "task") + " for " + counted(number(order, "devices").value_or(0), "agent") + ".";
  if (const auto collapsed = number(order, "collapsed").value_or(0); collapsed > 0)
    shown += " It takes the place of " + std::to_string(collapsed) + " that still waited.";
  return shown + " `greengatectl notify show " + text(order, "id") + "` tells how far it is.\n";
}

}  // namespace greengate::ctl
