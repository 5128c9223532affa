#pragma once

#include "agent/trees/beneath.h"
#include "core/result.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace greengate::agent {

/// A package, as far as a file's row tells of it.
struct Owner {
  std::string name, version, vendor;
  bool operator==(const Owner&) const = default;
};

struct SeenFile {
  std::string name;
  Standing standing;
  std::uint32_t owner = 0;  ///< Place in SoftwareCache::owners; 0: no package.
  bool owner_known = false;  ///< Its package was found by an earlier scan, and it has not changed.
};

/// A folder as a scan found it.
struct SeenFolder {
  std::uint64_t device = 0, inode = 0;
  std::int64_t changed_ns = 0;  ///< 0: it changed too shortly before the scan to be trusted.
  std::int64_t read_at_ms = 0;  ///< When its names were last read.
  std::vector<SeenFile> files;  ///< Sorted by name; only those that were reported.
  std::vector<std::string> folders;
};

/// What the last scan saw, so that the next need not read again what did not change.
///
/// Limits    cache_bytes_max; a larger one is not kept. Damaged, foreign or absent: empty, and the
///           next scan reads everything.
struct SoftwareCache {
  std::string fingerprint;    ///< Of the settings that decide what is reported.
  std::string package_stamp;  ///< Of the package databases when the owners were asked for.
  std::vector<Owner> owners = {Owner()};
  std::map<std::string, SeenFolder> folders;  ///< By path, with a slash at the end.

  static constexpr std::size_t cache_bytes_max = 32 << 20;
  static SoftwareCache load(const std::string& file);
  Result<void> save(const std::string& file) const;
};

}  // namespace greengate::agent
