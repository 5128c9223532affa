#include "simulators/management_point/envelope.h"

#include "core/clock.h"
#include "simulators/common/text.h"
#include "simulators/common/xml.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>

namespace greengate::sim {
namespace {

constexpr std::string_view crlf = "\r\n";
constexpr std::size_t part_header_bytes_max = 4096;
constexpr std::size_t envelope_bytes_max = 512 * 1024;
constexpr std::size_t attachments_max = 64;

// Section 3.1, 5 and K-DC33's table.
constexpr Endpoint endpoints[] = {
    {"MP_ClientRegistration", true, false},
    {"MP_LocationManager", true, false},
    {"MP_PolicyManager", true, true},
    {"MP_DdrEndpoint", false, true},
    {"MP_HinvEndpoint", false, true},
    {"MP_SinvEndpoint", false, true},
    {"MP_SinvCollFileEndpoint", false, true},
    {"MP_RelayEndpoint", false, true},
    // Section 5.10: a hook is not required at an HTTP management point.
    {"StatusReceiver", false, false},
};

struct PartHeader {
  bool has_type = false;
  std::string type;  // lower case, blanks taken out
};

// The header lines of one part; `at` moves behind the blank line.
std::optional<PartHeader> read_part_header(std::string_view body, std::size_t& at,
                                           Findings& findings) {
  PartHeader header;
  const std::size_t start = at;
  for (;;) {
    const std::size_t end = body.find(crlf, at);
    if (end == std::string_view::npos || end - start > part_header_bytes_max) {
      findings.add_unreadable("mime.part_header",
                              "A part's header lines do not end with an empty line within 4 KiB.");
      return std::nullopt;
    }
    const std::string_view line = body.substr(at, end - at);
    at = end + crlf.size();
    if (line.empty()) return header;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) {
      findings.add_unreadable("mime.part_header", "A part has the header line " + shown(line) +
                                                      ", which is no name and value.");
      return std::nullopt;
    }
    if (equals_ignoring_case(trimmed(line.substr(0, colon)), "content-type")) {
      header.has_type = true;
      for (const char c : to_lower(trimmed(line.substr(colon + 1))))
        if (c != ' ' && c != '\t' && c != '"') header.type += c;
    }
  }
}

std::optional<std::string> boundary_of(std::string_view content_type, Findings& findings) {
  const std::size_t semicolon = content_type.find(';');
  if (!equals_ignoring_case(trimmed(content_type.substr(0, semicolon)), "multipart/mixed") ||
      semicolon == std::string_view::npos) {
    findings.add_unreadable(
        "transport.content_type",
        "Content-Type is " + shown(content_type) + "; it must be multipart/mixed with a boundary.");
    return std::nullopt;
  }
  std::string_view rest = content_type.substr(semicolon + 1);
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(';'), rest.size());
    const std::string_view parameter = trimmed(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::size_t equals = parameter.find('=');
    if (equals == std::string_view::npos ||
        !equals_ignoring_case(trimmed(parameter.substr(0, equals)), "boundary"))
      continue;
    std::string_view value = trimmed(parameter.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
      value = value.substr(1, value.size() - 2);
    else
      findings.add("transport.boundary_unquoted", "The boundary parameter is not in quotes.");
    if (value.empty() || value.size() > 70) break;  // RFC 2046, 5.1.1
    return std::string(value);
  }
  findings.add_unreadable("transport.content_type",
                          "Content-Type is " + shown(content_type) +
                              "; its boundary is missing, empty or longer than 70 characters.");
  return std::nullopt;
}

std::optional<ByteRange> range_of(const pugi::xml_node& node) {
  const auto offset = parse_number(node.attribute("Offset").value());
  const auto length = parse_number(node.attribute("Length").value());
  if (!offset || !length) return std::nullopt;
  return ByteRange{*offset, *length};
}

bool inside(const ByteRange& range, std::size_t size) {
  return range.offset <= size && range.length <= size - range.offset;
}

void check_target_address(const Envelope& envelope, Findings& findings) {
  std::string_view rest = envelope.target_address;
  if (rest.empty()) return;
  if (rest.starts_with("mp:")) {
    rest.remove_prefix(3);
    if (rest.starts_with("[http]")) rest.remove_prefix(6);
  } else if (rest.starts_with("raw:httpsync:")) {
    rest.remove_prefix(13);
    const std::size_t colon = rest.find(':');
    rest = colon == std::string_view::npos || colon == 0 ? "" : rest.substr(colon + 1);
  } else {
    rest = "";
  }
  if (rest != envelope.target_endpoint)
    findings.add("envelope.target_address",
                 "TargetAddress is " + shown(envelope.target_address) +
                     "; for this TargetEndpoint it is \"mp:" + envelope.target_endpoint +
                     "\", with \"[http]\" after the colon, or the raw:httpsync form.");
}

void check_reply_mode(const Envelope& envelope, const Endpoint& endpoint, Findings& findings) {
  if (envelope.reply_mode.empty()) {
    findings.add("envelope.reply_mode_missing", "ReplyMode is missing.");
    return;
  }
  const char* const wanted = endpoint.invoke ? "Sync" : "ASync";
  if (envelope.reply_mode == wanted) return;
  if (equals_ignoring_case(envelope.reply_mode, wanted))
    findings.add("envelope.reply_mode_spelling",
                 "ReplyMode is " + shown(envelope.reply_mode) + "; it is written " + wanted + ".");
  else
    findings.add("envelope.reply_mode", "ReplyMode is " + shown(envelope.reply_mode) + "; " +
                                            std::string(endpoint.name) + " takes " + wanted + ".");
}

void check_envelope(const pugi::xml_node& msg, const Envelope& envelope, const EnvelopeRules& rules,
                    Findings& findings) {
  if (const auto schema = msg.attribute("SchemaVersion");
      schema && std::string_view(schema.value()) != "1.1")
    findings.add("envelope.schema_version",
                 "SchemaVersion is " + shown(schema.value()) + "; 1.1 is known.");
  if (msg.attribute("ReplyCompression") && envelope.reply_compression != "zlib" &&
      envelope.reply_compression != "none")
    findings.add(
        "envelope.reply_compression",
        "ReplyCompression is " + shown(envelope.reply_compression) + "; it is zlib or none.");
  if (envelope.id.empty()) {
    findings.add("envelope.id_missing",
                 "ID is empty: a repeat of this message cannot be told from a new one.");
  } else if (envelope.id.size() != 38 || envelope.id.front() != '{' || envelope.id.back() != '}' ||
             !is_guid(std::string_view(envelope.id).substr(1, 36), true)) {
    findings.add("envelope.id_form",
                 "ID is " + shown(envelope.id) + "; it is a GUID in braces and upper case.");
  }
  if (!envelope.source_id.empty() && !is_sms_id(envelope.source_id))
    findings.add("envelope.source_id_form", "SourceID is " + shown(envelope.source_id) +
                                                "; it is GUID: and an upper-case GUID.");
  if (!envelope.target_host.empty()) {
    std::string_view host = envelope.target_host;
    if (const auto scheme = host.find("://"); scheme != std::string_view::npos)
      host.remove_prefix(scheme + 3);
    host = host.substr(0, host.find_first_of(":/"));
    if (!equals_ignoring_case(host, rules.host_name) && host != "127.0.0.1" && host != "localhost")
      findings.add("envelope.target_host", "TargetHost is " + shown(envelope.target_host) +
                                               "; this is " + rules.host_name + ".");
  }
  if (!envelope.reply_to.empty() && !envelope.reply_to.starts_with("direct:"))
    findings.add("envelope.reply_to_form",
                 "ReplyTo is " + shown(envelope.reply_to) + "; it is direct:<host>:<endpoint>.");
  if (const std::string protocol = child_text(msg, "Protocol");
      !protocol.empty() && protocol != "http")
    findings.add("envelope.protocol", "Protocol is " + shown(protocol) + "; http is known.");
  for (const char* name : {"Priority", "Timeout"})
    if (const std::string text = child_text(msg, name); !text.empty() && !parse_number(text))
      findings.add("envelope.number_form",
                   std::string(name) + " is " + shown(text) + "; it is a number.");
  if (const std::string sent = child_text(msg, "SentTime"); !sent.empty()) {
    const auto time = parse_iso_utc(sent);
    constexpr std::int64_t skew_millis_max = 15 * 60 * 1000;
    if (!time)
      findings.add("envelope.sent_time",
                   "SentTime is " + shown(sent) + "; it is YYYY-MM-DDTHH:MM:SSZ.");
    else if (to_millis(*time) > rules.now_millis + skew_millis_max ||
             to_millis(*time) < rules.now_millis - skew_millis_max)
      findings.add("envelope.sent_time",
                   "SentTime is " + sent + ", more than 15 minutes from this clock.");
  }
}

void read_hooks(const pugi::xml_node& msg, Envelope& envelope, Findings& findings) {
  for (const auto& hook : msg.child("Hooks").children()) {
    if (hook.type() != pugi::node_element) continue;
    const std::string_view element = hook.name(), name = hook.attribute("Name").value();
    if (element == "Hook3" && name == "zlib-compress" && !envelope.zlib) {
      envelope.zlib = true;
    } else if (element == "Hook2" && name == "clientauth" && !envelope.client_auth) {
      envelope.client_auth = true;
      for (const auto& property : hook.children("Property"))
        if (!envelope.auth.emplace(property.attribute("Name").value(), property.text().get())
                 .second)
          findings.add("envelope.duplicate", "The clientauth property " +
                                                 shown(property.attribute("Name").value()) +
                                                 " comes twice.");
    } else {
      findings.add("hooks.unknown", "The hook " + std::string(shown(element)) + " named " +
                                        shown(name) + " is unknown or comes twice.");
    }
  }
}

void read_ranges(const pugi::xml_node& msg, Envelope& envelope, Findings& findings) {
  if (const auto type = msg.child("Payload").attribute("Type");
      std::string_view(type.value()) != "inline")
    findings.add("envelope.payload_type",
                 "Payload/@Type is " + shown(type.value()) + "; it is inline.");
  if (const auto body = msg.child("Body")) {
    if (std::string_view(body.attribute("Type").value()) != "ByteRange")
      findings.add("envelope.body_type",
                   "Body/@Type is " + shown(body.attribute("Type").value()) + "; it is ByteRange.");
    envelope.body = range_of(body);
    if (!envelope.body)
      findings.add_unreadable("envelope.body_numbers", "Body's Offset or Length is no number.");
  } else {
    findings.add_unreadable("envelope.body_missing", "There is no Body.");
  }
  for (const auto& node : msg.children("Attachment")) {
    const auto range = range_of(node);
    if (!range || envelope.attachments.size() >= attachments_max) {
      findings.add(
          "envelope.attachment",
          "An Attachment has no numbers for Offset and Length, or there are more than 64.");
      break;
    }
    envelope.attachments.push_back({node.attribute("Name").value(), *range});
  }
}

void read_file_type(const pugi::xml_node& msg, Envelope& envelope, FileTypeForm form,
                    Findings& findings) {
  std::string type;
  if (form != FileTypeForm::hook_property) type = child_text(msg, "FileType");
  if (type.empty() && form != FileTypeForm::element) {
    const auto it = envelope.auth.find("FileType");
    if (it != envelope.auth.end()) type = it->second;
  }
  envelope.file_type = type;
  if (envelope.target_endpoint != "MP_RelayEndpoint") {
    if (!type.empty())
      findings.add("envelope.file_type_unexpected", "FileType is for MP_RelayEndpoint only.");
  } else if (type.empty()) {
    findings.add("envelope.file_type_missing", "A relay message needs FileType.");
  } else if (type != "SMX" && type != "SWM" && type != "MIF") {
    findings.add("envelope.file_type_unknown",
                 "FileType is " + shown(type) + "; it is SMX, SWM or MIF.");
  }
}

bool looks_like_zlib(std::string_view bytes) {
  if (bytes.size() < 2) return false;
  const auto first = static_cast<unsigned char>(bytes[0]),
             second = static_cast<unsigned char>(bytes[1]);
  return (first & 0x0F) == 8 && (first >> 4) <= 7 && (first * 256 + second) % 31 == 0;
}

}  // namespace

