#pragma once

#include "adapters/wns/classify.h"
#include "adapters/wns/settings.h"
#include "adapters/wns/waker.h"
#include "core/clock.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace greengate::adapters {

/// One request to make one device open a session, from its order to its end (wns-mdm-push 8.1, 8.3).
struct Wake {
  std::uint64_t id = 0;
  std::vector<std::string> reasons;  ///< The first few, for the audit.
  SteadyTime requested_at{}, deadline{};
  bool urgent = false;

  WakeState state = WakeState::queued;
  bool in_lane = false;
  bool in_flight = false;
  bool confirming = false;   ///< Pushed; `due` is when we stop waiting for the session.
  bool lost = false;         ///< The last push went nowhere: the next order may push again.
  bool resent_after_401 = false;
  SteadyTime due{};

  std::uint32_t pushes = 0;
  std::uint32_t retries = 0;  ///< Of failures in a row, for the back-off.
  std::uint32_t stage = 0;    ///< Re-pushes of confirm_after begun.
  std::optional<SteadyTime> first_accepted, last_accepted;
  std::string correlation;

  PushOutcome outcome = PushOutcome::transport;  ///< Of the last push, if pushes > 0.
  std::string msg_id, debug_trace, echoed_correlation, device_status;  ///< As WNS said them, scrubbed.
};

constexpr std::size_t wake_reasons_max = 4;

/// until the deadline or the next poll, within bounds.
std::chrono::seconds ttl_of(const Wake& wake, SteadyTime now, const WnsSettings& settings);

/// when to push again, or, after the last re-push, to give up, for a push that was accepted now.
SteadyTime confirm_due(const Wake& wake, SteadyTime now, const std::vector<std::chrono::milliseconds>& confirm_after);

/// A wake's own wait after a failure: the channel's spacing doubled, up to the cap.
std::chrono::milliseconds retry_wait(const Wake& wake, const WnsSettings& settings);

/// Joins another order to a wake under way. True: it should push again as soon as the channel allows.
bool join(Wake& wake, const WakeOrder& order, SteadyTime deadline);

/// confirm_after as times.
std::vector<std::chrono::milliseconds> confirm_times(const WnsSettings& settings);

/// What a peer said, fit for a log: at most `octets_max` visible ASCII and spaces, and nothing at all if it shares a run of 8 octets with the
/// channel's URI or the token.
std::string scrubbed(std::string_view said, std::size_t octets_max, std::string_view uri, std::string_view token);

}  // namespace greengate::adapters
