// Housekeeping: takes out what nobody will deliver (expired reports, damaged records), tells whose
// time was over, and sees to the bounds and gauges.

#include "store/embedded/report_queue.h"

#include "core/log.h"

#include <algorithm>

namespace greengate::store {

namespace {

const Log log("store");

constexpr std::size_t kSweepAgents = 2'000;  // a second's share of the search for expired reports …
constexpr std::size_t kSweepReports = 200'000;  // … so that the writer never stands still for it

}  // namespace

/// Takes out reports of one lane that nobody will deliver: expired ones, and those whose bytes are
/// no longer theirs.
class EmbeddedReportQueue::RemoveChange final : public Change {
 public:
  RemoveChange(EmbeddedReportQueue& queue, Agent& agent, std::vector<Waiting> entries, bool damaged)
      : queue_(queue), agent_(agent), entries_(std::move(entries)), damaged_(damaged) {}

  Result<void> apply(Database& database) override {
    names_.clear();
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
      if ((*ending)->incarnation != 0)
        names_.push_back({agent_.id, (*ending)->incarnation, (*ending)->sequence});
    }
    return {};
  }

  void finish(const Error* failure) override {
    std::uint64_t bytes = 0;
    for (const Waiting& entry : entries_) bytes += entry.bytes;
    const auto count = entries_.size();
    decltype(queue_.expired_listener_) listener;
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
        listener = queue_.expired_listener_;
      }
    }
    if (listener && !names_.empty()) (*listener)(names_);
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
  std::vector<ReportName> names_;  ///< Of what went, our own left out.
};

void EmbeddedReportQueue::on_expired(std::function<void(const std::vector<ReportName>&)> listener) {
  auto kept = std::make_shared<const std::function<void(const std::vector<ReportName>&)>>(std::move(listener));
  std::lock_guard lock(mutex_);
  expired_listener_ = *kept ? std::move(kept) : nullptr;
}

void EmbeddedReportQueue::housekeeping() {
  sweep_expired();
  trim_buried();
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