const Endpoint* find_endpoint(std::string_view name) {
  const auto* const it = std::find_if(std::begin(endpoints), std::end(endpoints),
                                      [&](const Endpoint& e) { return e.name == name; });
  return it == std::end(endpoints) ? nullptr : it;
}

std::optional<Parts> split_parts(std::string_view content_type, std::string_view body,
                                 Findings& findings) {
  const auto boundary = boundary_of(content_type, findings);
  if (!boundary) return std::nullopt;
  const std::string opening = "--" + *boundary + "\r\n";
  const std::string between = "\r\n--" + *boundary + "\r\n";
  const std::string closing = "\r\n--" + *boundary + "--";
  if (!body.starts_with(opening)) {
    findings.add_unreadable("mime.opening", "The body does not begin with the boundary line.");
    return std::nullopt;
  }
  // Compressed bytes may hold anything, so the end is looked for from the end (1.3).
  const std::size_t end = body.rfind(closing);
  if (end == std::string_view::npos) {
    findings.add_unreadable("mime.closing", "The closing boundary is missing.");
    return std::nullopt;
  }
  const std::string_view after = body.substr(end + closing.size());
  if (!after.empty() && after != crlf)
    findings.add("mime.closing", "There are " + std::to_string(after.size()) +
                                     " bytes after the closing boundary.");
  body = body.substr(0, end);

  std::size_t at = opening.size();
  const auto first = read_part_header(body, at, findings);
  if (!first) return std::nullopt;
  if (first->type != "text/plain;charset=utf-16")
    findings.add("mime.part1_type", "Part 1 has the content type " + shown(first->type) +
                                        "; it is text/plain; charset=UTF-16.");
  const std::size_t middle = body.find(between, at);
  if (middle == std::string_view::npos) {
    findings.add_unreadable("mime.parts", "There is no second part.");
    return std::nullopt;
  }
  Parts parts;
  parts.header = body.substr(at, middle - at);
  at = middle + between.size();
  const auto second = read_part_header(body, at, findings);
  if (!second) return std::nullopt;
  if (!second->has_type)
    findings.add("mime.part2_type_missing", "Part 2 has no content type.");
  else if (second->type != "application/octet-stream" &&
           second->type != "text/plain;charset=utf-16")
    findings.add("mime.part2_type", "Part 2 has the content type " + shown(second->type) +
                                        "; it is application/octet-stream.");
  parts.payload = body.substr(at);
  // A third part would look like this; inside compressed bytes it happens by chance once in 2^200.
  if (parts.payload.find(between) != std::string_view::npos) {
    findings.add_unreadable("mime.parts", "There are more than two parts.");
    return std::nullopt;
  }
  return parts;
}

