#include "simulators/management_point/site_record.h"

#include "simulators/common/text.h"
#include "simulators/common/xml.h"

namespace greengate::sim {
namespace {

namespace json = boost::json;

}  // namespace

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

}  // namespace greengate::sim
