#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace greengate::store {

/// What the site has of one device and kind of state, as far as it ever told.
struct Baseline {
  std::uint32_t kind = 0;
  std::uint64_t major = 0, minor = 0;  ///< Of the last message the site took.
  WallTime full_at;                    ///< When it last took the whole state.
  WallTime moved_at;
  std::uint64_t bytes = 0;             ///< Of the body, as kept.
  std::string body;                    ///< Opaque; empty in list().
};

/// The last accepted inventories: what deltas are made against, and what a resync is answered from.
///
/// Promise   A baseline moves only with the settlement of the message that carried it (ReportQueue::settle), in the same commit.
///           One that no longer matches its checksum is reported as absent, counted, and so followed by a whole state. It stays until
///           it is overwritten or forgotten, whatever becomes of the device.
/// Limits    A body above 64 MiB is forgotten instead of kept: a whole state follows.
/// Threads   Any; both read the disk.
/// Errors    baseline.disk (retry).
class Baselines {
 public:
  virtual ~Baselines() = default;
  virtual Result<std::optional<Baseline>> find(const AgentId& agent, std::uint32_t kind) = 0;
  /// All of a device, without bodies; so damage goes unnoticed here.
  virtual Result<std::vector<Baseline>> list(const AgentId& agent) = 0;
};

}  // namespace greengate::store
