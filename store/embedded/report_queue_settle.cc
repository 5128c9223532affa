// What a worker does with the reports of its lease (settle, bury, postpone, pin), how a device's baselines move with that, and how
// a report leaves the disk, whoever ends it.

#include "store/embedded/report_queue.h"

#include "core/log.h"
#include "store/embedded/baselines.h"
#include "store/embedded/report_queue_errors.h"
#include "store/embedded/waited_change.h"

#include <algorithm>

namespace greengate::store {

namespace {

const Log log("store");

Error lease_lost() {
  return Error{Remedy::reject,
               "queue.lease_lost",
               "The lease has ended; somebody else has these reports now.",
               {}};
}

std::vector<std::uint64_t> raw_ids(const std::vector<ItemId>& items) {
  std::vector<std::uint64_t> ids;
  ids.reserve(items.size());
  for (const ItemId& item : items) ids.push_back(item.raw());
  return ids;
}

}  // namespace

/// A change to some of a lease's reports: while it is on its way they belong to it, and the lease
/// does not expire.
class EmbeddedReportQueue::LeaseChange : public Change {
 public:
  LeaseChange(EmbeddedReportQueue& queue, LeaseId lease, std::vector<std::uint64_t> ids)
      : queue_(queue),
        lease_(lease),
        ids_(std::move(ids)),
        sorted_(ids_),
        reply_(std::make_shared<Reply>()) {
    std::sort(sorted_.begin(), sorted_.end());
  }

  std::shared_ptr<Reply> reply() const { return reply_; }

  Result<void> apply(Database& database) final {
    held_.clear();
    claimed_ = false;
    refused_ = !claim();
    if (refused_) return {};
    claimed_ = true;
    return write(database);
  }
  void undo() final {
    if (claimed_) release(false);
  }
  void finish(const Error* failure) final {
    if (failure) return reply_->put(tl::unexpected(queue_error(*failure)));
    if (refused_) return reply_->put(tl::unexpected(lease_lost()));
    release(true);
    reply_->put({});
  }
  std::size_t records() const final { return ids_.size(); }

 protected:
  virtual Result<void> write(Database& database) = 0;
  /// Committed; `held_` are still in the lease. With the queue's mutex.
  virtual void publish(Lease& lease, SteadyTime now) = 0;

  bool ours(const Held& held) const {
    return std::binary_search(sorted_.begin(), sorted_.end(), held.entry.id);
  }
  /// They leave the lease. With the queue's mutex.
  void take_out(Lease& lease) {
    queue_.totals_.leased -= held_.size();
    std::erase_if(lease.reports, [this](const Held& held) { return ours(held); });
  }

  EmbeddedReportQueue& queue_;
  const LeaseId lease_;
  const std::vector<std::uint64_t> ids_;
  Agent* agent_ = nullptr;
  std::vector<Held> held_;  ///< Copies, in the order of ids_.

 private:
  bool claim() {
    std::lock_guard lock(queue_.mutex_);
    Lease* lease = queue_.live_lease(lease_, queue_.clock_.steady());
    if (!lease) return false;
    std::vector<Held*> wanted;
    // Callers name reports in the lease's order, so the search goes on where it last found one.
    auto held = lease->reports.begin();
    for (const std::uint64_t id : ids_) {
      const auto is_it = [id](const Held& candidate) { return candidate.entry.id == id; };
      const auto from = held;
      held = std::find_if(from, lease->reports.end(), is_it);
      if (held == lease->reports.end()) {
        held = std::find_if(lease->reports.begin(), from, is_it);
        if (held == from) held = lease->reports.end();
      }
      if (held == lease->reports.end() || held->moving) {
        for (Held* marked : wanted) marked->moving = false;
        return false;
      }
      held->moving = true;
      wanted.push_back(&*held);
    }
    for (const Held* claimed : wanted) held_.push_back(*claimed);
    agent_ = lease->agent;
    ++lease->changes;
    return true;
  }

  void release(bool committed) {
    {
      std::lock_guard lock(queue_.mutex_);
      const SteadyTime now = queue_.clock_.steady();
      Lease& lease = queue_.leases_.at(lease_.raw());
      for (Held& held : lease.reports) {
        if (held.moving && ours(held)) held.moving = false;
      }
      if (committed) publish(lease, now);
      queue_.end_change(lease_.raw(), now);
    }
    queue_.due_changed_.notify_all();
  }

