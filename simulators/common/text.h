#pragma once

#include "core/clock.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::sim {

/// Small words for the wire's texts, written from the specifications and shared with no product code.
/// Threads   Any: no state.

std::string to_hex_upper(std::string_view bytes);
/// Either case; nothing for an odd length or a character that is no hex digit.
std::optional<std::string> from_hex(std::string_view text);

/// Strict: nothing for an odd length or a lone surrogate. A BOM is content like any other.
std::optional<std::string> utf8_from_utf16le(std::string_view bytes);
/// Strict: nothing for invalid UTF-8, overlong forms and surrogates included.
std::optional<std::string> utf16le_from_utf8(std::string_view text);

bool equals_ignoring_case(std::string_view a, std::string_view b);
std::string to_lower(std::string_view text);
std::string_view trimmed(std::string_view text);

/// 8-4-4-4-12 hex digits; `upper_only` refuses a to f.
bool is_guid(std::string_view text, bool upper_only);
/// "GUID:" and an upper-case GUID (mp-protocol 3.6).
bool is_sms_id(std::string_view text);
/// A new random GUID, upper case, no braces.
std::string new_guid();

/// Digits only, no sign, fits.
std::optional<std::uint64_t> parse_number(std::string_view text);

/// `yyyymmddHHMMSS.ffffff+000`: UTC only (mp-protocol 5.1).
std::optional<WallTime> parse_cim_utc(std::string_view text);
std::string to_cim_utc(WallTime time);
/// `YYYY-MM-DDTHH:MM:SSZ`
std::optional<WallTime> parse_iso_utc(std::string_view text);
std::string to_iso_utc(WallTime time);

/// For text inside an element or a quoted attribute.
std::string xml_escaped(std::string_view text);

}  // namespace greengate::sim
