#include "adapters/mp/registration.h"

#include "adapters/mp/reply_xml.h"
#include "adapters/mp/wire_time.h"
#include "adapters/mp/xml_writer.h"

#include <charconv>

namespace greengate::adapters {
namespace {

constexpr int agent_type_isv_proxy_client = 8;  // D 4.2
constexpr int key_type_ca = 2;                  // S 4.2

void write_certificate(XmlWriter& to, std::string_view element, const std::string& hex,
                       int key_type) {
  to.markup("<");
  to.markup(element);
  to.markup(" Encoding=\"HexBinary\" KeyType=\"");
  to.number(key_type);
  to.markup("\">");
  to.markup(hex);
  to.markup("</");
  to.markup(element);
  to.markup(">");
}

void write_property(XmlWriter& to, std::string_view name, std::string_view value) {
  to.markup("<Property Name=\"");
  to.attribute(name);
  to.markup("\" Value=\"");
  to.attribute(value);
  to.markup("\" />");
}

/// <Data>…</Data> exactly as it is signed and embedded.
std::string data_text(const MpSettings& settings, const MpIdentity& identity,
                      const ReportFacts& facts, std::string_view request_type,
                      std::string_view hint) {
  XmlWriter to(16 * 1024);
  to.markup("<Data HashAlgorithm=\"");
  to.markup(hash_oid(settings.hash));
  to.markup("\" SMSID=\"");
  to.attribute(identity.sms_id.raw());
  to.markup("\" RequestType=\"");
  to.markup(request_type);
  to.markup("\" TimeStamp=\"");
  to.markup(iso_datetime(facts.made_at));
  to.markup("\"><AgentInformation AgentIdentity=\"");
  to.attribute(settings.agent_identity);
  to.markup("\" AgentVersion=\"");
  to.attribute(settings.client_version);
  to.markup("\" AgentType=\"");
  to.number(identity.proxy_sms_id.raw().empty() ? settings.agent_type : agent_type_isv_proxy_client);
  to.markup("\" /><Certificates>");
  const std::string hex = upper_hex(identity.certificate_der);
  write_certificate(to, "Encryption", hex, settings.key_type);
  write_certificate(to, "Signing", hex, settings.key_type);
  to.markup("</Certificates><DiscoveryProperties>");
  write_property(to, "Netbios Name", identity.netbios_name);
  write_property(to, "FQ Name", identity.fqdn);
  write_property(to, "Locale ID", std::to_string(settings.lcid));
  write_property(to, "InternetFlag", std::to_string(settings.internet_flag));
  for (const auto& [name, value] : settings.reg_extra_properties) write_property(to, name, value);
  to.markup("</DiscoveryProperties>");
  if (!hint.empty()) {  // where in <Data> it stands is not public (I)
    to.markup("<RegistrationHint>");
    to.markup(hint);
    to.markup("</RegistrationHint>");
  }
  to.markup("</Data>");
  return to.take();
}

Result<OutgoingMessage> request(const MpSettings& settings, const MpIdentity& identity,
                                const ReportFacts& facts, std::string_view request_type,
                                std::string_view hint) {
  const std::string data = data_text(settings, identity, facts, request_type, hint);
  const auto signature = identity.key.sign(data, settings.hash);
  if (!signature) return tl::unexpected(signature.error());

  XmlWriter to(data.size() + 4096);
  to.markup("<ClientRegistrationRequest>");
  to.wide(data);
  to.markup("<Signature");
  if (!identity.proxy_sms_id.raw().empty()) {  // an ISV proxy signs for its client (D 4.2)
    to.markup(" SMSID=\"");
    to.attribute(identity.proxy_sms_id.raw());
    to.markup("\"");
  }
  to.markup("><SignatureValue>");
  to.markup(*signature);
  to.markup("</SignatureValue></Signature></ClientRegistrationRequest>");
  Draft draft = draft_of(settings, "MP_ClientRegistration", to.take());
  draft.invoke = true;
  draft.is_signed = false;
  return assemble(settings, identity, facts, std::move(draft));
}

/// An attribute as a whole number; nullopt when absent or anything else.
std::optional<int> number_in(const pugi::xml_attribute& attribute) {
  const std::string_view text = attribute.value();
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Result<OutgoingMessage> registration_message(const MpSettings& settings, const MpIdentity& identity,
                                             const ReportFacts& facts, std::string_view hint) {
  return request(settings, identity, facts, "Registration", hint);
}

Result<std::string> registration_hint(const MpSettings& settings, const MpIdentity& registered) {
  const bool wanted = settings.registration_hint == HintUse::always ||
                      (settings.registration_hint == HintUse::ca && settings.key_type == key_type_ca);
  if (!wanted || registered.sms_id.raw().empty()) return std::string();
  return registered.key.sign_client_id(registered.sms_id, settings.hash);
}

Result<OutgoingMessage> confirmation_message(const MpSettings& settings, const MpIdentity& identity,
                                             const ReportFacts& facts) {
  return request(settings, identity, facts, "Confirmation", {});
}

Result<RegistrationReply> parse_registration_reply(const MpSettings& settings,
                                                   std::string_view xml) {
  pugi::xml_document document;
  auto parsed = parse_reply_xml(settings, xml, document);
  if (!parsed) return pass(parsed);
  const auto refuse = [](std::string why) {
    return fail(Remedy::reject, "mp.registration_reply",
                "The registration reply " + std::move(why) + ".");
  };
  const pugi::xml_node root = document.child("ClientRegistrationResponse");
  if (!root) return refuse("has another root than ClientRegistrationResponse");

  RegistrationReply reply;
  reply.approval = number_in(root.attribute("ApprovalStatus"));
  const std::string_view id = root.attribute("SMSID").value();
  if (id.empty() && reply.approval == -1) {
    reply.status = RegistrationStatus::rejected;
    return reply;
  }
  const auto status = number_in(root.attribute("Status"));
  if (!status || *status < 0 || *status > 3) return refuse("has no Status from 0 to 3");
  reply.status = static_cast<RegistrationStatus>(*status);
  if (*status <= 1) {
    const auto sms_id = parse_sms_id(id);
    if (!sms_id) return refuse("has a good Status but no usable SMSID");
    reply.sms_id = *sms_id;
  }
  return reply;
}

}  // namespace greengate::adapters
