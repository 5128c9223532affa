#pragma once

#include <cstdint>

namespace greengate::adapters {

/// A number below `sides` from a seeded state (splitmix64): the same everywhere, so that a failing run can be repeated.
inline std::uint64_t roll(std::uint64_t& state, std::uint64_t sides) {
  state += 0x9E3779B97F4A7C15ull;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  z ^= z >> 31;
  return sides == 0 ? z : z % sides;
}

}  // namespace greengate::adapters
