#pragma once

#include "core/result.h"

#include <boost/json/fwd.hpp>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim {

enum class FaultKind {
  status,            ///< Answers `status` (with Retry-After) and applies nothing.
  latency,           ///< Waits `latency_ms` before the answer.
  empty,             ///< 200 with no content, and applies nothing.
  drop_before_read,  ///< Closes before the body is read.
  drop_after_read,   ///< Reads the body, applies nothing, closes.
  drop_reply,  ///< Applies the message and closes without an answer: the client must send it again.
  close_mid_reply,  ///< Applies it and closes in the middle of the answer.
  trickle,          ///< Writes the answer `bytes` at a time, `latency_ms` apart.
  registration,     ///< Answers registrations with `status` 2 or 3, or -1 for ApprovalStatus -1
                    ///< without SMSID.
  hostile,          ///< Answers with `form` of hostile.h, applies nothing, and closes.
};

struct Fault {
  std::uint64_t id = 0;
  FaultKind kind = FaultKind::status;
  int status = 503;
  std::int64_t retry_after_s = -1;  ///< -1: no header.
  std::int64_t latency_ms = 0;
  std::int64_t bytes = 16;
  std::int64_t count = -1;  ///< Times left; -1: until deleted.
  double probability = 1.0;
  std::string form;      ///< Of a hostile answer.
  std::string endpoint;  ///< TargetEndpoint or a path; empty: all.
};

/// The faults an operator or a test asked for.
/// Limits    64 faults; latency up to 10 minutes.
/// Threads   Any.
/// Errors    fault.syntax, fault.too_many
class Faults {
 public:
  explicit Faults(std::uint64_t seed) : random_(seed) {}
  Result<std::uint64_t> add(std::string_view json_text);
  /// All, or the one with this id.
  void clear(std::uint64_t id = 0);
  boost::json::array list() const;
  /// True when some fault names an endpoint, so that it must be read before the message is judged.
  bool need_endpoint() const;
  bool any() const;
  /// Draws the faults that hit this request and counts them down. `before_body`: only those that
  /// keep the body unread.
  std::vector<Fault> draw(std::string_view path, std::string_view endpoint, bool before_body);

 private:
  mutable std::mutex mutex_;  // guards everything below
  std::vector<Fault> faults_;
  std::uint64_t last_id_ = 0;
  std::mt19937_64 random_;
};

}  // namespace greengate::sim
