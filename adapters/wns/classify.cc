#include "adapters/wns/classify.h"

#include "adapters/http/retry_after.h"
#include "core/check.h"

#include <algorithm>
#include <array>

namespace greengate::adapters {
namespace {

template <std::size_t N, class E>
const char* word_of(const std::array<const char*, N>& words, E value) {
  const auto index = static_cast<std::size_t>(value);
  GREENGATE_CHECK(index < N, "every enumerator has its word");
  return words[index];
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool same(std::string_view text, std::string_view word) {
  return text.size() == word.size() && std::equal(text.begin(), text.end(), word.begin(), [](char a, char b) { return lower(a) == b; });
}

bool holds(std::string_view text, std::string_view word) {
  return std::search(text.begin(), text.end(), word.begin(), word.end(), [](char a, char b) { return lower(a) == b; }) != text.end();
}

// From harmless to final, so that of two headers the worse counts.
enum class Status { received, unknown, dropped, channel_throttled, app_throttled, revoked };

std::optional<Status> status_of(std::string_view word) {
  word = trimmed(word);
  if (word.empty()) return std::nullopt;
  if (same(word, "received")) return Status::received;
  if (same(word, "dropped")) return Status::dropped;
  if (same(word, "channelthrottled")) return Status::channel_throttled;
  if (same(word, "appthrottled")) return Status::app_throttled;
  if (same(word, "revoked")) return Status::revoked;
  return Status::unknown;
}

Classified dead(PushOutcome outcome) {
  return {outcome, ThrottleScope::none, ChannelAction::dead, TokenAction::keep, RetryWord::never, {}};
}

Classified kept(PushOutcome outcome, RetryWord retry) {
  return {outcome, ThrottleScope::none, ChannelAction::keep, TokenAction::keep, retry, {}};
}

Classified throttled(PushOutcome outcome, ThrottleScope scope, std::chrono::milliseconds wait) {
  return {outcome, scope, ChannelAction::keep, TokenAction::keep, RetryWord::after, wait};
}

Classified accepted(std::optional<Status> status, std::string_view device) {
  const bool away = same(device, "disconnected") || (device.size() >= 4 && same(device.substr(0, 4), "temp"));
  if (status == Status::dropped)
    return same(device, "disconnected") ? kept(PushOutcome::dropped_offline, RetryWord::poll_or_next_wake)
                                        : kept(PushOutcome::dropped, RetryWord::confirm_timer);
  if (status == Status::unknown) return kept(PushOutcome::unknown_status, RetryWord::confirm_timer);
  return away ? kept(PushOutcome::accepted_cached, RetryWord::await_session_until_ttl)
              : kept(PushOutcome::accepted, RetryWord::await_session);
}

}  // namespace

const char* outcome_name(PushOutcome outcome) {
  static constexpr std::array<const char*, push_outcome_count> names{
      "accepted",        "accepted_cached", "dropped_offline", "dropped",        "unknown_status",  "channel_throttled",   "app_throttled",
      "token_rejected",  "app_mismatch",    "channel_unknown", "channel_expired", "channel_revoked", "domain_blocked",      "bad_request",
      "too_large",       "unavailable",     "server_error",    "unexpected_redirect", "transport",   "untrusted_host"};
  return word_of(names, outcome);
}

const char* throttle_scope_name(ThrottleScope scope) {
  return word_of(std::array{"none", "channel", "app", "host"}, scope);
}
const char* channel_action_name(ChannelAction action) { return word_of(std::array{"keep", "dead", "quarantine"}, action); }
const char* token_action_name(TokenAction action) { return word_of(std::array{"keep", "refresh_if_same"}, action); }
const char* retry_word_name(RetryWord word) {
  return word_of(std::array{"await_session", "await_session_until_ttl", "poll_or_next_wake", "confirm_timer", "after", "once_now", "backoff",
                            "never"},
                 word);
}

Classified classify(const PushReply& reply, WallTime now, const ClassifyDefaults& defaults) {
  const auto newer = status_of(reply.header("X-WNS-Status"));
  const auto older = status_of(reply.header("X-WNS-NotificationStatus"));
  const auto status = newer && older ? std::max(*newer, *older) : newer ? newer : older;
  const auto wished = parse_retry_after(reply.header("Retry-After"), now, defaults.retry_after_max);
  const std::string_view text = reply.header("X-WNS-Error-Description");

  if (status == Status::revoked) return dead(PushOutcome::channel_revoked);
  if (status == Status::app_throttled)
    return throttled(PushOutcome::app_throttled, ThrottleScope::app, wished.value_or(defaults.app_throttle));
  if (status == Status::channel_throttled)
    return throttled(PushOutcome::channel_throttled, ThrottleScope::channel, wished.value_or(defaults.channel_throttle));

  switch (reply.status) {
    case 401: return {PushOutcome::token_rejected, ThrottleScope::none, ChannelAction::keep, TokenAction::refresh_if_same, RetryWord::once_now, {}};
    case 403: return {PushOutcome::app_mismatch, ThrottleScope::none, ChannelAction::quarantine, TokenAction::keep, RetryWord::never, {}};
    case 404: return dead(PushOutcome::channel_unknown);
    case 406:
    case 429: return throttled(PushOutcome::app_throttled, ThrottleScope::app, wished.value_or(defaults.app_throttle));
    case 410:
      if (holds(reply.reason, "domain blocked") || holds(text, "domain blocked"))
        return {PushOutcome::domain_blocked, ThrottleScope::app, ChannelAction::quarantine, TokenAction::keep, RetryWord::never, {}};
      return dead(holds(text, "revoked") || holds(reply.reason, "revoked") ? PushOutcome::channel_revoked : PushOutcome::channel_expired);
    case 413: return kept(PushOutcome::too_large, RetryWord::never);
    default: break;
  }
  const unsigned hundreds = reply.status / 100;
  if (hundreds == 2) return accepted(status, trimmed(reply.header("X-WNS-DeviceConnectionStatus")));
  if (hundreds == 3) return kept(PushOutcome::unexpected_redirect, RetryWord::never);
  if (hundreds == 4) return kept(PushOutcome::bad_request, RetryWord::never);
  if (reply.status == 503) {
    if (wished) return throttled(PushOutcome::unavailable, ThrottleScope::host, *wished);
    return {PushOutcome::unavailable, ThrottleScope::host, ChannelAction::keep, TokenAction::keep, RetryWord::backoff, {}};
  }
  if (hundreds == 5) return {PushOutcome::server_error, ThrottleScope::host, ChannelAction::keep, TokenAction::keep, RetryWord::backoff, {}};
  return classify_failure("http.protocol");  // a number no HTTP answer has
}

Classified classify_failure(std::string_view code) {
  if (code == "http.redirect") return kept(PushOutcome::unexpected_redirect, RetryWord::never);
  if (code == "http.tls_untrusted" || code == "http.address") return kept(PushOutcome::untrusted_host, RetryWord::never);
  return {PushOutcome::transport, ThrottleScope::host, ChannelAction::keep, TokenAction::keep, RetryWord::backoff, {}};
}

}  // namespace greengate::adapters
