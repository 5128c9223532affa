#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/result.h"
#include "store/report_queue.h"

#include <boost/json/value.hpp>

#include <cstdint>
#include <mutex>
#include <vector>

namespace greengate::gateway {

/// Puts dead letters back into their lanes, a few a second, so that a thousand of them do not become a wave.
///
/// Promise   A letter that is buried again is not replayed again by the same order. One order at a time; a restart ends it, and what was
///           not yet put back is a dead letter still.
/// Limits    1,000,000 letters an order.
/// Threads   Any; tick() from one thread, about ten times a second.
/// Errors    replay.busy, replay.none (reject).
class Replayer {
 public:
  Replayer(store::ReportQueue& reports, double per_second, const Clock& clock, Metrics& metrics);

  /// Every dead letter that matches now.
  Result<std::vector<ItemId>> matching(store::DeadLetterFilter filter);
  /// `per_second` 0: the configured rate.
  Result<void> begin(std::vector<ItemId> letters, double per_second);
  void tick();
  /// {"running", "letters", "done", "put_back", "per_second", "started_at_ms", "last_code"}
  boost::json::value progress() const;

 private:
  store::ReportQueue& reports_;
  const double per_second_;
  const Clock& clock_;
  const Counter replayed_;
  const Log log_{"replayer"};
  mutable std::mutex mutex_;  // guards everything below
  std::vector<ItemId> letters_;
  std::size_t done_ = 0;
  std::uint64_t put_back_ = 0;
  double rate_ = 0, allowance_ = 0;
  WallTime started_at_;
  SteadyTime last_tick_;
  std::string last_code_;
};

}  // namespace greengate::gateway
