#include "simulators/management_point/site_record.h"

#include "simulators/common/text.h"
#include "simulators/common/xml.h"

namespace greengate::sim {
namespace {

constexpr std::string_view oid_sha256 = "1.2.840.113549.1.1.11";
constexpr std::string_view oid_sha1 = "1.2.840.113549.1.1.5";

}  // namespace

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

}  // namespace greengate::sim
