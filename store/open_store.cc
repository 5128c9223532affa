#include "store/open_store.h"

#include "store/embedded/embedded_store.h"

namespace greengate::store {

std::vector<ConfigProblem> StoreConfig::problems() const {
  std::vector<ConfigProblem> found;
  if (kind != "embedded") {
    found.push_back({"store.kind", "store.kind is \"" + kind + "\"; it can be \"embedded\"."});
  }
  if (directory.empty()) {
    found.push_back({"store.directory",
                     "store.directory is empty; give the directory that keeps the reports, such as "
                     "\"/var/lib/greengate\"."});
  }
  const auto outside = [&found](const char* key, std::int64_t value, std::int64_t least,
                                std::int64_t most) {
    if (value >= least && value <= most) return;
    found.push_back({key, std::string(key) + " is " + std::to_string(value) + "; it can be " +
                              std::to_string(least) + " to " + std::to_string(most) + "."});
  };
  outside("store.queue_bytes_max", queue_bytes_max, std::int64_t{1} << 20, std::int64_t{1} << 44);
  outside("store.reserve_percent", reserve_percent, 0, 50);
  outside("store.history_per_device", history_per_device, 1, 10'000);
  outside("store.devices_max", devices_max, 1, 2'000'000);
  outside("store.pending_max", pending_max, 0, 100'000);
  outside("store.tokens_max", tokens_max, 1, 100'000);
  if (lease_time < std::chrono::seconds(1) || lease_time > std::chrono::hours(24)) {
    found.push_back({"store.lease_time", "store.lease_time is " + duration_text(lease_time) +
                                             "; it can be 1s to 24h."});
  }
  for (ConfigProblem& problem : mailbox.problems()) found.push_back(std::move(problem));
  return found;
}

Result<std::unique_ptr<Store>> open_store(const StoreConfig& config, const Clock& clock,
                                          Metrics& metrics) {
  if (config.kind == "embedded") return open_embedded(config, EmbeddedOptions{}, clock, metrics);
  return fail(Remedy::reject, "config.store_kind",
              "store.kind is \"" + config.kind + "\"; it can be \"embedded\".");
}

}  // namespace greengate::store
