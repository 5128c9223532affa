#include "simulators/management_point/site_record.h"

#include "simulators/common/text.h"
#include "simulators/common/xml.h"

#include <algorithm>

namespace greengate::sim {
namespace {

namespace json = boost::json;

}  // namespace

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
  const auto whereabouts = document.document_element().child("ClientLocationInfo").child("IPAddresses").child("IPAddress");
  const auto xml = answers_->location(root, whereabouts.attribute("SubnetAddress").value());
  if (!xml) return {};  // the reply's form is not public
  return reply_message(envelope, settings_.host_name, *xml, record.time);
}

}  // namespace greengate::sim
