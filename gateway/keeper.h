#pragma once

#include "adapters/agents/router_socket.h"
#include "core/channel.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "store/report_queue.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace greengate::gateway {

/// What is remembered of reports that are on their way to the disk: enough for a receipt.
struct KeptEntry {
  std::uint64_t sequence = 0;
  std::int64_t cost_bytes = 0;
};
/// Consecutive entries of one session.
struct KeptRun {
  AgentId agent;
  adapters::RoutingId route;
  std::uint64_t session_serial = 0;
  std::uint64_t incarnation = 0;
  std::size_t entries = 0;
};
struct KeptBatch {
  std::vector<KeptRun> runs;
  std::vector<KeptEntry> entries;
  std::int64_t cost_bytes = 0;
  SteadyTime handed_over_at{};
  /// One an entry, or why none was kept.
  Result<std::vector<store::KeepResult>> results{};
};

/// Feeds the report queue without ever waiting for it. While batches are being synced the next one grows, so under load
/// commits become large by themselves.
///
/// Order     Reports of one agent reach the queue in the order of add().
/// Limits    batches_max with the store at a time; a batch closes at batch_reports_max or batch_bytes_max. How much may wait in all
///           is Admission's to judge, by held_bytes().
/// Threads   The ingest thread; `woken` runs on the store's writer thread.
class Keeper {
 public:
  static constexpr std::size_t batches_max = 4;
  static constexpr std::size_t batch_reports_max = 8'192;
  static constexpr std::int64_t batch_bytes_max = 8 << 20;

  Keeper(store::ReportQueue& queue, const Clock& clock, std::function<void()> woken);

  void add(adapters::RoutingId route, std::uint64_t session_serial, store::NewReport report);
  /// Hands over what waits, as far as the bound allows.
  void flush();
  /// The batches that are settled since the last time, in the order of their settling.
  std::vector<KeptBatch> settled();

  std::int64_t held_bytes() const { return held_bytes_; }
  bool idle() const { return waiting_.empty() && on_their_way_ == 0; }

 private:
  struct Waiting {
    KeptBatch about;
    std::vector<store::NewReport> reports;
  };
  /// Outlives us when the store answers late.
  struct Inbox {
    Channel<KeptBatch> settled{batches_max};
  };

  store::ReportQueue& queue_;
  const Clock& clock_;
  const std::function<void()> woken_;
  std::deque<Waiting> waiting_;  ///< The last one still grows.
  std::size_t on_their_way_ = 0;
  std::int64_t held_bytes_ = 0;
  std::shared_ptr<Inbox> inbox_;
};

}  // namespace greengate::gateway
