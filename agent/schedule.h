#pragma once

#include "core/backoff.h"
#include "core/clock.h"

#include <chrono>
#include <cstdint>

namespace greengate::agent {

struct ScheduleConfig {
  std::chrono::milliseconds heartbeat_interval{0};  ///< 0: the gateway's
  std::chrono::milliseconds inventory_interval{0};
  /// Until a gateway has said otherwise.
  std::chrono::milliseconds heartbeat_default{std::chrono::hours(24)};
  std::chrono::milliseconds inventory_default{std::chrono::hours(24 * 7)};
  BackoffConfig retry{std::chrono::minutes(5),
                      std::chrono::hours(6)};  ///< After a collection that failed.
  std::uint64_t seed = 1;
};

enum class Collection { discovery, inventory };

/// When which collection is due. It only knows moments; who collects asks due() and tells what came
/// of it.
///
/// Order     What was asked for (a push, full state) is due at once; the periodic ones when their
///           interval is over, after a Welcome not before the agent's slot, so that a fleet that
///           reconnects does not report as one.
/// Threads   One.
class Schedule {
 public:
  /// `last_…`: wall time in milliseconds of the last success, 0 for never; then it is due at once.
  Schedule(ScheduleConfig config, std::int64_t last_discovery_ms, std::int64_t last_inventory_ms,
           const Clock& clock);

  void welcomed(std::chrono::milliseconds slot, std::chrono::milliseconds heartbeat_interval,
                std::chrono::milliseconds inventory_interval);
  /// The site's own wish about a rhythm, held over Welcomes; 0 changes nothing. What the agent's configuration fixes stays. Between
  /// 15 minutes and 90 days, whatever is wished.
  void directed(Collection what, std::chrono::milliseconds interval);
  /// Due at once, whatever the interval.
  void wanted(Collection what);

  bool due(Collection what) const;
  SteadyTime next_due() const;
  void finished(Collection what);
  void failed(Collection what);

 private:
  struct Course {
    std::chrono::milliseconds interval;
    SteadyTime last;  // of the last success
    SteadyTime next;
    bool ever = false;
    Backoff retry;
    std::chrono::milliseconds fixed{0};     // by the agent's configuration; 0: not
    std::chrono::milliseconds directed{0};  // by the site
  };
  Course& course(Collection what) {
    return what == Collection::discovery ? discovery_ : inventory_;
  }
  const Course& course(Collection what) const {
    return what == Collection::discovery ? discovery_ : inventory_;
  }
  Course begin(std::chrono::milliseconds interval, std::int64_t last_ms) const;

  ScheduleConfig config_;
  const Clock& clock_;
  Course discovery_;
  Course inventory_;
};

}  // namespace greengate::agent
