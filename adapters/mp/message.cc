#include "adapters/mp/message.h"

#include "adapters/mp/compression.h"
#include "adapters/mp/multipart.h"
#include "adapters/mp/wire_time.h"
#include "adapters/mp/xml_writer.h"
#include "core/random.h"

#include <algorithm>
#include <cctype>

namespace greengate::adapters {
namespace {

constexpr std::size_t netbios_chars_max = 15;
constexpr std::string_view sms_id_prefix = "GUID:";

/// A random (version 4) GUID in upper case, without braces.
std::string new_guid() {
  std::string raw = random_bytes(16);
  raw[6] = static_cast<char>((raw[6] & 0x0F) | 0x40);
  raw[8] = static_cast<char>((raw[8] & 0x3F) | 0x80);
  std::string guid = upper_hex(raw);
  for (const std::size_t at : {8u, 13u, 18u, 23u}) guid.insert(at, 1, '-');
  return guid;
}

}  // namespace

std::string netbios_name_of(std::string_view host_name) {
  std::string name;
  for (const char raw : host_name.substr(0, host_name.find('.'))) {
    if (name.size() == netbios_chars_max) break;
    const char c = static_cast<char>(std::toupper(static_cast<unsigned char>(raw)));
    if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_') name.push_back(c);
  }
  return name.empty() ? "UNNAMED" : name;
}

std::string new_message_id() {
  return "{" + new_guid() + "}";
}

SmsId new_sms_id() {
  return SmsId(std::string(sms_id_prefix) + new_guid());
}

std::optional<SmsId> parse_sms_id(std::string_view text) {
  if (text.size() != 41) return std::nullopt;
  std::string upper(text);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return std::toupper(c); });
  if (upper.compare(0, sms_id_prefix.size(), sms_id_prefix) != 0) return std::nullopt;
  for (std::size_t i = 5; i < upper.size(); ++i) {
    const bool hyphen = i == 13 || i == 18 || i == 23 || i == 28;
    const char c = upper[i];
    if (hyphen ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F')))
      return std::nullopt;
  }
  return SmsId(std::move(upper));
}

Result<void> prepare_identity(const MpSettings& settings, MpIdentity& identity) {
  if (!settings.send_client_id_signature || identity.sms_id.raw().empty()) return {};
  auto signature = identity.key.sign_client_id(identity.sms_id, settings.hash);
  if (!signature) return pass(signature);
  identity.client_id_signature = std::move(*signature);
  return {};
}

std::string_view text_end(const MpSettings& settings) {
  return settings.trailing_crlf ? whole_text_end : whole_text_end.substr(0, nul_bytes);
}

Draft draft_of(const MpSettings& settings, std::string_view endpoint, std::string text) {
  Draft draft;
  draft.endpoint = endpoint;
  draft.body = {0, text.size() + nul_bytes, {}, true};
  draft.stream = std::move(text);
  draft.stream += text_end(settings);
  return draft;
}

Result<OutgoingMessage> assemble(const MpSettings& settings, const MpIdentity& identity,
                                 const ReportFacts& facts, Draft draft) {
  if (draft.stream.size() > settings.message_bytes_max)
    return fail(Remedy::reject, "mp.message_too_large",
                "The message has " + std::to_string(draft.stream.size()) +
                    " bytes before compression; at most " +
                    std::to_string(settings.message_bytes_max) + " are sent.");

  OutgoingMessage message;
  message.xml_bytes = draft.stream.size();
  std::string payload = settings.compress
                            ? compress_zlib(draft.stream, settings.compression_level)
                            : std::move(draft.stream);
  // The text is many times what is sent; it must not wait in memory while the message is signed and put together.
  std::string().swap(draft.stream);

  Envelope envelope;
  const std::string sent_time = iso_datetime(facts.made_at);
  envelope.endpoint = draft.endpoint;
  envelope.reply_mode = draft.invoke ? std::string_view("Sync") : settings.post_reply_mode;
  envelope.message_id = facts.message_id;
  envelope.netbios_name = identity.netbios_name;
  envelope.sent_time = sent_time;
  envelope.file_type = draft.file_type;
  envelope.body = draft.body;
  envelope.attachments = std::move(draft.attachments);

  ClientAuth auth;
  std::string payload_signature, client_id_signature;
  if (draft.is_signed) {
    // Compressed: exactly the bytes of part 2 (M 3.3). Not compressed: the body's range with its
    // NUL (Q2).
    const std::string_view to_sign =
        settings.compress ? std::string_view(payload)
                          : std::string_view(payload).substr(draft.body.offset, draft.body.length);
    auto signature = identity.key.sign(to_sign, settings.hash);
    if (!signature) return pass(signature);
    payload_signature = std::move(*signature);
    if (settings.send_client_id_signature && identity.client_id_signature.empty()) {
      auto by_id = identity.key.sign_client_id(identity.sms_id, settings.hash);
      if (!by_id) return pass(by_id);
      client_id_signature = std::move(*by_id);
    }
    auth.machine = identity.netbios_name;
    if (settings.send_public_key) auth.public_key = identity.key.public_key_blob_hex();
    if (settings.send_client_id_signature)
      auth.client_id_signature =
          identity.client_id_signature.empty() ? client_id_signature : identity.client_id_signature;
    auth.payload_signature = payload_signature;
    auth.proxy_sms_id = identity.proxy_sms_id.raw();
    envelope.auth = &auth;
    envelope.source_id = identity.sms_id.raw();
  }
  const EnvelopeText header = write_envelope(settings, envelope);

  const std::string head = multipart_head(settings.boundary),
                    middle = multipart_middle(settings.boundary),
                    tail = multipart_tail(settings.boundary);
  message.http_body.reserve(head.size() + header.utf16.size() + middle.size() + payload.size() +
                            tail.size());
  message.http_body.append(head).append(header.utf16).append(middle).append(payload).append(tail);
  message.endpoint = draft.endpoint;
  message.content_type = multipart_content_type(settings.boundary);
  message.message_id = facts.message_id;
  message.expects_reply = draft.invoke;
  message.target_host = settings.target_host;
  message.target_host_offset = head.size() + header.target_host_offset;
  message.target_host_bytes = header.target_host_bytes;
  return message;
}

std::string OutgoingMessage::body_for(std::string_view host) const {
  XmlWriter name(host.size() * 2);
  name.text(host);
  std::string body;
  body.reserve(http_body.size() + name.size());
  body.append(http_body, 0, target_host_offset);
  body.append(name.view());
  body.append(http_body, target_host_offset + target_host_bytes);
  return body;
}

}  // namespace greengate::adapters
