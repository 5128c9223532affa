#include "simulators/notification_server/frame.h"

#include <zlib.h>

#include <algorithm>
#include <array>

namespace greengate::sim::notify {
namespace {

// 2.3, hypotheses A, B, C and the packed A8 and A16.
constexpr std::array<Layout, 5> layouts{{
    {"A", 12, {0, 4}, {4, 1}, {5, 1}, {6, 2}, {8, 4}},
    {"B", 20, {0, 4}, {4, 4}, {8, 4}, {12, 4}, {16, 4}},
    {"C", 16, {0, 4}, {4, 2}, {6, 2}, {8, 4}, {12, 4}},
    {"A8", 9, {0, 4}, {4, 1}, {5, 1}, {6, 2}, {8, 1}},
    {"A16", 10, {0, 4}, {4, 1}, {5, 1}, {6, 2}, {8, 2}},
}};

constexpr std::uint32_t header_bytes_max = 4096;  // 8.2 rule 3
constexpr std::uint32_t version_max = 255;        // 8.2 rule 3: version fields bounded
constexpr std::uint32_t type_count = 8;

std::uint32_t take(const FrameRules& rules, std::span<const std::byte> from, Slot slot) {
  std::uint32_t value = 0;
  for (std::uint8_t i = 0; i < slot.bytes; ++i) {
    const std::uint8_t at = rules.big_endian ? i : static_cast<std::uint8_t>(slot.bytes - 1 - i);
    value = (value << 8) | std::to_integer<std::uint32_t>(from[slot.offset + at]);
  }
  return value;
}

void put(const FrameRules& rules, std::string& into, Slot slot, std::uint32_t value) {
  for (std::uint8_t i = 0; i < slot.bytes; ++i) {
    const std::uint8_t at = rules.big_endian ? static_cast<std::uint8_t>(slot.bytes - 1 - i) : i;
    into[slot.offset + at] = static_cast<char>((value >> (8 * i)) & 0xff);
  }
}

Cut bad(Cut cut, const char* code, const char* section, std::string detail) {
  cut.status = Cut::Status::bad;
  cut.findings.push_back({code, section, Severity::fatal, std::move(detail)});
  return cut;
}

std::uint32_t channel_of_kind(const FrameRules& rules, Kind kind) {
  if (rules.channel_is_constant) return rules.channel_constant;
  const auto index = static_cast<std::uint32_t>(kind);
  if (rules.type_numbers_from == 0) return index;
  return kind == Kind::none ? 0 : index + 1;
}

void append_utf8(std::string& out, std::uint32_t point) {
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    out += static_cast<char>(0xc0 | (point >> 6));
    out += static_cast<char>(0x80 | (point & 0x3f));
  } else if (point < 0x10000) {
    out += static_cast<char>(0xe0 | (point >> 12));
    out += static_cast<char>(0x80 | ((point >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (point & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | (point >> 18));
    out += static_cast<char>(0x80 | ((point >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((point >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (point & 0x3f));
  }
}

/// The code point at `at`, which moves past it; false when the bytes are not UTF-8 (RFC 3629).
bool next_utf8(std::string_view text, std::size_t& at, std::uint32_t& point) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(at);
  if (first < 0x80) {
    point = first;
    ++at;
    return true;
  }
  std::size_t more = 0;
  std::uint32_t least = 0;
  if ((first & 0xe0) == 0xc0) {
    more = 1, least = 0x80, point = first & 0x1fU;
  } else if ((first & 0xf0) == 0xe0) {
    more = 2, least = 0x800, point = first & 0x0fU;
  } else if ((first & 0xf8) == 0xf0) {
    more = 3, least = 0x10000, point = first & 0x07U;
  } else {
    return false;
  }
  if (at + more >= text.size()) return false;
  for (std::size_t i = 1; i <= more; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return false;
    point = (point << 6) | (byte(at + i) & 0x3fU);
  }
  if (point < least || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
  at += more + 1;
  return true;
}

bool starts_like_zlib(std::string_view bytes) {
  if (bytes.size() < 2 || bytes[0] != '\x78') return false;
  return bytes[1] == '\x01' || bytes[1] == '\x5e' || bytes[1] == '\x9c' || bytes[1] == '\xda';
}

/// False when the stream is broken, does not end with the payload, or grows past `most` bytes.
bool inflate_all(std::string_view packed, std::size_t most, std::string& out) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return false;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::array<char, 4096> part;
  int state = Z_OK;
  while (state == Z_OK && out.size() <= most) {
    stream.next_out = reinterpret_cast<Bytef*>(part.data());
    stream.avail_out = part.size();
    state = inflate(&stream, Z_NO_FLUSH);
    out.append(part.data(), part.size() - stream.avail_out);
  }
  const bool whole = state == Z_STREAM_END && stream.avail_in == 0 && out.size() <= most;
  inflateEnd(&stream);
  return whole;
}

}  // namespace

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::sign_in:
      return "SignIn";
    case Kind::sign_in_confirm:
      return "SignInConfirm";
    case Kind::keep_alive:
      return "KeepAlive";
    case Kind::request:
      return "Request";
    case Kind::response:
      return "Response";
    case Kind::disconnect:
      return "Disconnect";
    case Kind::negotiation_needed:
      return "NegotiationNeeded";
    case Kind::none:
      return "None";
    case Kind::unknown:
      return "Unknown";
  }
  return "Unknown";
}

const Layout* find_layout(std::string_view name) {
  for (const Layout& layout : layouts)
    if (name == layout.name) return &layout;
  return nullptr;
}

Header read_header(const FrameRules& rules, std::span<const std::byte> stream) {
  const Layout& layout = *rules.layout;
  return {take(rules, stream, layout.payload_size), take(rules, stream, layout.major),
          take(rules, stream, layout.minor), take(rules, stream, layout.header_size),
          take(rules, stream, layout.channel)};
}

Cut cut_frame(const FrameRules& rules, std::span<const std::byte> stream) {
  const Layout& layout = *rules.layout;
  Cut cut;
  if (stream.size() < layout.bytes) return cut;

  cut.header = read_header(rules, stream);
  const Header& header = cut.header;
  cut.header_read = true;

  if (header.major > version_max || header.minor > version_max)
    return bad(std::move(cut), "frame.version_range", "8.2",
               "version " + std::to_string(header.major) + "." + std::to_string(header.minor) +
                   " is out of bounds");
  cut.version_supported = header.major == rules.major && header.minor == rules.minor;

  std::uint32_t header_bytes = layout.bytes;
  if (rules.header_size_is_xml) {
    if (header.header_size != 0)
      return bad(std::move(cut), "frame.header_size", "2.3",
                 "an XML header of " + std::to_string(header.header_size) + " bytes on TCP");
  } else if (cut.version_supported
                 ? header.header_size != layout.bytes
                 : header.header_size < layout.bytes || header.header_size > header_bytes_max) {
    // A version we do not speak may have a longer header: that is what HeaderSize is for.
    return bad(std::move(cut), "frame.header_size", "2.3",
               "HeaderSize is " + std::to_string(header.header_size) + ", layout " + layout.name +
                   " has " + std::to_string(layout.bytes));
  } else {
    header_bytes = header.header_size;
  }

  std::size_t payload = header.payload_size;
  if (rules.payload_size_is_frame) {
    if (payload < header_bytes)
      return bad(std::move(cut), "frame.payload_size", "2.3",
                 "PayloadSize " + std::to_string(payload) + " is shorter than its header");
    payload -= header_bytes;
  }
  if (payload > rules.payload_bytes_max)
    return bad(std::move(cut), "frame.oversize", "8.2",
               "a payload of " + std::to_string(payload) + " bytes; at most " +
                   std::to_string(rules.payload_bytes_max) + " are taken");

  if (stream.size() < header_bytes + payload) return cut;
  cut.status = Cut::Status::whole;
  cut.payload_at = header_bytes;
  cut.payload_bytes = payload;
  cut.frame_bytes = header_bytes + payload;
  return cut;
}

Kind kind_of_channel(const FrameRules& rules, std::uint32_t channel) {
  if (rules.channel_is_constant) return Kind::unknown;
  if (channel >= type_count) return Kind::unknown;
  if (rules.type_numbers_from == 0) return static_cast<Kind>(channel);
  return channel == 0 ? Kind::none : static_cast<Kind>(channel - 1);
}

Text read_text(const FrameRules& rules, std::span<const std::byte> payload) {
  Text text;
  const auto wrong = [&](const char* code, std::string detail) {
    text.utf8.clear();
    text.findings.push_back({code, "2.3", Severity::fatal, std::move(detail)});
    return text;
  };
  std::string_view bytes(reinterpret_cast<const char*>(payload.data()), payload.size());

  std::string inflated;
  if (rules.zlib) {
    if (!inflate_all(bytes, rules.payload_bytes_max, inflated))
      return wrong("text.compression", "not one whole zlib stream within the payload limit");
    bytes = inflated;
  } else if (starts_like_zlib(bytes)) {
    return wrong("text.compression", "the payload is compressed, the profile is not");
  }

  const std::string_view our_bom = rules.utf16 ? std::string_view("\xff\xfe", 2) : "\xef\xbb\xbf";
  const bool begins_utf8 = bytes.starts_with("\xef\xbb\xbf") ||
                           (bytes.size() >= 2 && bytes[0] == '<' && bytes[1] != '\0');
  const bool begins_utf16le =
      bytes.starts_with("\xff\xfe") || bytes.starts_with(std::string_view("<\0", 2));
  const bool begins_utf16be =
      bytes.starts_with("\xfe\xff") || bytes.starts_with(std::string_view("\0<", 2));
  if (begins_utf16be || (rules.utf16 ? begins_utf8 : begins_utf16le))
    return wrong("text.encoding", std::string("not ") + (rules.utf16 ? "UTF-16LE" : "UTF-8"));

  const bool has_bom = bytes.starts_with(our_bom);
  if (has_bom != rules.bom)
    return wrong("text.bom", has_bom ? "a byte order mark" : "no byte order mark");
  if (has_bom) bytes.remove_prefix(our_bom.size());

  const std::size_t unit = rules.utf16 ? 2 : 1;
  if (bytes.size() % unit != 0) return wrong("text.invalid", "an odd number of UTF-16 bytes");
  const bool has_nul = bytes.size() >= unit && bytes.ends_with(std::string_view("\0\0", unit));
  if (has_nul != rules.nul) return wrong("text.nul", has_nul ? "a terminator" : "no terminator");
  if (has_nul) bytes.remove_suffix(unit);

  if (!rules.utf16) {
    for (std::size_t at = 0; at < bytes.size();) {
      std::uint32_t point = 0;
      if (!next_utf8(bytes, at, point))
        return wrong("text.invalid", "byte " + std::to_string(at) + " is not UTF-8");
    }
    text.utf8 = bytes;
    return text;
  }

  const auto unit_at = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes[i])) |
           static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes[i + 1])) << 8;
  };
  text.utf8.reserve(bytes.size() / 2);
  for (std::size_t at = 0; at < bytes.size(); at += 2) {
    std::uint32_t point = unit_at(at);
    if (point >= 0xd800 && point < 0xe000) {
      const std::uint32_t low = point < 0xdc00 && at + 2 < bytes.size() ? unit_at(at + 2) : 0;
      if (low < 0xdc00 || low >= 0xe000)
        return wrong("text.invalid", "half a surrogate pair at byte " + std::to_string(at));
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
      at += 2;
    }
    append_utf8(text.utf8, point);
  }
  return text;
}

