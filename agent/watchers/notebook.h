#pragma once

#include "core/clock.h"
#include "greengate/v1/frame.pb.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace greengate::agent {

/// A report a watcher has made.
struct Finding {
  v1::Lane lane = v1::LANE_STATE;
  v1::Kind kind = v1::KIND_UNSPECIFIED;
  std::string body;
};

/// Names and values that survive a restart.
using Notes = std::vector<std::pair<std::string, std::string>>;

/// Where a watcher keeps what it found together with how far it looked, so that neither a crash nor a full disk loses or repeats it.
class Notebook {
 public:
  virtual ~Notebook() = default;
  /// Empty when there is none.
  virtual std::string note(const std::string& name) = 0;
  /// All of it or, when false, nothing; the reason has been logged.
  virtual bool keep(const std::vector<Finding>& findings, const Notes& notes) = 0;
};

/// At most so many an hour; a restart begins a new hour.
class HourlyBudget {
 public:
  HourlyBudget(std::uint32_t per_hour, const Clock& clock) : per_hour_(per_hour), clock_(clock) {}
  std::uint32_t left() {
    if (clock_.steady() >= since_ + std::chrono::hours(1)) {
      since_ = clock_.steady();
      used_ = 0;
    }
    return per_hour_ - used_;
  }
  void use(std::uint32_t count) { used_ += count < left() ? count : left(); }
  SteadyTime renewed_at() const { return since_ + std::chrono::hours(1); }

 private:
  std::uint32_t per_hour_;
  const Clock& clock_;
  SteadyTime since_ = clock_.steady();
  std::uint32_t used_ = 0;
};

/// One thing that is looked at from time to time.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual SteadyTime next_due() const = 0;
  /// Looks, if it is time; a bounded piece of work.
  virtual void tick() = 0;
  /// The agent is about to end.
  virtual void close() {}
};

}  // namespace greengate::agent
