#pragma once

#include "core/clock.h"
#include "core/result.h"
#include "gateway/config.h"

#include <memory>
#include <string>

namespace greengate::gateway {

/// The composition root: builds every part once, floor by floor, connects them, and starts and stops them in order.
/// Nothing here decides anything about a report.
///
/// Threads   The main thread only.
class House {
 public:
  /// Builds without starting. The error says what is missing, such as a key file others may read.
  static Result<std::unique_ptr<House>> build(const Config& config, const Clock& clock);
  ~House();
  House(const House&) = delete;
  House& operator=(const House&) = delete;

  Result<void> start();
  /// Ends what is in hand until the deadline, then lets go.
  void shut_down(SteadyTime drain_until);
  /// What shut_down() waits for right now, for the log; empty when it waits for nobody. Any thread.
  std::string at() const;

  /// One JSON line for scripts: where agents connect, the key they pin, the admin socket, the observe port.
  std::string addresses() const;

 private:
  struct Rooms;
  explicit House(std::unique_ptr<Rooms> rooms);
  std::unique_ptr<Rooms> rooms_;
};

}  // namespace greengate::gateway
