#pragma once

#include "core/clock.h"

#include <atomic>
#include <chrono>
#include <cstdint>

namespace greengate::test {

/// A clock whose hands the test moves. Any thread.
class ManualClock final : public Clock {
 public:
  WallTime wall() const override {
    return from_millis(1'768'469'400'000 + passed_.load());
  }  // 2026-01-15T09:30:00Z
  SteadyTime steady() const override {
    return SteadyTime(std::chrono::hours(1)) + std::chrono::milliseconds(passed_.load());
  }
  void advance(std::chrono::milliseconds by) { passed_ += by.count(); }

 private:
  std::atomic<std::int64_t> passed_ = 0;
};

}  // namespace greengate::test
