#include "agent/schedule.h"

#include <algorithm>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

milliseconds first_set(milliseconds a, milliseconds b) {
  return a.count() > 0 ? a : b;
}

}  // namespace

const char* name_of(Collection what) {
  switch (what) {
    case Collection::discovery:
      return "discovery";
    case Collection::inventory:
      return "inventory";
    case Collection::software:
      return "software";
    case Collection::files:
      return "files";
  }
  return "";
}

Schedule::Schedule(ScheduleConfig config, std::int64_t last_discovery_ms,
                   std::int64_t last_inventory_ms, const Clock& clock,
                   std::int64_t last_software_ms, std::int64_t last_files_ms)
    : config_(config),
      clock_(clock),
      courses_{begin(true, config.heartbeat_interval, config.heartbeat_default, last_discovery_ms),
               begin(true, config.inventory_interval, config.inventory_default, last_inventory_ms),
               begin(config.software, config.software_interval, config.software_default,
                     last_software_ms),
               begin(config.files, config.files_interval, config.files_default, last_files_ms)} {}

Schedule::Course Schedule::begin(bool wanted_at_all, milliseconds own, milliseconds fallback,
                                 std::int64_t last_ms) const {
  const SteadyTime now = clock_.steady();
  const milliseconds interval = first_set(own, fallback);
  Course course{wanted_at_all, own,         milliseconds(0),
                fallback,      interval,    now,
                now,           last_ms > 0, Backoff(config_.retry, config_.seed)};
  if (!wanted_at_all) course.next = SteadyTime::max();
  if (!wanted_at_all || !course.ever) return course;
  // The wall clock may have been set since: never further back than one interval, never in the
  // future.
  const milliseconds age =
      std::clamp(milliseconds(to_millis(clock_.wall()) - last_ms), milliseconds(0), interval);
  course.last = now - age;
  course.next = course.last + interval;
  return course;
}

void Schedule::adjust(Collection what, milliseconds gateways, milliseconds slot) {
  Course& now = course(what);
  now.interval = first_set(first_set(now.own, now.directed), first_set(gateways, now.fallback));
  // What was never sent is not periodic: the gateway waits for it.
  if (!now.wanted_at_all || !now.ever || now.retry.failures() > 0) return;
  now.next = std::max(now.last + now.interval, clock_.steady() + slot);
}

void Schedule::welcomed(milliseconds slot, milliseconds heartbeat_interval,
                        milliseconds inventory_interval) {
  slot_ = slot;
  adjust(Collection::discovery, heartbeat_interval, slot);
  adjust(Collection::inventory, inventory_interval, slot);
  adjust(Collection::software, milliseconds(0), slot);
  adjust(Collection::files, milliseconds(0), slot);
}

void Schedule::directed(milliseconds heartbeat_interval, milliseconds inventory_interval,
                        milliseconds software_interval) {
  const std::pair<Collection, milliseconds> given[] = {
      {Collection::discovery, heartbeat_interval},
      {Collection::inventory, inventory_interval},
      {Collection::software, software_interval}};
  for (const auto& [what, interval] : given) {
    if (interval.count() <= 0 || interval == course(what).directed) continue;
    course(what).directed = interval;
    // What a shorter rhythm makes overdue still waits for the slot: the whole fleet hears of it at
    // once.
    adjust(what, milliseconds(0), slot_);
  }
}

void Schedule::wanted(Collection what) {
  if (course(what).wanted_at_all) course(what).next = clock_.steady();
}

bool Schedule::due(Collection what) const {
  return clock_.steady() >= course(what).next;
}

SteadyTime Schedule::next_due() const {
  return std::min_element(courses_.begin(), courses_.end(), [](const Course& a, const Course& b) {
           return a.next < b.next;
         })->next;
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
