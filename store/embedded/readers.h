#pragma once

#include "core/result.h"
#include "store/embedded/database.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace greengate::store {

/// One reading connection and what it is asked for most.
struct Reader {
  Database database;
  Statement begin, commit, report, progress, baseline, fact, mail_open, mail_waits;
};

/// A few reading connections, lent to whoever needs one. Readers see the last commit and never wait
/// for the writer.
///
/// Limits    connections_max; who comes then waits until one is given back.
/// Threads   Any.
/// Errors    store.disk (retry).
class Readers {
 public:
  Readers(std::string path, DatabaseOptions options, std::size_t connections_max)
      : path_(std::move(path)), options_(options), connections_max_(connections_max) {}

  /// Gives its reader back when it ends.
  class Loan {
   public:
    Loan(Readers& owner, std::unique_ptr<Reader> reader)
        : owner_(&owner), reader_(std::move(reader)) {}
    Loan(Loan&&) noexcept = default;
    Loan& operator=(Loan&&) = delete;
    ~Loan() {
      if (reader_) owner_->give_back(std::move(reader_));
    }
    Reader* operator->() { return reader_.get(); }

   private:
    Readers* owner_;
    std::unique_ptr<Reader> reader_;
  };

  Result<Loan> borrow();

 private:
  void give_back(std::unique_ptr<Reader> reader);
  Result<std::unique_ptr<Reader>> open() const;

  const std::string path_;
  const DatabaseOptions options_;
  const std::size_t connections_max_;
  std::mutex mutex_;  ///< Guards the members below.
  std::condition_variable given_back_;
  std::vector<std::unique_ptr<Reader>> free_;
  std::size_t opened_ = 0;
};

}  // namespace greengate::store
