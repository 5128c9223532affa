// Looking: what became of one device's reports, and how the queue as a whole stands.

#include "store/embedded/report_queue.h"

#include "store/embedded/report_queue_errors.h"
#include "store/embedded/report_row.h"

#include <algorithm>
#include <limits>

namespace greengate::store {

Result<std::vector<ReportTrace>> EmbeddedReportQueue::trace(const AgentId& id,
                                                            std::uint32_t count_max) {
  std::vector<ReportTrace> traces;
  std::vector<std::pair<Waiting, bool>> open;  // and whether it is leased
  std::uint64_t no = 0;
  {
    std::lock_guard lock(mutex_);
    const Agent* agent = find_agent(id);
    if (!agent) return traces;
    no = agent->no;
    for (const auto& queue : agent->lanes) {
      if (!queue) continue;
      const std::size_t from = queue->waiting.size() - std::min<std::size_t>(queue->count(), count_max);
      for (std::size_t i = from; i < queue->waiting.size(); ++i) open.emplace_back(queue->waiting[i], false);
    }
    for (const auto& [lease_id, lease] : leases_) {
      if (lease.agent != agent) continue;
      for (const Held& held : lease.reports) open.emplace_back(held.entry, true);
    }
  }
  std::sort(open.begin(), open.end(),
            [](const auto& a, const auto& b) { return a.first.id > b.first.id; });
  if (open.size() > count_max) open.resize(count_max);
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(queue_error(reader.error()));
  Database& database = (*reader)->database;
  auto history = database.prepare(
      "SELECT incarnation, sequence, lane, kind, collected_at, kept_at, id, bytes, settled_at, "
      "outcome, attempts, code, message, tracking FROM history "
      "WHERE place >= ?1 AND place < ?2 ORDER BY place DESC LIMIT ?3");
  if (!history) return tl::unexpected(queue_error(history.error()));
  if (!(*reader)->begin.run())
    return tl::unexpected(queue_error(database.error("beginning to read")));
  bool failed = false;
  for (const auto& [entry, leased] : open) {
    Statement& row = (*reader)->report;
    Statement& progress = (*reader)->progress;
    const ResetAtEnd reset(row), reset_progress(progress);
    row.bind_unsigned(1, entry.id);
    const Step step = row.step();
    failed = failed || (step == Step::failed && !database.damaged());
    if (step != Step::row) continue;  // settled meanwhile: the history has it
    ReportTrace trace;
    read_facts(trace, id, entry.id, row);
    trace.bytes = entry.bytes;
    trace.leased = leased;
    if (entry.progress != 0) {
      progress.bind_unsigned(1, entry.id);
      if (progress.step() == Step::row) {
        trace.attempts = static_cast<std::uint32_t>(progress.number(0));
        trace.code = progress.text(2);
        trace.message = progress.text(3);
      }
    }
    traces.push_back(std::move(trace));
  }
  history->bind_unsigned(1, no << 32);
  history->bind_unsigned(2, (no + 1) << 32);
  history->bind(3, count_max);
  Step step;
  while ((step = history->step()) == Step::row) {
    ReportTrace trace;
    read_facts(trace, id, history->number_unsigned(6), *history);
    trace.bytes = history->number_unsigned(7);
    trace.settled_at = from_millis(history->number(8));
    trace.outcome = static_cast<Outcome>(history->number(9));
    trace.attempts = static_cast<std::uint32_t>(history->number(10));
    trace.code = history->text(11);
    trace.message = history->text(12);
    trace.tracking = history->text(13);
    traces.push_back(std::move(trace));
  }
  failed = failed || step == Step::failed;
  Error error = failed ? queue_error(database.error("reading a device's reports")) : Error{};
  history->reset();
  if (!(*reader)->commit.run() && !failed) {
    failed = true;
    error = queue_error(database.error("ending to read"));
  }
  if (failed) return tl::unexpected(std::move(error));
  std::sort(traces.begin(), traces.end(),
            [](const ReportTrace& a, const ReportTrace& b) { return a.id > b.id; });
  if (traces.size() > count_max) traces.resize(count_max);
  return traces;
}

QueueStats EmbeddedReportQueue::stats() const {
  std::lock_guard lock(mutex_);
  QueueStats stats;
  stats.waiting = totals_.waiting;
  stats.waiting_bytes = totals_.waiting_bytes;
  stats.leased = totals_.leased;
  stats.held_devices = totals_.held_devices;
  stats.kept_total = totals_.kept;
  stats.delivered_total = totals_.delivered;
  stats.superseded_total = totals_.superseded;
  stats.expired_total = totals_.expired;
  stats.buried_total = totals_.buried;
  stats.replayed_total = totals_.replayed;
  stats.buried = totals_.buried_now;
  stats.buried_bytes = totals_.buried_bytes;
  stats.damaged = totals_.damaged;
  std::int64_t oldest = std::numeric_limits<std::int64_t>::max();
  for (const Agent& agent : agents_) {
    for (const auto& queue : agent.lanes) {
      if (queue && queue->count() > 0)
        oldest = std::min(oldest, queue->waiting[queue->head].kept_at);
    }
  }
  for (const auto& [id, lease] : leases_) {
    for (const Held& held : lease.reports) oldest = std::min(oldest, held.entry.kept_at);
  }
  if (oldest != std::numeric_limits<std::int64_t>::max())
    stats.oldest_waiting = from_millis(oldest);
  return stats;
}

void EmbeddedReportQueue::show_gauges() {
  const QueueStats now = stats();
  probe_.waiting.set(static_cast<double>(now.waiting));
  probe_.waiting_bytes.set(static_cast<double>(now.waiting_bytes));
  probe_.leased.set(static_cast<double>(now.leased));
  probe_.held_devices.set(static_cast<double>(now.held_devices));
  probe_.buried_now.set(static_cast<double>(now.buried));
  probe_.oldest_age_seconds.set(
      now.oldest_waiting
          ? std::chrono::duration<double>(clock_.wall() - *now.oldest_waiting).count()
          : 0.0);
}

}  // namespace greengate::store
