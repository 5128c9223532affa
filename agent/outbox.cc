#include "agent/outbox.h"

#include "core/check.h"
#include "core/random.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace greengate::agent {
namespace {

constexpr int busy_patience_ms = 5'000;
constexpr std::int64_t row_overhead_bytes =
    128;  // counted with each body, so that many tiny reports are bounded too
constexpr std::size_t text_characters_max = 500;  // of a code or message that came from outside

// `bytes` stands before `body`, so that sums and searches never read the bodies' pages.
constexpr const char* schema = R"(
  CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS report (
    sequence INTEGER PRIMARY KEY, lane INTEGER NOT NULL, kind INTEGER NOT NULL, collected_at_ms INTEGER NOT NULL,
    ttl_s INTEGER NOT NULL, bytes INTEGER NOT NULL, body BLOB NOT NULL);
  CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, kind INTEGER NOT NULL, bytes INTEGER NOT NULL,
    collected_at_ms INTEGER NOT NULL, sent_at_ms INTEGER NOT NULL, stored_at_ms INTEGER NOT NULL,
    settled_at_ms INTEGER NOT NULL, status TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL);
)";

const char* name_of(Fact fact) {
  switch (fact) {
    case Fact::agent_id:
      return "agent_id";
    case Fact::fqdn:
      return "fqdn";
    case Fact::installed_at_ms:
      return "installed_at_ms";
    case Fact::last_discovery_ms:
      return "last_discovery_ms";
    case Fact::last_inventory_ms:
      return "last_inventory_ms";
    case Fact::last_software_ms:
      return "last_software_ms";
    case Fact::last_files_ms:
      return "last_files_ms";
    case Fact::started_version:
      return "started_version";
    case Fact::link_state:
      return "link_state";
    case Fact::link_since_ms:
      return "link_since_ms";
    case Fact::link_error:
      return "link_error";
    case Fact::dropped_total:
      return "dropped_total";
  }
  return "";
}

std::int64_t signed_of(std::uint64_t sequence) {
  return static_cast<std::int64_t>(std::min<std::uint64_t>(sequence, INT64_MAX));
}

}  // namespace

