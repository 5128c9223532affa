#include "workers/pool.h"

#include <algorithm>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;

// How long a waiting worker goes without looking whether it should stop.
constexpr milliseconds patience{500};

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
  if (retry_base < milliseconds(10) || retry_cap < retry_base) {
    complain("delivery.retry_base", duration_text(retry_base),
             "it must be at least 10ms and not longer than delivery.retry_cap.");
  }
  return found;
}

Pool::Pool(PoolConfig config, store::ReportQueue& reports, store::DeviceRegistry& devices, Identities& identities,
           const Translator& translator, const InventoryPlanner& inventories, Courier& courier, const Clock& clock, Metrics& metrics,
           OutcomeSink outcomes)
    : config_(config),
      reports_(reports),
      courier_(courier),
      carrier_(config_, reports, devices, identities, translator, inventories, courier, clock, metrics, std::move(outcomes)) {}

Pool::~Pool() { stop(); }

Result<void> Pool::start() {
  stopping_ = false;
  for (std::uint32_t i = 0; i < config_.workers; ++i) threads_.emplace_back([this] { work(); });
  return {};
}

void Pool::drain(SteadyTime) {
  // A worker finishes the message in its hand, which the courier's own deadline bounds; what it has not begun goes back.
  stopping_ = true;
  reports_.wake_waiters();
}

void Pool::stop() {
  stopping_ = true;
  reports_.wake_waiters();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Pool::work() {
  while (!stopping_) {
    // While nobody can take a message, leasing would only churn the store.
    if (const auto rest = courier_.rest_left(); rest > milliseconds(0)) {
      std::this_thread::sleep_for(std::min(rest, patience));
      continue;
    }
    auto batch = reports_.lease(store::LaneSet::all(), config_.batch_reports_max, static_cast<std::uint64_t>(config_.batch_bytes_max), patience);
    if (!batch) {
      if (batch.error().remedy == Remedy::halt) return;
      log_.error("lease failed", kv("code", batch.error().code), kv("why", batch.error().message));
      std::this_thread::sleep_for(patience);
      continue;
    }
    if (*batch) carrier_.carry(**batch, stopping_);
  }
}

}  // namespace greengate::workers
