#pragma once

#include "simulators/common/base64.h"
#include "simulators/common/text.h"

#include <cstdint>
#include <random>
#include <string>

namespace greengate::sim {

/// Chance with a seed, so that a run can be had again. Never for keys. One thread.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low >= high ? low : low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }
  std::string bytes(std::size_t count) {
    std::string out(count, '\0');
    for (char& c : out) c = static_cast<char>(engine_() >> 32);
    return out;
  }
  std::string hex(std::size_t count) { return to_hex_upper(bytes((count + 1) / 2)).substr(0, count); }
  std::string guid() {
    const std::string h = to_lower(hex(32));
    return h.substr(0, 8) + '-' + h.substr(8, 4) + "-4" + h.substr(13, 3) + "-8" + h.substr(17, 3) + '-' + h.substr(20);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace greengate::sim