std::optional<Envelope> read_envelope(std::string_view part, const EnvelopeRules& rules,
                                      Findings& findings) {
  if (part.size() > envelope_bytes_max) {
    findings.add_unreadable("envelope.xml", "The header part is longer than 512 KiB.");
    return std::nullopt;
  }
  if (part.starts_with("\xFF\xFE"))
    part.remove_prefix(2);
  else
    findings.add("envelope.bom_missing", "Part 1 does not begin with the bytes FF FE.");
  auto text = utf8_from_utf16le(part);
  if (!text) {
    findings.add_unreadable("envelope.utf16", "Part 1 is not UTF-16LE.");
    return std::nullopt;
  }
  if (text->find('\0') != std::string::npos) {
    findings.add("envelope.nul", "Part 1 holds a NUL character.");
    text->erase(std::remove(text->begin(), text->end(), '\0'), text->end());
  }
  pugi::xml_document document;
  if (auto parsed = parse_xml(*text, document); !parsed) {
    const std::string_view code = parsed.error().code;
    findings.add_unreadable(
        code == "xml.dtd" || code == "xml.entity" ? "envelope.dtd" : "envelope.xml",
        "Msg: " + parsed.error().message);
    return std::nullopt;
  }
  if (document.first_child().type() == pugi::node_declaration)
    findings.add("envelope.xml_declaration", "Part 1 begins with an XML declaration.");
  const pugi::xml_node msg = document.document_element();
  if (msg.attribute("xmlns")) findings.add("envelope.namespace", "Msg has a namespace.");
  if (std::string_view(msg.name()) != "Msg") {
    findings.add_unreadable("envelope.root",
                            "The root element is " + shown(msg.name()) + "; it is Msg.");
    return std::nullopt;
  }
  std::vector<std::string_view> seen;
  for (const auto& child : msg.children()) {
    const std::string_view name = child.name();
    if (child.type() != pugi::node_element || name == "Attachment") continue;
    if (std::find(seen.begin(), seen.end(), name) != seen.end())
      findings.add("envelope.duplicate", "Msg has more than one " + shown(name) + ".");
    else if (seen.size() < 256)
      seen.push_back(name);
  }

  Envelope envelope;
  envelope.id = child_text(msg, "ID");
  envelope.source_id = child_text(msg, "SourceID");
  envelope.source_host = child_text(msg, "SourceHost");
  envelope.target_endpoint = child_text(msg, "TargetEndpoint");
  envelope.target_address = child_text(msg, "TargetAddress");
  envelope.target_host = child_text(msg, "TargetHost");
  envelope.reply_to = child_text(msg, "ReplyTo");
  envelope.reply_mode = child_text(msg, "ReplyMode");
  envelope.reply_compression = msg.attribute("ReplyCompression").value();
  read_hooks(msg, envelope, findings);
  read_file_type(msg, envelope, rules.file_type_form, findings);
  check_envelope(msg, envelope, rules, findings);
  if (envelope.target_endpoint.empty()) {
    findings.add_unreadable("envelope.target_endpoint_missing", "TargetEndpoint is missing.");
  } else if (const Endpoint* endpoint = find_endpoint(envelope.target_endpoint);
             endpoint == nullptr) {
    findings.add_unreadable("envelope.target_endpoint_unknown",
                            "TargetEndpoint is " + shown(envelope.target_endpoint) +
                                ", which this management point does not have.");
  } else {
    check_target_address(envelope, findings);
    check_reply_mode(envelope, *endpoint, findings);
    if (endpoint->invoke && envelope.reply_to.empty())
      findings.add("envelope.reply_to_missing", "A message that asks for a reply needs ReplyTo.");
  }
  read_ranges(msg, envelope, findings);
  envelope.xml = std::move(*text);
  return envelope;
}

