#pragma once

#include "core/result.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace greengate::adapters {

/// One zlib (RFC 1950) stream of `plain`. The bytes are signed as they are, so compress once and keep them. `level` 1 to 12: 1 is ISA-L's
/// and the fastest, the others are libdeflate's. Any thread; each thread keeps one compressor of each.
std::string compress_zlib(std::string_view plain, int level);

/// The other way, at most `plain_bytes_max` long.
/// Errors    mp.inflate (reject: not a zlib stream, or bytes behind it), mp.inflate_too_large (reject).
Result<std::string> inflate_zlib(std::string_view stream, std::size_t plain_bytes_max);

}  // namespace greengate::adapters
