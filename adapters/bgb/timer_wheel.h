#pragma once

#include "core/clock.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace greengate::adapters::bgb {

/// One timer of a TimerWheel, embedded in what it wakes; costs no allocation.
struct WheelTimer {
  WheelTimer() = default;
  WheelTimer(const WheelTimer&) = delete;
  WheelTimer& operator=(const WheelTimer&) = delete;
  WheelTimer* previous = nullptr;
  WheelTimer* next = nullptr;
  std::uint64_t due_tick = 0;
  bool armed = false;
};

/// Many coarse timers on one clock: arming and disarming in constant time, one step per tick for all.
///
/// Promise   A timer fires in the first advance() at or after its moment, never before it, late by at most one tick.
/// Limits    Waits longer than a turn of the wheel stay in their slot and are passed over once a turn.
/// Threads   One.
class TimerWheel {
 public:
  TimerWheel(std::chrono::milliseconds tick, SteadyTime start) : tick_(tick), start_(start), slots_(slot_count) {
    for (auto& head : slots_) head.previous = head.next = &head;
  }

  void arm(WheelTimer& timer, SteadyTime due) {
    const std::uint64_t at = std::max(tick_of_ceiling(due), current_ + 1);
    if (timer.armed && timer.due_tick == at) return;
    disarm(timer);
    timer.due_tick = at;
    timer.armed = true;
    WheelTimer& head = slots_[at % slot_count];
    timer.previous = head.previous;
    timer.next = &head;
    head.previous->next = &timer;
    head.previous = &timer;
  }

  void disarm(WheelTimer& timer) {
    if (!timer.armed) return;
    timer.previous->next = timer.next;
    timer.next->previous = timer.previous;
    timer.armed = false;
  }

  /// Takes off every timer due at `now` and returns them, in order of their ticks.
  std::vector<WheelTimer*> advance(SteadyTime now) {
    std::vector<WheelTimer*> due;
    const auto passed = (now - start_) / tick_;
    const std::uint64_t target = passed > 0 ? static_cast<std::uint64_t>(passed) : 0;
    // After a long pause one turn sees every slot; the ticks in between need no visit of their own.
    if (target > current_ + slot_count) current_ = target - slot_count;
    while (current_ < target) {
      ++current_;
      WheelTimer& head = slots_[current_ % slot_count];
      for (WheelTimer* timer = head.next; timer != &head;) {
        WheelTimer* const following = timer->next;
        if (timer->due_tick <= target) {
          disarm(*timer);
          due.push_back(timer);
        }
        timer = following;
      }
    }
    return due;
  }

 private:
  static constexpr std::size_t slot_count = 4096;

  std::uint64_t tick_of_ceiling(SteadyTime when) const {
    const auto since = when - start_;
    if (since <= SteadyTime::duration::zero()) return 0;
    return static_cast<std::uint64_t>((since + tick_ - SteadyTime::duration(1)) / tick_);
  }

  const std::chrono::milliseconds tick_;
  const SteadyTime start_;
  std::vector<WheelTimer> slots_;
  std::uint64_t current_ = 0;
};

}  // namespace greengate::adapters::bgb
