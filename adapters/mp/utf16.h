#pragma once

#include <string>
#include <string_view>

namespace greengate::adapters {

/// UTF-16LE bytes of `utf8`, without BOM. Every invalid sequence becomes one U+FFFD; nothing else
/// changes.
std::string utf16_from_utf8(std::string_view utf8);

/// UTF-8 of UTF-16LE `bytes`. A leading BOM is dropped; a lone surrogate or an odd last byte
/// becomes U+FFFD.
std::string utf8_from_utf16(std::string_view bytes);

/// One code point of `utf8` from `at` on, which is moved behind it. Invalid input: U+FFFD, and at
/// least one byte further.
char32_t next_code_point(std::string_view utf8, std::size_t& at);

/// May this character stand in XML 1.0 at all?
constexpr bool allowed_in_xml(char32_t c) {
  return c >= 0x20 ? c != 0xFFFE && c != 0xFFFF && (c < 0xD800 || c > 0xDFFF) && c <= 0x10FFFF
                   : c == 0x9 || c == 0xA || c == 0xD;
}

}  // namespace greengate::adapters