  std::vector<std::uint64_t> sorted_;
  const std::shared_ptr<Reply> reply_;
  bool refused_ = false;
  bool claimed_ = false;
};

class EmbeddedReportQueue::SettleChange final : public LeaseChange {
 public:
  SettleChange(EmbeddedReportQueue& queue, LeaseId lease, std::vector<std::uint64_t> ids,
               std::vector<Settlement> settlements, std::vector<BaselineMove> baselines,
               std::string message)
      : LeaseChange(queue, lease, std::move(ids)),
        settlements_(std::move(settlements)),
        baselines_(std::move(baselines)),
        message_(std::move(message)) {}

  std::size_t bytes() const override {
    std::size_t bytes = 0;
    for (const BaselineMove& move : baselines_) bytes += move.body.size();
    return bytes;
  }

 private:
  Result<void> write(Database& database) override {
    for (std::size_t i = 0; i < held_.size(); ++i) {
      const Held& held = held_[i];
      const Ending ending{held.entry.id,           held.incarnation,   held.sequence,
                          held.entry.lane,         held.kind,          held.entry.bytes,
                          held.collected_at,       held.entry.kept_at, held.attempts,
                          held.entry.progress != 0};
      auto written = queue_.write_ending(database, *agent_, ending, settlements_[i].outcome,
                                         settlements_[i].code, message_, settlements_[i].tracking);
      if (!written) return written;
    }
    for (const BaselineMove& move : baselines_) {
      if (auto written = queue_.write_baseline(database, *agent_, move); !written) return written;
    }
    return {};
  }
  void publish(Lease& lease, SteadyTime) override {
    for (std::size_t i = 0; i < held_.size(); ++i) {
      queue_.count_settled(settlements_[i].outcome, 1, held_[i].entry.bytes);
      if (settlements_[i].outcome == Outcome::buried)
        queue_.probe_.buried(settlements_[i].code, 1);
    }
    take_out(lease);
  }

  const std::vector<Settlement> settlements_;
  const std::vector<BaselineMove> baselines_;
  const std::string message_;
};

class EmbeddedReportQueue::PostponeChange final : public LeaseChange {
 public:
  PostponeChange(EmbeddedReportQueue& queue, LeaseId lease, std::vector<std::uint64_t> ids,
                 std::chrono::milliseconds delay, const Error& reason)
      : LeaseChange(queue, lease, std::move(ids)),
        delay_(delay),
        code_(reason.code),
        message_(reason.message) {}

 private:
  Result<void> write(Database& database) override {
    Statement& postpone = queue_.postpone_;
    postpone.bind_text(2, code_);
    postpone.bind_text(3, message_);
    for (const Held& held : held_) {
      postpone.bind_unsigned(1, held.entry.id);
      if (!postpone.run()) return tl::unexpected(database.error("postponing a report"));
    }
    return {};
  }
  void publish(Lease& lease, SteadyTime now) override {
    std::vector<Waiting> back;
    for (Held& held : held_) {
      held.entry.progress = 1;
      back.push_back(held.entry);
    }
    take_out(lease);
    LaneQueue& queue = *place_of(*agent_, lease.lane);
    queue.not_before = std::max(queue.not_before, now + delay_);
    queue_.put_back(*agent_, std::move(back));
    queue_.probe_.postponed.add(static_cast<double>(held_.size()));
  }

  const std::chrono::milliseconds delay_;
  const std::string code_, message_;
};

class EmbeddedReportQueue::PinChange final : public LeaseChange {
 public:
  PinChange(EmbeddedReportQueue& queue, LeaseId lease, const std::vector<Pin>& pins,
            std::vector<CounterValue> counters)
      : LeaseChange(queue, lease, all_ids(pins)), counters_(std::move(counters)) {
    for (const Pin& pin : pins) {
      const std::vector<std::uint64_t> ids = raw_ids(pin.reports);
      if (ids.empty()) continue;
      const std::uint64_t group = *std::min_element(ids.begin(), ids.end());
      for (const std::uint64_t id : ids) places_.emplace(id, Place{group, pin.note});
    }
  }

