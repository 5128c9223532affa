#include "workers/preview.h"

#include "adapters/mp/compression.h"
#include "adapters/mp/multipart.h"
#include "adapters/mp/utf16.h"

namespace greengate::workers {

Result<adapters::OutgoingMessage> Preview::message_of(const adapters::MpIdentity& identity, const store::LeasedReport& report) const {
  Group group;
  group.kind = report.kind;
  group.reports = {&report};
  const auto counter = [&](const std::string& name) { return devices_.counter(report.name.agent, name); };
  if (is_inventory(report.kind)) {
    auto plan = inventories_.plan(report.name.agent, identity.sms_id, group, std::nullopt, counter, report.kept_at);
    if (!plan) return pass(plan);
    if (!plan->sends()) return fail(Remedy::reject, decision_code(plan->decision), "nothing would be sent: " + std::string(decision_name(plan->decision)) + ".");
    auto prepared = std::move(*plan).write(inventories_.settings(), identity);
    if (!prepared) return pass(prepared);
    return std::move(prepared->message);
  }
  auto numbering = translator_.number(group, report.kept_at, counter);
  if (!numbering) return pass(numbering);
  return translator_.translate(identity, group, numbering->note);
}

Result<std::string> Preview::xml_of(const store::LeasedReport& report) const {
  auto identity = identities_.of(report.name.agent);
  if (!identity) return pass(identity);
  auto message = message_of(*identity, report);
  if (!message) return pass(message);
  auto parts = adapters::parse_multipart(message->http_body, message->content_type, settings_.boundary);
  if (!parts) return pass(parts);
  std::string stream(parts->payload);
  if (settings_.compress) {
    auto inflated = adapters::inflate_zlib(parts->payload, settings_.message_bytes_max + 4096);
    if (!inflated) return pass(inflated);
    stream = std::move(*inflated);
  }
  // The text ends with its NUL; what follows is an attachment.
  std::string_view text = stream;
  for (std::size_t at = 0; at + 1 < text.size(); at += 2) {
    if (text[at] == '\0' && text[at + 1] == '\0') {
      text = text.substr(0, at);
      break;
    }
  }
  return adapters::utf8_from_utf16(text);
}

}  // namespace greengate::workers
