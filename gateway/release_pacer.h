#pragma once

#include "core/clock.h"
#include "core/ids.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <unordered_map>

namespace greengate::gateway {

/// Whose mailbox is opened next, so that a fleet that comes back at once is not put to work at once. Only agents that are connected are
/// in it; what an agent takes at its turn counts against the rate afterwards.
///
/// Threads   The owner's lock.
class ReleasePacer {
 public:
  explicit ReleasePacer(double per_second) : per_second_(per_second), credit_(per_second) {}

  /// At the end of the line, unless it is in it.
  void arrived(const AgentId& agent) {
    if (in_line_.try_emplace(agent, ++turn_).second) line_.emplace_back(agent, turn_);
  }
  void left(const AgentId& agent) { in_line_.erase(agent); }

  /// Whose turn it is, out of the line; nothing when nobody waits or the rate is used up.
  std::optional<AgentId> next(SteadyTime now) {
    if (now > filled_at_) {
      const std::chrono::duration<double> passed = now - filled_at_;
      if (filled_at_ != SteadyTime{}) credit_ = std::min(per_second_, credit_ + passed.count() * per_second_);
      filled_at_ = now;
    }
    if (credit_ < 1) return std::nullopt;
    while (!line_.empty()) {
      const auto [agent, turn] = std::move(line_.front());
      line_.pop_front();
      const auto found = in_line_.find(agent);
      if (found == in_line_.end() || found->second != turn) continue;  // it left meanwhile
      in_line_.erase(found);
      return agent;
    }
    return std::nullopt;
  }
  void took(std::size_t entries) { credit_ -= static_cast<double>(entries); }
  std::size_t size() const { return in_line_.size(); }

 private:
  const double per_second_;
  double credit_;
  SteadyTime filled_at_{};
  std::uint64_t turn_ = 0;
  std::unordered_map<AgentId, std::uint64_t> in_line_;
  std::deque<std::pair<AgentId, std::uint64_t>> line_;
};

}  // namespace greengate::gateway
