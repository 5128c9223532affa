#pragma once

#include "core/clock.h"
#include "gateway/token_bucket.h"

#include "greengate/v1/frame.pb.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::gateway {

/// Where the sender of a frame stands.
enum class Standing : std::uint8_t {
  unknown,   ///< A key that is not enrolled: may enrol.
  pending,   ///< Enrolled, waits for an operator: may ask again.
  greeting,  ///< Active, but has not said Hello on this connection.
  active,    ///< May do everything.
  revoked,   ///< Was cut off. Whatever comes is ignored.
  replaced,  ///< Gave way to a newer connection of the same key.
};

struct AdmissionConfig {
  std::int64_t frame_bytes_max = 16 << 20;
  std::int64_t report_bytes_max = 8 << 20;
  std::uint32_t reports_per_frame_max = 1'024;
  std::uint32_t in_flight_max = 256;
  std::int64_t in_flight_bytes_max = 32 << 20;
  std::int64_t memory_bytes_max = 128 << 20;
  std::uint32_t reports_per_second = 1'000;
  std::uint32_t reports_burst = 5'000;
};

/// Why a frame, or one report of it, was not taken.
struct Refusal {
  const char* code = "";  ///< Stable; docs/reference/agent-protocol.md.
  std::string message;
  std::chrono::milliseconds retry_after{0};
};

/// Words on what became of tasks, each of them a line in the log and a write to the disk. An agent that comes back tells of some 300 at most.
constexpr std::uint32_t task_results_per_second = 20, task_results_burst = 512;

/// What an agent has in our hands.
struct Account {
  explicit Account(const AdmissionConfig& config)
      : rate(config.reports_per_second, config.reports_burst) {}

  std::uint32_t in_flight = 0;  ///< Reports taken, no receipt yet.
  std::int64_t in_flight_bytes = 0;
  TokenBucket rate;
  TokenBucket task_results{task_results_per_second, task_results_burst};
  /// A rejected report is never kept, so the next one must step over it: sequences up to `rejected_last` that are to
  /// be added to its `skipped`.
  std::uint64_t rejected_last = 0;
  std::uint64_t rejected_count = 0;
};

/// What a report costs in memory while it is on its way to the store.
std::int64_t report_cost_bytes(std::size_t body_bytes);

/// The queue a report goes into. What is bulk by its kind travels as bulk, whatever its agent says: the lanes before it are for what is small,
/// and lanes do not wait for one another, while a device's inventories are numbered one after the other.
v1::Lane lane_of(const v1::Report& report);

/// What becomes of one report.
struct ReportVerdict {
  enum class Kind { take, reject, throttle } kind = Kind::take;
  Refusal why;                ///< Unless taken.
  std::uint64_t skipped = 0;  ///< When taken: sequences before it that will not come, rejected ones included.
};

/// Judges what agents send before anything is kept.
///
/// Promise   Judging one agent's frame changes nothing but that agent's Account. Nothing is allocated for a frame before its shape was
///           walked and found within the bounds, so a small frame cannot unfold into a large message.
/// Threads   The ingest thread; pure but for the Account it is given.
/// Errors    Frames: frame.too_large, frame.malformed, frame.too_many_reports, frame.kind_unexpected, agent.unknown, agent.pending,
///           agent.hello_first, agent.revoked, agent.replaced; flow.results.
///           Reports: report.sequence_zero, report.skipped, report.lane_unknown, report.kind_unknown, report.kind_reserved,
///           report.too_large (rejected);
///           flow.credits, flow.rate, gateway.busy (throttled).
class Admission {
 public:
  explicit Admission(AdmissionConfig config) : config_(config) {}

  /// Before parsing: is a frame of this size welcome from there, and is its outer shape within the bounds?
  std::optional<Refusal> shape(Standing standing, std::string_view frame) const;

  /// After parsing: may one who stands there say this? A kind from a newer agent is let through, to be ignored.
  std::optional<Refusal> kind(Standing standing, v1::Frame::KindCase kind) const;

  /// One report, in the frame's order. Taking it is entered in the account. `held_bytes`: of all agents, in our memory now.
  ReportVerdict report(Account& account, const v1::Report& report, std::int64_t held_bytes,
                       SteadyTime now) const;

  /// One word on a task. Taking it is entered in the account.
  std::optional<Refusal> task_result(Account& account, SteadyTime now) const;

 private:
  AdmissionConfig config_;
};

}  // namespace greengate::gateway
