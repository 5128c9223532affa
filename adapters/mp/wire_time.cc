#include "adapters/mp/wire_time.h"

#include "core/check.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>

namespace greengate::adapters {
namespace {

struct Civil {
  int year;
  unsigned month, day, hour, minute, second;
};

std::optional<Civil> civil(std::int64_t unix_ms) {
  using namespace std::chrono;
  constexpr std::int64_t earliest = -11'644'473'600'000;  // 1601-01-01
  constexpr std::int64_t latest = 253'402'300'799'999;    // 9999-12-31 23:59:59.999
  if (unix_ms < earliest || unix_ms > latest) return std::nullopt;
  const auto time = sys_time<milliseconds>(milliseconds(unix_ms));
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock(floor<seconds>(time - day));
  return Civil{static_cast<int>(date.year()),
               static_cast<unsigned>(date.month()),
               static_cast<unsigned>(date.day()),
               static_cast<unsigned>(clock.hours().count()),
               static_cast<unsigned>(clock.minutes().count()),
               static_cast<unsigned>(clock.seconds().count())};
}

/// Fills the digits of `shape`, where y m d H M S stand for them.
std::optional<std::string> shaped(std::int64_t unix_ms, std::string shape) {
  const auto when = civil(unix_ms);
  if (!when) return std::nullopt;
  std::array<unsigned, 6> left{static_cast<unsigned>(when->year),
                               when->month,
                               when->day,
                               when->hour,
                               when->minute,
                               when->second};
  constexpr std::string_view letters = "ymdHMS";
  for (auto place = shape.rbegin(); place != shape.rend(); ++place) {
    const auto which = letters.find(*place);
    if (which == std::string_view::npos) continue;
    *place = static_cast<char>('0' + left[which] % 10);
    left[which] /= 10;
  }
  return shape;
}

template <class Number>
bool read_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

/// "Thu, 15 Jan 2026 10:20:30 GMT"
std::optional<WallTime> http_date(std::string_view text) {
  if (text.size() != 29 || text.substr(25) != " GMT") return std::nullopt;
  constexpr std::string_view months = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const auto month = months.find(text.substr(8, 3));
  unsigned day = 0, hour = 0, minute = 0, second = 0;
  int year = 0;
  if (month == std::string_view::npos || month % 3 != 0 || !read_number(text.substr(5, 2), day) ||
      !read_number(text.substr(12, 4), year) || !read_number(text.substr(17, 2), hour) ||
      !read_number(text.substr(20, 2), minute) || !read_number(text.substr(23, 2), second))
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month / 3 + 1)),
                                         std::chrono::day(day)};
  // System time counts nanoseconds and ends in 2262.
  if (!date.ok() || year < 1970 || year > 2200 || hour > 23 || minute > 59 || second > 60)
    return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         std::chrono::seconds(second);
}

}  // namespace

std::optional<std::string> cim_datetime(std::int64_t unix_ms) {
  return shaped(unix_ms, "yyyymmddHHMMSS.000000+000");
}
std::optional<std::string> iso_datetime(std::int64_t unix_ms) {
  return shaped(unix_ms, "yyyy-mm-ddTHH:MM:SSZ");
}
std::optional<std::string> us_datetime(std::int64_t unix_ms) {
  return shaped(unix_ms, "mm/dd/yyyy HH:MM:SS");
}

std::string cim_datetime(WallTime time) {
  const auto text = cim_datetime(to_millis(time));
  GREENGATE_CHECK(text.has_value(), "system time lies between 1677 and 2262");
  return *text;
}

std::string iso_datetime(WallTime time) {
  const auto text = iso_datetime(to_millis(time));
  GREENGATE_CHECK(text.has_value(), "system time lies between 1677 and 2262");
  return *text;
}

std::chrono::milliseconds retry_after(std::string_view value, WallTime now,
                                      std::chrono::milliseconds cap) {
  using std::chrono::milliseconds;
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  const bool digits = !value.empty() && std::all_of(value.begin(), value.end(),
                                                    [](char c) { return c >= '0' && c <= '9'; });
  if (digits) {
    std::uint64_t seconds = 0;
    // A number too long to read is a wish for "very long", not for "now".
    if (!read_number(value, seconds) || seconds > 1'000'000'000) return cap;
    return std::min(cap, milliseconds(static_cast<std::int64_t>(seconds) * 1000));
  }
  const auto date = http_date(value);
  if (!date || *date <= now) return milliseconds(0);
  return std::min(cap, std::chrono::duration_cast<milliseconds>(*date - now));
}

std::optional<WallTime> read_datetime(std::string_view text) {
  using namespace std::chrono;
  int year_number = 0, offset = 0;
  unsigned month_number = 0, day_number = 0, hour = 0, minute = 0, second = 0;
  const auto numbers = [&](std::size_t y, std::size_t m, std::size_t d, std::size_t clock, std::size_t step) {
    return read_number(text.substr(y, 4), year_number) && read_number(text.substr(m, 2), month_number) &&
           read_number(text.substr(d, 2), day_number) && read_number(text.substr(clock, 2), hour) &&
           read_number(text.substr(clock + step, 2), minute) && read_number(text.substr(clock + 2 * step, 2), second);
  };
  bool read = false;
  if (text.size() == 25 && text[14] == '.' && (text[21] == '+' || text[21] == '-')) {
    read = numbers(0, 4, 6, 8, 2) && read_number(text.substr(22, 3), offset);
    if (text[21] == '-') offset = -offset;
  } else if (text.size() >= 19 && text[4] == '-' && text[7] == '-' && (text[10] == 'T' || text[10] == ' ') && text[13] == ':' &&
             text[16] == ':' && (text.size() == 19 || text.substr(19) == "Z")) {
    read = numbers(0, 5, 8, 11, 3);
  } else if (text.size() == 19 && text[2] == '/' && text[5] == '/' && text[10] == ' ' && text[13] == ':' && text[16] == ':') {
    read = numbers(6, 0, 3, 11, 3);
  }
  const year_month_day date{year(year_number), month(month_number), day(day_number)};
  // Within what the clock's nanoseconds hold.
  if (!read || !date.ok() || year_number < 1970 || year_number > 2200 || hour > 23 || minute > 59 || second > 60 || offset > 900 ||
      offset < -900)
    return std::nullopt;
  return sys_days(date) + hours(hour) + minutes(minute) + seconds(second) - minutes(offset);
}

}  // namespace greengate::adapters
