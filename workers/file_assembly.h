#pragma once

#include "core/clock.h"
#include "core/result.h"
#include "store/report_queue.h"

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::workers {

/// Reports that have to wait for others, such as the first chunks of a file.
struct Waiting {
  std::vector<const store::LeasedReport*> reports;  ///< Oldest first.
  std::uint32_t missing = 0;                        ///< How many are still to come.
};

/// Reports that can never be delivered, and why.
struct Hopeless {
  std::vector<const store::LeasedReport*> reports;
  Error reason;
};

/// What a worker can hold of one device at once: a file must fit into it whole.
struct FileLimits {
  std::uint32_t reports_max = 256;
  std::int64_t bytes_max = 32 << 20;
};

struct FilePlan {
  std::vector<std::vector<const store::LeasedReport*>> whole;  ///< One file each: every chunk, in order.
  std::vector<Waiting> wait;
  std::vector<Hopeless> hopeless;
};

/// Puts the chunks of collected files together. `chunks` are a batch's unpinned reports of kind FILE_CHUNK, oldest first; `alone` says that
/// the batch has nothing else to send, so that what waits would make the device wait for ever once the batch is full.
///
/// Promise   Every chunk is in the plan once. Transfers do not disturb one another, however they are mixed. A transfer that contradicts
///           itself, lacks its beginning or could never fit is hopeless at once, and its later chunks with it.
/// Limits    FileLimits. Holds one chunk's content at a time.
/// Threads   Any; pure.
/// Errors    in Hopeless::reason: report.malformed, files.broken, files.too_large (all reject).
FilePlan plan_files(std::span<const store::LeasedReport* const> chunks, const FileLimits& limits, bool alone);

/// When to look again for the rest of a file: as soon as it can be there at the pace it came so far, and the more seldom the longer
/// nothing came. 2 s to 1 min.
std::chrono::milliseconds wait_for_rest(const Waiting& waiting, WallTime now);

/// SHA-256 over what is added.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void add(std::string_view bytes);
  /// 32 bytes; once.
  std::string digest();

 private:
  void* context_;
};

}  // namespace greengate::workers
