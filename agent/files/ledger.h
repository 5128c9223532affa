#pragma once

#include "agent/trees/beneath.h"
#include "core/result.h"

#include <cstdint>
#include <map>
#include <string>

namespace greengate::agent {

/// Where a collected file is: the configured folder, which may lie behind no link, and the way from
/// there.
struct CollectedPlace {
  std::string folder;  ///< "/etc/contoso"
  std::string below;   ///< "site/a.conf"
  std::string whole() const { return (folder == "/" ? "" : folder) + "/" + below; }
  auto operator<=>(const CollectedPlace&) const = default;
};

/// A file whose content the gateway has.
struct SentFile {
  Standing standing;
  std::string sha256;
  /// The reports that carried it, to know it again when one is rejected later.
  std::uint64_t incarnation = 0, first_sequence = 0, last_sequence = 0;
};

/// What was sent already. Kept in a small file; losing it costs sending everything once more.
struct FileLedger {
  std::map<std::string, SentFile> files;  ///< By whole path.

  static constexpr std::size_t files_max = 20'000;
  static FileLedger load(const std::string& file);
  Result<void> save(const std::string& file) const;
};

}  // namespace greengate::agent
