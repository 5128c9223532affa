#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::agent {

/// `raw` made fit for a report: trimmed, control characters as spaces, what is not UTF-8 or not
/// allowed in XML as U+FFFD, cut between characters at `bytes_max`.
std::string clean_text(std::string_view raw, std::size_t bytes_max);

/// `raw` kept apart from every other name: valid UTF-8 as it is, every other byte and every control
/// character as `\xHH`. Nothing is trimmed. What would be longer than `bytes_max` (at least 64) ends
/// in `~` and a number made of all of `raw`.
std::string escaped_name(std::string_view raw, std::size_t bytes_max = SIZE_MAX);

std::string_view trimmed(std::string_view text);
/// The next word, cut off the front of `rest`. Empty when there is none.
std::string_view next_word(std::string_view& rest);
/// `text` up to the first `mark`; `rest` keeps what follows it. The whole text when there is no
/// mark.
std::string_view cut_at(std::string_view text, char mark, std::string_view* rest = nullptr);
std::string_view last_component(std::string_view path);

/// Nothing unless the whole (trimmed) text is the number and it fits.
std::optional<std::uint64_t> to_number(std::string_view text);
std::optional<std::int64_t> to_signed(std::string_view text);
std::optional<std::uint64_t> to_number_hex(std::string_view text);  ///< With or without "0x".

std::string upper(std::string_view text);
/// "KEY=value" lines of a shell-like file (os-release, machine-info, locale.conf), quotes removed.
std::optional<std::string> assignment(std::string_view line, std::string_view key);

/// A UTC calendar day and time as Unix milliseconds; nothing when it is no date of 1970 to 2199.
std::optional<std::int64_t> utc_ms(int year, int month, int day, int hour = 0, int minute = 0,
                                   int second = 0);
/// "yyyymmdd" of a Unix time in UTC.
std::string utc_date(std::int64_t ms);

}  // namespace greengate::agent
