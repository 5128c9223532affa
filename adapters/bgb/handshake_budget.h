#pragma once

#include "core/clock.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>

namespace greengate::adapters::bgb {

/// So many per second and no more: a budget of handshakes, one for each server and one for the process.
///
/// Promise   No second, wherever it begins, sees more than `per_second`; what there is to do is spread over it.
/// Limits    A tenth of a second's worth may be spent at once, at least one; of an `unsmoothed` budget the whole second's. 8
/// bytes
///           for each start of the last second.
/// Threads   One.
class HandshakeBudget {
 public:
  enum class Pace : std::uint8_t { smooth, unsmoothed };

  HandshakeBudget(std::uint32_t per_second, SteadyTime now, Pace pace = Pace::smooth)
      : per_second_(std::max(per_second, 1u)),
        burst_(pace == Pace::smooth ? std::max(1.0, per_second_ / 10.0) : per_second_),
        tokens_(burst_),
        last_(now) {}

  /// Would take() succeed?
  bool ready(SteadyTime now) {
    refill(now);
    return tokens_ >= 1.0 && recent_.size() < per_second_;
  }
  bool take(SteadyTime now) {
    if (!ready(now)) return false;
    tokens_ -= 1.0;
    recent_.push_back(now);
    return true;
  }
  /// How long until take() has something to give; rounded up, so that it does then.
  std::chrono::milliseconds wait(SteadyTime now) {
    using std::chrono::milliseconds;
    if (ready(now)) return milliseconds(0);
    milliseconds longest{0};
    if (tokens_ < 1.0) longest = milliseconds(static_cast<std::int64_t>((1.0 - tokens_) * 1000.0 / per_second_) + 1);
    if (recent_.size() >= per_second_)
      longest = std::max(longest, std::chrono::ceil<milliseconds>(recent_.front() + window - now));
    return std::max(longest, milliseconds(1));
  }

 private:
  // A little longer than the second: between counting here and a handshake's first byte the thread may be held up.
  static constexpr std::chrono::milliseconds window{1'010};

  void refill(SteadyTime now) {
    while (!recent_.empty() && recent_.front() + window <= now) recent_.pop_front();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    if (seconds <= 0) return;
    tokens_ = std::min(burst_, tokens_ + seconds * per_second_);
    last_ = now;
  }

  const std::uint32_t per_second_;
  const double burst_;
  double tokens_;
  SteadyTime last_;
  std::deque<SteadyTime> recent_;  // of the last second, the oldest first
};

/// The two budgets a handshake passes: its turn to connect, which spreads what a fleet wants, and its start after connecting, so
/// that connections a server took late and all together do not begin together too.
struct HandshakePace {
  HandshakePace(std::uint32_t per_second, SteadyTime now)
      : turns(per_second, now), starts(per_second, now, HandshakeBudget::Pace::unsmoothed) {}
  HandshakeBudget turns, starts;
};

}  // namespace greengate::adapters::bgb
