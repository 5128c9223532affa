#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace greengate::adapters::bgb {

/// Takes one code point off `text`; false when the bytes are not UTF-8 (overlong and surrogate forms included).
inline bool take_utf8(std::string_view text, std::size_t& at, std::uint32_t& point) {
  const auto unit = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::uint32_t first = unit(at);
  if (first < 0x80) {
    point = first;
    ++at;
    return true;
  }
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + length > text.size()) return false;
  point = first & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((unit(at + i) & 0xC0) != 0x80) return false;
    point = (point << 6) | (unit(at + i) & 0x3Fu);
  }
  at += length;
  if (length == 3 && (point < 0x800 || (point >= 0xD800 && point <= 0xDFFF))) return false;
  return length != 4 || (point >= 0x10000 && point <= 0x10FFFF);
}

inline bool is_utf8(std::string_view text) {
  std::uint32_t point = 0;
  for (std::size_t at = 0; at < text.size();)
    if (!take_utf8(text, at, point)) return false;
  return true;
}

}  // namespace greengate::adapters::bgb
