// What the admin calls show: sessions, clients, pushes, counts, violations.
#include "simulators/notification_server/admin_words.h"
#include "simulators/notification_server/engine.h"

#include <algorithm>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace json = boost::json;

Answer NotifyEngine::show_sessions(std::size_t offset, std::size_t limit) const {
  static constexpr std::array<const char*, 7> phases{
      "handshaking", "signing_in", "unconfirmed", "online", "refused", "black_hole", "closed"};
  std::vector<SessionId> ids;
  ids.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) ids.push_back(id);
  std::ranges::sort(ids);
  json::array list;
  for (std::size_t i = offset; i < ids.size() && i - offset < limit; ++i) {
    const Session& s = *sessions_.at(ids[i]);
    list.push_back({{"session", s.id},
                    {"sms_id", sms_id_of(s)},
                    {"channel", s.http ? "HTTP" : "TCP"},
                    {"state", phases[static_cast<std::size_t>(s.phase)]},
                    {"leaving", s.leaving},
                    {"since", time_value(s.since)},
                    {"frames_in", s.frames_in},
                    {"frames_out", s.frames_out}});
  }
  return ok({{"total", ids.size()}, {"sessions", std::move(list)}});
}

Answer NotifyEngine::show_client(const std::string& sms_id) const {
  const auto found = client_numbers_.find(sms_id);
  if (found == client_numbers_.end())
    return error(404, "notify.no_client", "No client of that SMSID has been here.");
  const Client& client = clients_[found->second];
  json::array sessions, waiting;
  for (const SessionId id : client.sessions) sessions.emplace_back(id);
  for (const std::uint64_t id : client.waiting) waiting.emplace_back(id);
  return ok({{"sms_id", client.sms_id},
             {"client_version", client.version},
             {"online", is_online(client)},
             {"connected", !client.sessions.empty()},
             {"ChannelType", client.by_http ? 1 : 0},
             {"sessions", std::move(sessions)},
             {"waiting_pushes", std::move(waiting)},
             {"last_message_at", time_value(client.last_seen)},
             {"sign_ins", client.sign_ins},
             {"keep_alives", client.keep_alives},
             {"responses", client.responses},
             {"violations", client.violations}});
}

Answer NotifyEngine::show_pushes() const {
  json::array list;
  for (const auto& [id, push] : pushes_)
    list.push_back({{"push_id", id},
                    {"task_id", push.task_id},
                    {"task_guid", push.task_guid},
                    {"task_type", push.task_type},
                    {"made_at", time_value(push.made)},
                    {"clients", push.deliveries.size()},
                    {"answered", push.answered},
                    {"failed", push.failed},
                    {"expired", push.expired}});
  return ok({{"pushes", std::move(list)}});
}

Answer NotifyEngine::show_push(std::uint64_t id, std::size_t offset, std::size_t limit) const {
  static constexpr std::array<const char*, 4> states{"pending", "sent", "answered", "expired"};
  const auto found = pushes_.find(id);
  if (found == pushes_.end()) return error(404, "notify.no_push", "There is no such push.");
  const Push& push = found->second;
  std::vector<ClientNumber> numbers;
  for (const auto& [number, delivery] : push.deliveries) numbers.push_back(number);
  std::ranges::sort(numbers);
  json::array list;
  for (std::size_t i = offset; i < numbers.size() && i - offset < limit; ++i) {
    const Delivery& d = push.deliveries.at(numbers[i]);
    json::object one{{"sms_id", clients_[numbers[i]].sms_id},
                     {"state", states[static_cast<std::size_t>(d.state)]},
                     {"sends", d.sends},
                     {"sent_at", time_value(d.sent_at)},
                     {"answered_at", time_value(d.answered_at)},
                     {"late", d.late}};
    one["round_trip_ms"] = d.ever_answered ? json::value(d.round_trip_ms) : json::value();
    one["return_code"] = d.ever_answered ? json::value(d.return_code) : json::value();
    if (d.fault != nullptr) one["fault"] = d.fault;
    list.push_back(std::move(one));
  }
  return ok({{"push_id", push.id},
             {"task_id", push.task_id},
             {"task_guid", push.task_guid},
             {"task_type", push.task_type},
             {"task_param", push.task_param},
             {"made_at", time_value(push.made)},
             {"expired", push.expired},
             {"total", numbers.size()},
             {"answered", push.answered},
             {"failed", push.failed},
             {"clients", std::move(list)}});
}

Answer NotifyEngine::show_stats() const {
  std::size_t online = 0, connected = 0;
  for (const Client& client : clients_) {
    online += is_online(client) ? 1 : 0;
    connected += client.sessions.empty() ? 0 : 1;
  }
  json::object counts;
  for (const auto& [name, count] : counts_) counts[name] = count;
  return ok(
      {{"sessions", sessions_.size()},
       {"connected", connected},
       {"online", online},
       {"clients", clients_.size()},
       {"send_queue", send_queue_.size()},
       {"deliveries", deliveries_},
       {"violations", violation_total_},
       {"online_version", online_version_},
       {"evidence_lost", session_lines_.lost() + message_lines_.lost() + report_lines_.lost()},
       {"counts", std::move(counts)}});
}

Answer NotifyEngine::show_violations(std::size_t offset, std::size_t limit) const {
  json::object by_code;
  for (const auto& [code, count] : violation_counts_) by_code[code] = count;
  json::array list;
  for (std::size_t i = offset; i < violations_.size() && i - offset < limit; ++i) {
    const Violation& v = violations_[i];
    list.push_back({{"at", time_value(v.at)},
                    {"session", v.session},
                    {"sms_id", v.sms_id},
                    {"code", v.finding.code},
                    {"section", v.finding.section},
                    {"severity", severity_name(v.finding.severity)},
                    {"detail", v.finding.detail}});
  }
  return ok({{"total", violation_total_},
             {"by_code", std::move(by_code)},
             {"kept", violations_.size()},
             {"violations", std::move(list)}});
}

}  // namespace greengate::sim
