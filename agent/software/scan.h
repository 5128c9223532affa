#pragma once

#include "agent/collectors/machine.h"
#include "agent/software/cache.h"
#include "agent/software/settings.h"
#include "agent/trees/pace.h"
#include "core/clock.h"
#include "core/result.h"
#include "greengate/v1/report.pb.h"

#include <cstdint>
#include <string>

namespace greengate::agent {

/// What a scan had to do, and what it passed over.
struct ScanCost {
  std::uint64_t folders = 0;           ///< Opened.
  std::uint64_t folders_read = 0;      ///< Whose names were read: new ones, and those that changed.
  std::uint64_t files_looked_at = 0;   ///< Stats.
  std::uint64_t owners_asked = 0;      ///< Files whose package was looked for.
  std::uint64_t package_bytes = 0;     ///< Read of package databases. File contents: never.
  std::uint64_t unreadable = 0;        ///< Folders without permission.
  std::uint64_t too_deep = 0;          ///< Folders below depth_max, or with too long a path.
  bool cut = false;                    ///< files_max, or a folder with too many names.
};

struct ScanResult {
  v1::SoftwareInventory inventory;
  ScanCost cost;
};

/// Looks for files below the configured paths, by name and permission only: no file is opened.
///
/// Promise   Follows no symbolic link, not even as a configured path; enters another file system
///           only when told to, and never one that is not a local disk's. What vanishes meanwhile
///           is left out. Rows come in the same order every time; (path, name) is unique and valid
///           UTF-8 (bytes that are not are written \xHH). Reads again only folders that changed,
///           and all of them after settings.full_look; asks for packages only when files or
///           databases changed.
/// Limits    files_max, depth_max, time_max, limits::directory_entries a folder; the pace's rates.
///           `cache` may hold half a scan afterwards, which the next one goes on from.
/// Errors    software.time (retry: the rest next time), software.disk (retry: a folder could not be
///           read, so that its files would look removed).
/// Source    docs/reference/software-inventory.md
Result<ScanResult> scan_software(const SoftwareSettings& settings, const Machine& machine,
                                 SoftwareCache& cache, Pace& pace, const Clock& clock);

}  // namespace greengate::agent
