#include "store/embedded/report_queue.h"

#include "core/check.h"
#include "core/log.h"

#include <libdeflate.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace greengate::store {

namespace {

const Log log("store");

constexpr std::uint64_t kIdsReserved = 1'000'000;
constexpr std::size_t kSweepAgents = 2'000;  // a second's share of the search for expired reports …
constexpr std::size_t kSweepReports = 200'000;  // … so that the writer never stands still for it
constexpr std::int64_t kTrimBuriedRows = 1'000;
constexpr std::size_t kSequenceBytes = 3 * sizeof(std::uint64_t);

/// CRC-32 over the report's name and facts, then its body: a row that swapped bodies is damaged
/// too.
std::uint32_t checksum(const AgentId& agent, std::uint64_t incarnation, std::uint64_t sequence,
                       std::uint32_t lane, std::uint32_t kind, std::string_view body) {
  struct {
    std::uint64_t incarnation, sequence;
    std::uint32_t lane, kind;
  } facts{incarnation, sequence, lane, kind};
  static_assert(sizeof facts == 24);
  std::uint32_t crc = libdeflate_crc32(0, &facts, sizeof facts);
  crc = libdeflate_crc32(crc, agent.raw().data(), agent.raw().size());
  return libdeflate_crc32(crc, body.data(), body.size());
}

Error lease_lost() {
  return Error{Remedy::reject,
               "queue.lease_lost",
               "The lease has ended; somebody else has these reports now.",
               {}};
}

/// What the file's failure means to callers of the queue.
Error queue_error(const Error& failure) {
  const bool stopping = failure.remedy == Remedy::halt;
  return Error{failure.remedy, stopping ? "queue.stopping" : "queue.disk", failure.message,
               failure.retry_after};
}

}  // namespace

/// Where a waiting caller gets its answer.
struct EmbeddedReportQueue::Reply {
  std::mutex mutex;  ///< Guards the members below.
  std::condition_variable there;
  std::optional<Result<void>> answer;

  void put(Result<void> value) {
    std::lock_guard lock(mutex);
    answer = std::move(value);
    there.notify_one();
  }
  Result<void> wait() {
    std::unique_lock lock(mutex);
    there.wait(lock, [this] { return answer.has_value(); });
    return std::move(*answer);
  }
};

// ---- Changes: what the writer's thread is asked to do
// ------------------------------------------------------------------------

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
               std::vector<Settlement> settlements, std::string code, std::string message)
      : LeaseChange(queue, lease, std::move(ids)),
        settlements_(std::move(settlements)),
        code_(std::move(code)),
        message_(std::move(message)) {}

 private:
  Result<void> write(Database& database) override {
    for (std::size_t i = 0; i < held_.size(); ++i) {
      const Held& held = held_[i];
      const Ending ending{held.entry.id,           held.incarnation,   held.sequence,
                          held.entry.lane,         held.kind,          held.entry.bytes,
                          held.collected_at,       held.entry.kept_at, held.attempts,
                          held.entry.progress != 0};
      const bool buried = settlements_[i].outcome == Outcome::buried;
      auto written = queue_.write_ending(
          database, *agent_, ending, settlements_[i].outcome, buried ? code_ : std::string_view(),
          buried ? message_ : std::string_view(), settlements_[i].tracking);
      if (!written) return written;
    }
    return {};
  }
  void publish(Lease& lease, SteadyTime) override {
    for (std::size_t i = 0; i < held_.size(); ++i) {
      queue_.count_settled(settlements_[i].outcome, 1, held_[i].entry.bytes);
      if (settlements_[i].outcome == Outcome::buried) queue_.probe_.buried(code_, 1);
    }
    queue_.totals_.leased -= held_.size();
    std::erase_if(lease.reports, [this](const Held& held) { return ours(held); });
  }

  const std::vector<Settlement> settlements_;
  const std::string code_, message_;
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
    queue_.totals_.leased -= held_.size();
    std::erase_if(lease.reports, [this](const Held& held) { return ours(held); });
    agent_->not_before = std::max(agent_->not_before, now + delay_);
    queue_.put_back(*agent_, std::move(back));
    queue_.probe_.postponed.add(static_cast<double>(held_.size()));
  }

  const std::chrono::milliseconds delay_;
  const std::string code_, message_;
};

