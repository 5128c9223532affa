#include "workers/courier.h"

#include "core/log.h"

#include <algorithm>

namespace greengate::workers {

std::vector<ConfigProblem> CourierConfig::problems() const {
  std::vector<ConfigProblem> found;
  if (in_flight_max_per_mp < 1 || in_flight_max_per_mp > 1'000) {
    found.push_back({"delivery.in_flight_max_per_mp", "delivery.in_flight_max_per_mp is " +
                                                          std::to_string(in_flight_max_per_mp) +
                                                          "; it can be 1 to 1000 (16 if left out)."});
  }
  return found;
}

Courier::Courier(CourierConfig config, std::vector<std::unique_ptr<MpDoor>> doors, const Clock& clock,
                 Metrics& metrics, std::uint64_t seed)
    : config_(config),
      clock_(clock),
      answered_(metrics.counter("greengate_courier_exchanges_total", "Exchanges with management points.",
                                {{"outcome", "answered"}})),
      failed_(metrics.counter("greengate_courier_exchanges_total", "Exchanges with management points.",
                              {{"outcome", "failed"}})) {
  for (auto& door : doors) {
    points_.push_back({std::move(door), Backoff(config.rest, seed++), {}, 0, 0, 0, {}});
  }
}

Result<adapters::Verdict> Courier::send(const adapters::OutgoingMessage& message) {
  std::vector<bool> tried(points_.size(), false);
  while (true) {
    auto place = reserve(tried);
    if (!place) return pass(place);
    Point& point = points_[*place];
    auto answer = point.door->send(message);
    settle(point, answer);
    if (answer || answer.error().remedy != Remedy::retry) return answer;
    tried[*place] = true;
  }
}

Result<std::string> Courier::get(std::string_view target) {
  std::vector<bool> tried(points_.size(), false);
  while (true) {
    auto place = reserve(tried);
    if (!place) return pass(place);
    Point& point = points_[*place];
    auto answer = point.door->get(target);
    settle(point, answer ? Result<adapters::Verdict>(adapters::Verdict{}) : Result<adapters::Verdict>(tl::unexpected(answer.error())));
    if (answer || answer.error().remedy != Remedy::retry) return answer;
    tried[*place] = true;
  }
}

Result<std::size_t> Courier::reserve(std::vector<bool>& tried) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (stopping_) return fail(Remedy::halt, "mp.stopping", "the gateway is stopping.");
    const SteadyTime now = clock_.steady();
    bool somebody_is_full = false;
    for (std::size_t i = 0; i < points_.size(); ++i) {
      Point& point = points_[i];
      if (tried[i] || point.rests_until > now) continue;
      if (point.in_flight >= config_.in_flight_max_per_mp) {
        somebody_is_full = true;
        continue;
      }
      ++point.in_flight;
      return i;
    }
    if (!somebody_is_full) {
      return fail(Remedy::retry, "mp.none_available", "no management point can be reached at the moment.",
                  std::max(rest_left_locked(), std::chrono::milliseconds(1)));
    }
    place_free_.wait(lock);
  }
}

void Courier::settle(Point& point, const Result<adapters::Verdict>& answer) {
  {
    std::lock_guard lock(mutex_);
    --point.in_flight;
    if (answer || answer.error().remedy == Remedy::reject) {
      // It answered; that the message is at fault says nothing against the management point.
      ++point.answered;
      point.backoff.reset();
      point.last_code = answer ? "" : answer.error().code;
      answered_.add();
    } else if (answer.error().remedy == Remedy::retry) {
      const Error& error = answer.error();
      ++point.failed;
      failed_.add();
      const SteadyTime now = clock_.steady();
      // Exchanges that were under way together fail together: one failure, one back-off.
      if (point.rests_until <= now) {
        const auto rest = point.backoff.next(error.retry_after);
        point.rests_until = now + rest;
        Log("courier").warn("management point rests", kv("mp", point.door->name()), kv("code", error.code),
                            kv("why", error.message), kv("retry_in_ms", rest));
      }
      point.last_code = error.code;
    }
  }
  place_free_.notify_all();
}

std::chrono::milliseconds Courier::rest_left_locked() const {
  const SteadyTime now = clock_.steady();
  auto soonest = std::chrono::milliseconds::max();
  for (const Point& point : points_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(point.rests_until - now);
    soonest = std::min(soonest, std::max(left, std::chrono::milliseconds(0)));
  }
  return points_.empty() ? std::chrono::milliseconds(0) : soonest;
}

std::chrono::milliseconds Courier::rest_left() const {
  std::lock_guard lock(mutex_);
  return rest_left_locked();
}

std::vector<MpHealth> Courier::health() const {
  std::lock_guard lock(mutex_);
  std::vector<MpHealth> all;
  const SteadyTime now = clock_.steady();
  for (const Point& point : points_) {
    MpHealth health;
    health.name = point.door->name();
    health.resting = point.rests_until > now;
    if (health.resting) health.rest_left = std::chrono::ceil<std::chrono::milliseconds>(point.rests_until - now);
    health.in_flight = point.in_flight;
    health.answered = point.answered;
    health.failed = point.failed;
    health.last_code = point.last_code;
    all.push_back(std::move(health));
  }
  return all;
}

Result<void> Courier::start() { return {}; }

void Courier::drain(SteadyTime) { stop(); }

void Courier::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  place_free_.notify_all();
}

}  // namespace greengate::workers
