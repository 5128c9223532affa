#pragma once

#include "core/result.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace greengate::store {

/// What running a statement came to.
enum class Step : std::uint8_t { row, done, failed };

/// A prepared statement. Bound texts and blobs are not copied: they must live until the next
/// reset().
///
/// Errors    step() says `failed`; Database::error() then has the reason.
/// Threads   Those of its Database.
class Statement {
 public:
  Statement() = default;
  explicit Statement(sqlite3_stmt* raw) : raw_(raw) {}
  Statement(Statement&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  ~Statement();

  /// Parameters and columns count as in SQL: parameters from 1, columns from 0.
  void bind(int parameter, std::int64_t value);
  void bind_unsigned(int parameter, std::uint64_t value) {
    bind(parameter, static_cast<std::int64_t>(value));
  }
  void bind_text(int parameter, std::string_view text);
  void bind_blob(int parameter, std::string_view bytes);

  /// The value of another statement's column; it must not step on before this one's reset().
  void bind_column(int parameter, const Statement& source, int column);
  int columns() const;
  std::string column_name(int column) const;

  Step step();
  /// For statements without rows: step, then reset. False when it failed.
  bool run();
  void reset();

  std::int64_t number(int column) const;
  std::uint64_t number_unsigned(int column) const {
    return static_cast<std::uint64_t>(number(column));
  }
  /// Valid until the next step() or reset().
  std::string_view bytes(int column) const;
  std::string text(int column) const { return std::string(bytes(column)); }

 private:
  sqlite3_stmt* raw_ = nullptr;
};

/// Resets a statement when its reader leaves, whichever way that is.
class ResetAtEnd {
 public:
  explicit ResetAtEnd(Statement& statement) : statement_(statement) {}
  ~ResetAtEnd() { statement_.reset(); }
  ResetAtEnd(const ResetAtEnd&) = delete;
  ResetAtEnd& operator=(const ResetAtEnd&) = delete;

 private:
  Statement& statement_;
};

inline constexpr const char* kDamagedCode = "store.damaged";

struct DatabaseOptions {
  const char* vfs =
      nullptr;  ///< SQLite's name of the file system layer; tests put a failing one here.
  std::uint32_t page_bytes = 8'192;       ///< Of a new file. Measured: ADR 0003.
  std::uint32_t cache_bytes = 64u << 20;  ///< The writer's page cache.
  std::uint32_t reader_cache_bytes = 2u << 20;
};

/// One connection to the store's file, set up so that a commit is on disk when it returns (WAL, synchronous=FULL).
///
/// Errors    store.disk; kDamagedCode when the file's own structure is damaged, or it never was a database. Who calls gives them
///           its own name.
/// Threads   One at a time.
/// Source    docs/adr/0003-the-stores-promise-and-sqlite.md
class Database {
 public:
  enum class Use : std::uint8_t { writing, reading };

  static Result<Database> open(const std::string& path, Use use, const DatabaseOptions& options);
  Database(Database&& other) noexcept
      : raw_(std::exchange(other.raw_, nullptr)), wal_pages_(std::move(other.wal_pages_)) {}
  Database& operator=(Database&& other) noexcept {
    std::swap(raw_, other.raw_);
    std::swap(wal_pages_, other.wal_pages_);
    return *this;
  }
  ~Database();

  Result<Statement> prepare(std::string_view sql);
  /// One or more statements whose rows nobody wants.
  Result<void> execute(const char* sql);
  /// The first column of the first row; `absent` when there is no row.
  Result<std::int64_t> number(const char* sql, std::int64_t absent = 0);

  /// The last failure of this connection.
  Error error(std::string_view doing) const;
  /// The last failure was that of a damaged file.
  bool damaged() const;
  /// The last failure came from the device: the same write would fail again for every other.
  bool device_failed() const;
  bool in_transaction() const;

  /// Pages in the write-ahead log after the last commit.
  int wal_pages() const { return *wal_pages_; }
  /// Moves what the log holds into the file as far as readers allow; `wait` waits for readers and
  /// starts the log afresh.
  Result<void> checkpoint(bool wait);

  /// The number of rows the last statement changed.
  std::int64_t changes() const;

 private:
  explicit Database(sqlite3* raw) : raw_(raw), wal_pages_(std::make_unique<int>(0)) {}
  sqlite3* raw_ = nullptr;
  std::unique_ptr<int>
      wal_pages_;  ///< On the heap: SQLite keeps a pointer to it while this object moves.
};

/// Brings an opened file to the newest schema, or says why it must not be touched.
///
/// Errors    store.open (reject): the file is a database of something else, or of a newer
/// Greengate.
///           store.disk, store.damaged (retry): it could not be read or written.
Result<void> prepare_schema(Database& database);

}  // namespace greengate::store
