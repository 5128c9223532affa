#include "adapters/bgb/frame_codec.h"

#include "adapters/bgb/utf8.h"

#include <libdeflate.h>

#include <algorithm>
#include <array>
#include <memory>

namespace greengate::adapters::bgb {
namespace {

// Version fields above this are garbage, not versions (spec 8.2 rule 3).
constexpr std::uint32_t version_max = 255;

std::uint32_t byte_at(std::span<const std::byte> bytes, std::size_t at) {
  return std::to_integer<std::uint32_t>(bytes[at]);
}

// Reads the header's fields one after the other; a field of width 0 is absent and reads as 0.
class FieldReader {
 public:
  FieldReader(std::span<const std::byte> bytes, bool little) : bytes_(bytes), little_(little) {}
  std::uint32_t next(std::uint8_t width) {
    std::uint32_t value = 0;
    for (std::uint8_t i = 0; i < width; ++i)
      value |= byte_at(bytes_, at_ + i) << (8u * (little_ ? i : width - 1u - i));
    at_ += width;
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  bool little_;
};

void put_field(std::string& out, std::uint32_t value, std::uint8_t width, bool little) {
  for (std::uint8_t i = 0; i < width; ++i)
    out.push_back(static_cast<char>((value >> (8u * (little ? i : width - 1u - i))) & 0xFFu));
}

bool fits(std::uint32_t value, std::uint8_t width) {
  return width >= 4 || value < (1u << (8u * width));
}

void put_utf8(std::string& out, std::uint32_t point) {
  if (point < 0x80) {
    out.push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (point >> 6)));
    out.push_back(static_cast<char>(0x80 | (point & 0x3F)));
  } else if (point < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (point >> 12)));
    out.push_back(static_cast<char>(0x80 | ((point >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (point & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (point >> 18)));
    out.push_back(static_cast<char>(0x80 | ((point >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((point >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (point & 0x3F)));
  }
}

bool utf16_to_utf8(std::span<const std::byte> bytes, bool little, std::string& out) {
  if (bytes.size() % 2 != 0) return false;
  const auto unit = [&](std::size_t i) {
    return little ? byte_at(bytes, i) | byte_at(bytes, i + 1) << 8
                  : byte_at(bytes, i + 1) | byte_at(bytes, i) << 8;
  };
  out.clear();
  out.reserve(bytes.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    std::uint32_t point = unit(i);
    if (point >= 0xD800 && point <= 0xDBFF) {
      if (i + 4 > bytes.size()) return false;
      const std::uint32_t low = unit(i + 2);
      if (low < 0xDC00 || low > 0xDFFF) return false;
      point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
      i += 2;
    } else if (point >= 0xDC00 && point <= 0xDFFF) {
      return false;
    }
    put_utf8(out, point);
  }
  return true;
}

bool looks_compressed(std::span<const std::byte> bytes) {
  if (bytes.size() < 2 || byte_at(bytes, 0) != 0x78) return false;
  const std::uint32_t second = byte_at(bytes, 1);
  return second == 0x01 || second == 0x5E || second == 0x9C || second == 0xDA;
}

struct Inflater {
  Inflater() : raw(libdeflate_alloc_decompressor()) {}
  ~Inflater() { libdeflate_free_decompressor(raw); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  libdeflate_decompressor* raw;
};

struct Deflater {
  Deflater() : raw(libdeflate_alloc_compressor(6)) {}
  ~Deflater() { libdeflate_free_compressor(raw); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;
  libdeflate_compressor* raw;
};

// Inflates into `out`, which never grows beyond `bytes_max`. Null when fine, else the code of what
// is wrong.
const char* inflate(std::span<const std::byte> bytes, std::size_t bytes_max, std::string& out) {
  static thread_local const Inflater inflater;
  std::size_t room = std::min(bytes_max, std::max<std::size_t>(4096, bytes.size() * 8));
  while (true) {
    out.resize(room);
    std::size_t consumed = 0, produced = 0;
    const auto result = libdeflate_zlib_decompress_ex(inflater.raw, bytes.data(), bytes.size(),
                                                      out.data(), out.size(), &consumed, &produced);
    if (result == LIBDEFLATE_SUCCESS) {
      if (consumed != bytes.size()) return "bgb.frame_compression";
      out.resize(produced);
      return nullptr;
    }
    if (result != LIBDEFLATE_INSUFFICIENT_SPACE) return "bgb.frame_compression";
    if (room >= bytes_max) return "bgb.frame_oversize";
    room = std::min(bytes_max, room * 2);
  }
}

// The payload's text as UTF-8: BOM first, then the byte pattern of '<', then the profile's own
// encoding.
bool decode_text(std::span<const std::byte> bytes, const Profile& profile, std::string& out) {
  const auto starts = [&](std::initializer_list<int> pattern) {
    if (bytes.size() < pattern.size()) return false;
    std::size_t i = 0;
    for (const int expected : pattern)
      if (byte_at(bytes, i++) != static_cast<std::uint32_t>(expected)) return false;
    return true;
  };
  bool utf16 = profile.encoding == Profile::Encoding::utf16le, little = true;
  if (starts({0xFF, 0xFE})) {
    utf16 = true;
    bytes = bytes.subspan(2);
  } else if (starts({0xFE, 0xFF})) {
    utf16 = true;
    little = false;
    bytes = bytes.subspan(2);
  } else if (starts({0xEF, 0xBB, 0xBF})) {
    utf16 = false;
    bytes = bytes.subspan(3);
  } else if (starts({'<', 0})) {
    utf16 = true;
  } else if (starts({0, '<'})) {
    utf16 = true;
    little = false;
  } else if (starts({'<'})) {
    utf16 = false;
  }
  if (utf16) {
    if (!utf16_to_utf8(bytes, little, out)) return false;
  } else {
    out.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!is_utf8(out)) return false;
  }
  while (!out.empty() && out.back() == '\0')
    out.pop_back();  // some peers may end their text with NULs
  return out.find('\0') == std::string::npos;
}

Decoded bad(const char* code, const char* why) {
  Decoded result;
  result.status = Decoded::Status::bad;
  result.code = code;
  result.why = why;
  return result;
}

Decoded need(std::size_t bytes) {
  Decoded result;
  result.bytes = bytes;
  return result;
}

}  // namespace

FrameCodec::FrameCodec(Profile profile) : profile_(std::move(profile)) {}

Decoded FrameCodec::decode(std::span<const std::byte> bytes, std::string& scratch) const {
  const std::size_t fixed = profile_.fixed_header_bytes();
  if (bytes.size() < fixed) return need(fixed);

  using Field = Profile::Field;
  std::array<std::uint32_t, Profile::field_count> fields{};
  FieldReader reader(bytes, profile_.little_endian);
  for (const Field field : profile_.order)
    fields[static_cast<std::size_t>(field)] = reader.next(profile_.width(field));
  const auto [payload_size, major, minor, header_size, channel] = fields;

  if (major > version_max || minor > version_max)
    return bad("bgb.frame_header", "The header's version fields are no version.");
  // A header longer than ours is a newer version's and its rest is skipped; an XML header follows
  // the fixed part.
  std::size_t header = fixed;
  if (profile_.width(Field::header_size) != 0) {
    if (profile_.header_size_means == Profile::HeaderSizeMeans::fixed_part) {
      if (header_size < fixed)
        return bad("bgb.frame_header", "HeaderSize is smaller than the header itself.");
      header = header_size;
    } else {
      header = fixed + static_cast<std::size_t>(header_size);
    }
  }
  if (header > profile_.header_bytes_max)
    return bad("bgb.frame_oversize", "The header is larger than the profile allows.");
  std::size_t payload = payload_size;
  if (profile_.payload_size_means == Profile::PayloadSizeMeans::frame) {
    if (payload_size < header)
      return bad("bgb.frame_header", "PayloadSize is smaller than the header it counts.");
    payload = payload_size - header;
  }
  if (payload > profile_.payload_bytes_max)
    return bad("bgb.frame_oversize", "The payload is larger than the profile allows.");
  if (bytes.size() < header + payload) return need(header + payload);

  Decoded result;
  result.status = Decoded::Status::ok;
  result.bytes = header + payload;
  result.frame.version = {major, minor};
  if (profile_.channel_means == Profile::ChannelMeans::message_type)
    for (std::size_t i = 0; i + 1 < kind_count; ++i)
      if (profile_.type_numbers[i] == channel) result.frame.kind_hint = static_cast<Kind>(i);
  if (payload == 0) return result;

  auto text = bytes.subspan(header, payload);
  std::string inflated;
  if (looks_compressed(text)) {
    if (const char* code = inflate(text, profile_.payload_bytes_max, inflated))
      return bad(code,
                 "The payload's zlib stream is damaged, too large or followed by something else.");
    text = std::as_bytes(std::span(inflated));
  }
  if (!decode_text(text, profile_, scratch))
    return bad("bgb.frame_text", "The payload is neither UTF-16 nor UTF-8 text.");
  result.frame.xml_utf8 = scratch;
  return result;
}

Result<std::string> FrameCodec::payload_bytes(std::string_view xml_utf8) const {
  auto text = text_bytes(xml_utf8);
  if (!text || !profile_.compress_zlib || text->empty()) return text;
  static thread_local const Deflater deflater;
  std::string packed(libdeflate_zlib_compress_bound(deflater.raw, text->size()), '\0');
  packed.resize(libdeflate_zlib_compress(deflater.raw, text->data(), text->size(), packed.data(),
                                         packed.size()));
  return packed;
}

Result<void> FrameCodec::encode(Kind kind, VersionPair version, std::string_view xml_utf8,
                                std::string& out) const {
  auto text = payload_bytes(xml_utf8);
  if (!text) return pass(text);
  return put_frame(kind, version, {}, *text, out);
}

Result<void> FrameCodec::encode_with_header(Kind kind, VersionPair version,
                                            std::string_view header_utf8, std::string_view payload,
                                            std::string& out) const {
  auto header = text_bytes(header_utf8);
  if (!header) return pass(header);
  return put_frame(kind, version, *header, payload, out);
}

Result<std::string> FrameCodec::text_bytes(std::string_view xml_utf8) const {
  std::string text;
  if (xml_utf8.empty()) return text;
  if (profile_.encoding == Profile::Encoding::utf16le) {
    text.reserve(xml_utf8.size() * 2 + 4);
    if (profile_.write_bom) text += "\xFF\xFE";
    const auto put_unit = [&](std::uint32_t unit) { put_field(text, unit, 2, true); };
    for (std::size_t at = 0; at < xml_utf8.size();) {
      std::uint32_t point = 0;
      if (!take_utf8(xml_utf8, at, point))
        return fail(Remedy::reject, "bgb.frame_text", "A message to send is not UTF-8.");
      if (point >= 0x10000) {
        put_unit(0xD800 + ((point - 0x10000) >> 10));
        put_unit(0xDC00 + ((point - 0x10000) & 0x3FF));
      } else {
        put_unit(point);
      }
    }
    if (profile_.write_nul) text.append(2, '\0');
  } else {
    if (!is_utf8(xml_utf8))
      return fail(Remedy::reject, "bgb.frame_text", "A message to send is not UTF-8.");
    if (profile_.write_bom) text += "\xEF\xBB\xBF";
    text += xml_utf8;
    if (profile_.write_nul) text.push_back('\0');
  }
  return text;
}

Result<void> FrameCodec::put_frame(Kind kind, VersionPair version, std::string_view xml_header,
                                   std::string_view payload, std::string& out) const {
  using Field = Profile::Field;
  const std::uint32_t fixed = profile_.fixed_header_bytes();
  const bool whole = profile_.payload_size_means == Profile::PayloadSizeMeans::frame;
  const bool fixed_part = profile_.header_size_means == Profile::HeaderSizeMeans::fixed_part;
  if (payload.size() > profile_.payload_bytes_max ||
      fixed + xml_header.size() > profile_.header_bytes_max)
    return fail(Remedy::reject, "bgb.frame_oversize",
                "A message to send is larger than the profile allows.");
  const auto header = static_cast<std::uint32_t>(xml_header.size());
  const std::array<std::uint32_t, Profile::field_count> fields{
      static_cast<std::uint32_t>(payload.size() + (whole ? fixed + header : 0)), version.major,
      version.minor, fixed_part ? fixed : header,
      profile_.channel_means == Profile::ChannelMeans::message_type
          ? profile_.type_numbers[static_cast<std::size_t>(kind)]
          : profile_.channel_constant};
  for (const Field field : profile_.order)  // a field of width 0 is absent and holds anything
    if (profile_.width(field) != 0 &&
        !fits(fields[static_cast<std::size_t>(field)], profile_.width(field)))
      return fail(Remedy::reject, "bgb.frame_header",
                  "A value does not fit its header field; check the profile.");

  out.reserve(out.size() + fixed + header + payload.size());
  for (const Field field : profile_.order)
    put_field(out, fields[static_cast<std::size_t>(field)], profile_.width(field),
              profile_.little_endian);
  out += xml_header;
  out += payload;
  return {};
}

}  // namespace greengate::adapters::bgb
