#include "gateway/slots.h"

#include <algorithm>
#include <string_view>

namespace greengate::gateway {
namespace {

/// Agent ids may be made in any way, so they are mixed first: FNV-1a, then the finisher of splitmix64. `salt` keeps an
/// agent's two moments apart.
std::uint64_t mixed(std::string_view text, std::uint64_t salt) {
  std::uint64_t hash = 0xcbf29ce484222325ull ^ salt;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ull;
  }
  hash ^= hash >> 30;
  hash *= 0xbf58476d1ce4e5b9ull;
  hash ^= hash >> 27;
  hash *= 0x94d049bb133111ebull;
  return hash ^ (hash >> 31);
}

/// Where in a window the hash falls; the upper 32 bits are enough for a window of 49 days.
std::int64_t within(std::uint64_t hash, std::int64_t window_ms) {
  return static_cast<std::int64_t>(((hash >> 32) * static_cast<std::uint64_t>(window_ms)) >> 32);
}

constexpr std::uint64_t reconnect_salt = 1;
constexpr std::uint64_t report_salt = 2;

}  // namespace

SlotsConfig slots_of(const AgentsConfig& config) {
  return {config.reconnects_per_second, config.reconnect_window_min, config.reconnect_window_max,
          config.report_window};
}

std::chrono::milliseconds Slots::reconnect_window(std::size_t fleet) const {
  const auto needed = std::chrono::milliseconds(fleet * 1'000 / config_.reconnects_per_second);
  return std::clamp(needed, config_.reconnect_window_min, config_.reconnect_window_max);
}

std::chrono::milliseconds Slots::reconnect(const AgentId& agent, std::size_t fleet) const {
  return std::chrono::milliseconds(
      within(mixed(agent.raw(), reconnect_salt), reconnect_window(fleet).count()));
}

std::chrono::milliseconds Slots::reconnect(std::size_t rank, std::size_t fleet) const {
  const auto window = static_cast<std::uint64_t>(reconnect_window(fleet).count());
  return std::chrono::milliseconds(window * rank / std::max<std::size_t>(fleet, 1));
}

std::chrono::milliseconds Slots::report(const AgentId& agent, WallTime now) const {
  const std::int64_t window = config_.report_window.count();
  const std::int64_t moment = within(mixed(agent.raw(), report_salt), window);
  const std::int64_t since_start = ((to_millis(now) % window) + window) % window;
  return std::chrono::milliseconds((moment - since_start + window) % window);
}

}  // namespace greengate::gateway
