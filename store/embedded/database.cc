#include "store/embedded/database.h"

#include <sqlite3.h>

#include <array>
#include <mutex>

namespace greengate::store {

namespace {

constexpr std::int64_t kApplicationId =
    0x47724761;  // "GrGa": tells our files from other SQLite databases

/// One step of the schema. A new version appends a step; old steps never change.
constexpr std::array kMigrations = {
    // 1: the first.
    R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;

-- Everyone who ever had a report kept. `sequences` packs the last incarnations (report_queue_keep.cc).
CREATE TABLE agents(no INTEGER PRIMARY KEY, id TEXT NOT NULL, sequences BLOB NOT NULL, settled INTEGER NOT NULL);

-- Waiting reports. Ids only grow, so inserting is appending; nothing else is indexed, the index is in memory.
CREATE TABLE reports(id INTEGER PRIMARY KEY, agent INTEGER NOT NULL, incarnation INTEGER NOT NULL,
  sequence INTEGER NOT NULL, lane INTEGER NOT NULL, kind INTEGER NOT NULL, collected_at INTEGER NOT NULL,
  kept_at INTEGER NOT NULL, ttl_s INTEGER NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL);

-- Only of reports that were pinned or postponed, so that rows of `reports` are never rewritten.
CREATE TABLE progress(id INTEGER PRIMARY KEY, attempts INTEGER NOT NULL DEFAULT 0, pinned INTEGER NOT NULL DEFAULT 0,
  note TEXT NOT NULL DEFAULT '', code TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '');

-- place = agent number << 32 | the agent's settled reports so far: one agent's history lies together.
CREATE TABLE history(place INTEGER PRIMARY KEY, id INTEGER NOT NULL, incarnation INTEGER NOT NULL,
  sequence INTEGER NOT NULL, lane INTEGER NOT NULL, kind INTEGER NOT NULL, bytes INTEGER NOT NULL,
  collected_at INTEGER NOT NULL, kept_at INTEGER NOT NULL, settled_at INTEGER NOT NULL, outcome INTEGER NOT NULL,
  attempts INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, tracking TEXT NOT NULL);

-- Dead letters: the facts apart from the bodies, so that listing and counting stay cheap.
CREATE TABLE buried(id INTEGER PRIMARY KEY, agent INTEGER NOT NULL, incarnation INTEGER NOT NULL,
  sequence INTEGER NOT NULL, lane INTEGER NOT NULL, kind INTEGER NOT NULL, bytes INTEGER NOT NULL,
  collected_at INTEGER NOT NULL, kept_at INTEGER NOT NULL, buried_at INTEGER NOT NULL, attempts INTEGER NOT NULL,
  code TEXT NOT NULL, message TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE buried_bodies(id INTEGER PRIMARY KEY, body BLOB NOT NULL);

-- Records whose bytes no longer match their checksum, as they were found.
CREATE TABLE damaged(id INTEGER PRIMARY KEY, agent INTEGER, incarnation INTEGER, sequence INTEGER, lane INTEGER,
  kind INTEGER, collected_at INTEGER, kept_at INTEGER, found_at INTEGER NOT NULL, checksum INTEGER, body BLOB);

CREATE TABLE devices(id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, host_name TEXT NOT NULL,
  fqdn TEXT NOT NULL, operating_system TEXT NOT NULL, agent_version TEXT NOT NULL, enrolled_by TEXT NOT NULL,
  enrolled_at INTEGER NOT NULL, last_seen INTEGER NOT NULL, site_state INTEGER NOT NULL, sms_id TEXT NOT NULL,
  sealed BLOB NOT NULL, site_since INTEGER NOT NULL, site_code TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tokens(id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, note TEXT NOT NULL, uses_max INTEGER NOT NULL,
  uses INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, revoked INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counters(agent TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL,
  PRIMARY KEY(agent, name)) WITHOUT ROWID;
)sql",
    // 2: baselines, facts, and dead letters that go back.
    R"sql(
-- place = agent number << 32 | kind: one agent's baselines lie together. The body comes last, so that the rest is read without it.
CREATE TABLE baselines(place INTEGER PRIMARY KEY, major INTEGER NOT NULL, minor INTEGER NOT NULL, full_at INTEGER NOT NULL,
  moved_at INTEGER NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE facts(agent TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY(agent, name)) WITHOUT ROWID;

-- Replayed: this report's sequence was judged long ago and proves nothing of its agent's last one.
ALTER TABLE progress ADD COLUMN replayed INTEGER NOT NULL DEFAULT 0;
-- What its message was, if it was pinned.
ALTER TABLE buried ADD COLUMN note TEXT NOT NULL DEFAULT '';
)sql",
    // 3: the mailbox.
    R"sql(
-- What devices are asked to do, once however many they are. stage: 1 its entries are being written, 2 older entries give way to them, 3 whole.
-- closed: its time is over and every entry knows. The parameters come last, so that the rest is read without them.
CREATE TABLE actions(id INTEGER PRIMARY KEY, stage INTEGER NOT NULL, closed INTEGER NOT NULL, cancelled INTEGER NOT NULL, task INTEGER NOT NULL,
  urgent INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, checksum INTEGER NOT NULL, collapse TEXT NOT NULL,
  origin TEXT NOT NULL, origin_key TEXT NOT NULL, parameters BLOB NOT NULL);
CREATE INDEX actions_by_key ON actions(origin_key) WHERE origin_key <> '';
CREATE INDEX actions_to_close ON actions(expires_at) WHERE closed = 0;
CREATE INDEX actions_unfinished ON actions(id) WHERE stage <> 3;

-- One device's copy. states: mailbox.h. The checksum is over what never changes. taken: it was accepted once.
CREATE TABLE entries(id INTEGER PRIMARY KEY, device TEXT NOT NULL, action INTEGER NOT NULL, state INTEGER NOT NULL, changed_at INTEGER NOT NULL,
  checksum INTEGER NOT NULL, taken INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL);
-- Devices lie in no order: every index that begins with them costs a page of its own with each post, so there is one.
CREATE INDEX entries_of_device ON entries(device, state, action);
CREATE INDEX entries_of_action ON entries(action, state);
CREATE INDEX entries_taken ON entries(changed_at) WHERE state > 2;
)sql",
};

void configure_library() {
  static std::once_flag once;
  // SQLite's allocation statistics sit behind one lock that reader threads and the writer would
  // share.
  std::call_once(once, [] { sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); });
}

int remember_wal_pages(void* pages, sqlite3*, const char*, int count) {
  *static_cast<int*>(pages) = count;
  return SQLITE_OK;
}

}  // namespace

Statement::~Statement() {
  sqlite3_finalize(raw_);
}

// Binding fails only for a parameter that is not in the statement, or for a body above SQLite's
// limit of 1 GB; step() then fails.
void Statement::bind(int parameter, std::int64_t value) {
  sqlite3_bind_int64(raw_, parameter, value);
}

void Statement::bind_text(int parameter, std::string_view text) {
  sqlite3_bind_text64(raw_, parameter, text.empty() ? "" : text.data(), text.size(), SQLITE_STATIC,
                      SQLITE_UTF8);
}

void Statement::bind_blob(int parameter, std::string_view bytes) {
  sqlite3_bind_blob64(raw_, parameter, bytes.empty() ? "" : bytes.data(), bytes.size(),
                      SQLITE_STATIC);
}

void Statement::bind_column(int parameter, const Statement& source, int column) {
  sqlite3_bind_value(raw_, parameter, sqlite3_column_value(source.raw_, column));
}

int Statement::columns() const {
  return sqlite3_column_count(raw_);
}

std::string Statement::column_name(int column) const {
  const char* name = sqlite3_column_name(raw_, column);
  return name ? name : "";
}

Step Statement::step() {
  switch (sqlite3_step(raw_)) {
    case SQLITE_ROW:
      return Step::row;
    case SQLITE_DONE:
      return Step::done;
    default:
      return Step::failed;
  }
}

bool Statement::run() {
  const Step step_result = step();
  sqlite3_reset(raw_);
  return step_result != Step::failed;
}

void Statement::reset() {
  sqlite3_reset(raw_);
}

std::int64_t Statement::number(int column) const {
  return sqlite3_column_int64(raw_, column);
}

std::string_view Statement::bytes(int column) const {
  const void* data = sqlite3_column_blob(raw_, column);
  const int size = sqlite3_column_bytes(raw_, column);
  return data ? std::string_view(static_cast<const char*>(data), static_cast<std::size_t>(size))
              : std::string_view();
}

Result<Database> Database::open(const std::string& path, Use use, const DatabaseOptions& options) {
  configure_library();
  sqlite3* raw = nullptr;
  // A reader needs write access too: WAL readers mark their snapshot in the shared index.
  const int flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (use == Use::writing ? SQLITE_OPEN_CREATE : 0);
  const int opened = sqlite3_open_v2(path.c_str(), &raw, flags, options.vfs);
  Database database(raw);
  if (opened != SQLITE_OK) {
    return fail(Remedy::retry, "store.disk",
                "cannot open " + path + ": " + (raw ? sqlite3_errmsg(raw) : "out of memory") + ".");
  }
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(
      raw, 5'000);  // readers during a checkpoint that waits; never the writer, there is one
  const bool writing = use == Use::writing;
  std::string setup;
  // The page size only matters to a file that is still empty, and must come before its first page.
  if (writing) setup += "PRAGMA page_size = " + std::to_string(options.page_bytes) + ";";
  setup += "PRAGMA cache_size = -" +
           std::to_string((writing ? options.cache_bytes : options.reader_cache_bytes) >> 10) + ";";
  // Overwriting deleted bodies with zeros would write every delivered report once more; secrets are
  // sealed anyway.
  setup += "PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;";
  if (writing) setup += "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
  if (auto set = database.execute(setup.c_str()); !set) return tl::unexpected(set.error());
  sqlite3_wal_autocheckpoint(raw, 0);  // the writer chooses the moment
  sqlite3_wal_hook(raw, remember_wal_pages, database.wal_pages_.get());
  return database;
}

Database::~Database() {
  sqlite3_close_v2(raw_);
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(raw_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                         &statement, nullptr) != SQLITE_OK) {
    return tl::unexpected(error("preparing a statement"));
  }
  return Statement(statement);
}

Result<void> Database::execute(const char* sql) {
  if (sqlite3_exec(raw_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return tl::unexpected(error("running a statement"));
  }
  return {};
}

Result<std::int64_t> Database::number(const char* sql, std::int64_t absent) {
  auto statement = prepare(sql);
  if (!statement) return pass(statement);
  switch (statement->step()) {
    case Step::row:
      return statement->number(0);
    case Step::done:
      return absent;
    case Step::failed:
      break;
  }
  return tl::unexpected(error("reading a number"));
}

Error Database::error(std::string_view doing) const {
  return Error{Remedy::retry,
               damaged() ? kDamagedCode : "store.disk",
               "The store's file failed while " + std::string(doing) + ": " + sqlite3_errmsg(raw_) +
                   " (SQLite " + std::to_string(sqlite3_extended_errcode(raw_)) + ").",
               {}};
}

bool Database::damaged() const {
  const int code = sqlite3_errcode(raw_) & 0xff;
  return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

bool Database::device_failed() const {
  return (sqlite3_errcode(raw_) & 0xff) == SQLITE_IOERR;
}

bool Database::in_transaction() const {
  return sqlite3_get_autocommit(raw_) == 0;
}

Result<void> Database::checkpoint(bool wait) {
  int in_log = 0;
  int moved = 0;
  const int code = sqlite3_wal_checkpoint_v2(
      raw_, nullptr, wait ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE, &in_log, &moved);
  if (code != SQLITE_OK && code != SQLITE_BUSY)
    return tl::unexpected(error("moving the log into the file"));
  // Moved as a whole, the log starts afresh with the next commit.
  if (in_log >= 0) *wal_pages_ = in_log == moved ? 0 : in_log;
  return {};
}

std::int64_t Database::changes() const {
  return sqlite3_changes64(raw_);
}

Result<void> prepare_schema(Database& database) {
  auto tables = database.number("SELECT count(*) FROM sqlite_schema");
  if (!tables) return pass(tables);
  auto application = database.number("PRAGMA application_id");
  if (!application) return pass(application);
  if (*tables > 0 && *application != kApplicationId) {
    return fail(Remedy::reject, "store.open",
                "The file is a SQLite database of another program; give store.directory a place of "
                "its own.");
  }
  auto version = database.number("PRAGMA user_version");
  if (!version) return pass(version);
  constexpr auto newest = static_cast<std::int64_t>(kMigrations.size());
  if (*version > newest) {
    return fail(Remedy::reject, "store.open",
                "The file was written by a newer Greengate (schema " + std::to_string(*version) +
                    ", this one knows " + std::to_string(newest) + "); start the newer one.");
  }
  for (std::int64_t next = *version; next < newest; ++next) {
    const std::string step = "BEGIN IMMEDIATE;" +
                             std::string(kMigrations[static_cast<std::size_t>(next)]) +
                             "PRAGMA application_id = " + std::to_string(kApplicationId) +
                             "; PRAGMA user_version = " + std::to_string(next + 1) + "; COMMIT;";
    if (auto migrated = database.execute(step.c_str()); !migrated) {
      auto error = migrated.error();
      if (database.in_transaction()) {
        if (auto undone = database.execute("ROLLBACK"); !undone)
          error.message += " " + undone.error().message;
      }
      return tl::unexpected(std::move(error));
    }
  }
  return {};
}

}  // namespace greengate::store
