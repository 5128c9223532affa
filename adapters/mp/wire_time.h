#pragma once

#include "core/clock.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::adapters {

/// Times as the management point reads them, always UTC. Years 1601 to 9999, as CIM has them;
/// outside them: nullopt. Taken as milliseconds since 1970, since agents' times may be anything.

/// "20260115102030.000000+000"
std::optional<std::string> cim_datetime(std::int64_t unix_ms);
/// "2026-01-15T10:20:30Z"
std::optional<std::string> iso_datetime(std::int64_t unix_ms);
/// "01/15/2026 10:20:30"
std::optional<std::string> us_datetime(std::int64_t unix_ms);

/// The same for a time of our own, which is always within those years.
std::string cim_datetime(WallTime time);
std::string iso_datetime(WallTime time);

/// Retry-After as RFC 9110 has it, seconds or an HTTP date, as milliseconds from `now`; 0 when
/// unreadable or past.
std::chrono::milliseconds retry_after(std::string_view value, WallTime now,
                                      std::chrono::milliseconds cap);

/// A time in a site's policy: "20260115102030.000000+060" (CIM, minutes east of UTC), "2026-01-15T10:20:30Z" or
/// "01/15/2026 10:20:30", the last two taken as UTC. nullopt for anything else.
std::optional<WallTime> read_datetime(std::string_view text);

}  // namespace greengate::adapters
