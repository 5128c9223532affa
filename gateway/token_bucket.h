#pragma once

#include "core/clock.h"

#include <algorithm>
#include <chrono>

namespace greengate::gateway {

/// So many a second on average, with a burst. A value; the owner's thread only; time is told, never asked.
class TokenBucket {
 public:
  TokenBucket(double per_second, double burst)
      : per_second_(per_second), burst_(burst), tokens_(burst) {}

  bool take(SteadyTime now) {
    refill(now);
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

  /// After a take() that failed: when one more would be there.
  std::chrono::milliseconds next_in() const {
    return std::chrono::milliseconds(
        1 + static_cast<std::int64_t>((1 - std::min(tokens_, 1.0)) * 1'000 / per_second_));
  }

 private:
  void refill(SteadyTime now) {
    if (now > filled_at_)  // the first time it is full anyway
      tokens_ = std::min(
          burst_, tokens_ + std::chrono::duration<double>(now - filled_at_).count() * per_second_);
    filled_at_ = std::max(filled_at_, now);
  }

  double per_second_, burst_, tokens_;
  SteadyTime filled_at_{};
};

}  // namespace greengate::gateway
