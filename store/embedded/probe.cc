#include "store/embedded/probe.h"

#include <vector>

namespace greengate::store {

namespace {

constexpr std::size_t kCodesMax = 100;

Counter kept(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_queue_offered_reports_total",
                         "Reports offered to the queue, by what became of them.",
                         {{"outcome", outcome}});
}

Counter settled(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_queue_settled_reports_total",
                         "Reports that left the queue, by how.", {{"outcome", outcome}});
}

const std::vector<double> kSeconds = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                      0.1,    0.2,   0.5,   1,     2,    5};

}  // namespace

StoreProbe::StoreProbe(Metrics& metrics)
    : commits_ok(metrics.counter("greengate_store_commits_total",
                                 "Transactions of the embedded store.", {{"outcome", "ok"}})),
      commits_failed(metrics.counter("greengate_store_commits_total",
                                     "Transactions of the embedded store.",
                                     {{"outcome", "failed"}})),
      commit_records(metrics.histogram("greengate_store_commit_records",
                                       "Records written by one transaction.",
                                       {1, 4, 16, 64, 256, 1'024, 4'096, 16'384})),
      sync_seconds(metrics.histogram("greengate_store_sync_seconds",
                                     "How long a commit took to be on disk.", kSeconds)),
      checkpoint_seconds(metrics.histogram(
          "greengate_store_checkpoint_seconds",
          "How long it took to move the write-ahead log into the file.", kSeconds)),
      wal_bytes(metrics.gauge("greengate_store_wal_bytes",
                              "Write-ahead log not yet moved into the file.")),
      free_bytes(
          metrics.gauge("greengate_store_free_bytes", "Free room on the store's file system.")),
      writer_bytes(metrics.gauge("greengate_store_writer_bytes",
                                 "Report bodies in memory that wait for the next commit.")),
      kept_stored(kept(metrics, "stored")),
      kept_duplicate(kept(metrics, "duplicate")),
      kept_out_of_order(kept(metrics, "out_of_order")),
      kept_full(kept(metrics, "full")),
      settled_delivered(settled(metrics, "delivered")),
      settled_superseded(settled(metrics, "superseded")),
      settled_expired(settled(metrics, "expired")),
      settled_buried(settled(metrics, "buried")),
      leases(metrics.counter("greengate_queue_leases_total", "Batches given to workers.")),
      leases_expired(metrics.counter("greengate_queue_leases_expired_total",
                                     "Batches whose worker was silent too long.")),
      postponed(metrics.counter("greengate_queue_postponed_reports_total",
                                "Reports put back to be tried again later.")),
      replayed(metrics.counter("greengate_queue_replayed_reports_total",
                               "Dead letters put back in their lanes.")),
      waiting(
          metrics.gauge("greengate_queue_waiting_reports", "Reports kept and not yet settled.")),
      waiting_bytes(metrics.gauge("greengate_queue_waiting_bytes",
                                  "Bodies of the reports kept and not yet settled.")),
      leased(metrics.gauge("greengate_queue_leased_reports", "Reports in a worker's hands.")),
      held_devices(metrics.gauge("greengate_queue_held_devices",
                                 "Devices whose reports are kept but not delivered for now.")),
      buried_now(metrics.gauge("greengate_queue_buried_reports", "Dead letters on disk.")),
      oldest_age_seconds(
          metrics.gauge("greengate_queue_oldest_age_seconds",
                        "Age of the oldest report that waits; the number to alert on.")),
      damaged_records(metrics.counter("greengate_store_damaged_records_total",
                                      "Records set aside because their bytes had changed.")),
      damaged_files(metrics.counter("greengate_store_damaged_files_total",
                                    "Store files set aside because they were damaged.")),
      damaged_baselines(
          metrics.counter("greengate_store_damaged_baselines_total",
                          "Baselines found damaged when they were asked for, and so taken for absent.")),
      devices(metrics.gauge("greengate_store_devices", "Devices in the registry, in any state.")),
      metrics_(metrics) {}

void StoreProbe::buried(const std::string& code, double reports) {
  std::lock_guard lock(mutex_);
  const std::string& name = by_code_.contains(code) || by_code_.size() < kCodesMax ? code : "other";
  auto found = by_code_.find(name);
  if (found == by_code_.end()) {
    found = by_code_
                .emplace(name, metrics_.counter("greengate_queue_buried_reports_total",
                                                "Reports buried, by reason.", {{"code", name}}))
                .first;
  }
  found->second.add(reports);
}

}  // namespace greengate::store
