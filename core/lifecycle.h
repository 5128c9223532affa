#pragma once

#include "core/clock.h"
#include "core/result.h"

#include <string_view>
#include <vector>

namespace greengate {

/// Something that starts, finishes what is in hand, and stops.
class Component {
 public:
  virtual ~Component() = default;
  virtual std::string_view name() const = 0;
  /// Returns when ready, or says why not.
  virtual Result<void> start() = 0;
  /// Refuses new work and finishes what is in hand, until the deadline at the latest.
  virtual void drain(SteadyTime until) = 0;
  /// Lets go. Never fails; may come twice, or without start().
  virtual void stop() = 0;
};

/// Starts components downstream first and ends them upstream first, so that work in flight always has somewhere to go.
/// Threads   The main thread only.
class Lifecycle {
 public:
  /// `downstream_first`: what the others pour into comes first. The components outlive this.
  explicit Lifecycle(std::vector<Component*> downstream_first);

  /// All or nothing: if one fails, those started are stopped again and the error names the culprit.
  Result<void> start();
  /// Drains upstream first, then stops upstream first.
  void shut_down(SteadyTime drain_until);

 private:
  std::vector<Component*> downstream_first_;
  std::size_t started_ = 0;
};

}  // namespace greengate
