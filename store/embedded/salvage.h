#pragma once

#include "store/embedded/database.h"

#include <cstdint>
#include <string>

namespace greengate::store {

struct Salvaged {
  std::uint64_t rows = 0;
  std::uint32_t tables_cut_short = 0;  ///< Of which a part could not be read.
};

/// Copies what can still be read of a damaged file into a new one: every table from its beginning
/// until the damage, then from its end backwards. Nothing is changed in the damaged file. Errors
/// store.disk (retry): the new file could not be written. Not being able to read the old one is no
/// error: then nothing is saved.
Result<Salvaged> salvage_rows(const std::string& damaged_path, Database& target,
                              const DatabaseOptions& options);

}  // namespace greengate::store
