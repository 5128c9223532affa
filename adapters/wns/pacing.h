#pragma once

#include "adapters/wns/settings.h"
#include "core/clock.h"

#include <chrono>
#include <cstdint>
#include <optional>

namespace greengate::adapters {

/// So many a second on average, with a burst, at a share of its full rate. A value; time is told, never asked.
class PushBucket {
 public:
  PushBucket(double per_second, double burst) : per_second_(per_second), burst_(burst), tokens_(burst) {}

  bool has_one(SteadyTime now, double share = 1);
  void take() { tokens_ -= 1; }
  /// After has_one() said no.
  SteadyTime next_at(SteadyTime now, double share = 1) const;
  void drain_to_one() { tokens_ = tokens_ < 1 ? tokens_ : 1; }

 private:
  double per_second_, burst_, tokens_;
  SteadyTime filled_at_{};
};

/// How much one app may send: requests in flight, a rate, and WNS's own word when it wants less.
///
/// Promise   Nothing is started before a throttle's end; then one probe, and after its success a ramp from a tenth of the rate, doubled every
///           step.
/// Source    wns-mdm-push
class AppPace {
 public:
  explicit AppPace(const WnsSettings& settings);

  bool can_start(SteadyTime now);
  /// True: this one is the probe, and finished() is told so.
  bool started(SteadyTime now);
  void finished(bool was_probe, bool taken, SteadyTime now);
  void throttle(SteadyTime until);
  bool throttled() const { return throttled_until_.has_value(); }
  std::optional<SteadyTime> throttled_until() const { return throttled_until_; }
  std::uint32_t in_flight() const { return in_flight_; }
  /// When can_start() may turn true by time alone; max() when only an answer helps.
  SteadyTime next_at(SteadyTime now);

 private:
  double share(SteadyTime now) const;

  const WnsSettings& settings_;
  PushBucket bucket_;
  std::uint32_t in_flight_ = 0;
  std::optional<SteadyTime> throttled_until_;
  bool probing_ = false;
  std::optional<SteadyTime> ramp_since_;
};

/// How one host of WNS is treated: connections, and a breaker that opens after failures in a row and tries again with one probe.
///
/// Limits    connections_per_host_max at once. A host that has not answered yet, or failed last, gets no more than the breaker still bears: a
///           region that is down costs five connections, not sixteen that time out together.
/// Source    wns-mdm-push R-41
class HostPace {
 public:
  enum class End : std::uint8_t { answered, failed, told_to_wait };

  explicit HostPace(const WnsSettings& settings) : settings_(settings) {}

  bool can_start(SteadyTime now) const;
  bool started(SteadyTime now);
  /// `wait`: with told_to_wait, as long as the host asked for.
  void finished(bool was_probe, End end, std::chrono::milliseconds wait, SteadyTime now);
  SteadyTime next_at(SteadyTime now) const;
  bool open(SteadyTime now) const { return open_until_ && now < *open_until_; }
  std::uint32_t in_flight() const { return in_flight_; }
  /// Nothing worth remembering.
  bool idle() const { return in_flight_ == 0 && failures_ == 0 && !open_until_; }
  SteadyTime last_used() const { return last_used_; }

 private:
  std::uint32_t most_at_once() const;

  const WnsSettings& settings_;
  std::uint32_t in_flight_ = 0;
  bool answered_ = false;       // the last to end was answered
  std::uint32_t failures_ = 0;  // in a row
  std::uint32_t opened_ = 0;    // since the last answer
  std::optional<SteadyTime> open_until_;  // past: half open
  bool probing_ = false;
  SteadyTime last_used_{};
};

}  // namespace greengate::adapters
