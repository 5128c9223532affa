// A report's body on its way to the site: whatever an agent put in it, the message is refused with a code or is well-formed. First byte: the kind.
#include "adapters/mp/compression.h"
#include "workers/translator.h"

#include "greengate/v1/frame.pb.h"

#include <pugixml.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

using namespace greengate;

namespace {
adapters::MpIdentity made_identity(const adapters::MpSettings& settings) {
  adapters::MpIdentity identity;
  auto key = adapters::SigningKey::generate();
  if (!key) std::abort();
  identity.key = *key;
  identity.sms_id = *adapters::parse_sms_id("GUID:5A1B7C3D-0000-4000-8000-00000000A001");
  identity.netbios_name = "FUZZ";
  identity.fqdn = "fuzz.example.test";
  if (!adapters::prepare_identity(settings, identity)) std::abort();
  return identity;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const adapters::MpSettings settings = [] {
    adapters::MpSettings made;
    made.site_code = "P01";
    made.compress = false;  // so that the message can be looked at
    made.message_bytes_max = 256 * 1024;
    return made;
  }();
  static const adapters::MpIdentity identity = made_identity(settings);
  static const workers::Translator translator(settings);
  store::LeasedReport report;
  report.kind = 1u + data[0] % 8u;
  report.body.assign(reinterpret_cast<const char*>(data) + 1, size - 1);
  workers::Group group;
  group.kind = report.kind;
  group.reports = {&report};
  const auto numbering = translator.number(group, from_millis(1'768'472'430'000), [](const std::string&) { return 0u; });
  if (!numbering) return 0;
  const auto message = translator.translate(identity, group, numbering->note);
  if (!message) return 0;
  // Uncompressed, part 2 begins behind the second blank line: UTF-16LE text with a NUL at the end of the body.
  const std::string_view body(message->http_body);
  const auto part = body.find("\r\n\r\n", body.find("\r\n\r\n") + 4);
  const auto end = body.rfind("\r\n--");
  if (part == std::string_view::npos || end <= part + 4) std::abort();
  auto stream = body.substr(part + 4, end - part - 4);
  if (stream.size() >= 4 && stream.substr(stream.size() - 2) == "\r\n") stream.remove_suffix(2);
  if (stream.size() < 2 || stream.size() % 2 != 0) return 0;  // attachments follow the text: not one document
  stream.remove_suffix(2);
  pugi::xml_document document;
  const auto parsed = document.load_buffer(stream.data(), stream.size(), pugi::parse_default, pugi::encoding_utf16_le);
  if (!parsed && stream.find(std::string_view("\0\0", 2)) == std::string_view::npos) {
    std::fprintf(stderr, "not well-formed at %td: %s\n", parsed.offset, parsed.description());
    std::abort();
  }
  return 0;
}
