#include "agent/collectors/text.h"

#include <charconv>
#include <chrono>
#include <cstdio>

namespace greengate::agent {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

// The length of the UTF-8 character at the front of `text` and its code point; 0 when it is none.
std::size_t decode(std::string_view text, std::uint32_t& code) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  std::size_t length = 0;
  std::uint32_t least = 0;
  if (first < 0x80) {
    code = first;
    return 1;
  }
  if ((first & 0xE0) == 0xC0) {
    length = 2, least = 0x80, code = first & 0x1F;
  } else if ((first & 0xF0) == 0xE0) {
    length = 3, least = 0x800, code = first & 0x0F;
  } else if ((first & 0xF8) == 0xF0) {
    length = 4, least = 0x10000, code = first & 0x07;
  } else {
    return 0;
  }
  if (text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < least || code > 0x10FFFF || surrogate ? 0 : length;
}

bool is_control(std::uint32_t code) {
  // C0, DEL and C1; line and paragraph separators; the marks that reverse what a terminal shows.
  return code < 0x20 || (code >= 0x7F && code <= 0x9F) || code == 0x2028 || code == 0x2029 ||
         (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0';
}

template <class T>
std::optional<T> parse(std::string_view text, int base) {
  text = trimmed(text);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string clean_text(std::string_view raw, std::size_t bytes_max) {
  raw = trimmed(raw);
  std::string clean;
  clean.reserve(std::min(raw.size(), bytes_max));
  while (!raw.empty()) {
    std::uint32_t code = 0;
    const std::size_t length = decode(raw, code);
    std::string_view piece = raw.substr(0, length);
    if (length == 0 || code == 0xFFFE || code == 0xFFFF) {
      piece = replacement;
    } else if (is_control(code)) {
      piece = " ";
    }
    if (clean.size() + piece.size() > bytes_max) break;
    clean += piece;
    raw.remove_prefix(std::max<std::size_t>(length, 1));
  }
  while (!clean.empty() && clean.back() == ' ') clean.pop_back();
  return clean;
}

std::string escaped_name(std::string_view raw, std::size_t bytes_max) {
  const std::string_view whole = raw;
  constexpr std::size_t mark_bytes = 17;  // "~" and sixteen digits
  std::string name;
  std::size_t cut = 0;  // where the mark would go
  while (!raw.empty() && name.size() <= bytes_max) {
    std::uint32_t code = 0;
    const std::size_t length = decode(raw, code);
    const std::string_view piece = raw.substr(0, std::max<std::size_t>(length, 1));
    if (length > 0 && !is_control(code) && code != 0xFFFE && code != 0xFFFF) {
      name += piece;
    } else {
      for (const char c : piece) {
        char text[8];
        std::snprintf(text, sizeof text, "\\x%02X", static_cast<unsigned char>(c));
        name += text;
      }
    }
    raw.remove_prefix(piece.size());
    if (bytes_max > mark_bytes && name.size() <= bytes_max - mark_bytes) cut = name.size();
  }
  if (name.size() <= bytes_max) return name;
  std::uint64_t number = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : whole) number = (number ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char mark[mark_bytes + 1];
  std::snprintf(mark, sizeof mark, "~%016llx", static_cast<unsigned long long>(number));
  return name.substr(0, cut) + mark;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string_view next_word(std::string_view& rest) {
  while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
  std::size_t end = 0;
  while (end < rest.size() && !is_space(rest[end])) ++end;
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end);
  return word;
}

std::string_view cut_at(std::string_view text, char mark, std::string_view* rest) {
  const std::size_t at = text.find(mark);
  if (rest) *rest = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return text.substr(0, at);
}

std::string_view last_component(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return path.substr(path.find_last_of('/') + 1);
}

std::optional<std::uint64_t> to_number(std::string_view text) {
  return parse<std::uint64_t>(text, 10);
}
std::optional<std::int64_t> to_signed(std::string_view text) {
  return parse<std::int64_t>(text, 10);
}

std::optional<std::uint64_t> to_number_hex(std::string_view text) {
  text = trimmed(text);
  if (text.starts_with("0x") || text.starts_with("0X")) text.remove_prefix(2);
  return parse<std::uint64_t>(text, 16);
}

std::string upper(std::string_view text) {
  std::string raised(text);
  for (char& c : raised) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return raised;
}

std::optional<std::string> assignment(std::string_view line, std::string_view key) {
  line = trimmed(line);
  if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != '=')
    return std::nullopt;
  std::string_view value = trimmed(line.substr(key.size() + 1));
  char quote = 0;
  if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
      value.front() == value.back()) {
    quote = value.front();
    value = value.substr(1, value.size() - 2);
  }
  std::string plain;
  plain.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (quote == '"' && value[i] == '\\' && i + 1 < value.size()) ++i;
    plain += value[i];
  }
  return plain;
}

std::optional<std::int64_t> utc_ms(int year, int month, int day, int hour, int minute, int second) {
  if (year < 1970 || year > 2199 || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      second < 0 || second > 60)
    return std::nullopt;
  if (month < 1 || month > 12 || day < 1) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return ((days * 24 + hour) * 60 + minute) * 60'000 + second * 1'000;
}

std::string utc_date(std::int64_t ms) {
  const std::chrono::sys_time<std::chrono::milliseconds> time{std::chrono::milliseconds(ms)};
  const std::chrono::year_month_day date{std::chrono::floor<std::chrono::days>(time)};
  char text[16];
  std::snprintf(text, sizeof text, "%04d%02u%02u", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
  return text;
}

}  // namespace greengate::agent