class EmbeddedReportQueue::PinChange final : public LeaseChange {
 public:
  PinChange(EmbeddedReportQueue& queue, LeaseId lease, std::vector<std::uint64_t> ids,
            std::string note, std::vector<CounterValue> counters)
      : LeaseChange(queue, lease, std::move(ids)),
        note_(std::move(note)),
        counters_(std::move(counters)) {}

 private:
  Result<void> write(Database& database) override {
    group_ = ids_.empty() ? 0 : *std::min_element(ids_.begin(), ids_.end());
    Statement& pin = queue_.pin_;
    pin.bind_unsigned(2, group_);
    pin.bind_text(3, note_);
    for (const Held& held : held_) {
      pin.bind_unsigned(1, held.entry.id);
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
      held.entry.pinned = group_;
      held.entry.progress = 1;
    }
  }

  const std::string note_;
  const std::vector<CounterValue> counters_;
  std::uint64_t group_ = 0;
};

/// Takes out reports that nobody will deliver: expired ones, and those whose bytes are no longer
/// theirs.
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
        queue_.refresh_due(agent_, queue_.clock_.steady());
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

// ---- Starting
// ---------------------------------------------------------------------------------------------------------------

EmbeddedReportQueue::EmbeddedReportQueue(QueueSettings settings, EmbeddedDeviceRegistry& registry,
                                         Readers& readers, const Clock& clock, StoreProbe& probe)
    : settings_(std::move(settings)),
      registry_(registry),
      readers_(readers),
      clock_(clock),
      probe_(probe) {}

EmbeddedReportQueue::~EmbeddedReportQueue() = default;

