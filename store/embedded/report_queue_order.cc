// The order in memory: what waits for each device and lane, whose turn it is, and how a batch is
// taken out of it and put back.

#include "store/embedded/report_queue.h"

#include <algorithm>

namespace greengate::store {

EmbeddedReportQueue::Agent* EmbeddedReportQueue::find_agent(const AgentId& id) const {
  const auto found = agents_by_id_.find(id.raw());
  return found == agents_by_id_.end() ? nullptr : found->second;
}

EmbeddedReportQueue::Agent* EmbeddedReportQueue::agent_numbered(std::uint32_t no) {
  // Numbers are given in rising order, with gaps where an agent never had a report kept.
  const auto found = std::lower_bound(agents_.begin(), agents_.end(), no,
                                      [](const Agent& agent, std::uint32_t wanted) { return agent.no < wanted; });
  return found == agents_.end() || found->no != no ? nullptr : &*found;
}

std::uint32_t EmbeddedReportQueue::number_of(const AgentId& agent) const {
  std::lock_guard lock(mutex_);
  const Agent* found = find_agent(agent);
  return found ? found->no : 0;
}

EmbeddedReportQueue::Agent& EmbeddedReportQueue::agent_of(const AgentId& id) {
  if (Agent* known = find_agent(id)) return *known;
  Agent& agent = agents_.emplace_back();
  agent.id = id;
  agent.no = next_agent_no_++;
  agents_by_id_.emplace(agent.id.raw(), &agent);
  return agent;
}

EmbeddedReportQueue::Waiting EmbeddedReportQueue::waiting_entry(std::uint64_t id,
                                                                std::int64_t kept_at,
                                                                std::uint32_t ttl_s,
                                                                std::uint64_t bytes,
                                                                std::uint64_t lane) {
  Waiting entry;
  entry.id = id;
  entry.kept_at = kept_at;
  entry.ttl_s = ttl_s;
  entry.bytes = static_cast<std::uint32_t>(bytes) & ((1u << 28) - 1);
  entry.lane = lane_number(lane) & 7u;
  return entry;
}

EmbeddedReportQueue::LaneQueue& EmbeddedReportQueue::lane_of(Agent& agent, std::uint32_t lane) {
  auto& place = place_of(agent, lane);
  if (!place) place = std::make_unique<LaneQueue>();
  return *place;
}

void EmbeddedReportQueue::append(Agent& agent, const Waiting& entry) {
  LaneQueue& queue = lane_of(agent, entry.lane);
  auto& waiting = queue.waiting;
  if (queue.head > 0 && waiting.size() == waiting.capacity() && queue.head >= waiting.size() / 2) {
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(queue.head));
    queue.head = 0;
  } else if (waiting.size() == waiting.capacity() && waiting.size() >= 8) {
    // Doubling would leave half of a long queue's memory empty.
    waiting.reserve(waiting.size() + waiting.size() / 2);
  }
  waiting.push_back(entry);
}

void EmbeddedReportQueue::refresh_due(Agent& agent, std::uint32_t lane, SteadyTime now) {
  auto& place = place_of(agent, lane);
  if (!place) return;
  LaneQueue& queue = *place;
  const bool should = queue.count() > 0 && !queue.leased && !agent.held;
  if (should && !queue.queued) {
    queue.due = std::max(queue.not_before, now);
    queue.due_order = ++due_order_;
    due_[lane - 1].insert({queue.due, queue.due_order, &agent, lane});
  } else if (!should && queue.queued) {
    due_[lane - 1].erase({queue.due, queue.due_order, &agent, lane});
  }
  queue.queued = should;
  if (queue.count() == 0 && !queue.leased) place.reset();
}

const EmbeddedReportQueue::Due* EmbeddedReportQueue::next_due(LaneSet lanes, SteadyTime now) const {
  const Due* next = nullptr;
  for (std::uint32_t lane = 1; lane <= kLanes; ++lane) {
    // Control and state are one class: the longer due of them comes first. Every later lane is a class of its own.
    if (next && lane > static_cast<std::uint32_t>(Lane::state)) break;
    const auto& due = due_[lane - 1];
    if (!lanes.has(static_cast<Lane>(lane)) || due.empty() || due.begin()->due > now) continue;
    if (!next || *due.begin() < *next) next = &*due.begin();
  }
  return next;
}

