#pragma once

#include "core/clock.h"
#include "core/config_reader.h"
#include "core/ids.h"
#include "core/random.h"

#include "greengate/v1/notification.pb.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace greengate::gateway {

/// How the work that one button causes at the site is spread (bgb-protocol 7.2: up to 60 s below 1 000 agents, else up to 300 s).
struct WaveConfig {
  std::chrono::milliseconds window_per_1000{60'000};  ///< For a fleet of 1 000; for others in proportion…
  std::chrono::milliseconds window_max{300'000};      ///< …up to this.

  std::vector<ConfigProblem> problems() const {
    std::vector<ConfigProblem> found;
    for (const auto& [key, value] : {std::pair{"notifications.wave_window_per_1000", window_per_1000}, {"notifications.wave_window_max", window_max}}) {
      if (value <= std::chrono::hours(4)) continue;
      found.push_back({key, std::string(key) + " is " + duration_text(value) + "; it can be 0s to 4h."});
    }
    return found;
  }
  std::chrono::milliseconds window(std::size_t agents) const {
    return std::min(window_max, std::chrono::milliseconds(window_per_1000.count() * static_cast<std::int64_t>(std::min<std::size_t>(agents, 1'000'000)) / 1'000));
  }
  /// Somewhere in the window, and not beyond `latest`.
  std::chrono::milliseconds delay(std::size_t agents, std::chrono::milliseconds latest = std::chrono::milliseconds::max()) const {
    const auto whole = static_cast<std::uint64_t>(std::min(window(agents), latest).count());
    return std::chrono::milliseconds(whole > 0 ? random_u64() % whole : 0);
  }
  /// When one device's part of an action begins, for a device that counts no time itself: the same moment of the window whenever it is asked, over restarts
  /// too, and never later than half of the action's life.
  WallTime start(std::uint64_t action, const AgentId& device, WallTime created, WallTime expires, std::size_t agents) const {
    const auto life = std::max(std::chrono::milliseconds(0), std::chrono::duration_cast<std::chrono::milliseconds>(expires - created));
    const auto whole = static_cast<std::uint64_t>(std::min(window(agents), life / 2).count());
    if (whole == 0) return created;
    // Not std::hash, which may differ from one build to the next.
    std::uint64_t mixed = 0xcbf29ce484222325 ^ (action * 0x9e3779b97f4a7c15);
    for (const char c : device.raw()) mixed = (mixed ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    mixed ^= mixed >> 32;
    mixed *= 0xd6e8feb86659fd93;
    mixed ^= mixed >> 32;
    return created + std::chrono::milliseconds(mixed % whole);
  }
};

/// Does it make the agent send something to the site, or fetch something from where everybody fetches?
inline bool makes_a_wave(v1::Task task) {
  switch (task) {
    case v1::TASK_MACHINE_POLICY:
    case v1::TASK_HARDWARE_INVENTORY:
    case v1::TASK_DISCOVERY:
    case v1::TASK_SOFTWARE_INVENTORY:
    case v1::TASK_UPDATE_SIGNATURES:
    case v1::TASK_COLLECT_LOGS: return true;
    default: return false;
  }
}

}  // namespace greengate::gateway
