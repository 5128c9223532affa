#include "store/embedded/writer.h"

#include "core/check.h"
#include "core/log.h"

#include <utility>

namespace greengate::store {

namespace {
const Log log("store");
constexpr std::chrono::seconds kComplainEvery{
    10};  // a full disk fails every group; one line in a while is enough
constexpr std::chrono::milliseconds kStopPatience{500};

Error stopping_error() { return {Remedy::halt, "store.stopping", "The store is shutting down.", {}}; }
}  // namespace

Writer::Writer(Database database, std::uint32_t page_bytes, WriterOptions options,
               std::vector<Ledger*> ledgers, const Clock& clock, StoreProbe& probe)
    : database_(std::move(database)),
      page_bytes_(page_bytes),
      options_(options),
      ledgers_(std::move(ledgers)),
      clock_(clock),
      probe_(probe) {}

void Writer::start(std::function<void()> housekeeping) {
  housekeeping_ = std::move(housekeeping);
  thread_ = std::thread([this] { run(); });
}

Writer::~Writer() {
  stop();
}

void Writer::submit(std::unique_ptr<Change> change) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      waiting_bytes_ += change->bytes();
      waiting_.push_back(std::move(change));
    }
  }
  if (!change) {
    work_.notify_one();
    return;
  }
  const Error stopping = stopping_error();
  change->finish(&stopping);
}

std::size_t Writer::pending_bytes() const {
  std::lock_guard lock(mutex_);
  return waiting_bytes_;
}

bool Writer::wait_idle(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, patience, [this] { return waiting_.empty() && !busy_; });
}

void Writer::stop() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    work_.notify_all();
    if (thread_.joinable()) idle_.wait_for(lock, kStopPatience, [this] { return waiting_.empty() && !busy_; });
    overdue_ = true;
  }
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Writer::run() {
  // Prepared once: parsing three words would be a tenth of a small group's work.
  for (auto [statement, sql] :
       {std::pair{&begin_, "BEGIN IMMEDIATE"}, {&commit_, "COMMIT"}, {&rollback_, "ROLLBACK"}}) {
    auto prepared = database_.prepare(sql);
    GREENGATE_CHECK(prepared.has_value(), "SQLite knows its own words");
    *statement = std::move(*prepared);
  }
  std::vector<std::unique_ptr<Change>> group;
  auto next_housekeeping = std::chrono::steady_clock::now() + options_.housekeeping_every;
  for (;;) {
    bool idle = false;
    {
      std::unique_lock lock(mutex_);
      busy_ = false;
      if (waiting_.empty()) idle_.notify_all();
      work_.wait_until(lock, next_housekeeping, [this] { return !waiting_.empty() || stopping_; });
      if (waiting_.empty() && stopping_) return;
      if (overdue_) {
        const Error stopping = stopping_error();
        group.swap(waiting_);
        waiting_bytes_ = 0;
        lock.unlock();
        log.warn("changes not written before the stop", kv("changes", group.size()));
        for (auto& change : group) change->finish(&stopping);
        return;
      }
      std::size_t taken = 0;
      std::size_t bytes = 0;
      while (taken < waiting_.size() && taken < options_.group_changes_max &&
             (taken == 0 || bytes + waiting_[taken]->bytes() <= options_.group_bytes_max)) {
        bytes += waiting_[taken++]->bytes();
      }
      if (taken == waiting_.size()) {
        group.swap(waiting_);
      } else {
        const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(taken);
        group.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
        waiting_.erase(waiting_.begin(), end);
      }
      waiting_bytes_ -= bytes;
      busy_ = true;
      idle = group.empty();
    }
    if (!group.empty()) commit_group(group);
    group.clear();
    if (const auto now = std::chrono::steady_clock::now(); now >= next_housekeeping) {
      next_housekeeping = now + options_.housekeeping_every;
      housekeeping_();
      probe_.writer_bytes.set(static_cast<double>(pending_bytes()));
    }
    move_log(idle);
  }
}

void Writer::commit_group(std::vector<std::unique_ptr<Change>>& group) {
  auto done = try_transaction(group.data(), group.size());
  if (done) {
    for (auto& change : group) change->finish(nullptr);
    return;
  }
  if (const SteadyTime now = clock_.steady();
      !last_complaint_ || now - *last_complaint_ >= kComplainEvery) {
    last_complaint_ = now;
    log.error("group not written", kv("code", done.error().code), kv("changes", group.size()),
              kv("why", done.error().message));
  }
  // Alone, what can be written is: above all the settlements, which make room on a full disk.
  const bool try_alone = group.size() > 1 && !device_failed_;
  for (auto& change : group) {
    if (!try_alone) {
      change->finish(&done.error());
      continue;
    }
    auto alone = try_transaction(&change, 1);
    change->finish(alone ? nullptr : &alone.error());
  }
}

Result<void> Writer::try_transaction(std::unique_ptr<Change>* first, std::size_t count) {
  if (!begin_.run()) {
    probe_.commits_failed.add();
    return tl::unexpected(database_.error("beginning a transaction"));
  }
  std::size_t records = 0;
  std::size_t applied = 0;
  Result<void> outcome;
  for (; applied < count && outcome; ++applied) {
    outcome = first[applied]->apply(database_);
    records += first[applied]->records();
  }
  for (auto ledger = ledgers_.begin(); outcome && ledger != ledgers_.end(); ++ledger) {
    outcome = (*ledger)->before_commit(database_);
  }
  if (outcome) {
    const SteadyTime before = clock_.steady();
    if (commit_.run()) {
      probe_.sync_seconds.observe(std::chrono::duration<double>(clock_.steady() - before).count());
      probe_.commit_records.observe(static_cast<double>(records));
      probe_.commits_ok.add();
      for (Ledger* ledger : ledgers_) ledger->committed();
      return {};
    }
    outcome = tl::unexpected(database_.error("committing"));
  }
  probe_.commits_failed.add();
  device_failed_ = database_.device_failed();  // asked before the rollback forgets it
  roll_back(first, applied);
  return outcome;
}

void Writer::roll_back(std::unique_ptr<Change>* first, std::size_t applied) {
  // SQLite may have rolled back by itself; when it could not, the next BEGIN says so and nothing is
  // written either way.
  if (database_.in_transaction() && !rollback_.run()) {
    log.error("rollback failed", kv("why", database_.error("rolling back").message));
  }
  for (std::size_t i = applied; i > 0; --i) first[i - 1]->undo();
  for (Ledger* ledger : ledgers_) ledger->rolled_back();
}

void Writer::move_log(bool idle) {
  const std::size_t bytes = static_cast<std::size_t>(database_.wal_pages()) * page_bytes_;
  if (bytes == 0 || (bytes < options_.wal_bytes && !idle)) return;
  const SteadyTime before = clock_.steady();
  if (auto moved = database_.checkpoint(bytes >= options_.wal_bytes_max); !moved) {
    if (last_complaint_ && before - *last_complaint_ < kComplainEvery) return;
    last_complaint_ = before;
    log.warn("log not moved into the file", kv("code", moved.error().code),
             kv("why", moved.error().message));
    return;
  }
  probe_.checkpoint_seconds.observe(
      std::chrono::duration<double>(clock_.steady() - before).count());
  probe_.wal_bytes.set(
      static_cast<double>(static_cast<std::size_t>(database_.wal_pages()) * page_bytes_));
}

}  // namespace greengate::store
