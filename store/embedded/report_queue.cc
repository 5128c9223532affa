// Leasing: hands the oldest due reports of one device and lane to one worker, takes back what it
// hands back or does not settle in time, and leaves out devices that are held.

#include "store/embedded/report_queue.h"

#include "core/log.h"
#include "store/embedded/report_queue_errors.h"
#include "store/embedded/report_row.h"

#include <algorithm>

namespace greengate::store {

namespace {

const Log log("store");

}  // namespace

EmbeddedReportQueue::EmbeddedReportQueue(QueueSettings settings, EmbeddedDeviceRegistry& registry,
                                         Readers& readers, const Clock& clock, StoreProbe& probe)
    : settings_(std::move(settings)),
      registry_(registry),
      readers_(readers),
      clock_(clock),
      probe_(probe) {}

EmbeddedReportQueue::~EmbeddedReportQueue() = default;

void EmbeddedReportQueue::refuse_new() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_waiters();
}

void EmbeddedReportQueue::count_waiter(LaneSet lanes, int by) {
  for (std::uint32_t lane = 1; lane <= kLanes; ++lane) {
    if (lanes.has(static_cast<Lane>(lane))) waiters_[lane - 1] += static_cast<std::uint32_t>(by);
  }
}

void EmbeddedReportQueue::wake_waiters() {
  {
    std::lock_guard lock(mutex_);
    ++wakes_;
  }
  due_changed_.notify_all();
}

Result<std::optional<Batch>> EmbeddedReportQueue::lease(LaneSet lanes,
                                                        std::uint32_t reports_max,
                                                        std::uint64_t bytes_max,
                                                        std::chrono::milliseconds patience) {
  // Patience is the caller's real time; what is due and what has expired is the clock's.
  const auto give_up = std::chrono::steady_clock::now() + patience;
  std::unique_lock lock(mutex_);
  const std::uint64_t wakes = wakes_;
  for (;;) {
    if (stopping_) return tl::unexpected(queue_stopping());
    const SteadyTime now = clock_.steady();
    return_expired(now);
    const Due* due = next_due(lanes, now);
    if (!due) {
      const auto real_now = std::chrono::steady_clock::now();
      if (wakes_ != wakes || real_now >= give_up) return std::optional<Batch>();
      auto until = give_up;
      if (const auto event = next_event(lanes)) until = std::min(until, real_now + (*event - now));
      count_waiter(lanes, 1);
      due_changed_.wait_until(lock, until);
      count_waiter(lanes, -1);
      continue;
    }

    Agent& agent = *due->agent;
    const std::uint32_t lane = due->lane;
    LaneQueue& queue = *place_of(agent, lane);
    const WallTime wall = clock_.wall();
    std::vector<Waiting> expired;
    std::vector<Waiting> entries = take(queue, std::max(reports_max, 1u), bytes_max, wall, expired);
    const std::uint64_t id = next_lease_++;
    if (!entries.empty()) {
      Lease& lease = leases_[id];
      lease.id = LeaseId(id);
      lease.agent = &agent;
      lease.lane = lane;
      lease.until = now + settings_.lease_time;
      for (const Waiting& entry : entries) lease.reports.push_back({entry, 0, 0, 0, 0, 0, false});
      lease_ends_.insert({lease.until, id});
      queue.leased = true;
      totals_.leased += entries.size();
    }
    refresh_due(agent, lane, now);  // after this `queue` may be gone
    lock.unlock();

    if (!expired.empty()) remove(agent, std::move(expired), false);
    Batch batch;
    std::vector<Waiting> damaged;
    Result<void> read;
    if (!entries.empty()) {
      batch.lease = LeaseId(id);
      batch.agent = agent.id;
      batch.lane = static_cast<Lane>(lane);
      batch.until = wall + settings_.lease_time;
      std::vector<Held> held;
      read = read_bodies(entries, agent.id, batch.reports, held, damaged);
      lock.lock();
      if (const auto lease = leases_.find(id); lease == leases_.end()) {
        damaged.clear();  // it ended while we read: whoever has it next finds the same
        batch.reports.clear();
      } else if (!read) {
        damaged.clear();
      } else {
        totals_.leased -= damaged.size();
        lease->second.reports = std::move(held);
        end_lease_if_empty(id, clock_.steady());
      }
      lock.unlock();
    }
    if (!read) {
      hand_back(LeaseId(id));
      return tl::unexpected(queue_error(read.error()));
    }
    if (!damaged.empty()) remove(agent, std::move(damaged), true);
    if (!batch.reports.empty()) {
      probe_.leases.add();
      return std::optional<Batch>(std::move(batch));
    }
    lock.lock();
  }
}

