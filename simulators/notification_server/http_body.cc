#include "simulators/notification_server/http_body.h"

#include "simulators/common/crypto.h"
#include "simulators/common/text.h"
#include "simulators/notification_server/message.h"

#include <openssl/evp.h>

#include <algorithm>
#include <optional>

namespace greengate::sim::notify {
namespace {

constexpr std::size_t header_bytes_max = 4096;  // 8.2 rule 3

std::optional<std::string> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > 8192) return std::nullopt;
  std::string bytes(text.size() / 4 * 3, '\0');
  const int got = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                  reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (got < 0) return std::nullopt;
  const auto padding = static_cast<std::size_t>(std::count(text.end() - 2, text.end(), '='));
  bytes.resize(static_cast<std::size_t>(got) - padding);
  return bytes;
}

const std::string* attribute(const Element& element, std::string_view name) {
  for (const auto& [key, value] : element.attributes)
    if (key == name) return &value;
  return nullptr;
}

void read_header_xml(const Document& document, std::string_view client_type, HttpBody& body) {
  const auto wrong = [&](const char* code, Severity severity, std::string detail) {
    body.findings.push_back({code, "3", severity, std::move(detail)});
  };
  const auto& all = document.elements;
  if (all.front().name != "BgbMessageHeaderHttp")
    return wrong("http.header", Severity::fatal, "the header's root is " + all.front().name);
  std::size_t hooks = 0;
  std::size_t properties = 0;
  for (std::size_t i = 1; i < all.size(); ++i) {
    const Element& one = all[i];
    const std::string& parent = all[one.parent].name;
    if (one.depth == 2 && one.name == "SourceID") {
      body.source_id = one.text;
    } else if (one.depth == 2 && one.name == "SourceType") {
      body.source_type = one.text;
    } else if (one.depth == 2 && one.name == "Hooks") {
      continue;
    } else if (one.depth == 3 && parent == "Hooks" && one.name == "Hook") {
      const std::string* name = attribute(one, "Name");
      if (++hooks == 1 && name != nullptr) body.hook_name = *name;
      properties = 0;
    } else if (one.depth == 4 && parent == "Hook" && one.name == "Property") {
      if (++properties > 1) wrong("http.hooks", Severity::refused, "a hook has more than one property");
      const std::string* name = attribute(one, "Name");
      if (hooks == 1 && properties == 1) {
        if (name != nullptr) body.property_name = *name;
        body.property_value = one.text;
      }
    } else {
      wrong("http.header", Severity::refused, "the header has <" + one.name + ">");
    }
  }
  if (!is_sms_id(body.source_id)) wrong("http.source", Severity::refused, "SourceID is \"" + body.source_id + "\"");
  if (body.source_type != client_type) wrong("http.source", Severity::refused, "SourceType is \"" + body.source_type + "\"");
}

}  // namespace

bool HttpBody::fatal() const {
  return std::ranges::any_of(findings, [](const Finding& f) { return f.severity == Severity::fatal; });
}

HttpBody read_http_body(const FrameRules& rules, std::string_view client_type, std::span<const std::byte> bytes) {
  HttpBody body;
  const auto wrong = [&](const char* code, const char* section, std::string detail) {
    body.findings.push_back({code, section, Severity::fatal, std::move(detail)});
  };
  const Layout& layout = *rules.layout;
  if (bytes.size() < layout.bytes) {
    wrong("http.body", "3", "a body of " + std::to_string(bytes.size()) + " bytes holds no frame");
    return body;
  }
  Cut& cut = body.cut;
  cut.header = read_header(rules, bytes);
  cut.header_read = true;
  cut.version_supported = cut.header.major == rules.major && cut.header.minor == rules.minor;
  const std::size_t xml = cut.header.header_size;
  if (xml == 0 || layout.bytes + xml > header_bytes_max || layout.bytes + xml > bytes.size()) {
    wrong("http.header_size", "3",
          "HeaderSize is " + std::to_string(xml) + "; it counts the XML header, which no request goes without");
    return body;
  }
  std::size_t payload = cut.header.payload_size;
  if (rules.payload_size_is_frame) payload = payload < layout.bytes + xml ? ~std::size_t{0} : payload - layout.bytes - xml;
  if (payload != bytes.size() - layout.bytes - xml) {
    wrong("http.body", "3", "PayloadSize is " + std::to_string(cut.header.payload_size) + " in a body of " +
                                std::to_string(bytes.size()) + " bytes");
    return body;
  }
  cut.payload_at = layout.bytes + xml;
  cut.payload_bytes = payload;
  cut.frame_bytes = bytes.size();
  cut.status = Cut::Status::whole;

  FrameRules plain = rules;
  plain.zlib = false;  // the header is read before anything is unpacked
  Text text = read_text(plain, bytes.subspan(layout.bytes, xml));
  if (!text.findings.empty()) {
    body.findings = std::move(text.findings);
    return body;
  }
  body.header_xml = std::move(text.utf8);
  Document document = parse_xml(body.header_xml);
  if (!document.findings.empty()) {
    body.findings = std::move(document.findings);
    return body;
  }
  read_header_xml(document, client_type, body);
  return body;
}

std::string hook_complaint(const HookRules& rules, const HttpBody& body, std::string_view payload,
                           const std::string& certificate_der) {
  if (rules.signs == "nothing") return body.hook_name.empty() ? "" : "there is a hook, and nothing is to be signed";
  if (body.hook_name != "clientauth") return "there is no hook named clientauth";
  if (body.property_name.empty()) return "the hook has no property";
  const auto signature = rules.text == "hex" ? from_hex(body.property_value) : from_base64(body.property_value);
  if (!signature) return "the hook's value is not " + std::string(rules.text);
  std::string covered(payload);
  if (rules.signs == "client_id" || payload.empty()) {
    const auto id = utf16le_from_utf8(body.source_id);
    covered = id.value_or("") + std::string(2, '\0');
  }
  auto facts = read_certificate(certificate_der);
  if (!facts) return "the registered certificate cannot be read";
  const SignatureForm form = match_signature(facts->key, *signature, covered, "sha256");
  const bool little = form == SignatureForm::little_endian_oid, big = form == SignatureForm::big_endian_oid;
  if (form == SignatureForm::none) return "the signature is not by the registered key over what it should cover";
  if ((little && rules.byte_order != "big") || (big && rules.byte_order != "little")) return "";
  return std::string("the signature is ") + name_of(form);
}

}  // namespace greengate::sim::notify
