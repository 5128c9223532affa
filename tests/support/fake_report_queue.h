#pragma once

#include "core/channel.h"
#include "store/report_queue.h"

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace greengate::test {

/// A report queue in memory that obeys keep()'s contract: one writer thread, contiguity, duplicates, refusal by lane.
/// Its disk can be told to fail, to hang, or to be full. It leases nothing.
class FakeReportQueue : public store::ReportQueue {
 public:
  FakeReportQueue() : writer_([this] { write_all(); }) {}
  ~FakeReportQueue() override {
    hang(false);
    offered_.close();
    writer_.join();
  }

  // What the test arranges.
  void hang(bool on) {
    {
      std::lock_guard lock(mutex_);
      hanging_ = on;
    }
    changed_.notify_all();
  }
  void fail_with(std::optional<Error> error) {
    std::lock_guard lock(mutex_);
    error_ = std::move(error);
  }
  void set_full(store::Lane lane, bool full) {
    std::lock_guard lock(mutex_);
    if (full)
      full_.insert(lane);
    else
      full_.erase(lane);
  }

  // What the test sees.
  std::vector<store::NewReport> stored() const {
    std::lock_guard lock(mutex_);
    return stored_;
  }
  std::vector<store::NewReport> own() const {
    std::lock_guard lock(mutex_);
    return own_;
  }
  std::size_t batches() const {
    std::lock_guard lock(mutex_);
    return batches_;
  }

  void keep(std::vector<store::NewReport> batch, store::KeepDone done) override {
    Offer offer{std::move(batch), std::move(done)};
    if (!offered_.try_push(std::move(offer)))
      offer.done(fail(Remedy::retry, "queue.disk", "The fake queue holds no more batches."));
  }
  std::uint64_t last_sequence(const AgentId& agent, std::uint64_t incarnation) const override {
    std::lock_guard lock(mutex_);
    const auto found = last_.find({agent, incarnation});
    return found == last_.end() ? 0 : found->second;
  }

  Result<ItemId> keep_own(store::NewReport report) override {
    std::lock_guard lock(mutex_);
    if (error_) return tl::unexpected<Error>(*error_);
    own_.push_back(std::move(report));
    return ItemId(own_.size());
  }
  Result<std::optional<store::Batch>> lease(store::LaneSet, std::uint32_t, std::uint64_t,
                                            std::chrono::milliseconds) override {
    return std::optional<store::Batch>{};
  }
  void wake_waiters() override {}
  Result<void> pin(LeaseId, const std::vector<store::Pin>&, const std::vector<store::CounterValue>&) override {
    return lost();
  }
  Result<void> settle(LeaseId, const std::vector<store::Settlement>&,
                      const std::vector<store::BaselineMove>&) override {
    return lost();
  }
  void on_expired(std::function<void(const std::vector<store::ReportName>&)>) override {}
  Result<std::vector<store::DeadLetter>> dead_letters(const store::DeadLetterFilter&, std::uint32_t) override {
    return std::vector<store::DeadLetter>{};
  }
  Result<store::LeasedReport> dead_letter(ItemId) override { return tl::unexpected(lost().error()); }
  Result<std::uint32_t> replay(const std::vector<ItemId>&) override { return 0u; }
  Result<std::uint32_t> discard(const std::vector<ItemId>&) override { return 0u; }
  Result<void> bury(LeaseId, const std::vector<ItemId>&, const Error&) override { return lost(); }
  Result<void> postpone(LeaseId, const std::vector<ItemId>&, std::chrono::milliseconds,
                        const Error&) override {
    return lost();
  }
  void hand_back(LeaseId) override {}
  void hold(const AgentId&) override {}
  void unhold(const AgentId&) override {}
  Result<std::vector<store::ReportTrace>> trace(const AgentId&, std::uint32_t) override {
    return std::vector<store::ReportTrace>{};
  }
  store::QueueStats stats() const override { return {}; }

 private:
  struct Offer {
    std::vector<store::NewReport> batch;
    store::KeepDone done;
  };
  static Result<void> lost() {
    return fail(Remedy::reject, "queue.lease_lost", "The fake queue leases nothing.");
  }

  void write_all() {
    while (auto offer = offered_.pop()) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !hanging_; });
      batches_ += 1;
      if (error_) {
        const Error error = *error_;
        lock.unlock();
        offer->done(tl::unexpected<Error>(error));
        continue;
      }
      std::vector<store::KeepResult> results;
      std::set<AgentId> broken;  // after a report that was not kept nothing of its agent is
      for (store::NewReport& report : offer->batch) {
        std::uint64_t& last = last_[{report.name.agent, report.name.incarnation}];
        store::Kept kept = store::Kept::stored;
        if (report.name.sequence <= last)
          kept = store::Kept::duplicate;
        else if (broken.contains(report.name.agent) ||
                 report.name.sequence - report.skipped > last + 1)
          kept = store::Kept::out_of_order;
        else if (full_.contains(report.lane))
          kept = store::Kept::full;
        if (kept == store::Kept::stored) {
          last = report.name.sequence;
          stored_.push_back(std::move(report));
        } else if (kept != store::Kept::duplicate) {
          broken.insert(report.name.agent);
        }
        results.push_back({kept, last});
      }
      lock.unlock();
      offer->done(std::move(results));
    }
  }

  Channel<Offer> offered_{1'024};
  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  bool hanging_ = false;
  std::optional<Error> error_;
  std::set<store::Lane> full_;
  std::map<std::pair<AgentId, std::uint64_t>, std::uint64_t> last_;
  std::vector<store::NewReport> stored_, own_;
  std::size_t batches_ = 0;
  std::thread writer_;
};

}  // namespace greengate::test
