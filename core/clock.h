#pragma once

#include <chrono>
#include <cstdint>

namespace greengate {

using WallTime = std::chrono::system_clock::time_point;    ///< For people and for what outlives us: logs, files, wire.
using SteadyTime = std::chrono::steady_clock::time_point;  ///< For waiting and measuring: never jumps.

/// Where time comes from. Logic takes a `const Clock&` and asks what is due at now(); a test owns the hands.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime wall() const = 0;
  virtual SteadyTime steady() const = 0;
};

/// The machine's own clocks. Any thread.
class SystemClock final : public Clock {
 public:
  WallTime wall() const override;
  SteadyTime steady() const override;
};

/// Milliseconds since 1970 UTC: how times are stored and sent.
std::int64_t to_millis(WallTime time);
/// Takes any number, also a stranger's: what lies beyond two centuries either side of 1970 ends there.
WallTime from_millis(std::int64_t millis);

}  // namespace greengate
