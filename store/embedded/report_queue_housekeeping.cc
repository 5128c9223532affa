// Housekeeping: takes out what nobody will deliver (expired reports, damaged records) and the
// oldest dead letters when there are too many.

#include "store/embedded/report_queue.h"

#include "core/log.h"

#include <algorithm>

namespace greengate::store {

namespace {

const Log log("store");

constexpr std::size_t kSweepAgents = 2'000;  // a second's share of the search for expired reports …
constexpr std::size_t kSweepReports = 200'000;  // … so that the writer never stands still for it
constexpr std::int64_t kTrimBuriedRows = 1'000;

}  // namespace

/// Takes out reports of one lane that nobody will deliver: expired ones, and those whose bytes are
/// no longer theirs.
class EmbeddedReportQueue::RemoveChange final : public Change {
 public:
  RemoveChange(EmbeddedReportQueue& queue, Agent& agent, std::vector<Waiting> entries, bool damaged)
      : queue_(queue), agent_(agent), entries_(std::move(entries)), damaged_(damaged) {}

  Result<void> apply(Database& database) override {
    for (const Waiting& entry : entries_) {
      auto ending = queue_.read_ending(database, entry);
      if (!ending) return pass(ending);
      if (!*ending) continue;  // the row is gone: there is nothing to keep the history of
      if (damaged_) {
        queue_.move_damaged_.bind_unsigned(1, entry.id);
        queue_.move_damaged_.bind(2, to_millis(queue_.clock_.wall()));
        if (!queue_.move_damaged_.run())
          return tl::unexpected(database.error("setting a damaged record aside"));
      }
      auto written =
          damaged_
              ? queue_.write_ending(database, agent_, **ending, Outcome::buried, kDamagedCode,
                                    "The record's bytes no longer match its checksum.", {}, true)
              : queue_.write_ending(database, agent_, **ending, Outcome::expired, {}, {}, {});
      if (!written) return written;
    }
    return {};
  }

  void finish(const Error* failure) override {
    std::uint64_t bytes = 0;
    for (const Waiting& entry : entries_) bytes += entry.bytes;
    const auto count = entries_.size();
    {
      std::lock_guard lock(queue_.mutex_);
      if (failure && !damaged_) {
        queue_.put_back(agent_, entries_);
        queue_.refresh_due(agent_, entries_.front().lane, queue_.clock_.steady());
        return;
      }
      if (damaged_) {
        // Even if the file could not be changed: the record stays where it is and is met again
        // after a restart.
        queue_.totals_.waiting -= count;
        queue_.totals_.waiting_bytes -= bytes;
        queue_.totals_.damaged += count;
      } else {
        queue_.count_settled(Outcome::expired, count, bytes);
      }
    }
    if (!damaged_) return;
    queue_.probe_.damaged_records.add(static_cast<double>(count));
    log.error("damaged records set aside", kv("agent", agent_.id.raw()), kv("reports", count),
              kv("first_item", entries_.front().id), kv("moved", failure == nullptr));
  }
  std::size_t records() const override { return entries_.size(); }

 private:
  EmbeddedReportQueue& queue_;
  Agent& agent_;
  const std::vector<Waiting> entries_;
  const bool damaged_;
};

/// Keeps dead letters within their bound: the oldest go.
class EmbeddedReportQueue::TrimBuriedChange final : public Change {
 public:
  TrimBuriedChange(EmbeddedReportQueue& queue, std::uint64_t bytes_over)
      : queue_(queue), bytes_over_(bytes_over) {}

  Result<void> apply(Database& database) override {
    bytes_ = 0;
    std::vector<std::uint64_t> ids;
    {
      Statement& oldest = queue_.oldest_buried_;
      const ResetAtEnd reset(oldest);
      oldest.bind(1, kTrimBuriedRows);
      Step step = Step::done;
      while (bytes_ < bytes_over_ && (step = oldest.step()) == Step::row) {
        ids.push_back(oldest.number_unsigned(0));
        bytes_ += oldest.number_unsigned(1) + kRowBytes;
      }
      if (step == Step::failed)
        return tl::unexpected(database.error("reading the oldest dead letters"));
    }
    for (const std::uint64_t id : ids) {
      queue_.delete_buried_.bind_unsigned(1, id);
      queue_.delete_buried_body_.bind_unsigned(1, id);
      if (!queue_.delete_buried_.run() || !queue_.delete_buried_body_.run()) {
        return tl::unexpected(database.error("deleting a dead letter"));
      }
    }
    count_ = ids.size();
    return {};
  }
  void finish(const Error* failure) override {
    queue_.trimming_buried_ = false;
    if (failure) return;
    {
      std::lock_guard lock(queue_.mutex_);
      queue_.totals_.buried_now -= count_;
      queue_.totals_.buried_bytes -= bytes_;
    }
    log.warn("oldest dead letters dropped", kv("reports", count_), kv("bytes", bytes_));
  }

 private:
  EmbeddedReportQueue& queue_;
  const std::uint64_t bytes_over_;
  std::uint64_t bytes_ = 0;
  std::size_t count_ = 0;
};

void EmbeddedReportQueue::housekeeping() {
  sweep_expired();
  std::uint64_t over = 0;
  {
    std::lock_guard lock(mutex_);
    if (totals_.buried_bytes > settings_.buried_bytes_max)
      over = totals_.buried_bytes - settings_.buried_bytes_max;
  }
  if (over > 0 && !trimming_buried_) {
    trimming_buried_ = true;  // a second one would drop as much again
    writer_->submit(std::make_unique<TrimBuriedChange>(*this, over));
  }
  if (housekeepings_++ % 5 == 0) show_gauges();
}

void EmbeddedReportQueue::sweep_expired() {
  std::vector<std::pair<Agent*, std::vector<Waiting>>> found;
  {
    std::lock_guard lock(mutex_);
    const WallTime now = clock_.wall();
    std::size_t looked_at = 0;
    for (std::size_t i = 0; i < std::min(kSweepAgents, agents_.size()) && looked_at < kSweepReports;
         ++i) {
      Agent& agent = agents_[sweep_at_++ % agents_.size()];
      for (std::uint32_t lane = 1; lane <= kLanes; ++lane) {
        const auto& place = place_of(agent, lane);
        if (!place) continue;
        LaneQueue& queue = *place;
        looked_at += queue.count();
        std::vector<Waiting> expired;
        const auto begin = queue.waiting.begin() + static_cast<std::ptrdiff_t>(queue.head);
        // Pinned reports may be on their way to the site as one message; only a lease judges a group
        // as a whole.
        const auto end = std::remove_if(begin, queue.waiting.end(), [&](const Waiting& entry) {
          const bool gone = entry.pinned == 0 && is_expired(entry, now);
          if (gone) expired.push_back(entry);
          return gone;
        });
        if (expired.empty()) continue;
        queue.waiting.erase(end, queue.waiting.end());
        refresh_due(agent, lane, clock_.steady());
        found.emplace_back(&agent, std::move(expired));
      }
    }
  }
  for (auto& [agent, entries] : found) {
    remove(*agent, std::move(entries), false);
  }
}

void EmbeddedReportQueue::remove(Agent& agent, std::vector<Waiting> entries, bool damaged) {
  writer_->submit(std::make_unique<RemoveChange>(*this, agent, std::move(entries), damaged));
}

}  // namespace greengate::store