/// One prepared statement, used once: the outbox works seldom, and a kept statement is kept memory.
class Outbox::Statement {
 public:
  Statement(sqlite3* db, const char* sql) { sqlite3_prepare_v2(db, sql, -1, &handle_, nullptr); }
  ~Statement() { sqlite3_finalize(handle_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::int64_t value) {
    sqlite3_bind_int64(handle_, ++bound_, value);
    return *this;
  }
  Statement& bind(const std::string& text) {
    sqlite3_bind_text(handle_, ++bound_, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
    return *this;
  }
  /// `bytes` must outlive the statement.
  Statement& bind_blob(const std::string& bytes) {
    sqlite3_bind_blob64(handle_, ++bound_, bytes.data(), bytes.size(), SQLITE_STATIC);
    return *this;
  }
  /// A row; false at the end or on failure, which failed() then tells.
  bool step() {
    result_ = handle_ ? sqlite3_step(handle_) : SQLITE_ERROR;
    return result_ == SQLITE_ROW;
  }
  bool failed() const { return result_ != SQLITE_ROW && result_ != SQLITE_DONE; }
  std::int64_t number(int column) { return sqlite3_column_int64(handle_, column); }
  std::string bytes(int column) {
    const void* data = sqlite3_column_blob(handle_, column);
    const int size = sqlite3_column_bytes(handle_, column);
    return data ? std::string(static_cast<const char*>(data), static_cast<std::size_t>(size))
                : std::string();
  }

 private:
  sqlite3_stmt* handle_ = nullptr;
  int bound_ = 0;
  int result_ = SQLITE_OK;
};

/// Undone unless commit() was reached.
class Outbox::Transaction {
 public:
  explicit Transaction(Outbox& outbox)
      : outbox_(outbox), begun_(outbox.execute("BEGIN IMMEDIATE")) {}
  ~Transaction() {
    // A rollback after a failed write may find nothing to undo; there is nobody to tell.
    if (begun_ && !done_) sqlite3_exec(outbox_.db_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Result<void> begun() { return begun_; }
  Result<void> commit() {
    auto committed = outbox_.execute("COMMIT");
    done_ = committed.has_value();
    return committed;
  }

 private:
  Outbox& outbox_;
  Result<void> begun_;
  bool done_ = false;
};

Outbox::Outbox(OutboxConfig config, const Clock& clock)
    : config_(std::move(config)), clock_(clock) {}

Outbox::~Outbox() {
  sqlite3_close_v2(db_);
}

Result<std::unique_ptr<Outbox>> Outbox::open(OutboxConfig config, const Clock& clock) {
  std::unique_ptr<Outbox> outbox(new Outbox(std::move(config), clock));
  auto opened = outbox->open_file(false);
  if (!opened) return pass(opened);
  return outbox;
}

Result<std::unique_ptr<Outbox>> Outbox::open_to_read(OutboxConfig config, const Clock& clock) {
  std::error_code unreadable;
  if (!std::filesystem::exists(config.path, unreadable)) {
    return fail(Remedy::reject, "outbox.absent",
                "There is no outbox at " + config.path + "; the agent has not run yet.");
  }
  std::unique_ptr<Outbox> outbox(new Outbox(std::move(config), clock));
  auto opened = outbox->open_file(true);
  if (!opened) return pass(opened);
  return outbox;
}

Result<void> Outbox::open_file(bool to_read) {
  const int flags = to_read ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  // Private from the first moment: SQLite makes its files with the process's mask.
  const mode_t before = umask(077);
  auto opened = [&]() -> Result<void> {
    if (sqlite3_open_v2(config_.path.c_str(), &db_, flags | SQLITE_OPEN_NOMUTEX, nullptr) !=
        SQLITE_OK) {
      return disk_error("Opening");
    }
    sqlite3_extended_result_codes(db_, 1);
    sqlite3_busy_timeout(db_, busy_patience_ms);
    if (to_read) {
      incarnation_ = std::strtoull(meta("incarnation").c_str(), nullptr, 10);
      if (incarnation_ == 0) return disk_error("Reading");
      return {};
    }
    return prepare_file();
  }();
  const int primary = db_ ? sqlite3_errcode(db_) & 0xff : SQLITE_OK;
  damaged_ = damaged_ || primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB;
  if (!opened && !to_read && set_aside_.empty() && damaged_) {
    sqlite3_close_v2(db_);
    db_ = nullptr;
    set_aside_ = config_.path + ".damaged-" + std::to_string(to_millis(clock_.wall()));
    std::error_code failed;
    std::filesystem::rename(config_.path, set_aside_, failed);
    std::filesystem::remove(config_.path + "-journal", failed);
    opened = open_file(false);
  }
  umask(before);
  return opened;
}

Result<void> Outbox::prepare_file() {
  // A rollback journal rather than a write-ahead log: no shared memory, one file at rest, and
  // writes are seldom. The cache is small because memory is what an agent has least of.
  for (const char* sql :
       {"PRAGMA auto_vacuum=FULL", "PRAGMA journal_mode=TRUNCATE", "PRAGMA synchronous=FULL",
        "PRAGMA cache_size=-128", "PRAGMA secure_delete=OFF"}) {
    Statement pragma(db_, sql);
    pragma.step();
    if (pragma.failed()) return disk_error("Preparing");
  }
  {
    // Ends before the transaction begins: a read lock still held then makes SQLite give up at once, instead of waiting,
    // when the other process is about to commit.
    Statement check(db_, "PRAGMA quick_check(1)");
    const bool looked = check.step();
    if (!looked) return disk_error("Checking");
    if (check.bytes(0) != "ok") {
      damaged_ = true;
      return fail(Remedy::retry, "outbox.disk", "The outbox is damaged.");
    }
  }
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return begun;
  if (auto made = execute(schema); !made) return made;
  if (meta("incarnation").empty()) {
    // 0 is never an incarnation: on the wire it would look like a field left out.
    auto made = set_meta("incarnation", std::to_string(random_u64() | 1));
    if (made) made = set_meta("last_sequence", "0");
    if (made)
      made = set_meta(name_of(Fact::installed_at_ms), std::to_string(to_millis(clock_.wall())));
    if (!made) return made;
  }
  incarnation_ = std::strtoull(meta("incarnation").c_str(), nullptr, 10);
  return transaction.commit();
}

Result<void> Outbox::execute(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return disk_error("Writing");
  return {};
}

tl::unexpected<Error> Outbox::disk_error(const char* doing) {
  return fail(Remedy::retry, "outbox.disk",
              std::string(doing) + " " + config_.path +
                  " failed: " + (db_ ? sqlite3_errmsg(db_) : "no memory") + ".");
}

std::string Outbox::meta(const std::string& key) {
  Statement read(db_, "SELECT value FROM meta WHERE key = ?");
  read.bind(key);
  return read.step() ? read.bytes(0) : std::string();
}

Result<void> Outbox::set_meta(const std::string& key, const std::string& value) {
  Statement write(
      db_, "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value");
  write.bind(key).bind(value);
  write.step();
  if (write.failed()) return disk_error("Writing");
  return {};
}

std::uint64_t Outbox::last_sequence() {
  return std::strtoull(meta("last_sequence").c_str(), nullptr, 10);
}

Result<void> Outbox::insert(v1::Lane lane, v1::Kind kind, const std::string& body,
                            std::int64_t collected_at_ms, std::uint32_t ttl_s) {
  const auto size = static_cast<std::int64_t>(body.size()) + row_overhead_bytes;
  if (size > config_.bytes_max) {
    return fail(
        Remedy::reject, "outbox.too_large",
        "A report of " + std::to_string(body.size()) + " bytes is larger than outbox.bytes_max.");
  }
  Statement insert(db_, "INSERT INTO report VALUES (?, ?, ?, ?, ?, ?, ?)");
  const std::uint64_t sequence = last_sequence() + 1;
  insert.bind(signed_of(sequence))
      .bind(lane)
      .bind(kind)
      .bind(collected_at_ms)
      .bind(ttl_s)
      .bind(size)
      .bind_blob(body);
  insert.step();
  if (insert.failed()) return disk_error("Writing");
  return set_meta("last_sequence", std::to_string(sequence));
}

Result<std::uint64_t> Outbox::put(v1::Lane lane, v1::Kind kind, const std::string& body,
                                  std::int64_t collected_at_ms, std::uint32_t ttl_s,
                                  const NoteMaker& together) {
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return pass(begun);
  if (auto kept = insert(lane, kind, body, collected_at_ms, ttl_s); !kept) return pass(kept);
  if (together) {
    if (auto kept = keep_note(together(last_sequence())); !kept) return pass(kept);
  }
  // The new report is inside already, so what it supersedes is known.
  if (auto room = make_room(); !room) return pass(room);
  const std::uint64_t given = last_sequence();
  if (auto committed = transaction.commit(); !committed) return pass(committed);
  return given;
}

Result<std::uint64_t> Outbox::put_together(
    const std::vector<Draft>& reports, std::int64_t collected_at_ms,
    const std::vector<OutboxNote>& notes) {
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return pass(begun);
  for (const Draft& report : reports) {
    if (auto kept = insert(report.lane, report.kind, report.body, collected_at_ms, 0); !kept)
      return pass(kept);
    if (auto room = make_room(); !room) return pass(room);
  }
  for (const OutboxNote& note : notes) {
    if (auto kept = keep_note(note); !kept) return pass(kept);
  }
  const std::uint64_t given = last_sequence();
  if (auto committed = transaction.commit(); !committed) return pass(committed);
  return given;
}

Result<void> Outbox::make_room() {
  const OutboxCount now = count();
  std::int64_t bytes = now.bytes, reports = now.reports;
  const auto newest = signed_of(last_sequence());
  // In the order in which things may go; each finds the next victim, never the report just put.
  const struct {
    const char* sql;
    const char* why;
  } steps[] = {
      {"SELECT sequence, bytes FROM report r WHERE kind = 2 AND EXISTS (SELECT 1 FROM report n "
       "WHERE n.kind = 2 AND n.sequence > "
       "r.sequence) AND sequence < ? ORDER BY sequence LIMIT 1",
       "outbox.superseded"},
      {"SELECT sequence, bytes FROM report r WHERE kind = 4 AND EXISTS (SELECT 1 FROM report n "
       "WHERE n.kind = 4 AND n.sequence > "
       "r.sequence) AND sequence < ? ORDER BY sequence LIMIT 1",
       "outbox.superseded"},
      {"SELECT sequence, bytes FROM report r WHERE kind = 1 AND EXISTS (SELECT 1 FROM report n "
       "WHERE n.kind = 1 AND n.sequence > "
       "r.sequence) AND sequence < ? ORDER BY sequence LIMIT 1",
       "outbox.superseded"},
      {"SELECT sequence, bytes FROM report WHERE lane >= 3 AND sequence < ? ORDER BY sequence "
       "LIMIT 1",
       "outbox.full"},
      {"SELECT sequence, bytes FROM report WHERE sequence < ? ORDER BY lane DESC, sequence LIMIT 1",
       "outbox.full"},
  };
  std::int64_t dropped = 0;
  for (const auto& step : steps) {
    while (bytes > config_.bytes_max || reports > config_.reports_max) {
      std::uint64_t victim = 0;
      {
        Statement find(db_, step.sql);
        find.bind(newest);
        if (!find.step()) {
          if (find.failed()) return disk_error("Reading");
          break;
        }
        victim = static_cast<std::uint64_t>(find.number(0));
        bytes -= find.number(1);
        --reports;
      }
      const bool superseded = std::string_view(step.why) == "outbox.superseded";
      auto moved = move_to_history(
          victim, victim, superseded ? "superseded" : "dropped", step.why,
          superseded ? "A newer one was waiting and the outbox was full." : "The outbox was full.",
          0, to_millis(clock_.wall()));
      if (!moved) return moved;
      dropped += superseded ? 0 : 1;
    }
  }
  if (dropped == 0) return {};
  return set_meta(name_of(Fact::dropped_total),
                  std::to_string(number(Fact::dropped_total) + dropped));
}

Result<void> Outbox::move_to_history(std::uint64_t first, std::uint64_t last,
                                     const std::string& status, const std::string& code,
                                     const std::string& message, std::int64_t stored_at_ms,
                                     std::int64_t settled_at_ms) {
  struct Row {
    std::int64_t sequence, kind, bytes, collected_at_ms;
  };
  // A few rows at a time: a receipt's range is the gateway's word, and the outbox may hold very
  // many.
  constexpr int rows_at_once = 256;
  std::vector<Row> rows;
  do {
    rows.clear();
    {
      Statement find(db_,
                     "SELECT sequence, kind, bytes, collected_at_ms FROM report WHERE sequence "
                     "BETWEEN ? AND ? "
                     "ORDER BY sequence LIMIT ?");
      find.bind(signed_of(first)).bind(signed_of(last)).bind(rows_at_once);
      while (find.step())
        rows.push_back({find.number(0), find.number(1), find.number(2), find.number(3)});
      if (find.failed()) return disk_error("Reading");
    }
    for (const Row& row : rows) {
      const auto sent = sent_at_ms_.find(static_cast<std::uint64_t>(row.sequence));
      Statement insert(db_,
                       "INSERT INTO history (sequence, kind, bytes, collected_at_ms, sent_at_ms, "
                       "stored_at_ms, settled_at_ms, "
                       "status, code, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
      insert.bind(row.sequence)
          .bind(row.kind)
          .bind(row.bytes - row_overhead_bytes)
          .bind(row.collected_at_ms);
      insert.bind(sent == sent_at_ms_.end() ? 0 : sent->second)
          .bind(stored_at_ms)
          .bind(settled_at_ms);
      insert.bind(status)
          .bind(code.substr(0, text_characters_max))
          .bind(message.substr(0, text_characters_max));
      insert.step();
      if (insert.failed()) return disk_error("Writing");
      Statement remove(db_, "DELETE FROM report WHERE sequence = ?");
      remove.bind(row.sequence);
      remove.step();
      if (remove.failed()) return disk_error("Writing");
      if (sent != sent_at_ms_.end()) sent_at_ms_.erase(sent);
    }
  } while (rows.size() == static_cast<std::size_t>(rows_at_once));
  return trim_history();
}

Result<void> Outbox::trim_history() {
  Statement trim(db_, "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?");
  trim.bind(config_.history_max);
  trim.step();
  if (trim.failed()) return disk_error("Writing");
  return {};
}

Result<void> Outbox::expire() {
  const std::int64_t now = to_millis(clock_.wall());
  constexpr const char* which =
      "SELECT sequence FROM report WHERE ttl_s > 0 AND collected_at_ms + ttl_s * 1000 < ? LIMIT 1";
  {
    Statement any(db_, which);
    any.bind(now);
    if (!any.step()) return {};
  }
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return begun;
  for (;;) {
    std::uint64_t sequence = 0;
    {
      Statement find(db_, which);
      find.bind(now);
      if (!find.step()) break;
      sequence = static_cast<std::uint64_t>(find.number(0));
    }
    auto moved =
        move_to_history(sequence, sequence, "expired", "outbox.expired",
                        "Its time to live ended before the gateway could take it.", 0, now);
    if (!moved) return moved;
  }
  return transaction.commit();
}

Result<std::vector<v1::Report>> Outbox::next(std::uint64_t after, std::size_t count_max,
                                             std::size_t bytes_max) {
  if (auto expired = expire(); !expired) return pass(expired);
  std::vector<v1::Report> reports;
  std::size_t bytes = 0;
  Statement find(db_,
                 "SELECT sequence, lane, kind, collected_at_ms, ttl_s, bytes, body FROM report "
                 "WHERE sequence > ? "
                 "ORDER BY sequence LIMIT ?");
  find.bind(signed_of(after)).bind(static_cast<std::int64_t>(count_max));
  while (find.step()) {
    bytes += static_cast<std::size_t>(find.number(5));
    if (!reports.empty() && bytes > bytes_max) return reports;
    v1::Report& report = reports.emplace_back();
    report.set_sequence(static_cast<std::uint64_t>(find.number(0)));
    report.set_lane(static_cast<v1::Lane>(find.number(1)));
    report.set_kind(static_cast<v1::Kind>(find.number(2)));
    report.set_collected_at_ms(find.number(3));
    report.set_ttl_s(static_cast<std::uint32_t>(find.number(4)));
    report.set_body(find.bytes(6));
  }
  if (find.failed()) return disk_error("Reading");
  return reports;
}

bool Outbox::has_waiting(v1::Kind kind) {
  Statement find(db_, "SELECT 1 FROM report WHERE kind = ? LIMIT 1");
  find.bind(kind);
  return find.step();
}

std::optional<std::uint64_t> Outbox::first_after(std::uint64_t after) {
  Statement find(db_, "SELECT sequence FROM report WHERE sequence > ? ORDER BY sequence LIMIT 1");
  find.bind(signed_of(after));
  if (!find.step()) return std::nullopt;
  return static_cast<std::uint64_t>(find.number(0));
}

void Outbox::note_sent(std::uint64_t sequence, std::int64_t at_ms) {
  sent_at_ms_[sequence] = at_ms;
}

Result<void> Outbox::stored(std::uint64_t first, std::uint64_t last, std::int64_t at_ms) {
  if (auto waiting = first_after(first ? first - 1 : 0); !waiting || *waiting > last) return {};
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return begun;
  if (auto moved = move_to_history(first, last, "stored", "", "", at_ms, 0); !moved) return moved;
  return transaction.commit();
}

Result<void> Outbox::settled(std::uint64_t first, std::uint64_t last, const std::string& status,
                             const std::string& code, const std::string& message,
                             std::int64_t at_ms) {
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return begun;
  if (auto moved = move_to_history(first, last, status, code, message, 0, at_ms); !moved)
    return moved;
  {
    Statement update(db_,
                     "UPDATE history SET status = ?, code = ?, message = ?, settled_at_ms = ? "
                     "WHERE sequence BETWEEN ? AND ? AND status = 'stored'");
    update.bind(status)
        .bind(code.substr(0, text_characters_max))
        .bind(message.substr(0, text_characters_max))
        .bind(at_ms);
    update.bind(signed_of(first)).bind(signed_of(last));
    update.step();
    if (update.failed()) return disk_error("Writing");
  }
  return transaction.commit();
}

Result<void> Outbox::begin_new_incarnation() {
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return begun;
  std::vector<std::int64_t> waiting;
  {
    Statement find(db_, "SELECT sequence FROM report ORDER BY sequence");
    while (find.step()) waiting.push_back(find.number(0));
    if (find.failed()) return disk_error("Reading");
  }
  std::int64_t sequence = 0;
  for (const std::int64_t old : waiting) {
    // The new number is never above the old one and its place is already free.
    Statement renumber(db_, "UPDATE report SET sequence = ? WHERE sequence = ?");
    renumber.bind(++sequence).bind(old);
    renumber.step();
    if (renumber.failed()) return disk_error("Writing");
  }
  std::uint64_t fresh = random_u64() | 1;
  if (auto kept = set_meta("incarnation", std::to_string(fresh)); !kept) return kept;
  if (auto kept = set_meta("last_sequence", std::to_string(sequence)); !kept) return kept;
  // What was settled belongs to numbers that come again: later receipts must not be booked on them.
  {
    Statement close_books(db_,
                          "UPDATE history SET status = 'superseded', code = "
                          "'outbox.new_incarnation' WHERE status = 'stored'");
    close_books.step();
    if (close_books.failed()) return disk_error("Writing");
  }
  if (auto committed = transaction.commit(); !committed) return committed;
  sent_at_ms_.clear();
  incarnation_ = fresh;
  return {};
}

Fate Outbox::fate(std::uint64_t sequence) {
  {
    Statement waiting(db_, "SELECT 1 FROM report WHERE sequence = ?");
    waiting.bind(signed_of(sequence));
    // What cannot be read now is not lost for that.
    if (waiting.step() || waiting.failed()) return Fate::waiting;
  }
  Statement past(db_, "SELECT status FROM history WHERE sequence = ? ORDER BY id DESC LIMIT 1");
  past.bind(signed_of(sequence));
  if (!past.step()) return past.failed() ? Fate::waiting : Fate::lost;
  const std::string status = past.bytes(0);
  if (status == "rejected") return Fate::rejected;
  return status == "dropped" || status == "expired" ? Fate::lost : Fate::kept;
}

std::string Outbox::note(const std::string& name) {
  return meta("note." + name);
}

Result<void> Outbox::keep_note(const OutboxNote& note) {
  if (!note.value.empty()) return set_meta("note." + note.name, note.value);
  Statement forget(db_, "DELETE FROM meta WHERE key = ?");
  forget.bind("note." + note.name);
  forget.step();
  if (forget.failed()) return disk_error("Writing");
  return {};
}

OutboxCount Outbox::count(std::optional<v1::Lane> lane) {
  Statement sum(
      db_, lane ? "SELECT count(*), sum(bytes), min(collected_at_ms) FROM report WHERE lane = ?"
                : "SELECT count(*), sum(bytes), min(collected_at_ms) FROM report");
  if (lane) sum.bind(*lane);
  if (!sum.step()) return {};
  return {sum.number(0), sum.number(1), sum.number(2)};
}

std::vector<HistoryEntry> Outbox::history(std::size_t count_max) {
  std::vector<HistoryEntry> entries;
  const auto limit = static_cast<std::int64_t>(count_max);
  {
    Statement waiting(
        db_,
        "SELECT sequence, kind, bytes, collected_at_ms FROM report ORDER BY sequence DESC LIMIT ?");
    waiting.bind(limit);
    while (waiting.step()) {
      HistoryEntry& entry = entries.emplace_back();
      entry.sequence = static_cast<std::uint64_t>(waiting.number(0));
      entry.kind = static_cast<v1::Kind>(waiting.number(1));
      entry.bytes = waiting.number(2) - row_overhead_bytes;
      entry.collected_at_ms = waiting.number(3);
      entry.status = "waiting";
    }
  }
  Statement past(db_,
                 "SELECT sequence, kind, bytes, collected_at_ms, sent_at_ms, stored_at_ms, "
                 "settled_at_ms, status, code, message "
                 "FROM history ORDER BY id DESC LIMIT ?");
  past.bind(limit - static_cast<std::int64_t>(entries.size()));
  while (past.step()) {
    HistoryEntry& entry = entries.emplace_back();
    entry.sequence = static_cast<std::uint64_t>(past.number(0));
    entry.kind = static_cast<v1::Kind>(past.number(1));
    entry.bytes = past.number(2);
    entry.collected_at_ms = past.number(3);
    entry.sent_at_ms = past.number(4);
    entry.stored_at_ms = past.number(5);
    entry.settled_at_ms = past.number(6);
    entry.status = past.bytes(7);
    entry.code = past.bytes(8);
    entry.message = past.bytes(9);
  }
  return entries;
}

std::string Outbox::fact(Fact which) {
  return meta(name_of(which));
}

std::int64_t Outbox::number(Fact which) {
  return std::strtoll(meta(name_of(which)).c_str(), nullptr, 10);
}

Result<void> Outbox::remember(Fact which, const std::string& value) {
  if (fact(which) == value) return {};
  return set_meta(name_of(which), value);
}

}  // namespace greengate::agent
