#include "simulators/management_point/site_record.h"

#include "core/log.h"
#include "simulators/common/text.h"
#include "simulators/common/xml.h"

#include <algorithm>

namespace greengate::sim {
namespace {

namespace json = boost::json;
const Log log_("mp_sim");

constexpr std::size_t lines_kept_max = 10'000;
constexpr std::size_t client_lines_kept_max = 20;

json::array findings_json(const std::vector<Violation>& list) {
  json::array out;
  for (const Violation& one : list)
    out.push_back(json::object{
        {"code", one.check->code}, {"section", one.check->section}, {"text", one.text}});
  return out;
}

}  // namespace

Site::Site(const MpSettings& settings, const Clock& clock)
    : settings_(settings),
      clock_(clock),
      evidence_(settings.dir, settings.evidence),
      faults_(settings.seed),
      book_(settings.dir, settings.evidence != EvidenceLevel::none, settings.clients_max),
      picture_bytes_left_(settings.picture_bytes_max) {}

Result<void> Site::open() {
  if (auto opened = evidence_.open(); !opened) return opened;
  auto signing = open_identity(settings_.dir, "site-signing", "Site Server", "");
  if (!signing) return pass(signing);
  auto tls = open_identity(settings_.dir, "mp-tls", settings_.host_name, settings_.host_name);
  if (!tls) return pass(tls);
  signing_identity_ = std::move(*signing);
  tls_identity_ = std::move(*tls);
  started_at_ms_ = to_millis(clock_.wall());
  const WallTime policy_date =
      settings_.policy_date_ms != 0 ? from_millis(settings_.policy_date_ms) : clock_.wall();
  answers_ = std::make_unique<SiteAnswers>(settings_, signing_identity_.certificate_der,
                                           tls_identity_.certificate_der, policy_date);
  if (auto opened = answers_->open(); !opened) return opened;
  const std::lock_guard lock(mutex_);
  return book_.open();
}

Outgoing Site::post(const Incoming& incoming, int registration_fault) {
  Record record;
  record.time = clock_.wall();
  Findings findings(settings_.checks);
  if (incoming.expects_continue)
    findings.add("transport.expect_continue", "The request asks for 100 Continue.");
  Outgoing outgoing = judge(incoming, registration_fault, record, findings);
  finish(record, findings, incoming, outgoing);
  return outgoing;
}

// Steps 1 to 5 are all looked at before the message is refused for any of them, so that one line
// names all that is wrong.
Outgoing Site::judge(const Incoming& incoming, int registration_fault, Record& record,
                     Findings& findings) {
  const Outgoing refused;  // 200 with Content-Length 0: the ordinary refusal (1.5)
  const auto parts = split_parts(incoming.content_type, incoming.body, findings);
  if (!parts) return refused;
  const EnvelopeRules rules{settings_.host_name, settings_.file_type_form, to_millis(record.time)};
  auto envelope = read_envelope(parts->header, rules, findings);
  if (!envelope) return refused;
  record.endpoint = envelope->target_endpoint;
  record.source_id = envelope->source_id;
  record.message_id = envelope->id;
  record.msg_xml = envelope->xml;
  const Endpoint* const endpoint = find_endpoint(envelope->target_endpoint);
  if (endpoint == nullptr) return refused;

  const auto stream =
      open_payload(parts->payload, envelope->zlib, settings_.inflated_bytes_max, findings);
  std::optional<std::string> body;
  if (stream) body = read_body(*stream, *envelope, findings);
  if (body) record.body_xml = *body;
  if (endpoint->name == "MP_ClientRegistration") {
    if (envelope->client_auth)
      findings.add("auth.hook_unexpected",
                   "A registration is not signed by a hook; its signature is inside its XML.");
    if (body && !findings.failed())
      return answer_registration(incoming, *envelope, *body, registration_fault, record, findings);
    return refused;
  }
  if (endpoint->name == "MP_LocationManager")
    return body && !findings.failed() ? answer_location(*envelope, *body, record, findings)
                                      : refused;
  authenticate(*envelope, parts->payload, *endpoint, record, findings);
  if (!body || findings.failed()) return refused;
  if (endpoint->name == "MP_PolicyManager")
    return answer_policy(*envelope, *body, record, findings);
  return answer_post(*envelope, *stream, *body, record, findings);
}

void Site::finish(Record& record, const Findings& findings, const Incoming& incoming,
                  const Outgoing& outgoing) {
  const char* const verdict = findings.failed() ? "refused" : record.repeat ? "repeat" : "accepted";
  const std::uint64_t number = evidence_.next_number();
  const std::string folder = evidence_.level() == EvidenceLevel::full
                                 ? evidence_.keep(number, {{"request.http", incoming.raw},
                                                           {"msg.xml", record.msg_xml},
                                                           {"body.xml", record.body_xml},
                                                           {"reply.xml", outgoing.xml}})
                                 : std::string();
  json::object line{{"time", to_iso_utc(record.time)},
                    {"number", number},
                    {"client", record.source_id.substr(0, 64)},
                    {"endpoint", record.endpoint.substr(0, 64)},
                    {"id", record.message_id.substr(0, 64)},
                    {"path", incoming.path.substr(0, 128)},
                    {"verdict", verdict},
                    {"violations", findings_json(findings.violations())},
                    {"warnings", findings_json(findings.warnings())},
                    {"bytes", incoming.body.size()},
                    {"http_status", outgoing.status}};
  if (findings.left_out() > 0) line["findings_left_out"] = findings.left_out();
  if (!record.signature.empty()) line["signature"] = record.signature;
  if (!record.report.empty()) line["report"] = std::move(record.report);
  if (!record.reply.empty()) line["reply"] = std::move(record.reply);
  if (!folder.empty()) line["folder"] = folder;
  const std::string text = json::serialize(line);
  evidence_.append_line(text);
  if (findings.failed() && !findings.violations().empty())
    log_.debug("message refused", kv("sms_id", record.source_id), kv("endpoint", record.endpoint),
               kv("code", findings.violations().front().check->code));

  const std::lock_guard lock(mutex_);
  const auto count = [&](Counts& counts) {
    ++(findings.failed() ? counts.refused : record.repeat ? counts.repeats : counts.accepted);
  };
  count(total_);
  // Endpoint names of the table only: a stranger's names would grow this without end.
  count(by_endpoint_[find_endpoint(record.endpoint) != nullptr ? record.endpoint : "none"]);
  for (const auto* list : {&findings.violations(), &findings.warnings()})
    for (const Violation& one : *list) ++by_code_[std::string(one.check->code)];
  bytes_received_ += incoming.raw.size();
  lines_.emplace_back(number, text);
  if (lines_.size() > lines_kept_max) lines_.pop_front();
  if (Client* const client = book_.find(record.source_id)) {
    client->last_message_ms = to_millis(record.time);
    ++(findings.failed() ? client->refused : record.repeat ? client->repeats : client->accepted);
    client->last_lines.push_back(text);
    if (client->last_lines.size() > client_lines_kept_max) client->last_lines.pop_front();
  }
}

void Site::refuse_transport(std::string_view code, const std::string& text,
                            const Incoming& incoming, unsigned status) {
  Record record;
  record.time = clock_.wall();
  Findings findings(settings_.checks);
  findings.add_unreadable(code, text);
  Outgoing outgoing;
  outgoing.status = status;
  finish(record, findings, incoming, outgoing);
}

void Site::note_fault(const Incoming& incoming, std::string_view fault) {
  evidence_.append_other(json::serialize(json::object{{"time", to_iso_utc(clock_.wall())},
                                                      {"fault", fault},
                                                      {"path", incoming.path.substr(0, 128)},
                                                      {"bytes", incoming.body.size()}}));
  const std::lock_guard lock(mutex_);
  ++swallowed_by_faults_;
}

Outgoing Site::get(std::string_view handler, std::string_view query) {
  std::optional<Outgoing> answer =
      handler == ".sms_aut" ? answers_->sms_aut(query) : answers_->sms_pol(query);
  if (!answer) {
    answer.emplace();
    answer->status = 404;
  }
  evidence_.append_other(json::serialize(
      json::object{{"time", to_iso_utc(clock_.wall())},
                   {"get", std::string(handler) + "?" + std::string(query.substr(0, 256))},
                   {"http_status", answer->status}}));
  const std::lock_guard lock(mutex_);
  ++gets_;
  return std::move(*answer);
}

std::optional<KnownClient> Site::find(const std::string& sms_id) const {
  const std::lock_guard lock(mutex_);
  const Client* const client = book_.find(sms_id);
  if (client == nullptr) return std::nullopt;
  return KnownClient{client->sms_id, client->certificate_der,
                     usable(*client, to_millis(clock_.wall())),
                     client->blocked || client->rejected};
}

}  // namespace greengate::sim