Result<void> EmbeddedReportQueue::read_bodies(const std::vector<Waiting>& entries,
                                              const AgentId& agent,
                                              std::vector<LeasedReport>& reports,
                                              std::vector<Held>& held,
                                              std::vector<Waiting>& damaged) {
  auto reader = readers_.borrow();
  if (!reader) return pass(reader);
  Database& database = (*reader)->database;
  Statement& row = (*reader)->report;
  Statement& progress = (*reader)->progress;
  if (!(*reader)->begin.run()) return tl::unexpected(database.error("beginning to read"));
  Result<void> outcome;
  for (const Waiting& entry : entries) {
    const ResetAtEnd reset(row);
    row.bind_unsigned(1, entry.id);
    const Step step = row.step();
    if (step == Step::failed && !database.damaged()) {
      outcome = tl::unexpected(database.error("reading a report"));
      break;
    }
    LeasedReport report;
    if (step == Step::row) {
      read_facts(report, agent, entry.id, row);
      if (const auto ttl = row.number(6); ttl != 0)
        report.expires_at = report.kept_at + std::chrono::seconds(ttl);
      report.body = row.text(8);
    }
    if (step != Step::row || checksum(agent, report.name.incarnation, report.name.sequence,
                                      static_cast<std::uint32_t>(report.lane), report.kind,
                                      report.body) != static_cast<std::uint32_t>(row.number(7))) {
      damaged.push_back(entry);
      continue;
    }
    std::uint32_t attempts = 0;
    if (entry.progress != 0) {
      const ResetAtEnd reset_progress(progress);
      progress.bind_unsigned(1, entry.id);
      if (progress.step() == Step::row) {
        attempts = static_cast<std::uint32_t>(progress.number(0));
        report.note = progress.text(1);
      }
    }
    report.attempt = attempts + 1;
    report.group = entry.pinned;
    held.push_back({entry, report.name.incarnation, report.name.sequence,
                    to_millis(report.collected_at), report.kind, attempts, false});
    reports.push_back(std::move(report));
  }
  if (!(*reader)->commit.run() && outcome)
    outcome = tl::unexpected(database.error("ending to read"));
  return outcome;
}

EmbeddedReportQueue::Lease* EmbeddedReportQueue::live_lease(LeaseId id, SteadyTime now) {
  return_expired(now);
  const auto found = leases_.find(id.raw());
  return found == leases_.end() || found->second.overdue ? nullptr : &found->second;
}

void EmbeddedReportQueue::return_expired(SteadyTime now) {
  while (!lease_ends_.empty() && lease_ends_.begin()->first <= now) {
    const std::uint64_t id = lease_ends_.begin()->second;
    lease_ends_.erase(lease_ends_.begin());
    Lease& lease = leases_.at(id);
    lease.overdue = true;
    probe_.leases_expired.add();
    log.warn("lease expired", kv("agent", lease.agent->id.raw()),
             kv("reports", lease.reports.size()));
    if (lease.changes > 0) continue;  // end_change() sees to it
    put_back_unmoved(lease);
    end_lease_if_empty(id, now);
  }
}

void EmbeddedReportQueue::end_change(std::uint64_t id, SteadyTime now) {
  Lease& lease = leases_.at(id);
  --lease.changes;
  if (lease.overdue && lease.changes == 0) put_back_unmoved(lease);
  end_lease_if_empty(id, now);
}

void EmbeddedReportQueue::put_back_unmoved(Lease& lease) {
  std::vector<Waiting> back;
  for (const Held& held : lease.reports) {
    if (!held.moving) back.push_back(held.entry);
  }
  totals_.leased -= back.size();
  std::erase_if(lease.reports, [](const Held& held) { return !held.moving; });
  put_back(*lease.agent, std::move(back));
}

void EmbeddedReportQueue::end_lease_if_empty(std::uint64_t id, SteadyTime now) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || !found->second.reports.empty() || found->second.changes > 0) return;
  Agent& agent = *found->second.agent;
  const std::uint32_t lane = found->second.lane;
  lease_ends_.erase({found->second.until, id});
  leases_.erase(found);
  place_of(agent, lane)->leased = false;
  refresh_due(agent, lane, now);
}

void EmbeddedReportQueue::hand_back(LeaseId id) {
  {
    std::lock_guard lock(mutex_);
    const SteadyTime now = clock_.steady();
    Lease* lease = live_lease(id, now);
    if (!lease) return;
    put_back_unmoved(*lease);
    end_lease_if_empty(id.raw(), now);
  }
  due_changed_.notify_all();
}

void EmbeddedReportQueue::hold(const AgentId& id) {
  std::lock_guard lock(mutex_);
  Agent& agent = agent_of(id);
  if (agent.held) return;
  agent.held = true;
  ++totals_.held_devices;
  for (std::uint32_t lane = 1; lane <= kLanes; ++lane) refresh_due(agent, lane, clock_.steady());
}

void EmbeddedReportQueue::unhold(const AgentId& id) {
  {
    std::lock_guard lock(mutex_);
    Agent* agent = find_agent(id);
    if (!agent || !agent->held) return;
    agent->held = false;
    --totals_.held_devices;
    for (std::uint32_t lane = 1; lane <= kLanes; ++lane) refresh_due(*agent, lane, clock_.steady());
  }
  due_changed_.notify_all();
}

}  // namespace greengate::store