Result<void> EmbeddedReportQueue::load(Database& database) {
  const std::pair<Statement*, const char*> wanted[] = {
      {&insert_report_, "INSERT INTO reports VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"},
      {&delete_report_, "DELETE FROM reports WHERE id = ?1"},
      {&insert_history_,
       "INSERT INTO history VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, "
       "?15)"},
      {&trim_history_, "DELETE FROM history WHERE place >= ?1 AND place < ?2"},
      {&insert_agent_, "INSERT INTO agents VALUES(?1, ?2, x'', 0)"},
      {&update_agent_, "UPDATE agents SET sequences = ?2, settled = ?3 WHERE no = ?1"},
      {&delete_progress_, "DELETE FROM progress WHERE id = ?1"},
      {&postpone_,
       "INSERT INTO progress(id, attempts, code, message) VALUES(?1, 1, ?2, ?3) "
       "ON CONFLICT(id) DO UPDATE SET attempts = attempts + 1, code = ?2, message = ?3"},
      {&pin_,
       "INSERT INTO progress(id, pinned, note) VALUES(?1, ?2, ?3) ON CONFLICT(id) DO UPDATE SET "
       "pinned = ?2, note = ?3"},
      {&bury_facts_,
       "INSERT INTO buried SELECT id, agent, incarnation, sequence, lane, kind, length(body), "
       "collected_at, kept_at, ?2, ?3, ?4, "
       "?5, checksum FROM reports WHERE id = ?1"},
      {&bury_body_, "INSERT INTO buried_bodies SELECT id, body FROM reports WHERE id = ?1"},
      {&move_damaged_,
       "INSERT INTO damaged SELECT id, agent, incarnation, sequence, lane, kind, collected_at, "
       "kept_at, ?2, checksum, body "
       "FROM reports WHERE id = ?1"},
      {&read_facts_,
       "SELECT incarnation, sequence, lane, kind, length(body), collected_at, kept_at, "
       "coalesce((SELECT attempts FROM progress "
       "WHERE progress.id = reports.id), 0) FROM reports WHERE id = ?1"},
      {&raise_ceiling_,
       "INSERT INTO meta VALUES('id_ceiling', ?1) ON CONFLICT(key) DO UPDATE SET value = ?1"},
      {&oldest_buried_, "SELECT id, bytes FROM buried ORDER BY id LIMIT ?1"},
      {&delete_buried_, "DELETE FROM buried WHERE id = ?1"},
      {&delete_buried_body_, "DELETE FROM buried_bodies WHERE id = ?1"},
  };
  for (const auto& [statement, sql] : wanted) {
    auto prepared = database.prepare(sql);
    if (!prepared) return pass(prepared);
    *statement = std::move(*prepared);
  }

  std::lock_guard lock(mutex_);
  std::unordered_map<std::uint64_t, Agent*> by_no;
  auto agents = database.prepare("SELECT no, id, sequences, settled FROM agents ORDER BY no");
  if (!agents) return pass(agents);
  Step step;
  while ((step = agents->step()) == Step::row) {
    next_agent_no_ = static_cast<std::uint32_t>(agents->number(0));
    Agent& agent = agent_of(AgentId(agents->text(1)));
    agent.on_disk = true;
    agent.sequences.unpack(agents->bytes(2));
    agent.settled = agents->number_unsigned(3);
    by_no.emplace(agent.no, &agent);
  }
  if (step == Step::failed) return tl::unexpected(database.error("reading the agents"));

  auto reports = database.prepare(
      "SELECT id, agent, incarnation, sequence, lane, kept_at, ttl_s, length(body) FROM reports "
      "ORDER BY id");
  if (!reports) return pass(reports);
  std::uint64_t last_id = 0;
  while ((step = reports->step()) == Step::row) {
    const std::uint64_t id = last_id = reports->number_unsigned(0);
    const auto owner = by_no.find(reports->number_unsigned(1));
    const std::uint64_t bytes = reports->number_unsigned(7);
    const std::int64_t kept_at = reports->number(5);
    if (owner == by_no.end() || bytes > kBodyBytesMax) {
      ++totals_.damaged;
      probe_.damaged_records.add();
      log.error("record belongs to nobody", kv("item", id));
      continue;
    }
    Agent& agent = *owner->second;
    agent.sequences.raise(reports->number_unsigned(2), reports->number_unsigned(3), id);
    Waiting entry;
    entry.id = id;
    entry.kept_at = kept_at;
    entry.ttl_s = static_cast<std::uint32_t>(reports->number(6));
    entry.bytes = static_cast<std::uint32_t>(bytes) & ((1u << 28) - 1);
    entry.lane = static_cast<std::uint32_t>(reports->number(4)) & 7u;
    append(agent, entry);
    ++totals_.waiting;
    totals_.waiting_bytes += bytes;
  }
  if (step == Step::failed) return tl::unexpected(database.error("reading the waiting reports"));

  // Few compared with the reports; each finds its own by its agent's order.
  auto progress = database.prepare(
      "SELECT progress.id, pinned, agent FROM progress JOIN reports ON reports.id = progress.id "
      "ORDER BY progress.id");
  if (!progress) return pass(progress);
  while ((step = progress->step()) == Step::row) {
    const auto owner = by_no.find(progress->number_unsigned(2));
    if (owner == by_no.end()) continue;
    auto& waiting = owner->second->waiting;
    const std::uint64_t id = progress->number_unsigned(0);
    const auto entry = std::lower_bound(
        waiting.begin(), waiting.end(), id,
        [](const Waiting& candidate, std::uint64_t wanted_id) { return candidate.id < wanted_id; });
    if (entry == waiting.end() || entry->id != id) continue;
    entry->progress = 1;
    entry->pinned = progress->number_unsigned(1);
    if (entry->pinned != 0) ++owner->second->pinned_waiting;
  }
  if (step == Step::failed) return tl::unexpected(database.error("reading the pinned reports"));

  const SteadyTime now = clock_.steady();
  // Who waits longest comes first, as before the restart.
  std::vector<Agent*> waiting;
  for (Agent& agent : agents_) {
    if (agent.count() > 0) waiting.push_back(&agent);
  }
  std::sort(waiting.begin(), waiting.end(), [](const Agent* a, const Agent* b) {
    return a->waiting[a->head].id < b->waiting[b->head].id;
  });
  for (Agent* agent : waiting) refresh_due(*agent, now);

  const std::pair<const char*, std::uint64_t*> numbers[] = {
      {"SELECT count(*) FROM buried", &totals_.buried_now},
      {"SELECT coalesce(sum(bytes), 0) FROM buried", &totals_.buried_bytes},
  };
  for (const auto& [sql, target] : numbers) {
    auto number = database.number(sql);
    if (!number) return pass(number);
    *target = static_cast<std::uint64_t>(*number);
  }
  totals_.buried_bytes += totals_.buried_now * kRowBytes;
  auto damaged = database.number("SELECT count(*) FROM damaged");
  if (!damaged) return pass(damaged);
  totals_.damaged += static_cast<std::uint64_t>(*damaged);
  auto ceiling = database.number("SELECT value FROM meta WHERE key = 'id_ceiling'", 1);
  if (!ceiling) return pass(ceiling);
  next_id_ = std::max(static_cast<std::uint64_t>(*ceiling), last_id + 1);
  id_ceiling_ = id_ceiling_on_disk_ = next_id_;
  return {};
}