std::string write_text(const FrameRules& rules, std::string_view utf8) {
  std::string bytes;
  if (rules.bom) bytes += rules.utf16 ? "\xff\xfe" : "\xef\xbb\xbf";
  if (!rules.utf16) {
    bytes += utf8;
  } else {
    const auto unit = [&](std::uint32_t value) {
      bytes += static_cast<char>(value & 0xff);
      bytes += static_cast<char>(value >> 8);
    };
    for (std::size_t at = 0; at < utf8.size();) {
      std::uint32_t point = 0;
      if (!next_utf8(utf8, at, point)) break;
      if (point < 0x10000) {
        unit(point);
      } else {
        unit(0xd800 + ((point - 0x10000) >> 10));
        unit(0xdc00 + ((point - 0x10000) & 0x3ff));
      }
    }
  }
  if (rules.nul) bytes.append(rules.utf16 ? 2 : 1, '\0');
  if (!rules.zlib) return bytes;

  uLongf packed_bytes = compressBound(bytes.size());
  std::string packed(packed_bytes, '\0');
  compress2(reinterpret_cast<Bytef*>(packed.data()), &packed_bytes,
            reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(), Z_BEST_SPEED);
  packed.resize(packed_bytes);
  return packed;
}

std::string write_frame(const FrameRules& rules, Kind kind, std::string_view payload, FrameTwist twist,
                        std::string_view xml_header) {
  const Layout& layout = *rules.layout;
  auto size = static_cast<std::uint32_t>(payload.size());
  if (rules.payload_size_is_frame) size += static_cast<std::uint32_t>(layout.bytes + xml_header.size());
  switch (twist.payload_size) {
    case FrameTwist::Size::right:
      break;
    case FrameTwist::Size::zero:
      size = 0;
      break;
    case FrameTwist::Size::huge:
      size = 0x7fffffff;
      break;
    case FrameTwist::Size::larger:
      size += 100;
      break;
  }
  auto header_size = rules.header_size_is_xml ? static_cast<std::uint32_t>(xml_header.size()) : layout.bytes;
  if (twist.wrong_header_size) header_size = header_size == 0 ? 3 : header_size - 1;

  std::string frame(layout.bytes, '\0');
  put(rules, frame, layout.payload_size, size);
  put(rules, frame, layout.major, rules.major);
  put(rules, frame, layout.minor, rules.minor);
  put(rules, frame, layout.header_size, header_size);
  put(rules, frame, layout.channel, channel_of_kind(rules, kind));
  frame += xml_header;
  frame += payload;
  return frame;
}

}  // namespace greengate::sim::notify
