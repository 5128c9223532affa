#pragma once

#include "core/clock.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::adapters {

/// What an answer to a push means (wns-mdm-push 6.3). `untrusted_host` is the transport failure that is never repeated: a certificate or address that cannot be WNS.
enum class PushOutcome : std::uint8_t {
  accepted, accepted_cached, dropped_offline, dropped, unknown_status, channel_throttled, app_throttled, token_rejected, app_mismatch,
  channel_unknown, channel_expired, channel_revoked, domain_blocked, bad_request, too_large, unavailable, server_error, unexpected_redirect,
  transport, untrusted_host
};
constexpr std::size_t push_outcome_count = 20;
const char* outcome_name(PushOutcome outcome);

enum class ThrottleScope : std::uint8_t { none, channel, app, host };
enum class ChannelAction : std::uint8_t { keep, dead, quarantine };
enum class TokenAction : std::uint8_t { keep, refresh_if_same };
enum class RetryWord : std::uint8_t {
  await_session,            ///< Accepted; the session will tell.
  await_session_until_ttl,  ///< Accepted, and kept for a device that is away.
  poll_or_next_wake,        ///< Lost; the device is away.
  confirm_timer,            ///< Who knows; push again by timer.
  after,                    ///< Not before `wait` has passed.
  once_now,                 ///< Again at once with another token, one time.
  backoff,
  never
};
const char* throttle_scope_name(ThrottleScope scope);
const char* channel_action_name(ChannelAction action);
const char* token_action_name(TokenAction action);
const char* retry_word_name(RetryWord word);

struct Classified {
  PushOutcome outcome = PushOutcome::transport;
  ThrottleScope throttle_scope = ThrottleScope::none;
  ChannelAction channel_action = ChannelAction::keep;
  TokenAction token_action = TokenAction::keep;
  RetryWord retry = RetryWord::backoff;
  std::chrono::milliseconds wait{};  ///< With `after`.
};

/// Waits when the answer names none, and the longest that is obeyed.
struct ClassifyDefaults {
  std::chrono::milliseconds channel_throttle{600'000}, app_throttle{60'000}, retry_after_max{3'600'000};
};

/// An answer as it came. `header` finds one by name whatever its case; empty when absent.
struct PushReply {
  unsigned status = 0;
  std::string_view reason;
  std::function<std::string_view(std::string_view name)> header;
};

/// Promise   Neither 406, 429, 5xx nor `channelthrottled` ever ends a channel; unknown words and codes have an outcome too.
/// Source    wns-mdm-push 6.3 with R-17; its 42 vectors are tests
Classified classify(const PushReply& reply, WallTime now, const ClassifyDefaults& defaults);

/// No answer at all, by the HTTP client's code.
Classified classify_failure(std::string_view code);

}  // namespace greengate::adapters