void EmbeddedReportQueue::refuse_new() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    ++wakes_;
  }
  due_changed_.notify_all();
}

// ---- Keeping
// ----------------------------------------------------------------------------------------------------------------

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
    refused = Error{Remedy::halt, "queue.stopping", "The store is shutting down.", {}};
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
      if (sequence == 0 || agent->broken_in == number || sequence - 1 - last > report.skipped) {
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
      Waiting entry;
      entry.id = *id;
      entry.kept_at = kept_at;
      entry.ttl_s = static_cast<std::uint32_t>(std::clamp<std::int64_t>(
          report.time_to_live.count(), 0, std::numeric_limits<std::uint32_t>::max()));
      entry.bytes = static_cast<std::uint32_t>(report.body.size()) & ((1u << 28) - 1);
      entry.lane = static_cast<std::uint32_t>(report.lane) & 7u;
      added_.push_back({agent, entry});
      added_bytes_ += report.body.size() + kRowBytes;
    }
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (results[i].kept != Kept::stored) continue;
    const NewReport& report = batch[i];
    Agent& agent = *change.agents_[i];
    if (Staged& mine = staged_[agent.staged]; !mine.has_row) {
      insert_agent_.bind(1, agent.no);
      insert_agent_.bind_text(2, agent.id.raw());
      if (!insert_agent_.run()) return tl::unexpected(database.error("adding an agent"));
      mine.has_row = true;
    }
    const auto lane = static_cast<std::uint32_t>(report.lane);
    insert_report_.bind_unsigned(1, change.ids_[i]);
    insert_report_.bind(2, agent.no);
    insert_report_.bind_unsigned(3, report.name.incarnation);
    insert_report_.bind_unsigned(4, report.name.sequence);
    insert_report_.bind(5, lane);
    insert_report_.bind(6, report.kind);
    insert_report_.bind(7, to_millis(report.collected_at));
    insert_report_.bind(8, kept_at);
    insert_report_.bind(9, std::clamp<std::int64_t>(report.time_to_live.count(), 0,
                                                    std::numeric_limits<std::uint32_t>::max()));
    insert_report_.bind(10, checksum(agent.id, report.name.incarnation, report.name.sequence, lane,
                                     report.kind, report.body));
    insert_report_.bind_blob(11, report.body);
    if (!insert_report_.run()) return tl::unexpected(database.error("keeping a report"));
    written_since_look_ += report.body.size();
  }
  return {};
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
  if (staged_.empty()) return;
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
      if (!added.agent->queued) refresh_due(*added.agent, now);
      totals_.waiting_bytes += added.entry.bytes;
    }
    totals_.waiting += added_.size();
    totals_.kept += added_.size();
    wake = waiters_ > 0 && !added_.empty();
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

