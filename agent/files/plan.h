#pragma once

#include "agent/collectors/machine.h"
#include "agent/files/ledger.h"
#include "agent/files/settings.h"
#include "agent/trees/pace.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::agent {

/// One file that matches, as it stood when it was read.
struct PlannedFile {
  CollectedPlace place;
  Standing standing;
  std::string sha256;    ///< 32 bytes; of what is unchanged, the ledger's.
  bool changed = false;  ///< Its content differs from what was sent last: send it.
};

/// What a run of file collection will send, and what it knows is there already.
struct FilePlan {
  std::vector<PlannedFile> files;  ///< In the order of their paths.
  std::uint64_t unreadable = 0;    ///< Matching files without permission.
  std::uint64_t too_large = 0;
  std::uint64_t left = 0;       ///< For the next run: run_bytes_max or files_max was reached.
  std::uint64_t unsettled = 0;  ///< Changed while they were read; worth another run soon.

  /// From the collecting process to the agent; never sent.
  std::string encode() const;
  static std::optional<FilePlan> decode(std::string_view bytes);
};

/// Finds the files that match and hashes those that are not as the ledger knows them.
///
/// Promise   No symbolic link is followed, neither in the configured part of a path nor below it;
///           nothing but regular files is opened; what lies on network or pseudo file systems, and
///           the agent's own state directory, is left alone. Files as the ledger has them (size,
///           inode, times) are not opened.
/// Limits    files_max, file_bytes_max, run_bytes_max of FileSettings; limits::directory_entries a
///           folder; 20,000 folders; the pace's rates.
/// Threads   The collecting thread.
FilePlan plan_files(const FileSettings& settings, const std::string& state_directory,
                    const FileLedger& ledger, const Machine& machine, Pace& pace);

}  // namespace greengate::agent
