#include "adapters/mp/xml_writer.h"

#include "adapters/mp/utf16.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace greengate::adapters {
namespace {

/// What escape() must do about a byte: nothing, or look closer.
constexpr std::array<bool, 256> make_plain() {
  std::array<bool, 256> plain{};
  for (int c = 0x20; c < 0x80; ++c)
    plain[static_cast<std::size_t>(c)] = c != '<' && c != '>' && c != '&' && c != '"';
  return plain;
}
constexpr std::array<bool, 256> plain_byte = make_plain();

constexpr std::size_t chunk_bytes = 1024;        ///< Input looked at between two checks for room.
constexpr std::size_t widest_escape_bytes = 12;  ///< "&quot;" in UTF-16, for one byte of input.

}  // namespace

void XmlWriter::grow(std::size_t more) {
  // By half, not doubled as std::string would: while it moves an inventory lies in memory twice, and what is spare stays until it is sent.
  std::string larger;
  larger.reserve(std::max(bytes_.size() + bytes_.size() / 2, size_ + more));
  larger.append(bytes_, 0, size_);
  larger.resize(larger.capacity());
  bytes_.swap(larger);
}

std::string XmlWriter::take() {
  bytes_.resize(size_);
  size_ = 0;
  return std::move(bytes_);
}

void XmlWriter::markup(std::string_view ascii) {
  if (size_ > bytes_max_) return;
  ensure(ascii.size() * 2);
  char* out = bytes_.data() + size_;
  for (std::size_t i = 0; i < ascii.size(); ++i) {
    out[2 * i] = ascii[i];
    out[2 * i + 1] = 0;
  }
  size_ += ascii.size() * 2;
}

void XmlWriter::wide(std::string_view utf16) {
  if (size_ > bytes_max_) return;
  ensure(utf16.size());
  std::memcpy(bytes_.data() + size_, utf16.data(), utf16.size());
  size_ += utf16.size();
}

void XmlWriter::code_point(char32_t c) {
  ensure(4);
  const auto unit = [&](char32_t u) {
    bytes_[size_++] = static_cast<char>(u & 0xFF);
    bytes_[size_++] = static_cast<char>(u >> 8);
  };
  if (c < 0x10000) {
    unit(c);
  } else {
    unit(0xD800 + ((c - 0x10000) >> 10));
    unit(0xDC00 + ((c - 0x10000) & 0x3FF));
  }
}

void XmlWriter::escape(std::string_view utf8, bool quoted) {
  std::size_t at = 0;
  while (at < utf8.size() && size_ <= bytes_max_) {
    const std::size_t stop = std::min(utf8.size(), at + chunk_bytes);
    ensure((stop - at) * widest_escape_bytes);
    char* out = bytes_.data() + size_;
    while (at < stop && plain_byte[static_cast<unsigned char>(utf8[at])]) {
      *out++ = utf8[at++];
      *out++ = 0;
    }
    size_ = static_cast<std::size_t>(out - bytes_.data());
    if (at == stop) continue;
    const char32_t c = next_code_point(utf8, at);
    switch (c) {
      case '<':
        markup("&lt;");
        break;
      case '>':
        markup("&gt;");
        break;
      case '&':
        markup("&amp;");
        break;
      case '"':
        markup(quoted ? "&quot;" : "\"");
        break;
      case '\r':
        markup("&#13;");
        break;  // a bare one would be read back as a line feed
      case '\n':
        markup(quoted ? "&#10;" : "\n");
        break;
      case '\t':
        markup(quoted ? "&#9;" : "\t");
        break;
      default:
        if (allowed_in_xml(c)) code_point(c);
    }
  }
}

void XmlWriter::cdata(std::string_view utf8) {
  markup("<![CDATA[");
  std::size_t brackets = 0;
  for (std::size_t at = 0; at < utf8.size() && size_ <= bytes_max_;) {
    const char32_t c = next_code_point(utf8, at);
    if (!allowed_in_xml(c)) continue;
    if (c == '>' && brackets >= 2) markup("]]><![CDATA[");
    brackets = c == ']' ? brackets + 1 : 0;
    code_point(c);
  }
  markup("]]>");
}

void XmlWriter::number(std::int64_t value) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  markup({digits.data(), static_cast<std::size_t>(end - digits.data())});
}

void XmlWriter::unsigned_number(std::uint64_t value) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  markup({digits.data(), static_cast<std::size_t>(end - digits.data())});
}

void XmlWriter::element(std::string_view name, std::string_view value) {
  markup("<");
  markup(name);
  markup(">");
  text(value);
  markup("</");
  markup(name);
  markup(">");
}

std::string wide_markup(std::string_view ascii) {
  XmlWriter writer(ascii.size() * 2);
  writer.markup(ascii);
  return writer.take();
}

bool is_wmi_name(std::string_view name) {
  const auto letter = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  };
  return !name.empty() && name.size() <= 255 && letter(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

}  // namespace greengate::adapters
