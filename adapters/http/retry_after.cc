#include "adapters/http/retry_after.h"

#include <algorithm>
#include <charconv>

namespace greengate::adapters {
namespace {

constexpr std::string_view month_names = "JanFebMarAprMayJunJulAugSepOctNovDec";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool number(std::string_view text, unsigned& value) {
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_digit)) return false;
  return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc();
}

std::optional<WallTime> date_of(std::string_view year, std::string_view month, std::string_view day, std::string_view clock, WallTime now) {
  unsigned y = 0, d = 0, hour = 0, minute = 0, second = 0;
  const auto at = month.size() == 3 ? month_names.find(month) : std::string_view::npos;
  if (at == std::string_view::npos || at % 3 != 0 || clock.size() != 8 || clock[2] != ':' || clock[5] != ':') return std::nullopt;
  if (!number(year, y) || !number(day, d) || !number(clock.substr(0, 2), hour) || !number(clock.substr(3, 2), minute) ||
      !number(clock.substr(6, 2), second))
    return std::nullopt;
  if (year.size() == 2) {
    // Two digits mean the year with that ending that lies no more than 50 years ahead (RFC 9110 5.6.7).
    const auto this_year = static_cast<unsigned>(static_cast<int>(
        std::chrono::year_month_day(std::chrono::floor<std::chrono::days>(now)).year()));
    y += this_year / 100 * 100;
    if (y > this_year + 50) y -= 100;
  }
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(y)), std::chrono::month(static_cast<unsigned>(at / 3 + 1)),
                                         std::chrono::day(d)};
  // System time counts nanoseconds and ends in 2262.
  if (!date.ok() || y < 1970 || y > 2200 || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) + std::chrono::seconds(second);
}

// "Wed, 01 Jan 2031 00:02:00 GMT", "Wednesday, 01-Jan-31 00:01:00 GMT", "Wed Jan  1 00:01:00 2031"
std::optional<WallTime> http_date(std::string_view text, WallTime now) {
  if (text.size() == 24 && text[3] == ' ' && text[7] == ' ' && text[10] == ' ' && text[19] == ' ') {
    const std::string_view day = text[8] == ' ' ? text.substr(9, 1) : text.substr(8, 2);
    return date_of(text.substr(20), text.substr(4, 3), day, text.substr(11, 8), now);
  }
  if (!text.ends_with(" GMT")) return std::nullopt;
  text.remove_suffix(4);
  const auto comma = text.find(", ");
  if (comma == std::string_view::npos || comma < 3) return std::nullopt;
  text.remove_prefix(comma + 2);
  if (comma == 3 && text.size() == 20 && text[2] == ' ' && text[6] == ' ' && text[11] == ' ')
    return date_of(text.substr(7, 4), text.substr(3, 3), text.substr(0, 2), text.substr(12), now);
  if (comma > 3 && text.size() == 18 && text[2] == '-' && text[6] == '-' && text[9] == ' ')
    return date_of(text.substr(7, 2), text.substr(3, 3), text.substr(0, 2), text.substr(10), now);
  return std::nullopt;
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view value, WallTime now, std::chrono::milliseconds cap) {
  using std::chrono::milliseconds;
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  if (!value.empty() && std::all_of(value.begin(), value.end(), is_digit)) {
    unsigned seconds = 0;
    // A number too long to read is a wish for "very long", not for "now".
    if (!number(value, seconds)) return cap;
    return std::min(cap, milliseconds(std::int64_t{seconds} * 1'000));
  }
  const auto date = http_date(value, now);
  if (!date) return std::nullopt;
  if (*date <= now) return milliseconds(0);
  if (*date - now >= cap) return cap;
  return std::chrono::duration_cast<milliseconds>(*date - now);
}

}  // namespace greengate::adapters
