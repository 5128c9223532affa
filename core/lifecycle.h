#pragma once

#include "core/clock.h"
#include "core/log.h"
#include "core/result.h"

#include <mutex>
#include <string>
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
  /// Begins nothing new from now on and returns at once; for those nobody has to wait for before the others have drained.
  virtual void refuse() {}
  /// Refuses new work and finishes what is in hand, until the deadline at the latest.
  virtual void drain(SteadyTime until) = 0;
  /// Lets go: what is still in hand is cut off, not waited for. Never fails; may come twice, or without start().
  virtual void stop() = 0;
};

/// Starts components downstream first and ends them upstream first, so that work in flight always has somewhere to go.
///
/// Limits    All of them drain within one deadline: who comes late in the order finishes its work while the earlier ones finish theirs.
/// Threads   The main thread only; at() any.
class Lifecycle {
 public:
  /// `downstream_first`: what the others pour into comes first. The components and the clock outlive this.
  Lifecycle(std::vector<Component*> downstream_first, const Clock& clock);

  /// All or nothing: if one fails, those started are stopped again and the error names the culprit.
  Result<void> start();
  /// All refuse, then drain upstream first, then stop upstream first. The log says how long each took.
  void shut_down(SteadyTime drain_until);
  /// What shut_down() waits for right now, such as "courier, draining"; empty when it waits for nobody.
  std::string at() const;

 private:
  void set_at(std::string_view component, const char* doing);

  std::vector<Component*> downstream_first_;
  const Clock& clock_;
  const Log log_{"lifecycle"};
  std::size_t started_ = 0;
  mutable std::mutex mutex_;  // guards at_
  std::string at_;
};

}  // namespace greengate
