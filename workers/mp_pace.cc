#include "workers/mp_pace.h"

#include <algorithm>
#include <bit>
#include <string_view>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;

// Enough to find out how fast it is, too few to hurt.
constexpr std::uint32_t first_concurrency = 4;
// A faster round trip is believed soon, a slower one hardly: else slowness would become usual while it lasts.
constexpr double usual_falls_by = 0.5, usual_rises_by = 1.0 / 64;
constexpr double latency_smoothing = 0.2;

std::uint32_t bit(MessageType type) { return 1u << static_cast<unsigned>(type); }

}  // namespace

bool is_bulk(MessageType type) { return type != MessageType::state && type != MessageType::requests; }

Ending ending_of(const Error& error) {
  if (error.remedy == Remedy::halt) return Ending::aborted;
  if (error.remedy == Remedy::reject) return Ending::refused;
  const std::string_view code = error.code;
  for (const char* wrong : {"mp.unauthorized", "mp.forbidden", "mp.not_there", "mp.redirected", "http.redirect"}) {
    if (code == wrong) return Ending::misconfigured;
  }
  for (const char* cut : {"http.timeout", "http.closed", "http.protocol", "http.reply_too_large"}) {
    if (code == cut) return Ending::silent;
  }
  return code.starts_with("http.") ? Ending::unreachable : Ending::busy;
}

std::optional<milliseconds> MpPace::Breaker::open(SteadyTime now, milliseconds at_least, std::uint64_t number, std::uint64_t begun) {
  // Exchanges that were under way together fail together: one failure, one back-off. Only a longer wish still counts.
  if (rests_until > now) rests_until = std::max(rests_until, now + at_least);
  if (rests_until > now || number <= opened_at) return std::nullopt;
  on_trial = true;
  opened_at = begun;
  const auto rest = backoff.next(at_least);
  rests_until = now + rest;
  return rest;
}

void MpPace::Breaker::succeed(std::uint64_t number) {
  if (number <= opened_at) return;
  on_trial = false;
  backoff.reset();
}

milliseconds MpPace::Breaker::left(SteadyTime now) const {
  return std::max(std::chrono::ceil<milliseconds>(rests_until - now), milliseconds(0));
}

bool MpPace::Pace::fall() {
  const bool falls = limit > 1;
  limit = std::max(limit / 2, 1u);
  fell_at = begun;
  if (falls) ++slowed;
  start_round();
  return falls;
}

void MpPace::Pace::start_round() {
  answered = slow = 0;
  fastest_ms = 0;
  used = in_flight >= limit;
}

MpPace::MpPace(const PaceConfig& config, std::uint64_t seed) : config_(config), breaker_(config.rest, seed) {
  for (std::size_t i = 0; i < adapters::message_types; ++i) {
    paces_.emplace_back(config.rest, seed + 1 + i, std::min(first_concurrency, config.in_flight_max));
  }
}

std::uint32_t MpPace::bulk_max() const { return config_.in_flight_max - (config_.in_flight_max > 1 ? (config_.in_flight_max + 3) / 4 : 0); }

MpPace::Room MpPace::room(MessageType type, SteadyTime now) const {
  const Pace& of_type = pace(type);
  if (breaker_.rests_until > now || of_type.breaker.rests_until > now) return Room::rests;
  if (breaker_.on_trial && in_flight_ > 0) return Room::full;
  if (of_type.breaker.on_trial && of_type.in_flight > 0) return Room::full;
  if (of_type.in_flight >= of_type.limit || in_flight_ >= config_.in_flight_max) return Room::full;
  if (is_bulk(type) && bulk_in_flight_ >= bulk_max()) return Room::full;
  return Room::free;
}

MpPace::Exchange MpPace::begin(MessageType type, SteadyTime now) {
  Pace& of_type = pace(type);
  ++in_flight_;
  if (is_bulk(type)) ++bulk_in_flight_;
  if (++of_type.in_flight >= of_type.limit) of_type.used = true;
  return {type, ++of_type.begun, ++begun_, now};
}

MpPace::Change MpPace::end(const Exchange& exchange, SteadyTime now, Ending ending, milliseconds retry_after) {
  Pace& of_type = pace(exchange.type);
  --in_flight_;
  --of_type.in_flight;
  if (is_bulk(exchange.type)) --bulk_in_flight_;
  Change change;
  switch (ending) {
    case Ending::aborted: break;
    case Ending::answered:
      good(of_type, exchange);
      measure(of_type, exchange, now, change);
      break;
    case Ending::refused: good(of_type, exchange); break;
    case Ending::busy: bad(of_type, exchange, now, retry_after, change); break;
    case Ending::silent:
      bad(of_type, exchange, now, retry_after, change);
      // A probe that nobody answers proves nothing better than before; an HTTP error at least comes from something alive.
      if (breaker_.on_trial) rest_point(exchange, now, retry_after, change);
      break;
    case Ending::unreachable:
    case Ending::misconfigured:
      if (exchange.number > of_type.fell_at && of_type.fall()) change.slowed = Change::Slowed::failure;
      rest_point(exchange, now, retry_after, change);
      break;
  }
  return change;
}