// ---- The order in memory
// ------------------------------------------------------------------------------------------------------

EmbeddedReportQueue::Agent* EmbeddedReportQueue::find_agent(const AgentId& id) const {
  const auto found = agents_by_id_.find(id.raw());
  return found == agents_by_id_.end() ? nullptr : found->second;
}

EmbeddedReportQueue::Agent& EmbeddedReportQueue::agent_of(const AgentId& id) {
  if (Agent* known = find_agent(id)) return *known;
  Agent& agent = agents_.emplace_back();
  agent.id = id;
  agent.no = next_agent_no_++;
  agents_by_id_.emplace(agent.id.raw(), &agent);
  return agent;
}

void EmbeddedReportQueue::append(Agent& agent, const Waiting& entry) {
  auto& waiting = agent.waiting;
  if (agent.head > 0 && waiting.size() == waiting.capacity() && agent.head >= waiting.size() / 2) {
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(agent.head));
    agent.head = 0;
  } else if (waiting.size() == waiting.capacity() && waiting.size() >= 8) {
    waiting.reserve(waiting.size() +
                    waiting.size() /
                        2);  // doubling would leave half of a long queue's memory empty
  }
  waiting.push_back(entry);
}

void EmbeddedReportQueue::refresh_due(Agent& agent, SteadyTime now) {
  const bool should = agent.count() > 0 && !agent.leased && !agent.held;
  if (should == agent.queued) return;
  if (should) {
    agent.due = std::max(agent.not_before, now);
    agent.due_order = ++due_order_;
    due_.insert({agent.due, agent.due_order, &agent});
  } else {
    due_.erase({agent.due, agent.due_order, &agent});
    if (agent.count() == 0 && !agent.leased) {  // an idle device costs no queue
      agent.waiting = {};
      agent.head = 0;
    }
  }
  agent.queued = should;
}

bool EmbeddedReportQueue::is_expired(const Waiting& entry, WallTime now) const {
  return entry.ttl_s != 0 && from_millis(entry.kept_at) + std::chrono::seconds(entry.ttl_s) <= now;
}

std::vector<EmbeddedReportQueue::Waiting> EmbeddedReportQueue::take(Agent& agent,
                                                                    std::uint32_t reports_max,
                                                                    std::uint64_t bytes_max,
                                                                    WallTime now,
                                                                    std::vector<Waiting>& expired) {
  auto& waiting = agent.waiting;
  std::vector<Waiting> taken;
  std::uint64_t bytes = 0;
  while (agent.head < waiting.size()) {
    const Waiting& first = waiting[agent.head];
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
      ++agent.head;
      continue;
    }
    if (!taken.empty()) break;  // a pinned group is a batch of its own
    // Its members may lie among others that were leased with them but not pinned.
    const std::uint64_t group = first.pinned;
    std::vector<Waiting> others;
    std::size_t end = agent.head;
    bool all_expired = true;
    for (std::size_t pinned = 0; end < waiting.size() && pinned < agent.pinned_waiting; ++end) {
      const Waiting& entry = waiting[end];
      if (entry.pinned != 0) ++pinned;
      if (entry.pinned != group) {
        others.push_back(entry);
        continue;
      }
      all_expired = all_expired && is_expired(entry, now);
      taken.push_back(entry);
    }
    agent.pinned_waiting -= taken.size();
    std::copy(others.begin(), others.end(),
              waiting.begin() + static_cast<std::ptrdiff_t>(end - others.size()));
    agent.head = end - others.size();
    if (!all_expired) break;
    expired.insert(expired.end(), taken.begin(), taken.end());
    taken.clear();
  }
  return taken;
}

