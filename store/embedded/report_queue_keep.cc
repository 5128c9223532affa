// Keeping: judges new reports by their sequence numbers and by the room there is, writes them, and
// publishes to memory what their transaction made true.

#include "store/embedded/report_queue.h"

#include "store/embedded/report_queue_errors.h"
#include "store/embedded/report_row.h"
#include "store/embedded/waited_change.h"

#include <algorithm>
#include <limits>

namespace greengate::store {

namespace {

constexpr std::uint64_t kIdsReserved = 1'000'000;
constexpr std::size_t kSequenceBytes = 3 * sizeof(std::uint64_t);

std::uint32_t seconds_to_live(const NewReport& report) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(
      report.time_to_live.count(), 0, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

class EmbeddedReportQueue::KeepChange final : public Change {
 public:
  KeepChange(EmbeddedReportQueue& queue, std::vector<NewReport> batch, std::size_t bytes,
             KeepDone done)
      : queue_(queue), batch_(std::move(batch)), bytes_(bytes), done_(std::move(done)) {}
  KeepChange(EmbeddedReportQueue& queue, Error refused, KeepDone done)
      : queue_(queue), refused_(std::move(refused)), done_(std::move(done)) {}

  Result<void> apply(Database& database) override {
    if (refused_) return {};
    return queue_.apply_keep(database, *this);
  }
  void finish(const Error* failure) override {
    if (refused_) return done_(tl::unexpected(*refused_));
    if (failure) return done_(tl::unexpected(queue_error(*failure)));
    std::array<double, 4> count{};
    for (const KeepResult& result : results_) ++count[static_cast<std::size_t>(result.kept)];
    queue_.probe_.kept_stored.add(count[0]);
    queue_.probe_.kept_duplicate.add(count[1]);
    queue_.probe_.kept_out_of_order.add(count[2]);
    queue_.probe_.kept_full.add(count[3]);
    done_(std::move(results_));
  }
  std::size_t bytes() const override { return bytes_; }
  std::size_t records() const override { return batch_.size(); }

 private:
  friend class EmbeddedReportQueue;
  EmbeddedReportQueue& queue_;
  std::vector<NewReport> batch_;
  std::size_t bytes_ = 0;
  std::optional<Error> refused_;
  KeepDone done_;
  std::vector<KeepResult> results_;
  std::vector<Agent*> agents_;  ///< Of each report.
  std::vector<std::uint64_t> ids_;
};

void EmbeddedReportQueue::keep(std::vector<NewReport> batch, KeepDone done) {
  std::size_t bytes = 0;
  for (const NewReport& report : batch) bytes += report.body.size() + kRowBytes;
  bool stopping;
  {
    std::lock_guard lock(mutex_);
    stopping = stopping_;
  }
  std::optional<Error> refused;
  if (stopping) {
    refused = queue_stopping();
  } else if (writer_->pending_bytes() + bytes > settings_.pending_bytes_max &&
             writer_->pending_bytes() > 0) {
    refused =
        Error{Remedy::retry, "queue.busy",
              "The disk is slower than what comes in; send again later.", std::chrono::seconds(1)};
  }
  if (refused) {
    writer_->submit(std::make_unique<KeepChange>(*this, std::move(*refused), std::move(done)));
  } else {
    writer_->submit(std::make_unique<KeepChange>(*this, std::move(batch), bytes, std::move(done)));
  }
}

Result<void> EmbeddedReportQueue::apply_keep(Database& database, KeepChange& change) {
  look_at_disk();
  auto& batch = change.batch_;
  auto& results = change.results_;
  results.assign(batch.size(), {});
  change.agents_.assign(batch.size(), nullptr);
  change.ids_.assign(batch.size(), 0);
  const std::uint64_t number = ++keep_number_;
  const std::int64_t kept_at = to_millis(clock_.wall());
  {
    std::lock_guard lock(mutex_);
    Agent* agent = nullptr;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const NewReport& report = batch[i];
      if (!agent || agent->id != report.name.agent) agent = &agent_of(report.name.agent);
      change.agents_[i] = agent;
      const Sequences& known =
          agent->staged == kNotStaged ? agent->sequences : staged_[agent->staged].sequences;
      const Sequence* of_incarnation = known.find(report.name.incarnation);
      const std::uint64_t last = of_incarnation ? of_incarnation->last : 0;
      results[i].last_sequence = last;
      const std::uint64_t sequence = report.name.sequence;
      if (sequence != 0 && sequence <= last) {
        results[i].kept = Kept::duplicate;
        continue;
      }
      // Incarnation 0 is for reports of our own.
      if (sequence == 0 || report.name.incarnation == 0 || agent->broken_in == number || sequence - 1 - last > report.skipped) {
        results[i].kept = Kept::out_of_order;
        agent->broken_in = number;
        continue;
      }
      if (!room_for(report.lane, report.body.size())) {
        results[i].kept = Kept::full;
        agent->broken_in = number;
        continue;
      }
      auto id = next_id(database);
      if (!id) return pass(id);
      change.ids_[i] = *id;
      staged(*agent).sequences.raise(report.name.incarnation, sequence, *id);
      results[i].last_sequence = sequence;
      added_.push_back(
          {agent, waiting_entry(*id, kept_at, seconds_to_live(report), report.body.size(),
                                static_cast<std::uint64_t>(report.lane))});
      added_bytes_ += report.body.size() + kRowBytes;
    }
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (results[i].kept != Kept::stored) continue;
    if (auto inserted = insert_report(database, *change.agents_[i], change.ids_[i], kept_at, batch[i]); !inserted)
      return inserted;
  }
  return {};
}

Result<void> EmbeddedReportQueue::insert_report(Database& database, Agent& agent, std::uint64_t id, std::int64_t kept_at,
                                                const NewReport& report) {
  if (Staged& mine = staged(agent); !mine.has_row) {
    insert_agent_.bind(1, agent.no);
    insert_agent_.bind_text(2, agent.id.raw());
    if (!insert_agent_.run()) return tl::unexpected(database.error("adding an agent"));
    mine.has_row = true;
  }
  const auto lane = static_cast<std::uint32_t>(report.lane);
  insert_report_.bind_unsigned(1, id);
  insert_report_.bind(2, agent.no);
  insert_report_.bind_unsigned(3, report.name.incarnation);
  insert_report_.bind_unsigned(4, report.name.sequence);
  insert_report_.bind(5, lane);
  insert_report_.bind(6, report.kind);
  insert_report_.bind(7, to_millis(report.collected_at));
  insert_report_.bind(8, kept_at);
  insert_report_.bind(9, seconds_to_live(report));
  insert_report_.bind(10, checksum(agent.id, report.name.incarnation, report.name.sequence, lane,
                                   report.kind, report.body));
  insert_report_.bind_blob(11, report.body);
  if (!insert_report_.run()) return tl::unexpected(database.error("keeping a report"));
  written_since_look_ += report.body.size();
  return {};
}

Result<ItemId> EmbeddedReportQueue::keep_own(NewReport report) {
  report.name.incarnation = 0;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return tl::unexpected(queue_stopping());
  }
  std::uint64_t id = 0;
  bool full = false;
  const auto apply = [&](Database& database) -> Result<void> {
    look_at_disk();
    const std::int64_t kept_at = to_millis(clock_.wall());
    Agent* agent = nullptr;
    {
      std::lock_guard lock(mutex_);
      full = !room_for(report.lane, report.body.size());
      if (full) return {};
      agent = &agent_of(report.name.agent);
      auto next = next_id(database);
      if (!next) return pass(next);
      id = *next;
      added_.push_back({agent, waiting_entry(id, kept_at, seconds_to_live(report), report.body.size(),
                                             static_cast<std::uint64_t>(report.lane))});
      added_bytes_ += report.body.size() + kRowBytes;
    }
    return insert_report(database, *agent, id, kept_at, report);
  };
  const auto committed = [&] { (full ? probe_.kept_full : probe_.kept_stored).add(); };
  auto done = WaitedChange::run(*writer_, apply, committed, report.body.size() + kRowBytes);
  if (!done) return tl::unexpected(queue_error(done.error()));
  if (full) return fail(Remedy::retry, "queue.full", "There is no room in the report's lane.");
  return ItemId(id);
}

EmbeddedReportQueue::Staged& EmbeddedReportQueue::staged(Agent& agent) {
  if (agent.staged == kNotStaged) {
    agent.staged = static_cast<std::uint32_t>(staged_.size());
    staged_.push_back({&agent, agent.sequences, agent.settled, agent.on_disk, false});
  }
  return staged_[agent.staged];
}

Result<std::uint64_t> EmbeddedReportQueue::next_id(Database& database) {
  if (next_id_ >= id_ceiling_) {
    raise_ceiling_.bind_unsigned(1, next_id_ + kIdsReserved);
    if (!raise_ceiling_.run()) return tl::unexpected(database.error("reserving ids"));
    id_ceiling_ = next_id_ + kIdsReserved;
  }
  return next_id_++;
}

bool EmbeddedReportQueue::room_for(Lane lane, std::uint64_t bytes) const {
  if (bytes > kBodyBytesMax) return false;
  const bool reserved = lane == Lane::control || lane == Lane::state;
  if (free_bytes_ < (reserved ? settings_.free_bytes_any : settings_.free_bytes_bulk)) return false;
  const std::uint64_t limit =
      reserved ? settings_.bytes_max
               : settings_.bytes_max / 100 * (100 - std::min(settings_.reserve_percent, 100u));
  return totals_.waiting_bytes + totals_.waiting * kRowBytes + added_bytes_ + bytes + kRowBytes <=
         limit;
}

void EmbeddedReportQueue::look_at_disk() {
  constexpr std::chrono::seconds often{1};
  constexpr std::uint64_t often_bytes = 16u << 20;
  const SteadyTime now = clock_.steady();
  if (!settings_.free_bytes ||
      (last_look_ && now - *last_look_ < often && written_since_look_ < often_bytes))
    return;
  last_look_ = now;
  written_since_look_ = 0;
  free_bytes_ = settings_.free_bytes();
  probe_.free_bytes.set(static_cast<double>(free_bytes_));
}

Result<void> EmbeddedReportQueue::before_commit(Database& database) {
  for (const Staged& change : staged_) {
    if (!change.owes_row) continue;
    const std::string sequences = change.sequences.packed();
    update_agent_.bind(1, change.agent->no);
    update_agent_.bind_blob(2, sequences);
    update_agent_.bind_unsigned(3, change.settled);
    if (!update_agent_.run()) return tl::unexpected(database.error("writing an agent's sequences"));
    if (change.settled <= settings_.history_per_device) continue;
    const std::uint64_t first = std::uint64_t{change.agent->no} << 32;
    trim_history_.bind_unsigned(1, first);
    trim_history_.bind_unsigned(2, first + change.settled - settings_.history_per_device);
    if (!trim_history_.run()) return tl::unexpected(database.error("shortening a history"));
  }
  return {};
}

void EmbeddedReportQueue::committed() {
  id_ceiling_on_disk_ = id_ceiling_;
  if (staged_.empty() && added_.empty()) return;
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    for (Staged& change : staged_) {
      change.agent->sequences = change.sequences;
      change.agent->settled = change.settled;
      change.agent->on_disk = change.has_row;
      change.agent->staged = kNotStaged;
    }
    const SteadyTime now = clock_.steady();
    for (const Added& added : added_) {
      append(*added.agent, added.entry);
      if (!place_of(*added.agent, added.entry.lane)->queued)
        refresh_due(*added.agent, added.entry.lane, now);
      wake = wake || waiters_[added.entry.lane - 1] > 0;
      totals_.waiting_bytes += added.entry.bytes;
      if (!added.replayed) ++totals_.kept;
    }
    totals_.waiting += added_.size();
  }
  staged_.clear();
  added_.clear();
  added_bytes_ = 0;
  if (wake) due_changed_.notify_all();
}

