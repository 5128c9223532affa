#pragma once

#include "adapters/mp/message.h"
#include "adapters/mp/verdict.h"
#include "core/backoff.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/lifecycle.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/result.h"
#include "workers/mp_pace.h"
#include "workers/site_budget.h"

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::workers {

/// How management points are used and rested.
struct CourierConfig {
  std::uint32_t in_flight_max_per_mp = 16;  ///< Exchanges at once with one management point.
  std::uint32_t failures_to_rest = 3;       ///< So many in a row rest a message type, or over several types the whole point.
  double slow_factor = 2.0;                 ///< An answer is slow when it took so many times the usual…
  std::chrono::milliseconds slow_floor{500};  ///< …and longer than this.
  /// The rest of one that failed; at least what it asked for, or, where a person must act (403, 404, 405), MpSettings::configuration_retry.
  BackoffConfig rest{std::chrono::milliseconds(2'000), std::chrono::milliseconds(300'000)};
  PacingConfig pacing;

  std::vector<ConfigProblem> problems() const;
};

/// One way to a management point; the seam tests use.
class MpDoor {
 public:
  virtual ~MpDoor() = default;
  virtual const std::string& name() const = 0;
  virtual Result<adapters::Verdict> send(const adapters::OutgoingMessage& message) = 0;
  /// A small document by GET, such as "/SMS_MP/.sms_aut?MPLIST" or a policy's body, as bytes sent.
  virtual Result<std::string> get(std::string_view target) = 0;
  /// The gateway stops: exchanges under way end now with `halt`. One that cannot lets them run into their deadline.
  virtual void abandon() {}
};

/// How one management point is doing, for operators.
struct MpHealth {
  std::string name;
  bool resting = false;
  std::chrono::milliseconds rest_left{};
  std::uint32_t in_flight = 0;
  std::uint64_t answered = 0, failed = 0;
  std::string last_code;
  const char* state = "closed";   ///< Its breaker's: closed, open, half_open.
  std::vector<TypeHealth> types;  ///< Every type's own pace and breaker.
};

/// What all management points together take at once now; nobody's is taken off.
struct CourierCapacity {
  std::array<std::uint32_t, adapters::message_types> of_type{};
  std::array<std::chrono::milliseconds, adapters::message_types> rest_left{};  ///< Until the first point takes this type again.
  std::uint32_t total = 0, bulk = 0;
};

/// Brings a message to a management point that can take it, no faster than the site's budget and the point itself allow.
///
/// Promise   The first in the list with a free place takes it; one that is busy or rests is passed over, and where it failed the next is
///           tried at once. How many go to one point at once follows how it fares, by message type (MpPace). Every message is charged to the
///           site's budget once, however many points it took.
/// Limits    in_flight_max_per_mp exchanges with one point, a quarter of them not for bulk; 5 s of waiting for a place or a request's budget.
/// Threads   Any; send() and get() wait for a place and for the answer.
/// Errors    What the door answered, when the message itself is at fault (reject). mp.none_available (retry) with retry_after when every
///           point rests or failed, or stayed full; pacing.budget (retry) with retry_after when the budget is used up; mp.stopping (halt).
/// Source    mp-protocol 1.8, 6.3; docs/adr/0009-pacing-retry-burial.md
class Courier : public Component {
 public:
  Courier(CourierConfig config, std::vector<std::unique_ptr<MpDoor>> doors, const Clock& clock, Metrics& metrics,
          std::uint64_t seed);

  Result<adapters::Verdict> send(const adapters::OutgoingMessage& message);
  /// A GET from the first management point that can answer; it counts as a request.
  Result<std::string> get(std::string_view target);

  /// Another list, in order of preference. A point whose name stays keeps its health, its pace and its exchanges; those of the others end
  /// by themselves. An empty list is not taken.
  void set_points(std::vector<std::unique_ptr<MpDoor>> doors);

  /// How long every management point still rests; 0 when one can be tried.
  std::chrono::milliseconds rest_left() const;
  CourierCapacity capacity() const;
  SiteBudget& budget() { return budget_; }
  std::vector<MpHealth> health() const;

  std::string_view name() const override { return "courier"; }
  Result<void> start() override;
  /// Whoever waits for a place, or asks from now on, is answered `halt`. Exchanges under way get until then, and are abandoned.
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  struct Point {
    Point(std::shared_ptr<MpDoor> door_, const PaceConfig& config, std::uint64_t seed) : door(std::move(door_)), pace(config, seed) {}
    std::shared_ptr<MpDoor> door;
    MpPace pace;
    std::uint64_t answered = 0, failed = 0;
    std::string last_code;
  };
  using Points = std::vector<std::shared_ptr<Point>>;
  using UnderWay = std::list<std::shared_ptr<MpDoor>>;
  /// An exchange that may go: it outlives its point's place in the list.
  struct Place {
    std::shared_ptr<Point> point;
    std::shared_ptr<MpDoor> door;
    MpPace::Exchange exchange;
    UnderWay::iterator under_way;
  };
  struct TypeProbe {
    TypeProbe(Metrics& metrics, MessageType type);
    Gauge concurrency, in_flight;
    Counter slowed_by_failure, slowed_by_latency, rests;
    Histogram seconds;
  };

  template <class Answer>
  Result<Answer> exchange(MessageType type, const std::function<Result<Answer>(MpDoor&)>& ask);
  Result<Place> take_place(MessageType type, const Points& tried, bool& charged);
  void settle(Place& place, const Error* error);
  void tell(const Point& point, MessageType type, const MpPace::Change& change, const Error* error);
  void show(MessageType type);
  std::chrono::milliseconds rest_left_locked(MessageType type) const;
  PaceConfig pace_config() const;
  void abandon_all();

  const CourierConfig config_;
  const Clock& clock_;
  const Log log_{"courier"};
  const Counter answered_;
  const Counter failed_;
  const Counter points_rested_;
  std::vector<TypeProbe> probes_;
  SiteBudget budget_;
  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable place_free_;
  Points points_;
  UnderWay under_way_;
  std::uint64_t seed_;
  bool stopping_ = false;
};

}  // namespace greengate::workers
