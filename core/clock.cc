#include "core/clock.h"

#include <algorithm>

namespace greengate {
namespace {

// A WallTime counts nanoseconds, from 1677 to 2262. Two centuries either side of 1970 leave room to add any lifetime to the last of them.
constexpr std::int64_t edge_ms = std::int64_t{200} * 36'525 * 864'000;

}  // namespace

WallTime SystemClock::wall() const { return std::chrono::system_clock::now(); }
SteadyTime SystemClock::steady() const { return std::chrono::steady_clock::now(); }

std::int64_t to_millis(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

WallTime from_millis(std::int64_t millis) { return WallTime(std::chrono::milliseconds(std::clamp(millis, -edge_ms, edge_ms))); }

}  // namespace greengate
