#include "ctl/views.h"

#include "ctl/json_read.h"
#include "ctl/table.h"

#include <boost/json.hpp>

#include <cstdio>
#include <ctime>

namespace greengate::ctl {
namespace json = boost::json;

std::string time_text(std::int64_t millis) {
  const std::time_t seconds = static_cast<std::time_t>(millis / 1'000);
  std::tm utc{};
  if (!gmtime_r(&seconds, &utc)) return "-";
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &utc);
  return text;
}

std::string counted(std::int64_t count, const std::string& thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

std::string span_text(std::int64_t millis) {
  char text[64];
  if (millis < 0) return "-" + span_text(-millis);
  if (millis < 1'000) {
    std::snprintf(text, sizeof text, "%d ms", static_cast<int>(millis));
  } else if (millis < 60'000) {
    std::snprintf(text, sizeof text, "%.1f s", static_cast<double>(millis) / 1'000);
  } else if (millis < 3'600'000) {
    std::snprintf(text, sizeof text, "%d min %d s", static_cast<int>(millis / 60'000), static_cast<int>(millis / 1'000 % 60));
  } else if (millis < 2 * 86'400'000ll) {
    std::snprintf(text, sizeof text, "%d h %d min", static_cast<int>(millis / 3'600'000), static_cast<int>(millis / 60'000 % 60));
  } else {
    std::snprintf(text, sizeof text, "%lld days", static_cast<long long>(millis / 86'400'000));
  }
  return text;
}

std::string bytes_text(std::int64_t bytes) {
  char text[32];
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1'024 && unit < 4; ++unit) value /= 1'024;
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
}

namespace {

// A circuit breaker, of a management point or of one message type there.
std::string breaker_text(const json::value& of) {
  const std::string state = text(of, "state");
  if (state == "open") return "rests " + span_text(number(of, "rest_left_ms").value_or(0));
  return state == "half_open" ? "on trial" : "in use";
}

// What each message type may do: at each management point, and of the site's budget. Types nobody has used yet are left out.
std::string pace_text(const json::value& status) {
  Table pace({"MESSAGES", "AT", "STATE", "AT ONCE", "IN FLIGHT", "LATENCY", "USUALLY", "SLOWED"});
  bool any = false;
  for (const json::value& mp : items(status, "management_points")) {
    for (const json::value& type : items(mp, "types")) {
      const bool idle = number(type, "latency_ms").value_or(0) == 0 && number(type, "in_flight").value_or(0) == 0 &&
                        number(type, "slowed").value_or(0) == 0 && text(type, "state") == "closed";
      if (idle) continue;
      any = true;
      pace.add({text(type, "type"), text(mp, "name"), breaker_text(type), text(type, "concurrency"), text(type, "in_flight"),
                text(type, "latency_ms") + " ms", text(type, "usual_latency_ms") + " ms", text(type, "slowed")});
    }
  }
  Table budgets({"MESSAGES", "BUDGET OF THE SITE", "LEFT NOW", "NEXT IN", "SENT"});
  for (const json::value& type : items(status, "pacing")) {
    const bool unlimited = text(type, "budget") == "unlimited" || text(type, "budget") == "0";
    char left[32];
    const json::value* value = find(type, "left");
    std::snprintf(left, sizeof left, "%.0f", value && value->is_number() ? value->to_number<double>() : 0.0);
    budgets.add({text(type, "type"), text(type, "budget"), unlimited ? "-" : left,
                 number(type, "next_in_ms").value_or(0) > 0 ? span_text(*number(type, "next_in_ms")) : "now", text(type, "sent")});
  }
  return (any ? "\n" + pace.text() : "") + (items(status, "pacing").empty() ? "" : "\n" + budgets.text());
}

}  // namespace

std::string show_status(const json::value& status) {
  std::string shown;
  const auto now = number(status, "now_ms"), started = number(status, "started_at_ms");
  const auto oldest = number(status, "queue.oldest_waiting_ms");
  shown += facts({
      {"gateway", "version " + text(status, "version") + ", up " + (now && started ? span_text(*now - *started) : "-")},
      {"agents connect to", text(status, "agent_endpoint") + "  key " + text(status, "gateway_key")},
      {"agents", text(status, "agents.active") + " active (" + text(status, "agents.connected") + " connected, " +
                     text(status, "agents.ready_at_site") + " ready at the site), " + text(status, "agents.pending") +
                     " pending, " + text(status, "agents.revoked") + " revoked"},
      {"waiting reports", text(status, "queue.waiting") + " (" + bytes_text(number(status, "queue.waiting_bytes").value_or(0)) +
                              "), oldest " + (oldest && now ? span_text(*now - *oldest) : "-")},
      {"reports so far", text(status, "queue.kept_total") + " stored, " + text(status, "queue.delivered_total") +
                             " delivered, " + text(status, "queue.superseded_total") + " superseded, " +
                             text(status, "queue.expired_total") + " expired, " + text(status, "queue.buried_total") + " buried"},
      {"dead letters", text(status, "queue.buried") + ", damaged records " + text(status, "queue.damaged")},
      {"notifications", text(status, "notifications.sessions_online") + " sessions online; " +
                            text(status, "notifications.received") + " pushes: " + text(status, "notifications.accepted") +
                            " accepted, " + text(status, "notifications.failed") + " failed, " +
                            text(status, "notifications.unanswered") + " unanswered, " +
                            text(status, "notifications.unknown_task") + " of unknown type"},
  });
  Table points({"MANAGEMENT POINT", "STATE", "IN FLIGHT", "ANSWERED", "FAILED", "LAST CODE"});
  for (const json::value& mp : items(status, "management_points")) {
    points.add({text(mp, "name"), breaker_text(mp), text(mp, "in_flight"), text(mp, "answered"), text(mp, "failed"), text(mp, "last_code")});
  }
  return shown + "\n" + points.text() + pace_text(status);
}

std::string show_agents(const json::value& agents) {
  if (items(agents, "agents").empty()) return "No agents yet. greengatectl token create makes a token that lets one in.\n";
  Table table({"AGENT", "HOST", "STATE", "CONNECTED", "SITE", "LAST SEEN (UTC)", "OPERATING SYSTEM"});
  for (const json::value& agent : items(agents, "agents")) {
    table.add({text(agent, "id"), text(agent, "host_name"), text(agent, "state"), text(agent, "connected"),
               text(agent, "site.state"), time_at(agent, "last_seen_ms"), text(agent, "operating_system")});
  }
  return table.text();
}

std::string show_agent(const json::value& agent) {
  return facts({{"agent", text(agent, "id")},
                {"host", text(agent, "host_name") + " (" + text(agent, "fqdn") + ")"},
                {"operating system", text(agent, "operating_system")},
                {"agent version", text(agent, "agent_version")},
                {"state", text(agent, "state")},
                {"enrolled", time_at(agent, "enrolled_at_ms") + " UTC by " + text(agent, "enrolled_by")},
                {"connected", text(agent, "connected")},
                {"last seen", time_at(agent, "last_seen_ms") + " UTC"},
                {"transport key", text(agent, "key")},
                {"at the site", text(agent, "site.state") + " since " + time_at(agent, "site.since_ms") + " UTC"},
                {"SMSID", text(agent, "site.sms_id")},
                {"site's last refusal", text(agent, "site.last_code")},
                {"notification session", text(agent, "session")}});
}

std::string show_reports(const json::value& reports) {
  if (items(reports, "reports").empty()) return "No reports of this agent are known.\n";
  Table table({"SEQUENCE", "KIND", "STATE", "SIZE", "COLLECTED (UTC)", "STORED", "SETTLED", "RETRIES", "WHY / MESSAGE ID"});
  for (const json::value& report : items(reports, "reports")) {
    std::string why = text(report, "code");
    if (why == "-") {
      why = text(report, "tracking");
    } else {
      why += ": " + text(report, "message");
    }
    table.add({text(report, "sequence"), text(report, "kind"), text(report, "state"),
               bytes_text(number(report, "bytes").value_or(0)), time_at(report, "collected_at_ms"),
               step(report, "collected_at_ms", "stored_at_ms"), step(report, "stored_at_ms", "settled_at_ms"),
               text(report, "attempts"), why});
  }
  return table.text();
}

std::string show_tokens(const json::value& tokens) {
  if (items(tokens, "tokens").empty()) return "No tokens. greengatectl token create makes one.\n";
  Table table({"TOKEN", "STATE", "USED", "CREATED (UTC)", "EXPIRES (UTC)", "NOTE"});
  for (const json::value& token : items(tokens, "tokens")) {
    table.add({text(token, "id"), text(token, "state"), text(token, "uses") + " of " + text(token, "uses_max"),
               time_at(token, "created_at_ms"), time_at(token, "expires_at_ms"), text(token, "note")});
  }
  return table.text();
}

std::string show_new_token(const json::value& token) {
  return facts({{"token", text(token, "token")},
                {"id", text(token, "id")},
                {"uses", text(token, "uses_max")},
                {"expires", time_at(token, "expires_at_ms") + " UTC"},
                {"gateway", text(token, "agent_endpoint")},
                {"gateway_key", text(token, "gateway_key")}}) +
         "\nThe token is shown this once. Put it, gateway and gateway_key into /etc/greengate-agent.toml of the new machine.\n";
}

}  // namespace greengate::ctl
