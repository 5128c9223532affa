#include "simulators/management_point/site.h"

#include "core/log.h"
#include "simulators/common/text.h"
#include "simulators/common/xml.h"

#include <boost/json.hpp>

#include <algorithm>

namespace greengate::sim {
namespace {

namespace json = boost::json;
const Log log_("mp_sim");

constexpr std::size_t lines_kept_max = 10'000;
constexpr std::size_t client_lines_kept_max = 20;
constexpr std::size_t client_states_kept_max = 50;
constexpr std::size_t classes_shown_max = 64;
constexpr std::string_view oid_sha256 = "1.2.840.113549.1.1.11";
constexpr std::string_view oid_sha1 = "1.2.840.113549.1.1.5";

json::array findings_json(const std::vector<Violation>& list) {
  json::array out;
  for (const Violation& one : list)
    out.push_back(json::object{
        {"code", one.check->code}, {"section", one.check->section}, {"text", one.text}});
  return out;
}

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

/// What the verdict's line will say.
struct Site::Record {
  WallTime time{};
  std::string endpoint, source_id, message_id, signature, msg_xml, body_xml;
  bool repeat = false;
  json::object report, reply;
};

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

bool Site::usable(const Client& client, std::int64_t now_ms) const {
  if (client.confirmed_at_ms != 0) return true;
  const bool waited = now_ms - client.registered_at_ms >= settings_.pending_for.count();
  return waited && (!settings_.manual_approval || client.approved);
}

// Section 3: whose key, which bytes, which of the four ways of writing the signature.
bool Site::authenticate(const Envelope& envelope, std::string_view payload,
                        const Endpoint& endpoint, Record& record, Findings& findings) {
  if (envelope.source_id.empty()) {
    findings.add("envelope.source_id_missing", std::string(endpoint.name) + " needs SourceID.");
    return false;
  }
  Key key;
  std::string netbios_name;
  {
    const std::lock_guard lock(mutex_);
    const Client* const client = book_.find(envelope.source_id);
    if (client == nullptr) {
      findings.add_unreadable("auth.client_unknown", "SourceID is " + shown(envelope.source_id) +
                                                         ", which is not registered here.");
      return false;
    }
    if (client->blocked || client->rejected)
      findings.add("auth.client_blocked", "The client is blocked or was rejected by the operator.");
    if (!usable(*client, to_millis(record.time)))
      findings.add("auth.client_pending",
                   "The client is still pending: nothing is taken before its confirmation is "
                   "answered with Status 0.");
    else if (client->confirmed_at_ms == 0)
      findings.add("auth.never_confirmed", "The client never sent a Confirmation.");
    key = client->key;
    netbios_name = client->netbios_name;
  }
  if (!envelope.client_auth) {
    if (endpoint.is_signed)
      findings.add("auth.hook_missing",
                   std::string(endpoint.name) +
                       " takes signed messages only, and there is no clientauth hook.");
    return false;
  }
  const auto property = [&](const char* name) -> std::string_view {
    const auto it = envelope.auth.find(name);
    return it == envelope.auth.end() ? std::string_view() : std::string_view(it->second);
  };
  std::string_view hash = "sha256";
  const std::string_view algorithm = property("HashAlgorithm");
  if (algorithm.empty()) {
    findings.add("auth.hash_algorithm_missing", "HashAlgorithm is missing.");
  } else if (algorithm == oid_sha1) {
    hash = "sha1";
    findings.add("auth.sha1", "HashAlgorithm is SHA-1; this site wants SHA-256.");
  } else if (algorithm != oid_sha256) {
    findings.add("auth.hash_algorithm", "HashAlgorithm is " + shown(algorithm) + "; it is " +
                                            std::string(oid_sha256) + ".");
  }
  if (!equals_ignoring_case(property("AuthSenderMachine"), netbios_name))
    findings.add("auth.sender_machine",
                 "AuthSenderMachine is " + shown(property("AuthSenderMachine")) +
                     "; the client registered as " + shown(netbios_name) + ".");
  std::string_view capabilities = property("ClientCapabilities");
  if (capabilities.empty()) capabilities = property("ClientCapability");
  if (capabilities.empty())
    findings.add("auth.client_capabilities", "ClientCapabilities is missing.");
  if (const auto blob = property("PublicKey");
      !blob.empty() && !equals_ignoring_case(blob, to_hex_upper(public_key_blob(key))))
    findings.add("auth.public_key", "PublicKey is not the registered key as a PUBLICKEYBLOB.");
  if (const auto text = property("ClientIDSignature"); !text.empty()) {
    const auto signature = from_hex(text);
    const std::string signed_bytes =
        utf16le_from_utf8(envelope.source_id).value_or("") + std::string(2, '\0');
    if (!signature ||
        match_signature(key, *signature, signed_bytes, hash) != SignatureForm::little_endian_oid)
      findings.add("auth.client_id_signature",
                   "ClientIDSignature does not verify over the SMSID with its NUL.");
  }

  const std::string_view text = property("PayloadSignature");
  if (text.empty()) {
    findings.add("auth.payload_signature_missing", "PayloadSignature is missing.");
    return false;
  }
  const auto signature = text.size() <= 4096 ? from_hex(text) : std::nullopt;
  if (!signature) {
    findings.add("auth.payload_signature_form", "PayloadSignature is not hex.");
    return false;
  }
  SignatureForm form = match_signature(key, *signature, payload, hash);
  if (!envelope.zlib) {
    findings.add("auth.uncompressed",
                 "What is signed without compression is not known; compress (Q2).");
    // Q2 (I): the body's range with its NUL, without what follows it.
    if (form == SignatureForm::none && envelope.body && envelope.body->offset <= payload.size())
      form = match_signature(key, *signature,
                             payload.substr(envelope.body->offset, envelope.body->length), hash);
  }
  record.signature = name_of(form);
  if (form == SignatureForm::none)
    findings.add("auth.payload_signature",
                 "PayloadSignature does not verify over the bytes of part 2 with the registered "
                 "key, in no byte order and no padding.");
  if (form == SignatureForm::big_endian_oid || form == SignatureForm::big_endian_bare)
    findings.add("auth.payload_signature_byte_order",
                 "PayloadSignature verifies only unreversed; CryptoAPI's order is little-endian.");
  if (form == SignatureForm::little_endian_bare || form == SignatureForm::big_endian_bare)
    findings.add("auth.payload_signature_no_oid",
                 "PayloadSignature verifies only without the hash's OID in the padding.");
  return true;
}

Outgoing Site::answer_registration(const Incoming& incoming, const Envelope& envelope,
                                   const std::string& body, int fault, Record& record,
                                   Findings& findings) {
  const auto proxy_key = [this](const std::string& sms_id) {
    const std::lock_guard lock(mutex_);
    const Client* const proxy = book_.find(sms_id);
    return proxy != nullptr && proxy->proxy ? proxy->key : Key();
  };
  const auto request = read_registration(body, record.time, proxy_key, findings);
  if (request) {
    record.signature = request->signature_form;
    record.report = json::object{{"kind", request->confirmation ? "confirmation" : "registration"}};
  }
  if (!request || findings.failed()) return {};
  if (!request->confirmation && !envelope.source_id.empty())
    findings.add("envelope.source_id_unexpected", "A first registration has no SourceID.");

  const std::int64_t now_ms = to_millis(record.time);
  const auto reply = [&](int status, const std::string& sms_id, const std::string& approval = {}) {
    record.reply = json::object{{"status", status}, {"smsid", sms_id}};
    if (!sms_id.empty()) record.source_id = sms_id;
    return reply_message(
        envelope, settings_.host_name,
        registration_response(request->confirmation, status, sms_id, approval, record.time),
        record.time);
  };
  if (fault == 2 || fault == 3) return reply(fault, "");
  if (fault == -1) return reply(2, "", "-1");

  const std::lock_guard lock(mutex_);
  const std::uint64_t print = fingerprint_of(body);
  if (const auto seen = registrations_.seen(envelope.id)) {
    if (*seen == print) {
      record.repeat = true;
      findings.add("message.repeat", "This message was answered before; it is answered again.");
    } else if (findings.add("message.id_reused",
                            "The message id was used before for another registration.")) {
      return {};
    }
  }
  Client* client = request->sms_id.empty()
                       ? book_.find_same(request->signing_der, request->netbios_name, request->fqdn)
                       : book_.find(request->sms_id);
  if (request->confirmation) {
    if (client == nullptr) {
      findings.add("registration.smsid_unknown",
                   "The confirmation is for " + request->sms_id + ", which never registered here.");
      return reply(2, "");
    }
    if (client->certificate_der != request->signing_der) {
      findings.add("registration.confirmation_key",
                   "The confirmation comes with another certificate than the registration.");
      return reply(3, "");
    }
  } else if (client != nullptr && client->certificate_der != request->signing_der) {
    // 4.6: a new key keeps the SMSID only with a hint made by the old one (readings 21).
    const std::string hinted =
        utf16le_from_utf8(client->sms_id).value_or("") + std::string(2, '\0');
    if (!request->hint.empty() && match_signature(client->key, request->hint, hinted, "sha256") ==
                                      SignatureForm::little_endian_oid) {
      book_.change_key(*client, request->signing_der, request->signing_key);
    } else {
      if (!request->hint.empty() &&
          findings.add("registration.hint",
                       "RegistrationHint does not verify with the key registered before."))
        return {};
      client = nullptr;
    }
  }
  if (client == nullptr) {
    if (book_.full()) {
      findings.add("registration.too_many",
                   "There are " + std::to_string(settings_.clients_max) + " clients already.");
      return reply(2, "");
    }
    Client fresh;
    fresh.sms_id = !request->sms_id.empty() && book_.find(request->sms_id) == nullptr
                       ? request->sms_id
                       : "GUID:" + new_guid();
    fresh.certificate_der = request->signing_der;
    fresh.key = request->signing_key;
    fresh.netbios_name = request->netbios_name;
    fresh.fqdn = request->fqdn;
    fresh.proxy_sms_id = request->proxy_sms_id;
    fresh.agent_type = request->agent_type;
    fresh.registered_at_ms = now_ms;
    // 1.7, 4.4: clients of a CA and Windows-authenticated ones need no operator.
    fresh.approved = !request->self_signed || incoming.windows_authenticated;
    client = &book_.add(std::move(fresh));
  }
  registrations_.remember(envelope.id, print);
  if (client->rejected) {
    findings.add("registration.rejected", "The operator rejected this client.");
    return reply(3, "");
  }
  if (client->blocked) {
    findings.add("registration.blocked", "The client is blocked.");
    return reply(3, "");
  }
  if (request->confirmation && client->confirmed_at_ms == 0 && usable(*client, now_ms)) {
    client->confirmed_at_ms = now_ms;
    book_.save(*client);
  }
  // Readings 8: Status 1 first; 0 from a Confirmation, or when a confirmed client registers again.
  const bool done = client->confirmed_at_ms != 0;
  return reply(done ? 0 : 1, client->sms_id, done ? "1" : "");
}

Outgoing Site::answer_policy(const Envelope& envelope, const std::string& body, Record& record,
                             Findings& findings) {
  pugi::xml_document document;
  if (!parse_body(body, Declaration::forbidden, document, findings)) return {};
  const auto root = document.document_element();
  const std::string_view type = root.attribute("RequestType").value();
  if (std::string_view(root.name()) != "RequestAssignments" ||
      std::string_view(root.attribute("SchemaVersion").value()) != "1.00" ||
      (type != "Full" && type != "OnUpdate" && type != "Always"))
    findings.add("policy.request",
                 "The body is RequestAssignments with SchemaVersion 1.00 and RequestType Full, "
                 "OnUpdate or Always.");
  const auto machine = root.child("Identification").child("Machine");
  if (child_text(machine, "ClientID") != envelope.source_id)
    findings.add("policy.client_id",
                 "Machine/ClientID is " + shown(child_text(machine, "ClientID")) +
                     "; the message comes from " + shown(envelope.source_id) + ".");
  const std::string source = child_text(root, "PolicySource");
  if (source != "SMS:" + settings_.site_code)
    findings.add("policy.source", "PolicySource is " + shown(source) +
                                      "; the site is SMS:" + settings_.site_code + ".");
  const std::string_view resource = root.child("Resource").attribute("ResourceType").value();
  if (resource != "Machine" && resource != "User")
    findings.add("policy.resource",
                 "Resource/@ResourceType is " + shown(resource) + "; it is Machine or User.");
  record.report = json::object{{"kind", "policy"}, {"type", type}};
  if (findings.failed()) return {};

  std::vector<std::pair<std::string, std::uint64_t>> resync;
  {
    const std::lock_guard lock(mutex_);
    Client* const client = book_.find(envelope.source_id);
    if (client == nullptr) return {};
    const std::uint64_t print = fingerprint_of(body);
    if (const auto seen = client->recent.seen(envelope.id)) {
      if (*seen == print) {
        record.repeat = true;
        findings.add("message.repeat", "This message was answered before; it is answered again.");
      } else if (findings.add("message.id_reused",
                              "The message id was used before for another message.")) {
        return {};
      }
    } else {
      client->recent.remember(envelope.id, print);
    }
    for (const auto& [kind, number] : client->resync_wanted)
      if (number != 0) resync.emplace_back(name_of(kind), number);
  }
  json::array wanted;
  for (const auto& [kind, number] : resync) wanted.emplace_back(kind);
  record.reply = json::object{{"resync", std::move(wanted)}};
  return reply_message(
      envelope, settings_.host_name,
      answers_->assignments(envelope.source_id, child_text(machine, "FQDN"),
                            child_text(machine, "NetBIOSName"), resync, source, record.time),
      record.time);
}

Outgoing Site::answer_location(const Envelope& envelope, const std::string& body, Record& record,
                               Findings& findings) {
  pugi::xml_document document;
  if (!parse_body(body, Declaration::free, document, findings)) return {};
  const std::string_view root = document.document_element().name();
  static constexpr std::string_view known[] = {
      "ContentLocationRequest", "WSUSLocationRequest", "EnumerateMPLocationRequest",
      "SiteInformationRequest", "AssignedSiteRequest", "UpdateSFRequest",
      "TokenServicesRequest"};
  record.report = json::object{{"kind", "location"}, {"type", root.substr(0, 64)}};
  if (std::find(std::begin(known), std::end(known), root) == std::end(known))
    findings.add("location.root",
                 "The request is " + shown(root) + ", which the location manager does not know.");
  if (findings.failed()) return {};
  const auto xml = answers_->location(root);
  if (!xml) return {};  // the reply's form is not public
  return reply_message(envelope, settings_.host_name, *xml, record.time);
}

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