std::optional<std::string> open_payload(std::string_view payload, bool zlib_hook,
                                        std::size_t inflated_bytes_max, Findings& findings) {
  if (!zlib_hook) {
    if (looks_like_zlib(payload))
      findings.add("zlib.missing_hook",
                   "Part 2 is compressed, but there is no zlib-compress hook.");
    if (payload.size() > inflated_bytes_max) {
      findings.add_unreadable("zlib.too_large", "The payload is larger than " +
                                                    std::to_string(inflated_bytes_max) + " bytes.");
      return std::nullopt;
    }
    return std::string(payload);
  }
  if (!looks_like_zlib(payload)) {
    findings.add_unreadable("zlib.not_zlib",
                            "Part 2 does not begin with a zlib header, though the hook says so.");
    return std::nullopt;
  }
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) {
    findings.add_unreadable("zlib.not_zlib", "The zlib stream cannot be opened.");
    return std::nullopt;
  }
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(payload.data()));
  stream.avail_in = static_cast<uInt>(payload.size());
  std::string out;
  std::array<char, 64 * 1024> block;
  for (;;) {
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = static_cast<uInt>(block.size());
    const int result = inflate(&stream, Z_NO_FLUSH);
    const std::size_t made = block.size() - stream.avail_out;
    if (out.size() + made > inflated_bytes_max) {
      findings.add_unreadable("zlib.too_large", "The payload inflates to more than " +
                                                    std::to_string(inflated_bytes_max) + " bytes.");
      return std::nullopt;
    }
    out.append(block.data(), made);
    if (result == Z_STREAM_END) break;
    if (result == Z_BUF_ERROR || (result == Z_OK && made == 0 && stream.avail_in == 0)) {
      findings.add_unreadable("zlib.truncated", "The zlib stream ends too early.");
      return std::nullopt;
    }
    if (result != Z_OK) {
      findings.add_unreadable("zlib.not_zlib", "The zlib stream is damaged.");
      return std::nullopt;
    }
  }
  if (stream.avail_in > 0)
    findings.add("zlib.trailing_bytes",
                 "There are " + std::to_string(stream.avail_in) + " bytes after the zlib stream.");
  return out;
}