std::optional<SteadyTime> EmbeddedReportQueue::next_event(LaneSet lanes) const {
  std::optional<SteadyTime> next;
  if (!lease_ends_.empty()) next = lease_ends_.begin()->first;
  for (std::uint32_t lane = 1; lane <= kLanes; ++lane) {
    const auto& due = due_[lane - 1];
    if (!lanes.has(static_cast<Lane>(lane)) || due.empty()) continue;
    if (!next || due.begin()->due < *next) next = due.begin()->due;
  }
  return next;
}

bool EmbeddedReportQueue::is_expired(const Waiting& entry, WallTime now) const {
  return entry.ttl_s != 0 && from_millis(entry.kept_at) + std::chrono::seconds(entry.ttl_s) <= now;
}

std::vector<EmbeddedReportQueue::Waiting> EmbeddedReportQueue::take(LaneQueue& queue,
                                                                    std::uint32_t reports_max,
                                                                    std::uint64_t bytes_max,
                                                                    WallTime now,
                                                                    std::vector<Waiting>& expired) {
  auto& waiting = queue.waiting;
  std::vector<Waiting> taken;
  std::uint64_t bytes = 0;
  while (queue.head < waiting.size()) {
    const Waiting& first = waiting[queue.head];
    if (first.pinned == 0) {
      if (is_expired(first, now)) {
        expired.push_back(first);
      } else if (taken.empty() ||
                 (taken.size() < reports_max && bytes + first.bytes <= bytes_max)) {
        bytes += first.bytes;
        taken.push_back(first);
      } else {
        break;
      }
      ++queue.head;
      continue;
    }
    if (!taken.empty()) break;  // a pinned group is a batch of its own
    // Its members may lie among others that were leased with them but not pinned.
    const std::uint64_t group = first.pinned;
    std::vector<Waiting> others;
    std::size_t end = queue.head;
    bool all_expired = true;
    for (std::size_t pinned = 0; end < waiting.size() && pinned < queue.pinned_waiting; ++end) {
      const Waiting& entry = waiting[end];
      if (entry.pinned != 0) ++pinned;
      if (entry.pinned != group) {
        others.push_back(entry);
        continue;
      }
      all_expired = all_expired && is_expired(entry, now);
      taken.push_back(entry);
    }
    queue.pinned_waiting -= taken.size();
    std::copy(others.begin(), others.end(),
              waiting.begin() + static_cast<std::ptrdiff_t>(end - others.size()));
    queue.head = end - others.size();
    if (!all_expired) break;
    expired.insert(expired.end(), taken.begin(), taken.end());
    taken.clear();
  }
  return taken;
}

void EmbeddedReportQueue::put_back(Agent& agent, std::vector<Waiting> entries) {
  if (entries.empty()) return;
  LaneQueue& queue = lane_of(agent, entries.front().lane);
  const auto by_id = [](const Waiting& a, const Waiting& b) { return a.id < b.id; };
  std::sort(entries.begin(), entries.end(), by_id);
  for (const Waiting& entry : entries) {
    if (entry.pinned != 0) ++queue.pinned_waiting;
  }
  auto& waiting = queue.waiting;
  if (queue.head >= entries.size()) {
    queue.head -= entries.size();
    std::copy(entries.begin(), entries.end(),
              waiting.begin() + static_cast<std::ptrdiff_t>(queue.head));
  } else {
    waiting.insert(waiting.begin() + static_cast<std::ptrdiff_t>(queue.head), entries.begin(),
                   entries.end());
  }
  const auto begin = waiting.begin() + static_cast<std::ptrdiff_t>(queue.head);
  const auto middle = begin + static_cast<std::ptrdiff_t>(entries.size());
  if (middle != waiting.end() && by_id(*middle, *(middle - 1)))
    std::inplace_merge(begin, middle, waiting.end(), by_id);
}

}  // namespace greengate::store
