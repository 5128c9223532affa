#pragma once

#include "core/clock.h"
#include "core/result.h"
#include "store/embedded/database.h"
#include "store/embedded/probe.h"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace greengate::store {

/// One caller's change to the store, made whole or not at all.
class Change {
 public:
  virtual ~Change() = default;
  /// Inside the group's transaction. A refusal ("this lease is lost") is remembered for finish()
  /// and is no failure, provided that nothing was written; a failure undoes the whole group. May
  /// come again after undo().
  virtual Result<void> apply(Database& database) = 0;
  /// The transaction was rolled back: memory as it was before apply().
  virtual void undo() {}
  /// The end: on disk and synced (`failure` is null), or not at all. Short; must not wait for the
  /// store.
  virtual void finish(const Error* failure) = 0;
  /// Roughly what it keeps in memory while it waits.
  virtual std::size_t bytes() const { return 0; }
  /// How many records it writes, for the figures.
  virtual std::size_t records() const { return 1; }
};

/// Memory that several changes of a group build upon, and that must follow the disk exactly.
class Ledger {
 public:
  virtual ~Ledger() = default;
  /// The last chance to write: rows that the group owes once, not once a change.
  virtual Result<void> before_commit(Database& database) = 0;
  virtual void committed() = 0;
  virtual void rolled_back() = 0;
};

struct WriterOptions {
  std::size_t group_changes_max = 1'024;
  std::size_t group_bytes_max = std::size_t{8} << 20;
  /// Above this the log is moved into the file as far as readers allow …
  std::size_t wal_bytes = std::size_t{64} << 20;
  /// … and above this the writer waits for the readers, so that the log cannot grow for ever.
  std::size_t wal_bytes_max = std::size_t{512} << 20;
  std::chrono::milliseconds housekeeping_every{1'000};
};

/// The one thread that writes. It takes all changes that wait, up to a bound, makes one transaction
/// of them, syncs, and only then tells their callers: under load groups grow by themselves.
///
/// Promise   finish() is called exactly once for every change, success only after the sync. A group
/// that fails is tried again change by
///           change, so that one bad change or a large one on a nearly full disk does not spoil the
///           others; when the device itself fails, all get the error.
/// Limits    WriterOptions.
/// Threads   submit(), pending_bytes(), wait_idle(): any. Everything of Change and Ledger runs on
/// the writer's thread.
class Writer {
 public:
  /// `ledgers`, `clock` and `probe` outlive the writer.
  Writer(Database database, std::uint32_t page_bytes, WriterOptions options,
         std::vector<Ledger*> ledgers, const Clock& clock, StoreProbe& probe);
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// Once. `housekeeping` runs on the writer's thread between groups, every so often.
  void start(std::function<void()> housekeeping);
  /// After stop(), finish() runs here and at once, with "store.stopping".
  void submit(std::unique_ptr<Change> change);
  /// What waits, in Change::bytes().
  std::size_t pending_bytes() const;
  /// True when everything submitted so far is finished; false when `patience` is over.
  bool wait_idle(std::chrono::milliseconds patience);
  /// Writes what waits as far as half a second allows, then ends the thread after the group in hand; the rest fails with "store.stopping".
  /// May come twice.
  void stop();

 private:
  void run();
  void commit_group(std::vector<std::unique_ptr<Change>>& group);
  /// One transaction; nothing, or why it was rolled back.
  Result<void> try_transaction(std::unique_ptr<Change>* first, std::size_t count);
  void roll_back(std::unique_ptr<Change>* first, std::size_t applied);
  void move_log(bool idle);

  Database database_;
  Statement begin_, commit_, rollback_;
  const std::size_t page_bytes_;
  const WriterOptions options_;
  const std::vector<Ledger*> ledgers_;
  std::function<void()> housekeeping_;
  const Clock& clock_;
  StoreProbe& probe_;
  bool device_failed_ = false;  ///< Why the last failed transaction failed.
  std::optional<SteadyTime> last_complaint_;

  mutable std::mutex mutex_;  ///< Guards the members below.
  std::condition_variable work_, idle_;
  std::vector<std::unique_ptr<Change>> waiting_;
  std::size_t waiting_bytes_ = 0;
  bool overdue_ = false;  ///< What waits is not written any more.
  bool busy_ = false;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace greengate::store
