#include "agent/schedule.h"

#include <algorithm>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

milliseconds first_set(milliseconds a, milliseconds b) {
  return a.count() > 0 ? a : b;
}

}  // namespace

Schedule::Schedule(ScheduleConfig config, std::int64_t last_discovery_ms,
                   std::int64_t last_inventory_ms, const Clock& clock)
    : config_(config),
      clock_(clock),
      discovery_(
          begin(first_set(config.heartbeat_interval, config.heartbeat_default), last_discovery_ms)),
      inventory_(begin(first_set(config.inventory_interval, config.inventory_default),
                       last_inventory_ms)) {
  discovery_.fixed = config.heartbeat_interval;
  inventory_.fixed = config.inventory_interval;
}

Schedule::Course Schedule::begin(milliseconds interval, std::int64_t last_ms) const {
  const SteadyTime now = clock_.steady();
  Course course{interval, now, now, last_ms > 0, Backoff(config_.retry, config_.seed), {}, {}};
  if (!course.ever) return course;
  // The wall clock may have been set since: never further back than one interval, never in the
  // future.
  const milliseconds age =
      std::clamp(milliseconds(to_millis(clock_.wall()) - last_ms), milliseconds(0), interval);
  course.last = now - age;
  course.next = course.last + interval;
  return course;
}

void Schedule::welcomed(milliseconds slot, milliseconds heartbeat_interval,
                        milliseconds inventory_interval) {
  const SteadyTime now = clock_.steady();
  const auto adjust = [&](Course& course, milliseconds own, milliseconds gateways,
                          milliseconds fallback) {
    course.interval = first_set(first_set(own, first_set(course.directed, gateways)), fallback);
    // What was never sent is not periodic: the gateway waits for it.
    if (!course.ever || course.retry.failures() > 0) return;
    course.next = std::max(course.last + course.interval, now + slot);
  };
  adjust(discovery_, config_.heartbeat_interval, heartbeat_interval, config_.heartbeat_default);
  adjust(inventory_, config_.inventory_interval, inventory_interval, config_.inventory_default);
}

void Schedule::directed(Collection what, milliseconds interval) {
  constexpr milliseconds least = std::chrono::minutes(15), most = std::chrono::hours(24 * 90);
  Course& now = course(what);
  if (interval.count() <= 0) return;
  now.directed = std::clamp(interval, least, most);
  if (now.fixed.count() > 0 || now.interval == now.directed) return;
  now.interval = now.directed;
  // What was never sent, or failed, is due by other rules; what is due already stays so.
  if (!now.ever || now.retry.failures() > 0 || clock_.steady() >= now.next) return;
  now.next = std::max(clock_.steady(), now.last + now.interval);
}

void Schedule::wanted(Collection what) {
  course(what).next = clock_.steady();
}

bool Schedule::due(Collection what) const {
  return clock_.steady() >= course(what).next;
}

SteadyTime Schedule::next_due() const {
  return std::min(discovery_.next, inventory_.next);
}

void Schedule::finished(Collection what) {
  Course& now = course(what);
  now.ever = true;
  now.retry.reset();
  now.last = clock_.steady();
  now.next = now.last + now.interval;
}

void Schedule::failed(Collection what) {
  Course& now = course(what);
  now.next = clock_.steady() + now.retry.next();
}

}  // namespace greengate::agent