void EmbeddedReportQueue::put_back(Agent& agent, std::vector<Waiting> entries) {
  if (entries.empty()) return;
  const auto by_id = [](const Waiting& a, const Waiting& b) { return a.id < b.id; };
  std::sort(entries.begin(), entries.end(), by_id);
  for (const Waiting& entry : entries) {
    if (entry.pinned != 0) ++agent.pinned_waiting;
  }
  auto& waiting = agent.waiting;
  if (agent.head >= entries.size()) {
    agent.head -= entries.size();
    std::copy(entries.begin(), entries.end(),
              waiting.begin() + static_cast<std::ptrdiff_t>(agent.head));
  } else {
    waiting.insert(waiting.begin() + static_cast<std::ptrdiff_t>(agent.head), entries.begin(),
                   entries.end());
  }
  const auto begin = waiting.begin() + static_cast<std::ptrdiff_t>(agent.head);
  const auto middle = begin + static_cast<std::ptrdiff_t>(entries.size());
  if (middle != waiting.end() && by_id(*middle, *(middle - 1)))
    std::inplace_merge(begin, middle, waiting.end(), by_id);
}

// ---- Leasing
// ------------------------------------------------------------------------------------------------------------------

Result<std::optional<Batch>> EmbeddedReportQueue::lease(std::uint32_t reports_max,
                                                        std::uint64_t bytes_max,
                                                        std::chrono::milliseconds patience) {
  // Patience is the caller's real time; what is due and what has expired is the clock's.
  const auto give_up = std::chrono::steady_clock::now() + patience;
  std::unique_lock lock(mutex_);
  const std::uint64_t wakes = wakes_;
  for (;;) {
    if (stopping_) return fail(Remedy::halt, "queue.stopping", "The store is shutting down.");
    const SteadyTime now = clock_.steady();
    return_expired(now);
    if (due_.empty() || due_.begin()->due > now) {
      const auto real_now = std::chrono::steady_clock::now();
      if (wakes_ != wakes || real_now >= give_up) return std::optional<Batch>();
      auto until = give_up;
      if (const auto event = next_event()) until = std::min(until, real_now + (*event - now));
      ++waiters_;
      due_changed_.wait_until(lock, until);
      --waiters_;
      continue;
    }

    Agent& agent = *due_.begin()->agent;
    const WallTime wall = clock_.wall();
    std::vector<Waiting> expired;
    std::vector<Waiting> entries = take(agent, std::max(reports_max, 1u), bytes_max, wall, expired);
    const std::uint64_t id = next_lease_++;
    if (!entries.empty()) {
      Lease& lease = leases_[id];
      lease.id = LeaseId(id);
      lease.agent = &agent;
      lease.until = now + settings_.lease_time;
      for (const Waiting& entry : entries) lease.reports.push_back({entry, 0, 0, 0, 0, 0, false});
      lease_ends_.insert({lease.until, id});
      agent.leased = true;
      totals_.leased += entries.size();
    }
    refresh_due(agent, now);
    lock.unlock();

    if (!expired.empty())
      writer_->submit(std::make_unique<RemoveChange>(*this, agent, std::move(expired), false));
    Batch batch;
    std::vector<Waiting> damaged;
    Result<void> read;
    if (!entries.empty()) {
      batch.lease = LeaseId(id);
      batch.agent = agent.id;
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
    if (!damaged.empty())
      writer_->submit(std::make_unique<RemoveChange>(*this, agent, std::move(damaged), true));
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
      report.id = ItemId(entry.id);
      report.name = {agent, row.number_unsigned(0), row.number_unsigned(1)};
      report.lane = static_cast<Lane>(row.number(2));
      report.kind = static_cast<std::uint32_t>(row.number(3));
      report.collected_at = from_millis(row.number(4));
      report.kept_at = from_millis(row.number(5));
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

void EmbeddedReportQueue::wake_waiters() {
  {
    std::lock_guard lock(mutex_);
    ++wakes_;
  }
  due_changed_.notify_all();
}

std::optional<SteadyTime> EmbeddedReportQueue::next_event() const {
  std::optional<SteadyTime> next;
  if (!due_.empty()) next = due_.begin()->due;
  if (!lease_ends_.empty() && (!next || lease_ends_.begin()->first < *next))
    next = lease_ends_.begin()->first;
  return next;
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
    std::vector<Waiting> back;
    for (const Held& held : lease.reports) back.push_back(held.entry);
    totals_.leased -= back.size();
    put_back(*lease.agent, std::move(back));
    lease.reports.clear();
    end_lease_if_empty(id, now);
  }
}

void EmbeddedReportQueue::end_change(std::uint64_t id, SteadyTime now) {
  Lease& lease = leases_.at(id);
  --lease.changes;
  if (lease.overdue && lease.changes == 0) {
    std::vector<Waiting> back;
    for (const Held& held : lease.reports) back.push_back(held.entry);
    totals_.leased -= back.size();
    put_back(*lease.agent, std::move(back));
    lease.reports.clear();
  }
  end_lease_if_empty(id, now);
}

void EmbeddedReportQueue::end_lease_if_empty(std::uint64_t id, SteadyTime now) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || !found->second.reports.empty() || found->second.changes > 0) return;
  Agent& agent = *found->second.agent;
  lease_ends_.erase({found->second.until, id});
  leases_.erase(found);
  agent.leased = false;
  refresh_due(agent, now);
  if (agent.count() == 0) {  // refresh_due() saw no change of its own
    agent.waiting = {};
    agent.head = 0;
  }
}

