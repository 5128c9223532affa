#include "workers/courier.h"

#include <algorithm>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;

// Longer than a round trip, much shorter than a lease: who waits here may hold one.
constexpr milliseconds place_patience{5'000};
constexpr milliseconds full_retry{1'000};

Metrics::Labels of(MessageType type) { return {{"type", std::string(adapters::name_of(type))}}; }
Metrics::Labels of(MessageType type, const char* why) { return {{"type", std::string(adapters::name_of(type))}, {"why", why}}; }

}  // namespace

std::vector<ConfigProblem> CourierConfig::problems() const {
  std::vector<ConfigProblem> found = pacing.problems();
  const auto complain = [&](const char* key, const std::string& value, const char* advice) {
    found.push_back({key, std::string(key) + " is " + value + "; " + advice});
  };
  if (in_flight_max_per_mp < 1 || in_flight_max_per_mp > 1'000) {
    complain("delivery.in_flight_max_per_mp", std::to_string(in_flight_max_per_mp), "it can be 1 to 1000 (16 if left out).");
  }
  if (failures_to_rest < 1 || failures_to_rest > 1'000) {
    complain("delivery.failures_to_rest", std::to_string(failures_to_rest), "it can be 1 to 1000 (3 if left out).");
  }
  if (!(slow_factor >= 1.1 && slow_factor <= 100)) {
    complain("delivery.slow_factor", std::to_string(slow_factor), "it can be 1.1 to 100 (2.0 if left out).");
  }
  if (slow_floor < milliseconds(1) || slow_floor > milliseconds(600'000)) {
    complain("delivery.slow_floor", duration_text(slow_floor), "it can be 1ms to 10min (500ms if left out).");
  }
  if (rest.base < milliseconds(10) || rest.cap < rest.base) {
    complain("delivery.rest_base", duration_text(rest.base), "it must be at least 10ms and not longer than delivery.rest_cap.");
  }
  return found;
}

Courier::TypeProbe::TypeProbe(Metrics& metrics, MessageType type)
    : concurrency(metrics.gauge("greengate_courier_concurrency", "Exchanges allowed at once, over all management points.", of(type))),
      in_flight(metrics.gauge("greengate_courier_in_flight", "Exchanges under way.", of(type))),
      slowed_by_failure(metrics.counter("greengate_courier_slowed_total", "How often concurrency was halved.", of(type, "failure"))),
      slowed_by_latency(metrics.counter("greengate_courier_slowed_total", "How often concurrency was halved.", of(type, "latency"))),
      rests(metrics.counter("greengate_courier_type_rests_total", "How often a message type was rested at a management point.", of(type))),
      seconds(metrics.histogram("greengate_courier_exchange_seconds", "How long answers of management points took.",
                                {0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60}, of(type))) {}

Courier::Courier(CourierConfig config, std::vector<std::unique_ptr<MpDoor>> doors, const Clock& clock,
                 Metrics& metrics, std::uint64_t seed)
    : config_(std::move(config)),
      clock_(clock),
      answered_(metrics.counter("greengate_courier_exchanges_total", "Exchanges with management points.",
                                {{"outcome", "answered"}})),
      failed_(metrics.counter("greengate_courier_exchanges_total", "Exchanges with management points.",
                              {{"outcome", "failed"}})),
      points_rested_(metrics.counter("greengate_courier_rests_total", "How often a whole management point was rested.")),
      budget_(config_.pacing, clock, metrics),
      seed_(seed) {
  for (const MessageType type : adapters::all_message_types) probes_.emplace_back(metrics, type);
  set_points(std::move(doors));
}

PaceConfig Courier::pace_config() const {
  PaceConfig pace;
  pace.in_flight_max = config_.in_flight_max_per_mp;
  pace.failures_to_rest = config_.failures_to_rest;
  pace.slow_factor = config_.slow_factor;
  pace.slow_floor = config_.slow_floor;
  pace.rest = config_.rest;
  return pace;
}

void Courier::set_points(std::vector<std::unique_ptr<MpDoor>> doors) {
  if (doors.empty()) return;
  {
    std::lock_guard lock(mutex_);
    Points list;
    for (auto& door : doors) {
      const auto same = [&](const auto& point) { return point->door->name() == door->name(); };
      if (std::any_of(list.begin(), list.end(), same)) continue;  // named twice
      const auto known = std::find_if(points_.begin(), points_.end(), same);
      if (known == points_.end()) {
        list.push_back(std::make_shared<Point>(std::move(door), pace_config(), seed_));
        seed_ += 1 + adapters::message_types;
      } else {
        (*known)->door = std::move(door);
        list.push_back(*known);
      }
    }
    points_ = std::move(list);
    for (const MessageType type : adapters::all_message_types) show(type);
  }
  place_free_.notify_all();
}

Result<adapters::Verdict> Courier::send(const adapters::OutgoingMessage& message) {
  return exchange<adapters::Verdict>(adapters::message_type_of(message), [&](MpDoor& door) { return door.send(message); });
}

Result<std::string> Courier::get(std::string_view target) {
  return exchange<std::string>(MessageType::requests, [&](MpDoor& door) { return door.get(target); });
}

template <class Answer>
Result<Answer> Courier::exchange(MessageType type, const std::function<Result<Answer>(MpDoor&)>& ask) {
  Points tried;
  bool charged = false;
  std::string failures;  // whoever reads that none took it wants to know why the tried ones did not
  while (true) {
    auto place = take_place(type, tried, charged);
    if (!place) {
      Error error = place.error();
      if (!failures.empty() && error.remedy == Remedy::retry) error.message = "no management point took it:" + failures + ".";
      return tl::unexpected(std::move(error));
    }
    auto answer = ask(*place->door);
    settle(*place, answer ? nullptr : &answer.error());
    if (answer || answer.error().remedy != Remedy::retry) return answer;
    failures += (failures.empty() ? " " : "; ") + place->door->name() + " " + answer.error().code;
    tried.push_back(std::move(place->point));
  }
}

Result<Courier::Place> Courier::take_place(MessageType type, const Points& tried, bool& charged) {
  const auto give_up = std::chrono::steady_clock::now() + place_patience;  // waiting is real, whatever the clock says
  std::unique_lock lock(mutex_);
  while (true) {
    if (stopping_) return fail(Remedy::halt, "mp.stopping", "the gateway is stopping.");
    const SteadyTime now = clock_.steady();
    std::shared_ptr<Point> chosen;
    bool somebody_is_full = false;
    for (const auto& point : points_) {
      if (std::find(tried.begin(), tried.end(), point) != tried.end()) continue;
      const auto room = point->pace.room(type, now);
      if (room == MpPace::Room::full) somebody_is_full = true;
      if (room != MpPace::Room::free) continue;
      chosen = point;
      break;
    }
    if (!chosen && !somebody_is_full) {
      return fail(Remedy::retry, "mp.none_available", "no management point can be reached at the moment.",
                  std::max(rest_left_locked(type), milliseconds(1)));
    }
    const milliseconds shortage = charged ? milliseconds(0) : budget_.shortage(type);
    if (chosen && shortage == milliseconds(0)) {
      if (!charged) budget_.charge(type);
      charged = true;
      Place place{chosen, chosen->door, chosen->pace.begin(type, now), under_way_.insert(under_way_.end(), chosen->door)};
      show(type);
      return place;
    }
    // A request has no lane that could be kept closed, so it waits here; anything else was leased too early and goes back.
    const auto real_now = std::chrono::steady_clock::now();
    if (shortage > milliseconds(0) && (type != MessageType::requests || real_now + shortage > give_up)) {
      return fail(Remedy::retry, "pacing.budget", "the site's budget for " + std::string(adapters::name_of(type)) + " is used up for now.",
                  shortage);
    }
    if (real_now >= give_up) {
      return fail(Remedy::retry, "mp.none_available", "every management point is busy at the moment.", full_retry);
    }
    place_free_.wait_until(lock, shortage > milliseconds(0) ? real_now + shortage : give_up);
  }
}

void Courier::settle(Place& place, const Error* error) {
  {
    std::lock_guard lock(mutex_);
    under_way_.erase(place.under_way);
    Point& point = *place.point;
    const SteadyTime now = clock_.steady();
    const Ending ending = error ? ending_of(*error) : Ending::answered;
    const auto change = point.pace.end(place.exchange, now, ending, error ? error->retry_after : milliseconds(0));
    const auto type = static_cast<std::size_t>(place.exchange.type);
    if (ending == Ending::answered || ending == Ending::refused) {
      // It answered; that the message is at fault says nothing against the management point.
      ++point.answered;
      point.last_code = error ? error->code : "";
      answered_.add();
      probes_[type].seconds.observe(std::chrono::duration<double>(now - place.exchange.began).count());
    } else if (ending != Ending::aborted) {
      ++point.failed;
      point.last_code = error->code;
      failed_.add();
    }
    tell(point, place.exchange.type, change, error);
    show(place.exchange.type);
    if (change.point_rests) {
      for (const MessageType each : adapters::all_message_types) show(each);
    }
  }
  place_free_.notify_all();
}

void Courier::tell(const Point& point, MessageType type, const MpPace::Change& change, const Error* error) {
  TypeProbe& probe = probes_[static_cast<std::size_t>(type)];
  const std::string& mp = point.door->name();
  if (change.slowed == MpPace::Change::Slowed::failure) probe.slowed_by_failure.add();
  if (change.slowed == MpPace::Change::Slowed::latency) probe.slowed_by_latency.add();
  if (change.slowed != MpPace::Change::Slowed::no) {
    log_.debug("management point gets fewer at once", kv("mp", mp), kv("type", adapters::name_of(type)),
               kv("why", change.slowed == MpPace::Change::Slowed::latency ? "slow" : error->code));
  }
  if (change.type_rests) {
    probe.rests.add();
    log_.warn("message type rests", kv("mp", mp), kv("type", adapters::name_of(type)), kv("code", error->code),
              kv("why", error->message), kv("retry_in_ms", *change.type_rests));
  }
  if (change.point_rests) {
    points_rested_.add();
    log_.warn("management point rests", kv("mp", mp), kv("code", error->code), kv("why", error->message),
              kv("retry_in_ms", *change.point_rests));
  }
}

// Gauges are sums over the list: management points come and go, and their names are no labels.
void Courier::show(MessageType type) {
  std::uint32_t concurrency = 0, in_flight = 0;
  for (const auto& point : points_) {
    concurrency += point->pace.concurrency(type);
    in_flight += point->pace.in_flight(type);
  }
  probes_[static_cast<std::size_t>(type)].concurrency.set(concurrency);
  probes_[static_cast<std::size_t>(type)].in_flight.set(in_flight);
}

milliseconds Courier::rest_left_locked(MessageType type) const {
  if (points_.empty()) return milliseconds(0);
  const SteadyTime now = clock_.steady();
  auto soonest = milliseconds::max();
  for (const auto& point : points_) soonest = std::min(soonest, point->pace.rest_left(type, now));
  return soonest;
}

milliseconds Courier::rest_left() const {
  std::lock_guard lock(mutex_);
  if (points_.empty()) return milliseconds(0);
  const SteadyTime now = clock_.steady();
  auto soonest = milliseconds::max();
  for (const auto& point : points_) soonest = std::min(soonest, point->pace.rest_left(now));
  return soonest;
}

CourierCapacity Courier::capacity() const {
  std::lock_guard lock(mutex_);
  const SteadyTime now = clock_.steady();
  CourierCapacity all;
  for (const auto& point : points_) {
    all.total += point->pace.capacity(now);
    all.bulk += point->pace.bulk_capacity(now);
    for (const MessageType type : adapters::all_message_types) {
      all.of_type[static_cast<std::size_t>(type)] += point->pace.capacity(type, now);
    }
  }
  for (const MessageType type : adapters::all_message_types) all.rest_left[static_cast<std::size_t>(type)] = rest_left_locked(type);
  return all;
}

std::vector<MpHealth> Courier::health() const {
  std::lock_guard lock(mutex_);
  std::vector<MpHealth> all;
  const SteadyTime now = clock_.steady();
  for (const auto& point : points_) {
    MpHealth health;
    health.name = point->door->name();
    health.rest_left = point->pace.rest_left(now);
    health.resting = health.rest_left > milliseconds(0);
    health.in_flight = point->pace.in_flight();
    health.answered = point->answered;
    health.failed = point->failed;
    health.last_code = point->last_code;
    health.state = point->pace.state(now);
    health.types = point->pace.health(now);
    all.push_back(std::move(health));
  }
  return all;
}

Result<void> Courier::start() { return {}; }

void Courier::drain(SteadyTime until) {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    place_free_.notify_all();
    const auto patience = std::max(std::chrono::ceil<milliseconds>(until - clock_.steady()), milliseconds(0));
    place_free_.wait_for(lock, patience, [this] { return under_way_.empty(); });
  }
  abandon_all();
}

void Courier::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  place_free_.notify_all();
  abandon_all();
}

void Courier::abandon_all() {
  UnderWay doors;
  {
    std::lock_guard lock(mutex_);
    doors = under_way_;
  }
  if (!doors.empty()) log_.info("exchanges abandoned", kv("exchanges", doors.size()));
  for (const auto& door : doors) door->abandon();
}

}  // namespace greengate::workers
