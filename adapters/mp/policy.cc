#include "adapters/mp/policy.h"

#include "adapters/mp/reply_xml.h"
#include "adapters/mp/xml_writer.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace greengate::adapters {
namespace {

constexpr std::size_t text_bytes_max = 4096;

/// The text of an element, CDATA included, without white space around it.
std::string_view text_of(const pugi::xml_node& node) {
  std::string_view text = node.text().get();
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())))
    text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())))
    text.remove_suffix(1);
  return text;
}

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

}  // namespace

Result<OutgoingMessage> policy_request(const MpSettings& settings, const MpIdentity& identity,
                                       const ReportFacts& facts, std::string_view cookie) {
  XmlWriter to(4096, settings.message_bytes_max);
  to.markup("<RequestAssignments SchemaVersion=\"1.00\" ACK=\"false\" RequestType=\"");
  const bool nothing_to_update = cookie.empty() && settings.policy_request_type == "OnUpdate";
  to.attribute(nothing_to_update ? "Full" : settings.policy_request_type);
  if (!settings.policy_validation.empty()) {
    to.markup("\" ValidationRequested=\"");
    to.attribute(settings.policy_validation);
  }
  to.markup("\"><Identification><Machine>");
  to.element("ClientID", identity.sms_id.raw());
  to.element("FQDN", identity.fqdn);
  to.element("NetBIOSName", identity.netbios_name);
  to.markup("<SID /></Machine><User /></Identification><PolicySource>SMS:");
  to.text(settings.site_code);
  to.markup("</PolicySource><Resource ResourceType=\"Machine\" />");
  if (cookie.empty())
    to.markup("<ServerCookie />");
  else
    to.element("ServerCookie", cookie);
  to.markup("</RequestAssignments>");
  Draft draft = draft_of(settings, "MP_PolicyManager", to.take());
  draft.invoke = true;
  return assemble(settings, identity, facts, std::move(draft));
}

Result<PolicyReply> parse_policy_reply(const MpSettings& settings, std::string_view xml) {
  pugi::xml_document document;
  auto parsed = parse_reply_xml(settings, xml, document);
  if (!parsed) return pass(parsed);
  const auto refuse = [](const char* why) {
    return fail(Remedy::reject, "mp.policy_reply", std::string("The policy reply ") + why + ".");
  };
  const pugi::xml_node root = document.child("ReplyAssignments");
  if (!root) return refuse("has another root than ReplyAssignments");

  PolicyReply reply;
  bool too_long = false;
  const auto keep = [&](std::string_view text) {
    too_long = too_long || text.size() > text_bytes_max;
    return too_long ? std::string() : std::string(text);
  };
  reply.cookie = keep(text_of(root.child("ServerCookie")));
  const std::string_view type = root.attribute("ReplyType").value();
  reply.full = type.empty() || same_word(type, "Full");
  for (const pugi::xml_node assignment : root.children("PolicyAssignment")) {
    bool conditional = false;
    for (const pugi::xml_node expression : assignment.child("Condition").children())
      conditional = conditional || !text_of(expression).empty() || expression.first_child().type() == pugi::node_element;
    for (const pugi::xml_node policy : assignment.children("Policy")) {
      if (reply.assignments.size() >= settings.policy_assignments_max)
        return refuse("has too many assignments");
      const pugi::xml_node location = policy.child("PolicyLocation");
      PolicyAssignment one;
      one.assignment_id = keep(assignment.attribute("PolicyAssignmentID").value());
      one.policy_id = keep(policy.attribute("PolicyID").value());
      one.version = keep(policy.attribute("PolicyVersion").value());
      one.type = keep(policy.attribute("PolicyType").value());
      one.category = keep(policy.attribute("PolicyCategory").value());
      one.location = keep(text_of(location));
      one.hash = keep(location.attribute("PolicyHash").value());
      one.hash_ex = keep(location.attribute("PolicyHashEx").value());
      one.conditional = conditional;
      const std::string_view flags = policy.attribute("PolicyFlags").value();
      const auto [end, error] =
          std::from_chars(flags.data(), flags.data() + flags.size(), one.flags);
      // Flags decide whether a body may be fetched, so unreadable ones are not taken for none.
      if (!flags.empty() && (error != std::errc() || end != flags.data() + flags.size()))
        return refuse("has PolicyFlags that are no number");
      reply.assignments.push_back(std::move(one));
    }
  }
  if (too_long) return refuse("has a text longer than its limit");
  return reply;
}

Result<std::string> policy_target(std::string_view location) {
  const auto refuse = [] {
    return fail(Remedy::reject, "mp.policy_location",
                "A policy's location is not a path of a management point.");
  };
  const std::size_t scheme = location.find("://");
  if (scheme == std::string_view::npos) return refuse();
  const std::size_t path = location.find('/', scheme + 3);
  if (path == std::string_view::npos) return refuse();
  const std::string_view target = location.substr(path);
  std::string lower(target);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const bool plain =
      std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!plain || !lower.starts_with("/sms_mp/.sms_pol?")) return refuse();
  return std::string(target);
}

}  // namespace greengate::adapters
