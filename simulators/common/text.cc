#include "simulators/common/text.h"

#include "core/random.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>

namespace greengate::sim {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void append_utf8(std::string& out, std::uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

struct Civil {
  int year = 0;
  unsigned month = 0, day = 0, hour = 0, minute = 0, second = 0;
};

std::optional<WallTime> from_civil(const Civil& c) {
  const std::chrono::year_month_day date{std::chrono::year{c.year}, std::chrono::month{c.month},
                                         std::chrono::day{c.day}};
  if (!date.ok() || c.year < 1601 || c.hour > 23 || c.minute > 59 || c.second > 59)
    return std::nullopt;
  // A 64-bit nanosecond clock ends in 2262.
  if (c.year > 2200) return std::nullopt;
  return WallTime(std::chrono::sys_days{date} + std::chrono::hours{c.hour} +
                  std::chrono::minutes{c.minute} + std::chrono::seconds{c.second});
}

Civil to_civil(WallTime time) {
  const auto days = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date{days};
  const auto rest = std::chrono::floor<std::chrono::seconds>(time - days).count();
  return {static_cast<int>(date.year()),         static_cast<unsigned>(date.month()),
          static_cast<unsigned>(date.day()),     static_cast<unsigned>(rest / 3600),
          static_cast<unsigned>(rest / 60 % 60), static_cast<unsigned>(rest % 60)};
}

// Reads `count` digits at `at`; false when any is not one.
bool digits(std::string_view text, std::size_t at, std::size_t count, unsigned& out) {
  out = 0;
  for (std::size_t i = at; i < at + count; ++i) {
    if (i >= text.size() || text[i] < '0' || text[i] > '9') return false;
    out = out * 10 + static_cast<unsigned>(text[i] - '0');
  }
  return true;
}

}  // namespace

std::string to_hex_upper(std::string_view bytes) {
  constexpr char digit[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += digit[byte >> 4];
    out += digit[byte & 15];
  }
  return out;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string out(text.size() / 2, '\0');
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out[i] = static_cast<char>(high * 16 + low);
  }
  return out;
}

std::optional<std::string> utf8_from_utf16le(std::string_view bytes) {
  if (bytes.size() % 2 != 0) return std::nullopt;
  const auto unit = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i]) |
                                      static_cast<unsigned char>(bytes[i + 1]) << 8);
  };
  std::string out;
  out.reserve(bytes.size() / 2 + 16);
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    std::uint32_t code = unit(i);
    if (code >= 0xDC00 && code < 0xE000) return std::nullopt;
    if (code >= 0xD800 && code < 0xDC00) {
      if (i + 3 >= bytes.size()) return std::nullopt;
      const std::uint32_t low = unit(i + 2);
      if (low < 0xDC00 || low >= 0xE000) return std::nullopt;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      i += 2;
    }
    append_utf8(out, code);
  }
  return out;
}

std::optional<std::string> utf16le_from_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size() * 2);
  const auto put = [&](std::uint32_t unit) {
    out += static_cast<char>(unit & 0xFF);
    out += static_cast<char>(unit >> 8);
  };
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    std::size_t more = 0;
    std::uint32_t code = 0, least = 0;
    if (lead < 0x80) {
      code = lead;
    } else if (lead >> 5 == 6) {
      more = 1, code = lead & 0x1F, least = 0x80;
    } else if (lead >> 4 == 14) {
      more = 2, code = lead & 0x0F, least = 0x800;
    } else if (lead >> 3 == 30) {
      more = 3, code = lead & 0x07, least = 0x10000;
    } else {
      return std::nullopt;
    }
    if (i + more >= text.size()) return std::nullopt;
    for (std::size_t k = 1; k <= more; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if (next >> 6 != 2) return std::nullopt;
      code = code << 6 | (next & 0x3F);
    }
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return std::nullopt;
    i += more + 1;
    if (code < 0x10000) {
      put(code);
    } else {
      put(0xD800 + ((code - 0x10000) >> 10));
      put(0xDC00 + ((code - 0x10000) & 0x3FF));
    }
  }
  return out;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    const auto low = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return low(x) == low(y);
  });
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool is_guid(std::string_view text, bool upper_only) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != '-') return false;
    } else if (hex_value(c) < 0 || (upper_only && c >= 'a' && c <= 'f')) {
      return false;
    }
  }
  return true;
}

bool is_sms_id(std::string_view text) {
  return text.size() == 41 && text.substr(0, 5) == "GUID:" && is_guid(text.substr(5), true);
}

std::string new_guid() {
  std::string raw = random_bytes(16);
  raw[6] = static_cast<char>((raw[6] & 0x0F) | 0x40);
  raw[8] = static_cast<char>((raw[8] & 0x3F) | 0x80);
  const std::string hex = to_hex_upper(raw);
  return hex.substr(0, 8) + '-' + hex.substr(8, 4) + '-' + hex.substr(12, 4) + '-' +
         hex.substr(16, 4) + '-' + hex.substr(20);
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<WallTime> parse_cim_utc(std::string_view text) {
  Civil c;
  unsigned year = 0, micros = 0;
  if (text.size() != 25 || text[14] != '.' || text.substr(21) != "+000") return std::nullopt;
  if (!digits(text, 0, 4, year) || !digits(text, 4, 2, c.month) || !digits(text, 6, 2, c.day) ||
      !digits(text, 8, 2, c.hour) || !digits(text, 10, 2, c.minute) ||
      !digits(text, 12, 2, c.second) || !digits(text, 15, 6, micros))
    return std::nullopt;
  c.year = static_cast<int>(year);
  auto time = from_civil(c);
  if (time) *time += std::chrono::microseconds{micros};
  return time;
}

std::string to_cim_utc(WallTime time) {
  const Civil c = to_civil(time);
  char text[64];
  std::snprintf(text, sizeof text, "%04d%02u%02u%02u%02u%02u.000000+000", c.year, c.month, c.day,
                c.hour, c.minute, c.second);
  return text;
}

std::optional<WallTime> parse_iso_utc(std::string_view text) {
  Civil c;
  unsigned year = 0;
  if (text.size() != 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' ||
      text[16] != ':' || text[19] != 'Z')
    return std::nullopt;
  if (!digits(text, 0, 4, year) || !digits(text, 5, 2, c.month) || !digits(text, 8, 2, c.day) ||
      !digits(text, 11, 2, c.hour) || !digits(text, 14, 2, c.minute) ||
      !digits(text, 17, 2, c.second))
    return std::nullopt;
  c.year = static_cast<int>(year);
  return from_civil(c);
}

std::string to_iso_utc(WallTime time) {
  const Civil c = to_civil(time);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02u:%02u:%02uZ", c.year, c.month, c.day, c.hour,
                c.minute, c.second);
  return text;
}

std::string xml_escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace greengate::sim
