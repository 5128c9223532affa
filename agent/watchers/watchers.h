#pragma once

#include "agent/watchers/meter.h"
#include "agent/watchers/mif_folder.h"
#include "agent/watchers/package_watch.h"

#include <memory>
#include <vector>

namespace greengate::agent {

struct WatchersConfig {
  PackageWatchConfig packages;
  MeterConfig metering;
  MifFolderConfig mif;
};

/// Everything that is looked at between collections, one after the other when its time comes.
///
/// Limits    One tick is as much work as its watchers' own bounds allow: some milliseconds of reading files.
/// Threads   One.
class Watchers {
 public:
  Watchers(const WatchersConfig& config, Notebook& notebook, const Clock& clock);

  SteadyTime next_due() const;
  void tick();
  void close();

 private:
  std::vector<std::unique_ptr<Watcher>> all_;
};

}  // namespace greengate::agent
