#pragma once

#include "core/result.h"
#include "store/embedded/writer.h"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

namespace greengate::store {

/// Where a waiting caller gets its answer.
class Reply {
 public:
  void put(Result<void> value) {
    std::lock_guard lock(mutex_);
    answer_ = std::move(value);
    there_.notify_one();
  }
  Result<void> wait() {
    std::unique_lock lock(mutex_);
    there_.wait(lock, [this] { return answer_.has_value(); });
    return std::move(*answer_);
  }

 private:
  std::mutex mutex_;  ///< Guards the members below.
  std::condition_variable there_;
  std::optional<Result<void>> answer_;
};

/// A change made of functions, for callers that are rare and wait for it.
///
/// `apply` runs inside the transaction and may come again, so it begins afresh each time; `committed` runs after the sync, on the
/// writer's thread. Both may use the caller's variables: it waits.
class WaitedChange final : public Change {
 public:
  using Apply = std::function<Result<void>(Database&)>;

  /// Fails as the writer says: store.disk, store.stopping.
  static Result<void> run(Writer& writer, Apply apply, std::function<void()> committed, std::size_t bytes = 0) {
    auto reply = std::make_shared<Reply>();
    writer.submit(std::unique_ptr<Change>(new WaitedChange(std::move(apply), std::move(committed), bytes, reply)));
    return reply->wait();
  }

  Result<void> apply(Database& database) override { return apply_(database); }
  void finish(const Error* failure) override {
    if (failure) return reply_->put(tl::unexpected(*failure));
    committed_();
    reply_->put({});
  }
  std::size_t bytes() const override { return bytes_; }

 private:
  WaitedChange(Apply apply, std::function<void()> committed, std::size_t bytes, std::shared_ptr<Reply> reply)
      : apply_(std::move(apply)), committed_(std::move(committed)), bytes_(bytes), reply_(std::move(reply)) {}

  const Apply apply_;
  const std::function<void()> committed_;
  const std::size_t bytes_;
  const std::shared_ptr<Reply> reply_;
};

}  // namespace greengate::store