void MpPace::good(Pace& of_type, const Exchange& exchange) {
  failures_ = failed_types_ = 0;
  of_type.failures = 0;
  breaker_.succeed(exchange.point_number);
  of_type.breaker.succeed(exchange.number);
}

void MpPace::measure(Pace& of_type, const Exchange& exchange, SteadyTime now, Change& change) {
  const double took_ms = std::chrono::duration<double, std::milli>(now - exchange.began).count();
  of_type.latency_ms += (took_ms - of_type.latency_ms) * (of_type.latency_ms > 0 ? latency_smoothing : 1);
  if (exchange.number <= of_type.fell_at) return;

  of_type.fastest_ms = of_type.answered == 0 ? took_ms : std::min(of_type.fastest_ms, took_ms);
  ++of_type.answered;
  const bool is_slow = of_type.usual_ms > 0 && took_ms > of_type.usual_ms * config_.slow_factor &&
                       took_ms > static_cast<double>(config_.slow_floor.count());
  if (is_slow) ++of_type.slow;
  if (of_type.answered < of_type.limit) return;

  if (of_type.usual_ms > 0) {
    of_type.usual_ms += (of_type.fastest_ms - of_type.usual_ms) * (of_type.fastest_ms < of_type.usual_ms ? usual_falls_by : usual_rises_by);
  } else {
    of_type.usual_ms = std::max(of_type.fastest_ms, 0.001);
  }
  if (of_type.slow * 2 > of_type.answered) {
    if (of_type.fall()) change.slowed = Change::Slowed::latency;
    return;
  }
  if (of_type.slow == 0 && of_type.used) of_type.limit = std::min(of_type.limit + 1, config_.in_flight_max);
  of_type.start_round();
}

void MpPace::bad(Pace& of_type, const Exchange& exchange, SteadyTime now, milliseconds retry_after, Change& change) {
  ++of_type.failures;
  if (exchange.point_number > breaker_.opened_at) {
    ++failures_;
    failed_types_ |= bit(exchange.type);
  }
  if (exchange.number > of_type.fell_at && of_type.fall()) change.slowed = Change::Slowed::failure;
  const bool probe_failed = of_type.breaker.on_trial;
  if (retry_after > milliseconds(0) || of_type.failures >= config_.failures_to_rest || probe_failed) {
    change.type_rests = of_type.breaker.open(now, retry_after, exchange.number, of_type.begun);
    if (change.type_rests) {
      of_type.limit = 1;
      of_type.start_round();
    }
  }
  // While only bulk fails, each type resting by itself protects as well, and state still gets through.
  const bool more_than_bulk = (failed_types_ & (bit(MessageType::state) | bit(MessageType::requests))) != 0;
  if (failures_ >= config_.failures_to_rest && std::popcount(failed_types_) > 1 && more_than_bulk) {
    rest_point(exchange, now, milliseconds(0), change);
  }
}

void MpPace::rest_point(const Exchange& exchange, SteadyTime now, milliseconds at_least, Change& change) {
  const auto rest = breaker_.open(now, at_least, exchange.point_number, begun_);
  if (!rest) return;
  change.point_rests = rest;
  failures_ = failed_types_ = 0;
  for (Pace& each : paces_) {
    each.limit = 1;
    each.fell_at = each.begun;
    each.start_round();
  }
}

std::uint32_t MpPace::capacity(MessageType type, SteadyTime now) const {
  const Pace& of_type = pace(type);
  if (breaker_.rests_until > now || of_type.breaker.rests_until > now) return 0;
  if (breaker_.on_trial || of_type.breaker.on_trial) return 1;
  return std::min(of_type.limit, is_bulk(type) ? bulk_max() : config_.in_flight_max);
}

std::uint32_t MpPace::capacity(SteadyTime now) const {
  if (breaker_.rests_until > now) return 0;
  return breaker_.on_trial ? 1 : config_.in_flight_max;
}

std::uint32_t MpPace::bulk_capacity(SteadyTime now) const {
  if (breaker_.rests_until > now) return 0;
  return breaker_.on_trial ? 1 : bulk_max();
}

milliseconds MpPace::rest_left(SteadyTime now) const { return breaker_.left(now); }

milliseconds MpPace::rest_left(MessageType type, SteadyTime now) const {
  return std::max(breaker_.left(now), pace(type).breaker.left(now));
}

std::vector<TypeHealth> MpPace::health(SteadyTime now) const {
  std::vector<TypeHealth> all;
  for (const MessageType type : adapters::all_message_types) {
    const Pace& each = pace(type);
    TypeHealth health;
    health.type = type;
    health.state = each.breaker.state(now);
    health.concurrency = each.limit;
    health.in_flight = each.in_flight;
    health.latency = milliseconds(static_cast<std::int64_t>(each.latency_ms));
    health.usual_latency = milliseconds(static_cast<std::int64_t>(each.usual_ms));
    health.rest_left = each.breaker.left(now);
    health.slowed = each.slowed;
    all.push_back(health);
  }
  return all;
}

}  // namespace greengate::workers