 private:
  Result<void> write(Database& database) override {
    Statement& pin = queue_.pin_;
    for (const Held& held : held_) {
      const Place& place = places_.at(held.entry.id);
      pin.bind_unsigned(1, held.entry.id);
      pin.bind_unsigned(2, place.group);
      pin.bind_text(3, place.note);
      if (!pin.run()) return tl::unexpected(database.error("pinning a report"));
    }
    for (const CounterValue& counter : counters_) {
      if (auto written = queue_.registry_.write_counter(database, agent_->id, counter); !written)
        return written;
    }
    return {};
  }
  void publish(Lease& lease, SteadyTime) override {
    for (Held& held : lease.reports) {
      if (!ours(held)) continue;
      held.entry.pinned = places_.at(held.entry.id).group;
      held.entry.progress = 1;
    }
  }

  struct Place {
    std::uint64_t group;
    std::string note;
  };
  static std::vector<std::uint64_t> all_ids(const std::vector<Pin>& pins) {
    std::vector<std::uint64_t> ids;
    for (const Pin& pin : pins) {
      for (const ItemId& id : pin.reports) ids.push_back(id.raw());
    }
    return ids;
  }

  std::unordered_map<std::uint64_t, Place> places_;
  const std::vector<CounterValue> counters_;
};

Result<void> EmbeddedReportQueue::submit_and_wait(std::unique_ptr<LeaseChange> change) {
  const auto reply = change->reply();
  writer_->submit(std::move(change));
  return reply->wait();
}

Result<void> EmbeddedReportQueue::pin(LeaseId lease, const std::vector<Pin>& pins,
                                      const std::vector<CounterValue>& counters) {
  return submit_and_wait(std::make_unique<PinChange>(*this, lease, pins, counters));
}

Result<void> EmbeddedReportQueue::settle(LeaseId lease,
                                         const std::vector<Settlement>& settlements,
                                         const std::vector<BaselineMove>& baselines) {
  std::vector<std::uint64_t> ids;
  ids.reserve(settlements.size());
  for (const Settlement& settlement : settlements) ids.push_back(settlement.id.raw());
  return submit_and_wait(std::make_unique<SettleChange>(*this, lease, std::move(ids), settlements,
                                                        baselines, std::string()));
}

Result<void> EmbeddedReportQueue::bury(LeaseId lease, const std::vector<ItemId>& reports,
                                       const Error& reason) {
  std::vector<Settlement> settlements;
  for (const ItemId& id : reports) settlements.push_back({id, Outcome::buried, {}, reason.code});
  return submit_and_wait(std::make_unique<SettleChange>(*this, lease, raw_ids(reports),
                                                        std::move(settlements),
                                                        std::vector<BaselineMove>(), reason.message));
}

Result<void> EmbeddedReportQueue::postpone(LeaseId lease, const std::vector<ItemId>& reports,
                                           std::chrono::milliseconds delay, const Error& reason) {
  return submit_and_wait(
      std::make_unique<PostponeChange>(*this, lease, raw_ids(reports), delay, reason));
}

Result<void> EmbeddedReportQueue::write_ending(Database& database, Agent& agent,
                                               const Ending& ending, Outcome outcome,
                                               std::string_view code, std::string_view message,
                                               std::string_view tracking, bool set_aside) {
  const std::int64_t now = to_millis(clock_.wall());
  if (outcome == Outcome::buried && !set_aside) {
    bury_facts_.bind_unsigned(1, ending.id);
    bury_facts_.bind(2, now);
    bury_facts_.bind(3, ending.attempts);
    bury_facts_.bind_text(4, code);
    bury_facts_.bind_text(5, message);
    bury_body_.bind_unsigned(1, ending.id);
    if (!bury_facts_.run() || !bury_body_.run())
      return tl::unexpected(database.error("burying a report"));
  }
  delete_report_.bind_unsigned(1, ending.id);
  if (!delete_report_.run()) return tl::unexpected(database.error("deleting a settled report"));
  if (ending.progress) {
    delete_progress_.bind_unsigned(1, ending.id);
    if (!delete_progress_.run())
      return tl::unexpected(database.error("deleting a settled report's progress"));
  }
  Staged& mine = staged(agent);
  mine.owes_row = true;
  if (settings_.history_per_device == 0) return {};
  insert_history_.bind_unsigned(1, std::uint64_t{agent.no} << 32 | (mine.settled & 0xffff'ffff));
  ++mine.settled;
  insert_history_.bind_unsigned(2, ending.id);
  insert_history_.bind_unsigned(3, ending.incarnation);
  insert_history_.bind_unsigned(4, ending.sequence);
  insert_history_.bind(5, ending.lane);
  insert_history_.bind(6, ending.kind);
  insert_history_.bind_unsigned(7, ending.bytes);
  insert_history_.bind(8, ending.collected_at);
  insert_history_.bind(9, ending.kept_at);
  insert_history_.bind(10, now);
  insert_history_.bind(11, static_cast<std::int64_t>(outcome));
  insert_history_.bind(12, ending.attempts);
  insert_history_.bind_text(13, code);
  insert_history_.bind_text(14, message);
  insert_history_.bind_text(15, tracking);
  if (!insert_history_.run()) return tl::unexpected(database.error("writing a report's history"));
  return {};
}

Result<void> EmbeddedReportQueue::write_baseline(Database& database, const Agent& agent,
                                                 const BaselineMove& move) {
  const std::uint64_t place = baseline_place(agent.no, move.kind);
  const bool too_large = move.body.size() > kBodyBytesMax;
  if (too_large)
    log.warn("baseline too large", kv("agent", agent.id.raw()), kv("kind", move.kind),
             kv("bytes", move.body.size()));
  if (move.body.empty() || too_large) {
    drop_baseline_.bind_unsigned(1, place);
    if (!drop_baseline_.run()) return tl::unexpected(database.error("forgetting a baseline"));
    return {};
  }
  const std::int64_t full_at = to_millis(move.full_at);
  const std::int64_t moved_at = to_millis(clock_.wall());
  put_baseline_.bind_unsigned(1, place);
  put_baseline_.bind_unsigned(2, move.major);
  put_baseline_.bind_unsigned(3, move.minor);
  put_baseline_.bind(4, full_at);
  put_baseline_.bind(5, moved_at);
  put_baseline_.bind(6, baseline_checksum(agent.id, move.kind, move.major, move.minor, full_at,
                                          moved_at, move.body));
  put_baseline_.bind_blob(7, move.body);
  if (!put_baseline_.run()) return tl::unexpected(database.error("writing a baseline"));
  return {};
}

Result<std::optional<EmbeddedReportQueue::Ending>> EmbeddedReportQueue::read_ending(
    Database& database, const Waiting& entry) {
  const ResetAtEnd reset(read_facts_);
  read_facts_.bind_unsigned(1, entry.id);
  switch (read_facts_.step()) {
    case Step::done:
      return std::optional<Ending>();
    case Step::failed:
      return tl::unexpected(database.error("reading a report's facts"));
    case Step::row:
      break;
  }
  return std::optional<Ending>(
      Ending{entry.id, read_facts_.number_unsigned(0), read_facts_.number_unsigned(1),
             static_cast<std::uint32_t>(read_facts_.number(2)),
             static_cast<std::uint32_t>(read_facts_.number(3)), read_facts_.number_unsigned(4),
             read_facts_.number(5), read_facts_.number(6),
             static_cast<std::uint32_t>(read_facts_.number(7)), entry.progress != 0});
}

void EmbeddedReportQueue::count_settled(Outcome outcome, std::uint64_t reports,
                                        std::uint64_t bytes) {
  totals_.waiting -= reports;
  totals_.waiting_bytes -= bytes;
  const auto count = static_cast<double>(reports);
  switch (outcome) {
    case Outcome::delivered:
      totals_.delivered += reports;
      probe_.settled_delivered.add(count);
      break;
    case Outcome::superseded:
      totals_.superseded += reports;
      probe_.settled_superseded.add(count);
      break;
    case Outcome::expired:
      totals_.expired += reports;
      probe_.settled_expired.add(count);
      break;
    case Outcome::buried:
      totals_.buried += reports;
      totals_.buried_now += reports;
      totals_.buried_bytes += bytes + reports * kRowBytes;
      probe_.settled_buried.add(count);
      break;
  }
}

}  // namespace greengate::store
