#include "store/embedded/readers.h"

#include "store/embedded/mailbox_row.h"

namespace greengate::store {

Result<Readers::Loan> Readers::borrow() {
  {
    std::unique_lock lock(mutex_);
    given_back_.wait(lock, [this] { return !free_.empty() || opened_ < connections_max_; });
    if (!free_.empty()) {
      auto reader = std::move(free_.back());
      free_.pop_back();
      return Loan(*this, std::move(reader));
    }
    ++opened_;
  }
  auto reader = open();
  if (reader) return Loan(*this, std::move(*reader));
  {
    std::lock_guard lock(mutex_);
    --opened_;
  }
  given_back_.notify_one();
  return pass(reader);
}

void Readers::give_back(std::unique_ptr<Reader> reader) {
  {
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(reader));
  }
  given_back_.notify_one();
}

Result<std::unique_ptr<Reader>> Readers::open() const {
  auto database = Database::open(path_, Database::Use::reading, options_);
  if (!database) return pass(database);
  auto reader = std::make_unique<Reader>(Reader{std::move(*database), {}, {}, {}, {}, {}, {}, {}, {}});
  const std::pair<Statement*, const char*> wanted[] = {
      {&reader->begin, "BEGIN"},
      {&reader->commit, "COMMIT"},
      {&reader->report,
       "SELECT incarnation, sequence, lane, kind, collected_at, kept_at, ttl_s, checksum, body "
       "FROM reports WHERE id = ?1"},
      {&reader->progress, "SELECT attempts, note, code, message FROM progress WHERE id = ?1"},
      {&reader->baseline,
       "SELECT major, minor, full_at, moved_at, checksum, body FROM baselines WHERE place = ?1"},
      {&reader->fact, "SELECT value FROM facts WHERE agent = ?1 AND name = ?2"},
      {&reader->mail_open, kOpenEntriesSql},
      {&reader->mail_waits, kEntryWaitsSql},
  };
  for (const auto& [statement, sql] : wanted) {
    auto prepared = reader->database.prepare(sql);
    if (!prepared) return pass(prepared);
    *statement = std::move(*prepared);
  }
  return reader;
}

}  // namespace greengate::store
