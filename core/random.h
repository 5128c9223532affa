#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace greengate {

/// `count` bytes from the kernel's generator; fit for keys and tokens. Any thread.
std::string random_bytes(std::size_t count);

/// One random number over the whole range.
std::uint64_t random_u64();

}  // namespace greengate
