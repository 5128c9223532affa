// Accounts and evidence: knows who is online, and writes the reports and the lines that say what
// each client did.
#include "simulators/notification_server/engine.h"

#include "simulators/notification_server/engine_words.h"

#include <algorithm>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace json = boost::json;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t evidence_text_max = 64 * 1024;  // of xml and of raw bytes, per line
constexpr milliseconds flush_every{50};

std::string iso_millis(WallTime time) {
  const std::int64_t millis = to_millis(time);
  std::string text = timestamp(millis / 1000);
  const std::string part = std::to_string(1000 + millis % 1000);
  text.back() = '.';
  return text + part.substr(1) + "Z";
}

}  // namespace

NotifyEngine::ClientNumber NotifyEngine::number_of(const std::string& sms_id, bool may_add) {
  const auto found = client_numbers_.find(sms_id);
  if (found != client_numbers_.end()) return found->second;
  if (!may_add || static_cast<std::int64_t>(clients_.size()) >= config_.clients_max) return nobody;
  const auto number = static_cast<ClientNumber>(clients_.size());
  clients_.emplace_back().sms_id = sms_id;
  client_numbers_.emplace(sms_id, number);
  return number;
}

bool NotifyEngine::is_online(const Client& client) const {
  if (!client.ever_online) return false;
  if (config_.offline_rule == "silence")
    return now() - client.last_message < milliseconds(config_.silence_ms);
  return !client.sessions.empty() || now() - client.socket_lost < milliseconds(config_.grace_ms);
}

void NotifyEngine::account(bool full) {
  std::size_t online = 0, by_http = 0, changed = 0;
  json::array came, left;
  for (Client& client : clients_) {
    const bool is = is_online(client);
    online += is ? 1 : 0;
    by_http += is && client.by_http ? 1 : 0;
    const bool differs = is != client.reported_online;
    changed += differs ? 1 : 0;
    client.reported_online = is;
    if (is && (full || differs)) came.emplace_back(client.sms_id);
    if (!is && differs) left.emplace_back(client.sms_id);
  }
  if (!full && changed == 0 && online_version_ > 0) {
    // The count is taken every time; a delta without news is not a report.
    ++counts_["accountings_without_news"];
    return;
  }
  online_full_due_ = false;
  write_line(report_lines_, {{"at", iso_millis(clock_.wall())},
                             {"report", "online"},
                             {"form", full ? "FULL" : "DELTA"},
                             {"version", ++online_version_},
                             {"TCP", online - by_http},
                             {"HTTP", by_http},
                             {"changed", changed},
                             {"online", std::move(came)},
                             {"offline", std::move(left)}});
}

void NotifyEngine::report_task(Push& push) {
  push.report_due = false;
  json::array clients;
  std::size_t failed = 0;
  for (const ClientNumber number : push.news) {
    const Delivery& delivery = push.deliveries.at(number);
    failed += delivery.return_code != 1 ? 1 : 0;
    clients.push_back(
        {{"ClientID", clients_[number].sms_id}, {"ReturnCode", delivery.return_code}});
  }
  write_line(report_lines_, {{"at", iso_millis(clock_.wall())},
                             {"report", "task"},
                             {"PushID", push.id},
                             {"TaskID", push.task_id},
                             {"TaskGUID", push.task_guid},
                             {"TaskType", push.task_type},
                             {"ReportedClients", push.news.size()},
                             {"FailedClients", failed},
                             {"clients", std::move(clients)}});
  push.news.clear();
}

std::string NotifyEngine::sms_id_of(const Session& session) const {
  if (session.client != nobody) return clients_[session.client].sms_id;
  return session.claimed;
}

void NotifyEngine::note(const Session& session, const Findings& findings) {
  for (const Finding& finding : findings) {
    ++violation_total_;
    ++violation_counts_[finding.code];
    if (session.client != nobody) ++clients_[session.client].violations;
    if (static_cast<std::int64_t>(violations_.size()) >= config_.violations_kept)
      violations_.pop_front();
    violations_.push_back({clock_.wall(), session.id, sms_id_of(session), finding});
  }
}

void NotifyEngine::note_frameless(const Session& session, Finding finding) {
  write_session_line(
      session, "violation",
      {{"code", finding.code}, {"section", finding.section}, {"detail", finding.detail}});
  note(session, {std::move(finding)});
}

void NotifyEngine::write_frame_line(const Session& session, bool in, Kind kind,
                                    const Header* header, std::string_view xml,
                                    std::string_view verdict, const Findings& findings,
                                    std::span<const std::byte> raw, const char* fault) {
  ++counts_[in ? "frames_in" : "frames_out"];
  if (config_.evidence == "violations" && findings.empty() && fault == nullptr) return;
  json::object line{{"at", iso_millis(clock_.wall())},
                    {"session", session.id},
                    {"sms_id", sms_id_of(session)},
                    {"direction", in ? "in" : "out"},
                    {"kind", kind_name(kind)}};
  if (header != nullptr)
    line["header"] = {{"PayloadSize", header->payload_size},
                      {"MajorVersion", header->major},
                      {"MinorVersion", header->minor},
                      {"HeaderSize", header->header_size},
                      {"Channel", header->channel}};
  if (!xml.empty()) line["xml"] = xml.substr(0, evidence_text_max);
  line["verdict"] = verdict;
  json::array all;
  for (const Finding& finding : findings)
    all.push_back({{"code", finding.code},
                   {"section", finding.section},
                   {"severity", severity_name(finding.severity)},
                   {"detail", finding.detail}});
  line["violations"] = std::move(all);
  if (fault != nullptr) line["fault"] = fault;
  if (!raw.empty()) {
    line["raw_hex"] = hex(raw.first(std::min(raw.size(), evidence_text_max)));
    line["raw_bytes"] = raw.size();
  }
  write_line(message_lines_, line);
}

void NotifyEngine::write_session_line(const Session& session, std::string_view event,
                                      json::object more) {
  json::object line{{"at", iso_millis(clock_.wall())},
                    {"session", session.id},
                    {"sms_id", sms_id_of(session)},
                    {"event", event}};
  for (auto& [key, value] : more) line[key] = std::move(value);
  write_line(session_lines_, line);
}

void NotifyEngine::write_line(EvidenceFile& file, const json::object& line) {
  file.write(json::serialize(line));
  if (flush_due_) return;
  flush_due_ = true;
  remind(flush_every, Due::flush);
}

}  // namespace greengate::sim
