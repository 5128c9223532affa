#pragma once

#include "core/backoff.h"
#include "core/clock.h"

#include <array>
#include <chrono>
#include <cstdint>

namespace greengate::agent {

struct ScheduleConfig {
  std::chrono::milliseconds heartbeat_interval{0};  ///< 0: the gateway's
  std::chrono::milliseconds inventory_interval{0};
  std::chrono::milliseconds software_interval{0};
  std::chrono::milliseconds files_interval{0};
  bool software = false;  ///< Whether it is collected at all.
  bool files = false;
  /// Until a gateway has said otherwise.
  std::chrono::milliseconds heartbeat_default{std::chrono::hours(24)};
  std::chrono::milliseconds inventory_default{std::chrono::hours(24 * 7)};
  std::chrono::milliseconds software_default{std::chrono::hours(24 * 7)};
  std::chrono::milliseconds files_default{std::chrono::hours(24 * 7)};
  BackoffConfig retry{std::chrono::minutes(5),
                      std::chrono::hours(6)};  ///< After a collection that failed.
  std::uint64_t seed = 1;
};

/// What is collected, in the order of what goes first when several are due.
enum class Collection { discovery, inventory, software, files };
inline constexpr Collection all_collections[] = {Collection::discovery, Collection::inventory,
                                                 Collection::software, Collection::files};
/// "discovery", "inventory", "software", "files": for the command line and the log.
const char* name_of(Collection what);

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
           const Clock& clock, std::int64_t last_software_ms = 0, std::int64_t last_files_ms = 0);

  void welcomed(std::chrono::milliseconds slot, std::chrono::milliseconds heartbeat_interval,
                std::chrono::milliseconds inventory_interval);
  /// The site's own rhythms, which go before the gateway's and behind the file's; 0 leaves one as
  /// it is.
  void directed(std::chrono::milliseconds heartbeat_interval,
                std::chrono::milliseconds inventory_interval,
                std::chrono::milliseconds software_interval);
  /// Due at once, whatever the interval.
  void wanted(Collection what);

  bool due(Collection what) const;
  SteadyTime next_due() const;
  void finished(Collection what);
  void failed(Collection what);

 private:
  struct Course {
    bool wanted_at_all;
    std::chrono::milliseconds own, directed, fallback;
    std::chrono::milliseconds interval;
    SteadyTime last;  // of the last success
    SteadyTime next;
    bool ever = false;
    Backoff retry;
  };
  Course& course(Collection what) { return courses_[static_cast<std::size_t>(what)]; }
  const Course& course(Collection what) const { return courses_[static_cast<std::size_t>(what)]; }
  Course begin(bool wanted_at_all, std::chrono::milliseconds own,
               std::chrono::milliseconds fallback, std::int64_t last_ms) const;
  void adjust(Collection what, std::chrono::milliseconds gateways, std::chrono::milliseconds slot);

  ScheduleConfig config_;
  const Clock& clock_;
  std::chrono::milliseconds slot_{0};
  std::array<Course, std::size(all_collections)> courses_;  // by Collection
};

}  // namespace greengate::agent
