#pragma once

#include "core/metrics.h"

#include <map>
#include <mutex>
#include <string>

namespace greengate::store {

/// The store's numbers. Handles are asked for once; see docs/reference/metrics.md for what they
/// mean.
struct StoreProbe {
  explicit StoreProbe(Metrics& metrics);

  /// Dead letters by their code. Codes are literals of ours, so there are few; a bound keeps it so.
  void buried(const std::string& code, double reports);

  Counter commits_ok, commits_failed;
  Histogram commit_records, sync_seconds;
  Histogram checkpoint_seconds;
  Gauge wal_bytes, free_bytes, writer_bytes;

  Counter kept_stored, kept_duplicate, kept_out_of_order, kept_full;
  Counter settled_delivered, settled_superseded, settled_expired, settled_buried;
  Counter leases, leases_expired, postponed, replayed;
  Gauge waiting, waiting_bytes, leased, held_devices, buried_now, oldest_age_seconds;
  Counter damaged_records, damaged_files, damaged_baselines;

  Gauge devices;

 private:
  Metrics& metrics_;
  std::mutex mutex_;  ///< Guards by_code_.
  std::map<std::string, Counter> by_code_;
};

}  // namespace greengate::store
