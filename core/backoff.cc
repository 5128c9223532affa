#include "core/backoff.h"

#include <algorithm>

namespace greengate {
namespace {

// splitmix64: small, seedable, the same on every machine, so that a failing test replays.
std::uint64_t next_random(std::uint64_t& state) {
  state += 0x9E3779B97F4A7C15ull;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

}  // namespace

Backoff::Backoff(BackoffConfig config, std::uint64_t seed) : config_(config), state_(seed), last_(config.base) {}

std::chrono::milliseconds Backoff::next(std::chrono::milliseconds retry_after) {
  ++failures_;
  const auto low = config_.base.count();
  const auto high = std::max(low, std::min(config_.cap.count(), last_.count() * 3));
  const auto span = static_cast<std::uint64_t>(high - low) + 1;
  last_ = std::chrono::milliseconds(low + static_cast<std::int64_t>(next_random(state_) % span));
  return std::max(last_, retry_after);
}

void Backoff::reset() {
  last_ = config_.base;
  failures_ = 0;
}

}  // namespace greengate
