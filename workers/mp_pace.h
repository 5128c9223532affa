#pragma once

#include "adapters/mp/message_type.h"
#include "core/backoff.h"
#include "core/clock.h"
#include "core/result.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace greengate::workers {

using adapters::MessageType;

/// How fast one management point is used, and when it is left alone.
struct PaceConfig {
  std::uint32_t in_flight_max = 16;  ///< Exchanges at once; a quarter of them is not for bulk.
  std::uint32_t failures_to_rest = 3;
  double slow_factor = 2.0;                       ///< Slow: longer than so many times what is usual here…
  std::chrono::milliseconds slow_floor{500};      ///< …and than this.
  BackoffConfig rest{std::chrono::milliseconds(2'000), std::chrono::milliseconds(300'000)};
};

/// What an exchange's end says about the management point.
enum class Ending : std::uint8_t {
  answered,       ///< It did its work.
  refused,        ///< It is well; the message was at fault.
  busy,           ///< 5xx, 408, 429, or an answer nobody can read: this type's component is in trouble.
  silent,         ///< Connected, but no whole answer came.
  unreachable,    ///< No connection.
  misconfigured,  ///< A person must act first: 401, 403, 404, 405, a redirect.
  aborted,        ///< We gave up; it says nothing.
};
Ending ending_of(const Error& error);

/// How one type fares at one management point, for operators.
struct TypeHealth {
  MessageType type = MessageType::discovery;
  const char* state = "closed";  ///< The breaker's: closed, open, half_open.
  std::uint32_t concurrency = 0, in_flight = 0;
  std::chrono::milliseconds latency{}, usual_latency{}, rest_left{};
  std::uint64_t slowed = 0;  ///< How often concurrency fell.
};

/// The pace of one management point: how many exchanges of each type at once, and its circuit breakers. Time is told, never asked.
///
/// Pace      Per type: one exchange more after a round trip of good ones that used what there was; half as many after a failure, or after
///           a round trip most of which was slow. A round trip is as many exchanges as go at once; what began before a fall cannot cause
///           another.
/// Breakers  A type rests after failures_to_rest failures in a row or when asked to (Retry-After); the whole point when it cannot be reached,
///           is misconfigured, or fails as often in a row over several types, not all of them bulk. After the rest one exchange probes, and
///           a good answer begins again at one exchange at a time.
/// Threads   The owner's lock.
class MpPace {
 public:
  MpPace(const PaceConfig& config, std::uint64_t seed);

  enum class Room : std::uint8_t { free, full, rests };
  Room room(MessageType type, SteadyTime now) const;

  struct Exchange {
    MessageType type = MessageType::discovery;
    std::uint64_t number = 0;        ///< Of this type, from 1.
    std::uint64_t point_number = 0;  ///< Of all.
    SteadyTime began{};
  };
  /// Only where room() said free.
  Exchange begin(MessageType type, SteadyTime now);

  /// What an end has changed, to be told and counted.
  struct Change {
    enum class Slowed : std::uint8_t { no, failure, latency };
    Slowed slowed = Slowed::no;
    std::optional<std::chrono::milliseconds> type_rests, point_rests;
  };
  Change end(const Exchange& exchange, SteadyTime now, Ending ending, std::chrono::milliseconds retry_after);

  /// How many exchanges of a type this point takes at once now; 0 while it rests.
  std::uint32_t capacity(MessageType type, SteadyTime now) const;
  /// The same over all types, and over the bulk ones.
  std::uint32_t capacity(SteadyTime now) const;
  std::uint32_t bulk_capacity(SteadyTime now) const;

  std::chrono::milliseconds rest_left(SteadyTime now) const;
  std::chrono::milliseconds rest_left(MessageType type, SteadyTime now) const;
  std::uint32_t in_flight() const { return in_flight_; }
  std::uint32_t in_flight(MessageType type) const { return pace(type).in_flight; }
  std::uint32_t concurrency(MessageType type) const { return pace(type).limit; }
  const char* state(SteadyTime now) const { return breaker_.state(now); }
  std::vector<TypeHealth> health(SteadyTime now) const;

 private:
  /// Closed, open until a moment, then half open until a probe succeeds.
  struct Breaker {
    Breaker(const BackoffConfig& rest, std::uint64_t seed) : backoff(rest, seed) {}
    Backoff backoff;
    SteadyTime rests_until{};
    bool on_trial = false;
    std::uint64_t opened_at = 0;  ///< Exchanges begun by then prove nothing.
    const char* state(SteadyTime now) const { return rests_until > now ? "open" : on_trial ? "half_open" : "closed"; }
    /// For the failure of exchange `number`, when `begun` have begun. Nothing when it rests already or the news is old.
    std::optional<std::chrono::milliseconds> open(SteadyTime now, std::chrono::milliseconds at_least, std::uint64_t number,
                                                  std::uint64_t begun);
    void succeed(std::uint64_t number);
    std::chrono::milliseconds left(SteadyTime now) const;
  };
  struct Pace {
    Pace(const BackoffConfig& rest, std::uint64_t seed, std::uint32_t first) : breaker(rest, seed), limit(first) {}
    Breaker breaker;
    std::uint32_t limit, in_flight = 0, failures = 0;
    std::uint64_t begun = 0, fell_at = 0, slowed = 0;
    // The round trip under way.
    std::uint32_t answered = 0, slow = 0;
    double fastest_ms = 0;
    bool used = false;          ///< There was demand for all of `limit`.
    double usual_ms = 0;        ///< The smoothed minimum; 0: nothing is known yet.
    double latency_ms = 0;      ///< Smoothed, for operators.
    /// False when it could fall no further.
    bool fall();
    void start_round();
  };

  const Pace& pace(MessageType type) const { return paces_[static_cast<std::size_t>(type)]; }
  Pace& pace(MessageType type) { return paces_[static_cast<std::size_t>(type)]; }
  std::uint32_t bulk_max() const;
  void good(Pace& pace, const Exchange& exchange);
  void measure(Pace& pace, const Exchange& exchange, SteadyTime now, Change& change);
  void bad(Pace& pace, const Exchange& exchange, SteadyTime now, std::chrono::milliseconds retry_after, Change& change);
  void rest_point(const Exchange& exchange, SteadyTime now, std::chrono::milliseconds at_least, Change& change);

  const PaceConfig config_;
  Breaker breaker_;
  std::vector<Pace> paces_;
  std::uint32_t in_flight_ = 0, bulk_in_flight_ = 0;
  std::uint64_t begun_ = 0;
  // Failures in a row, over all types.
  std::uint32_t failures_ = 0;
  std::uint32_t failed_types_ = 0;  ///< Bits.
};

/// Bulk may wait; a quarter of every resource is kept for the rest.
bool is_bulk(MessageType type);

}  // namespace greengate::workers
