// The inside of Outbox, as its own files share it: outbox_file.cc has the file and what is remembered beside the reports,
// outbox.cc the reports that wait, outbox_room.cc how they leave.
#pragma once

#include "agent/outbox.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

namespace greengate::agent {

constexpr std::int64_t row_overhead_bytes =
    128;  // counted with each body, so that many tiny reports are bounded too
constexpr std::size_t text_characters_max = 500;  // of a code or message that came from outside

const char* name_of(Fact fact);

inline std::int64_t signed_of(std::uint64_t sequence) {
  return static_cast<std::int64_t>(std::min<std::uint64_t>(sequence, INT64_MAX));
}

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

}  // namespace greengate::agent
