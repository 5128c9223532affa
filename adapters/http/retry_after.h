#pragma once

#include "core/clock.h"

#include <chrono>
#include <optional>
#include <string_view>

namespace greengate::adapters {

/// Retry-After (RFC 9110 10.2.3): whole seconds, or a date in any of the three forms of HTTP; a past date is 0. Nothing when it is neither,
/// so that a caller can tell "now" from "unreadable". A number of any length is read; what is above `cap` is `cap`.
std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view value, WallTime now, std::chrono::milliseconds cap);

}  // namespace greengate::adapters