void EmbeddedReportQueue::rolled_back() {
  for (Staged& change : staged_) change.agent->staged = kNotStaged;
  staged_.clear();
  added_.clear();
  added_bytes_ = 0;
  id_ceiling_ = id_ceiling_on_disk_;
}

std::uint64_t EmbeddedReportQueue::last_sequence(const AgentId& agent,
                                                 std::uint64_t incarnation) const {
  std::lock_guard lock(mutex_);
  const Agent* found = find_agent(agent);
  const Sequence* sequence = found ? found->sequences.find(incarnation) : nullptr;
  return sequence ? sequence->last : 0;
}

const EmbeddedReportQueue::Sequence* EmbeddedReportQueue::Sequences::find(
    std::uint64_t incarnation) const {
  for (const Sequence& slot : slots) {
    if (slot.last_id != 0 && slot.incarnation == incarnation) return &slot;
  }
  return nullptr;
}

void EmbeddedReportQueue::Sequences::raise(std::uint64_t incarnation, std::uint64_t sequence,
                                           std::uint64_t id) {
  Sequence* target = &slots[0];
  for (Sequence& slot : slots) {
    if (slot.last_id != 0 && slot.incarnation == incarnation) {
      slot.last = std::max(slot.last, sequence);
      slot.last_id = std::max(slot.last_id, id);
      return;
    }
    if (slot.last_id < target->last_id) target = &slot;
  }
  if (target->last_id < id) *target = {incarnation, sequence, id};
}

std::string EmbeddedReportQueue::Sequences::packed() const {
  std::string bytes;
  for (const Sequence& slot : slots) {
    if (slot.last_id == 0) continue;
    for (std::uint64_t number : {slot.incarnation, slot.last, slot.last_id}) {
      for (int i = 0; i < 8; ++i, number >>= 8) bytes.push_back(static_cast<char>(number & 0xff));
    }
  }
  return bytes;
}

void EmbeddedReportQueue::Sequences::unpack(std::string_view bytes) {
  for (std::size_t slot = 0; slot < kIncarnationsMax && bytes.size() >= kSequenceBytes; ++slot) {
    std::array<std::uint64_t, 3> numbers{};
    for (std::size_t i = 0; i < kSequenceBytes; ++i) {
      numbers[i / 8] |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * (i % 8));
    }
    slots[slot] = {numbers[0], numbers[1], numbers[2]};
    bytes.remove_prefix(kSequenceBytes);
  }
}

}  // namespace greengate::store
