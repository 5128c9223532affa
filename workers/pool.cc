#include "workers/pool.h"

#include <algorithm>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;

// After the store could not lease.
constexpr milliseconds store_patience{500};

// A file must fit into one lease.
PoolConfig with_file_limits(PoolConfig config) {
  config.coalescer.files = {config.batch_reports_max, config.batch_bytes_max};
  return config;
}

}  // namespace

std::vector<ConfigProblem> PoolConfig::problems() const {
  std::vector<ConfigProblem> found;
  const auto complain = [&](const char* key, const std::string& value, const char* advice) {
    found.push_back({key, std::string(key) + " is " + value + "; " + advice});
  };
  if (workers < 1 || workers > 256) {
    complain("delivery.workers", std::to_string(workers), "it can be 1 to 256 (8 if left out).");
  }
  if (batch_reports_max < 1 || batch_reports_max > 10'000) {
    complain("delivery.batch_reports_max", std::to_string(batch_reports_max), "it can be 1 to 10000 (256 if left out).");
  }
  if (file_wait_max < std::chrono::minutes(1)) {
    complain("delivery.file_wait_max", duration_text(file_wait_max), "it must be at least 1min (1d if left out).");
  }
  if (retry_base < milliseconds(10) || retry_cap < retry_base) {
    complain("delivery.retry_base", duration_text(retry_base),
             "it must be at least 10ms and not longer than delivery.retry_cap.");
  }
  return found;
}

Pool::Pool(PoolConfig config, store::ReportQueue& reports, store::DeviceRegistry& devices, Identities& identities,
           const Translator& translator, const InventoryPlanner& inventories, Courier& courier, const Clock& clock, Metrics& metrics,
           OutcomeSink outcomes)
    : config_(with_file_limits(config)),
      reports_(reports),
      courier_(courier),
      pacer_(config.workers, courier),
      carrier_(config_, reports, devices, identities, translator, inventories, courier, clock, metrics, std::move(outcomes)) {}

Pool::~Pool() { stop(); }

Result<void> Pool::start() {
  stopping_ = false;
  for (std::uint32_t i = 0; i < config_.workers; ++i) threads_.emplace_back([this] { work(); });
  return {};
}

void Pool::drain(SteadyTime) {
  // A worker finishes the message in its hand, which the courier's own draining bounds; what it has not begun goes back.
  stopping_ = true;
  pacer_.wake();
  reports_.wake_waiters();
}

void Pool::stop() {
  drain({});
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Pool::work() {
  while (!stopping_) {
    // What could not go now is not leased: that would only churn the store and keep it from who might send it.
    Pacer::Ticket ticket = pacer_.reserve();
    if (ticket.lanes().empty()) {
      pacer_.wait(ticket);
      continue;
    }
    auto batch = reports_.lease(ticket.lanes(), config_.batch_reports_max, static_cast<std::uint64_t>(config_.batch_bytes_max),
                                ticket.look_again());
    if (!batch) {
      if (batch.error().remedy == Remedy::halt) return;
      log_.error("lease failed", kv("code", batch.error().code), kv("why", batch.error().message));
      std::this_thread::sleep_for(store_patience);
      continue;
    }
    if (!*batch) continue;
    ticket.keep_only((*batch)->lane);
    carrier_.carry(**batch, stopping_);
  }
}

}  // namespace greengate::workers
