#include "simulators/management_point/registration.h"

#include "simulators/common/text.h"
#include "simulators/common/xml.h"
#include "simulators/management_point/report.h"

#include <algorithm>
#include <map>

namespace greengate::sim {
namespace {

constexpr std::string_view oid_sha256 = "1.2.840.113549.1.1.11";
constexpr std::string_view oid_sha1 = "1.2.840.113549.1.1.5";
constexpr std::size_t certificate_hex_max = 32 * 1024;

// The signed text, exactly as it was sent: a parser's own writing of it would differ (4.2).
std::optional<std::string_view> cut_data(std::string_view body, Findings& findings) {
  std::size_t start = std::string_view::npos, starts = 0;
  for (std::size_t at = body.find("<Data"); at != std::string_view::npos;
       at = body.find("<Data", at + 1)) {
    const char next = at + 5 < body.size() ? body[at + 5] : '\0';
    if (next != ' ' && next != '>' && next != '\t' && next != '\r' && next != '\n' && next != '/')
      continue;
    if (++starts == 1) start = at;
  }
  const std::size_t end = body.find("</Data>");
  if (starts != 1 || end == std::string_view::npos || end < start ||
      body.find("</Data>", end + 1) != std::string_view::npos) {
    findings.add_unreadable("registration.data_text",
                            "The text must hold <Data and </Data> exactly once each.");
    return std::nullopt;
  }
  return body.substr(start, end + 7 - start);
}

struct ReadCertificate {
  std::string der;
  CertificateFacts facts;
};

std::optional<ReadCertificate> read_one(const pugi::xml_node& node, WallTime now,
                                        Findings& findings) {
  const std::string name = node.name();
  if (!equals_ignoring_case(node.attribute("Encoding").value(), "HexBinary"))
    findings.add(
        "registration.certificate_encoding",
        name + "/@Encoding is " + shown(node.attribute("Encoding").value()) + "; it is HexBinary.");
  const std::string_view hex = trimmed(node.text().get());
  if (std::any_of(hex.begin(), hex.end(), [](char c) { return c >= 'a' && c <= 'f'; }))
    findings.add("registration.certificate_case",
                 name + " is written in lower-case hex; certificates are upper case.");
  auto der = hex.size() <= certificate_hex_max ? from_hex(hex) : std::nullopt;
  if (!der || der->empty()) {
    findings.add_unreadable("registration.certificate_hex",
                            name + " is not hex of a certificate, or longer than 32 KiB.");
    return std::nullopt;
  }
  auto facts = read_certificate(*der);
  if (!facts) {
    findings.add_unreadable("registration.certificate_der", name + ": " + facts.error().message);
    return std::nullopt;
  }
  if (!facts->is_rsa) {
    findings.add_unreadable("registration.certificate_rsa", name + " has no RSA key.");
    return std::nullopt;
  }
  if (facts->key_bits < 2048)
    findings.add(
        "registration.certificate_key_small",
        name + " has a key of " + std::to_string(facts->key_bits) + " bits; 2048 is the least.");
  const std::string_view key_type = node.attribute("KeyType").value();
  if (key_type != "1" && key_type != "2")
    findings.add("registration.key_type", name + "/@KeyType is " + shown(key_type) +
                                              "; it is 1 (self-signed) or 2 (from a CA).");
  else if ((facts->subject == facts->issuer) != (key_type == "1"))
    findings.add("registration.key_type_mismatch",
                 name + "/@KeyType is " + shown(key_type) + ", but the certificate is " +
                     (facts->subject == facts->issuer ? "self-signed." : "issued by another."));
  if (facts->subject == facts->issuer && !facts->self_signed)
    findings.add("registration.certificate_self_signature",
                 name + " is self-signed, but its own key does not verify it.");
  if (now < facts->not_before || now > facts->not_after)
    findings.add("registration.certificate_validity", name + " is valid from " +
                                                          to_iso_utc(facts->not_before) + " to " +
                                                          to_iso_utc(facts->not_after) + ".");
  if (!facts->has_key_usage || !facts->digital_signature || !facts->data_encipherment)
    findings.add("registration.certificate_key_usage",
                 name + " lacks the key usages digitalSignature and dataEncipherment.");
  const char* const wanted = name == "Signing" ? "1.3.6.1.4.1.311.101" : "1.3.6.1.4.1.311.101.2";
  const auto& usages = facts->extended_key_usages;
  if (std::find(usages.begin(), usages.end(), wanted) == usages.end())
    findings.add("registration.certificate_eku",
                 name + " lacks the extended key usage " + wanted + ".");
  return ReadCertificate{std::move(*der), std::move(*facts)};
}

void read_properties(const pugi::xml_node& data, RegistrationRequest& request, Findings& findings) {
  std::map<std::string, std::string> properties;
  for (const auto& node : data.child("DiscoveryProperties").children("Property"))
    if (!properties.emplace(node.attribute("Name").value(), node.attribute("Value").value()).second)
      findings.add("registration.property_duplicate",
                   "The property " + shown(node.attribute("Name").value()) + " comes twice.");
  for (const char* name : {"Netbios Name", "FQ Name", "InternetFlag"}) {
    const auto it = properties.find(name);
    if (it == properties.end())
      findings.add("registration.property_missing",
                   std::string("The property \"") + name + "\" is missing.");
    else if (it->second.empty())
      findings.add("registration.property_empty",
                   std::string("The property \"") + name + "\" is empty.");
  }
  request.netbios_name = properties["Netbios Name"];
  request.fqdn = properties["FQ Name"];
  if (request.netbios_name.size() > 15 ||
      request.netbios_name.find_first_of(". \\/") != std::string::npos)
    findings.add("registration.netbios_name", "Netbios Name is " + shown(request.netbios_name) +
                                                  "; it is one label of up to 15 characters.");
  const std::string& flag = properties["InternetFlag"];
  if (!flag.empty() && flag != "0" && flag != "1" && flag != "2")
    findings.add("registration.internet_flag",
                 "InternetFlag is " + shown(flag) + "; it is 0, 1 or 2.");
}

void check_signature(const pugi::xml_node& root, std::string_view hash, std::string_view data_text,
                     RegistrationRequest& request, Findings& findings) {
  const std::string_view hex =
      trimmed(root.child("Signature").child("SignatureValue").text().get());
  if (hex.empty()) {
    findings.add("registration.signature_missing", "Signature/SignatureValue is missing.");
    return;
  }
  const auto signature = hex.size() <= 4096 ? from_hex(hex) : std::nullopt;
  if (!signature) {
    findings.add("registration.signature_form", "SignatureValue is not hex.");
    return;
  }
  const auto signed_bytes = utf16le_from_utf8(data_text);
  const SignatureForm form =
      match_signature(request.signing_key, *signature, signed_bytes.value_or(""), hash);
  request.signature_form = name_of(form);
  switch (form) {
    case SignatureForm::little_endian_oid:
      break;
    case SignatureForm::none:
      findings.add("registration.signature",
                   "SignatureValue does not verify over the UTF-16LE text from <Data to </Data>, "
                   "in no byte order and no padding.");
      break;
    case SignatureForm::big_endian_oid:
      findings.add("registration.signature_byte_order",
                   "SignatureValue verifies only unreversed; CryptoAPI's order is little-endian.");
      break;
    case SignatureForm::little_endian_bare:
      findings.add("registration.signature_no_oid",
                   "SignatureValue verifies only without the hash's OID in the padding.");
      break;
    case SignatureForm::big_endian_bare:
      findings.add("registration.signature_byte_order",
                   "SignatureValue verifies only unreversed; CryptoAPI's order is little-endian.");
      findings.add("registration.signature_no_oid",
                   "SignatureValue verifies only without the hash's OID in the padding.");
      break;
  }
}

}  // namespace

std::optional<RegistrationRequest> read_registration(
    std::string_view body, WallTime now, const std::function<Key(const std::string&)>& proxy_key,
    Findings& findings) {
  pugi::xml_document document;
  if (!parse_body(body, Declaration::forbidden, document, findings)) return std::nullopt;
  const auto root = document.document_element();
  const auto data = root.child("Data");
  if (std::string_view(root.name()) != "ClientRegistrationRequest" || !data ||
      data.next_sibling("Data")) {
    findings.add_unreadable("registration.root",
                            "The body is ClientRegistrationRequest with one Data.");
    return std::nullopt;
  }
  const auto data_text = cut_data(body, findings);
  if (!data_text) return std::nullopt;

  RegistrationRequest request;
  const std::string_view type = data.attribute("RequestType").value();
  request.confirmation = type == "Confirmation";
  if (!request.confirmation && type != "Registration")
    findings.add("registration.request_type",
                 "RequestType is " + shown(type) + "; it is Registration or Confirmation.");
  request.sms_id = data.attribute("SMSID").value();
  if (!data.attribute("SMSID") || (!request.sms_id.empty() && !is_sms_id(request.sms_id)) ||
      (request.confirmation && request.sms_id.empty()))
    findings.add("registration.smsid_form",
                 "SMSID is " + shown(request.sms_id) +
                     "; it is empty to ask for one, or GUID: and an upper-case GUID.");
  if (!parse_iso_utc(data.attribute("TimeStamp").value()))
    findings.add("registration.timestamp", "TimeStamp is " +
                                               shown(data.attribute("TimeStamp").value()) +
                                               "; it is YYYY-MM-DDTHH:MM:SSZ.");
  const std::string_view algorithm = data.attribute("HashAlgorithm").value();
  std::string_view hash = "sha256";
  if (algorithm.empty() || algorithm == oid_sha1) {
    hash = "sha1";
    findings.add("auth.sha1", "Data/@HashAlgorithm means SHA-1; this site wants SHA-256.");
  } else if (algorithm != oid_sha256) {
    findings.add("registration.hash_algorithm", "HashAlgorithm is " + shown(algorithm) +
                                                    "; it is " + std::string(oid_sha256) + ".");
  }
  const auto agent = data.child("AgentInformation");
  if (!agent) findings.add("registration.agent_information", "AgentInformation is missing.");
  request.agent_type = parse_number(agent.attribute("AgentType").value()).value_or(99);
  if (agent && request.agent_type != 0 && request.agent_type != 1 && request.agent_type != 3 &&
      request.agent_type != 4 && request.agent_type != 8)
    findings.add(
        "registration.agent_type",
        "AgentType is " + shown(agent.attribute("AgentType").value()) + "; it is 0, 1, 3, 4 or 8.");
  if (agent && (std::string_view(agent.attribute("AgentIdentity").value()).empty() ||
                std::string_view(agent.attribute("AgentVersion").value()).empty()))
    findings.add("registration.agent_identity", "AgentIdentity or AgentVersion is empty.");

  const auto certificates = data.child("Certificates");
  if (!certificates.child("Encryption"))
    findings.add("registration.encryption_certificate",
                 "There is no Encryption certificate: protected policy could not be sent.");
  else
    (void)read_one(certificates.child("Encryption"), now, findings);
  std::optional<ReadCertificate> signing;
  if (!certificates.child("Signing"))
    findings.add_unreadable("registration.signing_certificate", "There is no Signing certificate.");
  else
    signing = read_one(certificates.child("Signing"), now, findings);
  read_properties(data, request, findings);
  if (!signing) return std::nullopt;
  request.signing_der = signing->der;
  request.signing_key = signing->facts.key;
  request.self_signed = signing->facts.subject == signing->facts.issuer;
  if (const auto proxy = root.child("Signature").attribute("SMSID")) {
    request.proxy_sms_id = proxy.value();
    const Key key = proxy_key(request.proxy_sms_id);
    if (key)
      request.signing_key = key;
    else
      findings.add("registration.proxy", "Signature/@SMSID names " + shown(request.proxy_sms_id) +
                                             ", which is no ISV proxy known here.");
  } else if (request.agent_type == 8) {
    findings.add("registration.proxy", "AgentType 8 needs Signature/@SMSID, the proxy's.");
  }
  if (const auto hint = data.child("RegistrationHint")) {
    if (auto bytes = from_hex(trimmed(hint.text().get())))
      request.hint = std::move(*bytes);
    else
      findings.add("registration.hint", "RegistrationHint is not hex.");
  }
  check_signature(root, hash, *data_text, request, findings);
  return request;
}

}  // namespace greengate::sim
