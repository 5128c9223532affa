#include "gateway/explain_parts.h"

#include "gateway/admin_json.h"
#include "gateway/report_words.h"

#include <boost/json.hpp>

namespace greengate::gateway {

namespace json = boost::json;

json::value explained(const std::optional<workers::IdentityView>& identity, WallTime now) {
  if (!identity) return nullptr;
  json::object told{{"state", workers::name_of(identity->state)},
                    {"since_at_ms", time_or_null(identity->since)},
                    {"sms_id", identity->sms_id.raw()},
                    {"next_step", identity->next_step},
                    {"next_step_in_ms", std::chrono::duration_cast<std::chrono::milliseconds>(identity->next_at - now).count()},
                    {"last_code", identity->last_code},
                    {"refusals_in_a_row", identity->refusals},
                    {"holds_its_reports", identity->holds_reports}};
  if (identity->certificate_ends) told["certificate_ends_at_ms"] = to_millis(*identity->certificate_ends);
  if (identity->common_key) told["key"] = "shared with other agents";
  return told;
}

json::value explained(const std::vector<store::Baseline>& baselines) {
  json::array told;
  for (const store::Baseline& one : baselines) {
    told.push_back(json::object{{"kind", kind_name(one.kind)},
                                {"version", std::to_string(one.major) + "." + std::to_string(one.minor)},
                                {"taken_by_the_site_at_ms", time_or_null(one.moved_at)},
                                {"last_whole_at_ms", time_or_null(one.full_at)},
                                {"baseline_bytes", one.bytes}});
  }
  return told;
}

json::value explained(const std::optional<workers::AgentPolicy>& policy) {
  if (!policy) return json::object{{"known", "nothing yet"}};
  json::object told{{"told_by_the_site_at_ms", time_or_null(policy->at)}};
  if (policy->set) told["assignments"] = policy->set->policies.size();
  if (policy->hardware_date) told["hardware_policy_of_at_ms"] = to_millis(*policy->hardware_date);
  if (policy->software_date) told["software_policy_of_at_ms"] = to_millis(*policy->software_date);
  return told;
}

json::value explained(const std::vector<workers::BudgetHealth>& budgets) {
  json::array told;
  for (const workers::BudgetHealth& one : budgets) {
    if (one.next_in.count() <= 0) continue;
    told.push_back(json::object{{"held_back", std::string(adapters::name_of(one.type))}, {"budget", one.budget}, {"next_message_in_ms", one.next_in.count()}});
  }
  return told;
}

json::value explained(const std::optional<adapters::BgbSessionView>& session, const std::optional<ServersOfAgent>& servers) {
  if (!session && !servers) return nullptr;
  json::object told;
  if (session && !session->server.empty()) told["at"] = session->server + " by " + session->transport;
  const bool by_location = servers && servers->by_location;
  told["servers"] = by_location ? "location" : servers && servers->waits ? "none until the site answers" : "settings";
  if (servers && servers->servers) {
    std::string names;
    for (const std::string& name : *servers->servers) names += (names.empty() ? "" : " ") + name;
    told["named_by_the_site"] = names;
  }
  if (servers && !servers->last_failure.empty()) told["last_failure"] = servers->last_failure;
  return told;
}

}  // namespace greengate::gateway
