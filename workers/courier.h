#pragma once

#include "adapters/mp/message.h"
#include "adapters/mp/verdict.h"
#include "core/backoff.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/lifecycle.h"
#include "core/metrics.h"
#include "core/result.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::workers {

/// How management points are used and rested.
struct CourierConfig {
  std::uint32_t in_flight_max_per_mp = 16;             ///< Exchanges at once with one management point.
  /// The rest of one that failed; at least what it asked for, or, where a person must act (403, 404, 405), MpSettings::configuration_retry.
  BackoffConfig rest{std::chrono::milliseconds(2'000), std::chrono::milliseconds(300'000)};

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
};

/// How one management point is doing, for operators.
struct MpHealth {
  std::string name;
  bool resting = false;
  std::chrono::milliseconds rest_left{};
  std::uint32_t in_flight = 0;
  std::uint64_t answered = 0, failed = 0;
  std::string last_code;
};

/// Brings a message to a management point that can take it.
///
/// Promise   Never more than in_flight_max_per_mp exchanges with one; one that failed is left alone for a back-off with jitter, at least as
///           long as it asked for; the next in the list is tried at once.
/// Threads   Any; send() waits for a free place and for the answer.
/// Errors    What the door answered, when the message itself is at fault (reject). mp.none_available (retry) with retry_after
///           when every management point rests.
/// Source    mp-protocol 1.8, 6.3
class Courier : public Component {
 public:
  Courier(CourierConfig config, std::vector<std::unique_ptr<MpDoor>> doors, const Clock& clock, Metrics& metrics,
          std::uint64_t seed);

  Result<adapters::Verdict> send(const adapters::OutgoingMessage& message);
  /// A GET from the first management point that can answer.
  Result<std::string> get(std::string_view target);
  /// How long every management point still rests; 0 when one can be tried.
  std::chrono::milliseconds rest_left() const;
  std::vector<MpHealth> health() const;

  std::string_view name() const override { return "courier"; }
  Result<void> start() override;
  /// Whoever waits for a free place, or asks from now on, is answered `halt`; exchanges under way end by their own deadline.
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  struct Point {
    std::unique_ptr<MpDoor> door;
    Backoff backoff;
    SteadyTime rests_until{};
    std::uint32_t in_flight = 0;
    std::uint64_t answered = 0, failed = 0;
    std::string last_code;
  };
  Result<std::size_t> reserve(std::vector<bool>& tried);
  void settle(Point& point, const Result<adapters::Verdict>& answer);
  std::chrono::milliseconds rest_left_locked() const;

  const CourierConfig config_;
  const Clock& clock_;
  const Counter answered_;
  const Counter failed_;
  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable place_free_;
  std::vector<Point> points_;
  bool stopping_ = false;
};

}  // namespace greengate::workers
