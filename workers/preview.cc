#include "workers/preview.h"

#include "adapters/mp/compression.h"
#include "adapters/mp/multipart.h"
#include "adapters/mp/utf16.h"

namespace greengate::workers {

Result<std::string> Preview::xml_of(const store::LeasedReport& report) const {
  auto identity = identities_.of(report.name.agent);
  if (!identity) return pass(identity);
  Group group;
  group.kind = report.kind;
  group.reports = {&report};
  auto numbering = translator_.number(group, report.kept_at, [&](const std::string& name) { return devices_.counter(report.name.agent, name); });
  if (!numbering) return pass(numbering);
  auto message = translator_.translate(*identity, group, numbering->note);
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
