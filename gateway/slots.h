#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "gateway/agents_config.h"

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace greengate::gateway {

struct SlotsConfig {
  std::uint32_t reconnects_per_second = 200;
  std::chrono::milliseconds reconnect_window_min{2'000};
  std::chrono::milliseconds reconnect_window_max{600'000};
  std::chrono::milliseconds report_window{14'400'000};
};

SlotsConfig slots_of(const AgentsConfig& config);

/// Gives each agent its own moment to come back and to report, so that neither a restart nor the turn of the hour makes a storm.
///
/// Promise   The same agent and fleet give the same moment, in every process and after every restart. Over a whole fleet the moments are
///           even: by id as even as chance, by rank exact.
/// Threads   Any; pure.
/// Source    docs/adr/0012-slots-instead-of-jitter.md
class Slots {
 public:
  explicit Slots(SlotsConfig config) : config_(config) {}

  /// How long the whole fleet takes to come back.
  std::chrono::milliseconds reconnect_window(std::size_t fleet) const;

  /// This agent's wait before reconnecting, when nobody can be asked (its Welcome said so in advance).
  std::chrono::milliseconds reconnect(const AgentId& agent, std::size_t fleet) const;

  /// The same when all who must go are known, the `rank`th of `fleet`: evenly, to the millisecond.
  std::chrono::milliseconds reconnect(std::size_t rank, std::size_t fleet) const;

  /// From `now` to this agent's next moment. Its moments are fixed on the calendar, one each report window, so coming and
  /// going does not move them.
  std::chrono::milliseconds report(const AgentId& agent, WallTime now) const;

 private:
  SlotsConfig config_;
};

}  // namespace greengate::gateway
