#pragma once

#include "core/clock.h"

#include <atomic>
#include <chrono>
#include <cstdint>

namespace greengate::test {

/// A clock whose hands the test moves. Starts at 2026-01-15 10:20:30 UTC. Any thread.
class ManualClock final : public Clock {
 public:
  WallTime wall() const override { return from_millis(1'768'472'430'000 + passed_ms_.load()); }
  SteadyTime steady() const override {
    return SteadyTime(std::chrono::milliseconds(1'000'000 + passed_ms_.load()));
  }
  void advance(std::chrono::milliseconds by) { passed_ms_ += by.count(); }

 private:
  std::atomic<std::int64_t> passed_ms_{0};
};

}  // namespace greengate::test
