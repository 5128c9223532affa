#include "agent/outbox_inside.h"
#include "core/random.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

namespace greengate::agent {
namespace {

constexpr int busy_patience_ms = 5'000;

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

}  // namespace

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
