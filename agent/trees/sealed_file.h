#pragma once

#include "core/result.h"

#include <optional>
#include <string>
#include <string_view>

namespace greengate::agent {

/// A small file of the agent's own that may be lost but never believed when damaged: `kind`,
/// content, and a SHA-256 over both.
///
/// Promise   Written beside and renamed: readers see the old content or the new. Mode 0600.
/// Errors    sealed.disk (retry).
Result<void> write_sealed(const std::string& path, std::string_view kind, std::string_view content);

/// Nothing when it is absent, damaged, of another kind, larger than `bytes_max`, or no plain file.
std::optional<std::string> read_sealed(const std::string& path, std::string_view kind,
                                       std::size_t bytes_max);

}  // namespace greengate::agent
