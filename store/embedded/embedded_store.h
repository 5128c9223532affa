#pragma once

#include "store/embedded/database.h"
#include "store/embedded/writer.h"
#include "store/open_store.h"

#include <cstdint>
#include <functional>
#include <memory>

namespace greengate::store {

/// What an operator need not choose; tests do.
struct EmbeddedOptions {
  DatabaseOptions database;
  WriterOptions writer;
  std::size_t readers_max = 8;
  /// Bodies in memory that wait for a commit; above it keep() is refused with queue.busy.
  std::size_t pending_bytes_max = std::size_t{128} << 20;
  std::function<std::uint64_t()> free_bytes;  ///< Left out: asks the file system.
};

/// Everything in one SQLite file, `greengate.db` in the configured directory, with a lock file beside it.
///
/// A file that is damaged is renamed (`greengate.db.damaged-<UTC time>`) once all that can still be read is in a new one.
/// Errors    store.open (retry when the disk or another process is in the way, reject when the file is not ours to change).
Result<std::unique_ptr<Store>> open_embedded(const StoreConfig& config,
                                             const EmbeddedOptions& options, const Clock& clock,
                                             Metrics& metrics);

}  // namespace greengate::store