void EmbeddedReportQueue::hand_back(LeaseId id) {
  {
    std::lock_guard lock(mutex_);
    const SteadyTime now = clock_.steady();
    Lease* lease = live_lease(id, now);
    if (!lease) return;
    std::vector<Waiting> back;
    for (const Held& held : lease->reports) {
      if (!held.moving) back.push_back(held.entry);
    }
    totals_.leased -= back.size();
    std::erase_if(lease->reports, [](const Held& held) { return !held.moving; });
    put_back(*lease->agent, std::move(back));
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
  refresh_due(agent, clock_.steady());
}

void EmbeddedReportQueue::unhold(const AgentId& id) {
  {
    std::lock_guard lock(mutex_);
    Agent* agent = find_agent(id);
    if (!agent || !agent->held) return;
    agent->held = false;
    --totals_.held_devices;
    refresh_due(*agent, clock_.steady());
  }
  due_changed_.notify_all();
}

// ---- Settling
// -----------------------------------------------------------------------------------------------------------------

namespace {

std::vector<std::uint64_t> raw_ids(const std::vector<ItemId>& items) {
  std::vector<std::uint64_t> ids;
  ids.reserve(items.size());
  for (const ItemId& item : items) ids.push_back(item.raw());
  return ids;
}

}  // namespace

Result<void> EmbeddedReportQueue::submit_and_wait(std::unique_ptr<LeaseChange> change) {
  const auto reply = change->reply();
  writer_->submit(std::move(change));
  return reply->wait();
}

Result<void> EmbeddedReportQueue::pin(LeaseId lease, const std::vector<ItemId>& reports,
                                      std::string note, const std::vector<CounterValue>& counters) {
  return submit_and_wait(
      std::make_unique<PinChange>(*this, lease, raw_ids(reports), std::move(note), counters));
}

Result<void> EmbeddedReportQueue::settle(LeaseId lease,
                                         const std::vector<Settlement>& settlements) {
  std::vector<std::uint64_t> ids;
  ids.reserve(settlements.size());
  for (const Settlement& settlement : settlements) ids.push_back(settlement.id.raw());
  return submit_and_wait(std::make_unique<SettleChange>(*this, lease, std::move(ids), settlements,
                                                        std::string(), std::string()));
}

Result<void> EmbeddedReportQueue::bury(LeaseId lease, const std::vector<ItemId>& reports,
                                       const Error& reason) {
  std::vector<Settlement> settlements;
  for (const ItemId& id : reports) settlements.push_back({id, Outcome::buried, {}});
  return submit_and_wait(std::make_unique<SettleChange>(
      *this, lease, raw_ids(reports), std::move(settlements), reason.code, reason.message));
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

// ---- Looking
// ------------------------------------------------------------------------------------------------------------------

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
    for (std::size_t i = agent->waiting.size(); i > agent->head && open.size() < count_max; --i) {
      open.emplace_back(agent->waiting[i - 1], false);
    }
    for (const auto& [lease_id, lease] : leases_) {
      if (lease.agent != agent) continue;
      for (const Held& held : lease.reports) open.emplace_back(held.entry, true);
    }
  }
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(queue_error(reader.error()));
  Database& database = (*reader)->database;
  auto history = database.prepare(
      "SELECT id, incarnation, sequence, lane, kind, bytes, collected_at, kept_at, settled_at, "
      "outcome, attempts, code, message, "
      "tracking FROM history WHERE place >= ?1 AND place < ?2 ORDER BY place DESC LIMIT ?3");
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
    trace.id = ItemId(entry.id);
    trace.name = {id, row.number_unsigned(0), row.number_unsigned(1)};
    trace.lane = static_cast<Lane>(row.number(2));
    trace.kind = static_cast<std::uint32_t>(row.number(3));
    trace.bytes = entry.bytes;
    trace.collected_at = from_millis(row.number(4));
    trace.kept_at = from_millis(row.number(5));
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
    trace.id = ItemId(history->number_unsigned(0));
    trace.name = {id, history->number_unsigned(1), history->number_unsigned(2)};
    trace.lane = static_cast<Lane>(history->number(3));
    trace.kind = static_cast<std::uint32_t>(history->number(4));
    trace.bytes = history->number_unsigned(5);
    trace.collected_at = from_millis(history->number(6));
    trace.kept_at = from_millis(history->number(7));
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
  stats.buried = totals_.buried_now;
  stats.damaged = totals_.damaged;
  std::int64_t oldest = std::numeric_limits<std::int64_t>::max();
  for (const Agent& agent : agents_) {
    if (agent.count() > 0) oldest = std::min(oldest, agent.waiting[agent.head].kept_at);
  }
  for (const auto& [id, lease] : leases_) {
    for (const Held& held : lease.reports) oldest = std::min(oldest, held.entry.kept_at);
  }
  if (oldest != std::numeric_limits<std::int64_t>::max())
    stats.oldest_waiting = from_millis(oldest);
  return stats;
}

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
      looked_at += agent.count();
      std::vector<Waiting> expired;
      const auto begin = agent.waiting.begin() + static_cast<std::ptrdiff_t>(agent.head);
      // Pinned reports may be on their way to the site as one message; only a lease judges a group
      // as a whole.
      const auto end = std::remove_if(begin, agent.waiting.end(), [&](const Waiting& entry) {
        const bool gone = entry.pinned == 0 && is_expired(entry, now);
        if (gone) expired.push_back(entry);
        return gone;
      });
      if (expired.empty()) continue;
      agent.waiting.erase(end, agent.waiting.end());
      refresh_due(agent, clock_.steady());
      found.emplace_back(&agent, std::move(expired));
    }
  }
  for (auto& [agent, entries] : found) {
    writer_->submit(std::make_unique<RemoveChange>(*this, *agent, std::move(entries), false));
  }
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
