#include "adapters/wns/pacing.h"

#include <algorithm>

namespace greengate::adapters {

using std::chrono::milliseconds;

bool PushBucket::has_one(SteadyTime now, double share) {
  if (now > filled_at_) {  // the first time it is full anyway
    const double passed = std::chrono::duration<double>(now - filled_at_).count();
    tokens_ = std::min(std::max(1.0, burst_ * share), tokens_ + passed * per_second_ * share);
    filled_at_ = now;
  }
  return tokens_ >= 1;
}

SteadyTime PushBucket::next_at(SteadyTime now, double share) const {
  const double missing = (1 - std::min(tokens_, 1.0)) / (per_second_ * share);
  return now + milliseconds(1 + static_cast<std::int64_t>(missing * 1'000));
}

AppPace::AppPace(const WnsSettings& settings) : settings_(settings), bucket_(settings.pushes_per_second, settings.pushes_burst) {}

double AppPace::share(SteadyTime now) const {
  if (!ramp_since_) return 1;
  const auto steps = (now - *ramp_since_) / settings_.ramp_step;
  const double first = settings_.ramp_start_percent / 100.0;
  return steps > 16 ? 1 : std::min(1.0, first * static_cast<double>(std::int64_t{1} << steps));
}

bool AppPace::can_start(SteadyTime now) {
  if (in_flight_ >= settings_.in_flight_max_per_app) return false;
  if (throttled_until_ && (probing_ || now < *throttled_until_)) return false;
  if (ramp_since_ && share(now) >= 1) ramp_since_.reset();
  return bucket_.has_one(now, share(now));
}

bool AppPace::started(SteadyTime now) {
  static_cast<void>(now);
  bucket_.take();
  ++in_flight_;
  if (throttled_until_) probing_ = true;
  return probing_;
}

void AppPace::finished(bool was_probe, bool taken, SteadyTime now) {
  --in_flight_;
  if (!was_probe) return;
  probing_ = false;
  // A throttle that began anew while the probe was under way stays.
  if (!taken || !throttled_until_ || now < *throttled_until_) return;
  throttled_until_.reset();
  ramp_since_ = now;
  bucket_.drain_to_one();
}

void AppPace::throttle(SteadyTime until) {
  throttled_until_ = std::max(until, throttled_until_.value_or(until));
  ramp_since_.reset();
}

SteadyTime AppPace::next_at(SteadyTime now) {
  if (in_flight_ >= settings_.in_flight_max_per_app || (throttled_until_ && probing_)) return SteadyTime::max();
  const SteadyTime start = throttled_until_ ? std::max(now, *throttled_until_) : now;
  return bucket_.has_one(now, share(now)) ? start : std::max(start, bucket_.next_at(now, share(now)));
}

bool HostPace::can_start(SteadyTime now) const {
  if (open_until_) return now >= *open_until_ && !probing_;
  return in_flight_ < most_at_once();
}

std::uint32_t HostPace::most_at_once() const {
  if (answered_) return settings_.connections_per_host_max;
  return std::min(settings_.connections_per_host_max, settings_.breaker_failures > failures_ ? settings_.breaker_failures - failures_ : 1);
}

bool HostPace::started(SteadyTime now) {
  ++in_flight_;
  last_used_ = now;
  if (open_until_) probing_ = true;
  return probing_;
}

void HostPace::finished(bool was_probe, End end, milliseconds wait, SteadyTime now) {
  --in_flight_;
  last_used_ = now;
  if (was_probe) probing_ = false;
  if (end == End::answered) {
    // One that left before the breaker opened says nothing about now.
    if (open_until_ && !was_probe) return;
    failures_ = opened_ = 0;
    answered_ = true;
    open_until_.reset();
    return;
  }
  if (end == End::told_to_wait) {
    open_until_ = std::max(now + wait, open_until_.value_or(now));
    return;
  }
  ++failures_;
  answered_ = false;
  if ((open_until_ && !was_probe) || (!open_until_ && failures_ < settings_.breaker_failures)) return;
  const auto doubled = settings_.breaker_base * (std::int64_t{1} << std::min<std::uint32_t>(opened_, 20));
  ++opened_;
  open_until_ = now + std::min<milliseconds>(doubled, settings_.breaker_cap);
}

SteadyTime HostPace::next_at(SteadyTime now) const {
  if (open_until_) return probing_ ? SteadyTime::max() : std::max(now, *open_until_);
  return in_flight_ < most_at_once() ? now : SteadyTime::max();
}

}  // namespace greengate::adapters
