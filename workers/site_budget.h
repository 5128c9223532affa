#pragma once

#include "adapters/mp/message_type.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/metrics.h"
#include "core/result.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::workers {

using adapters::MessageType;

/// So many messages in so much time, evenly; no messages: without limit.
struct Budget {
  std::uint64_t messages = 0;
  std::chrono::milliseconds span{0};
  bool unlimited() const { return messages == 0; }
};
/// "25000/240min", "unlimited" or "0". Fails budget.syntax (reject) with advice.
Result<Budget> parse_budget(std::string_view text);

/// [pacing]: what the whole site is sent, over all management points. Reasons for the defaults: docs/reference/pacing.md.
struct PacingConfig {
  std::array<std::string, adapters::message_types> budgets{"25000/60min", "25000/240min", "25000/240min",
                                                           "2500/60min",  "25000/15min",  "25000/10min"};
  std::uint32_t burst = 100;  ///< Messages of a type that may go at once after a quiet time.

  std::string& of(MessageType type) { return budgets[static_cast<std::size_t>(type)]; }
  static PacingConfig unlimited();
  std::vector<ConfigProblem> problems() const;
};

/// How one type's budget stands, for operators.
struct BudgetHealth {
  MessageType type = MessageType::discovery;
  std::string budget;                   ///< As written.
  double left = 0;                      ///< Messages that could go now; below zero when a batch took more than was there.
  std::chrono::milliseconds next_in{};  ///< When one more may go; 0: now.
  std::uint64_t sent = 0;               ///< Since this process began.
};

/// The declared budget: a token bucket a message type, for the whole site.
///
/// Promise   On average no more than declared; `burst` at once at most, plus what a batch under way needs beyond its first message, which is
///           borrowed, at most `burst` more, and paid back before the next.
/// Threads   Any; never waits.
class SiteBudget {
 public:
  SiteBudget(const PacingConfig& config, const Clock& clock, Metrics& metrics);

  /// Sets one message of each type aside, all or nothing. Answers 0, or when the last of them can be had; the longest time there is when
  /// only what others give back can help.
  std::chrono::milliseconds reserve(std::span<const MessageType> types);
  /// What was set aside and is not needed, or was charged.
  void give_back(std::span<const MessageType> types);

  /// 0 when a message of this type may go: a request needs one message left, anything else may borrow. Else when it may.
  std::chrono::milliseconds shortage(MessageType type);
  /// One message goes.
  void charge(MessageType type);

  std::vector<BudgetHealth> health();

 private:
  struct Bucket {
    Bucket(const PacingConfig& config, MessageType type, Metrics& metrics);
    std::string text;
    Budget budget;
    double burst;
    double left;             ///< Reserved ones included.
    double reserved = 0;
    SteadyTime filled_at{};  ///< Before the first look: full anyway.
    std::uint64_t sent = 0;
    Counter messages;
    Counter spent_seconds;
    Gauge left_shown;

    double free() const { return left - reserved; }
    double per_ms() const { return static_cast<double>(budget.messages) / static_cast<double>(budget.span.count()); }
    void refill(SteadyTime now);
    /// When there will be one message, with so much of the budget at hand.
    std::chrono::milliseconds one_in(double at_hand) const;
  };
  Bucket& bucket(MessageType type) { return buckets_[static_cast<std::size_t>(type)]; }

  const Clock& clock_;
  std::mutex mutex_;  // guards everything below
  std::vector<Bucket> buckets_;
};

}  // namespace greengate::workers