std::optional<std::string> read_body(std::string_view stream, const Envelope& envelope,
                                     Findings& findings) {
  if (!envelope.body) return std::nullopt;
  const ByteRange range = *envelope.body;
  if (!inside(range, stream.size())) {
    findings.add_unreadable("body.range", "Body is " + std::to_string(range.offset) + "+" +
                                              std::to_string(range.length) + " of a stream of " +
                                              std::to_string(stream.size()) + " bytes.");
    return std::nullopt;
  }
  std::uint64_t used = range.offset + range.length;
  for (const Attachment& attachment : envelope.attachments) {
    if (!inside(attachment.range, stream.size()))
      findings.add("attachment.range",
                   "The attachment " + shown(attachment.name) + " lies outside the stream.");
    else
      used = std::max(used, attachment.range.offset + attachment.range.length);
  }
  // One witness leaves 0D 0A, one 00, one 00 00; the last attachment may leave 00 00 0D 0A.
  if (stream.size() - used > 4)
    findings.add("body.trailing_bytes",
                 std::to_string(stream.size() - used) + " bytes of the stream belong to no range.");
  std::string_view bytes = stream.substr(range.offset, range.length);
  if (bytes.size() % 2 != 0) {
    findings.add("body.odd_length",
                 "Body/@Length is " + std::to_string(range.length) + ", an odd number.");
    bytes.remove_suffix(1);
  }
  if (bytes.ends_with(std::string_view("\0\0", 2)))
    bytes.remove_suffix(2);
  else
    findings.add("body.nul_missing", "The body's range does not end with a NUL character.");
  if (bytes.starts_with("\xFF\xFE")) {
    findings.add("body.bom", "The body begins with a byte order mark.");
    bytes.remove_prefix(2);
  }
  auto text = utf8_from_utf16le(bytes);
  if (!text) {
    findings.add_unreadable("body.utf16", "The body is not UTF-16LE.");
    return std::nullopt;
  }
  if (text->find('\0') != std::string::npos) {
    findings.add("body.nul_inside", "The body holds a NUL character before its end.");
    text->erase(text->find('\0'));
  }
  return text;
}

std::string peek_endpoint(std::string_view content_type, std::string_view body) {
  const CheckLevels levels;
  Findings unheard(levels);
  const auto parts = split_parts(content_type, body, unheard);
  if (!parts) return {};
  const auto envelope = read_envelope(parts->header, {}, unheard);
  return envelope ? envelope->target_endpoint : std::string();
}

}  // namespace greengate::sim
