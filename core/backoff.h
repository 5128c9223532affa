#pragma once

#include <chrono>
#include <cstdint>

namespace greengate {

/// How long to wait before trying again: doubles from `base` to `cap`, then spread so that many waiters part.
struct BackoffConfig {
  std::chrono::milliseconds base{1'000};
  std::chrono::milliseconds cap{60'000};
};

/// Decorrelated jitter: each wait is uniform between `base` and three times the last, never above `cap`.
/// Value type; the owner's thread only.
class Backoff {
 public:
  Backoff(BackoffConfig config, std::uint64_t seed);

  /// The next wait. At least the peer's own `retry_after`, should it have named one.
  std::chrono::milliseconds next(std::chrono::milliseconds retry_after = {});
  /// After a success: the next failure starts small again.
  void reset();
  std::uint32_t failures() const { return failures_; }

 private:
  BackoffConfig config_;
  std::uint64_t state_;
  std::chrono::milliseconds last_;
  std::uint32_t failures_ = 0;
};

}  // namespace greengate
