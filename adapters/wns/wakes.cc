#include "adapters/wns/wakes.h"

#include "core/config_reader.h"

#include <algorithm>

namespace greengate::adapters {

using std::chrono::milliseconds;
using std::chrono::seconds;

const char* wake_state_name(WakeState state) {
  switch (state) {
    case WakeState::queued: return "queued";
    case WakeState::waiting_app: return "waiting_app";
    case WakeState::waiting_channel: return "waiting_channel";
    case WakeState::waiting_token: return "waiting_token";
    case WakeState::pushed: return "pushed";
    case WakeState::confirmed: return "confirmed";
    case WakeState::unconfirmed: return "unconfirmed";
    case WakeState::expired: return "expired";
    case WakeState::no_channel: return "no_channel";
    case WakeState::failed: return "failed";
  }
  return "";
}

seconds ttl_of(const Wake& wake, SteadyTime now, const WnsSettings& settings) {
  const auto left = std::chrono::duration_cast<milliseconds>(std::max(wake.deadline, now) - now);
  const auto ttl = std::clamp(std::min(left, settings.poll_interval), settings.ttl_min, settings.ttl_max);
  return std::max(seconds(1), std::chrono::duration_cast<seconds>(ttl));
}

SteadyTime confirm_due(const Wake& wake, SteadyTime now, const std::vector<milliseconds>& confirm_after) {
  const SteadyTime first = wake.first_accepted.value_or(now);
  // One accepted late, after failures, is waited for as long as the first would be.
  if (wake.stage < confirm_after.size()) return std::max(first + confirm_after[wake.stage], now + (wake.stage == 0 ? confirm_after[0] : milliseconds(0)));
  return now + (confirm_after.empty() ? milliseconds(360'000) : confirm_after.front());
}

milliseconds retry_wait(const Wake& wake, const WnsSettings& settings) {
  const auto doubled = settings.push_spacing * (std::int64_t{1} << std::min<std::uint32_t>(wake.retries, 16));
  return std::max(settings.push_spacing, std::min<milliseconds>(doubled, settings.retry_cap));
}

bool join(Wake& wake, const WakeOrder& order, SteadyTime deadline) {
  if (wake.reasons.size() < wake_reasons_max && std::find(wake.reasons.begin(), wake.reasons.end(), order.reason) == wake.reasons.end())
    wake.reasons.push_back(order.reason.substr(0, 64));
  wake.deadline = std::max(wake.deadline, deadline);
  // A device on battery may have put an unmarked push aside.
  const bool more_urgent = order.urgent && !wake.urgent;
  wake.urgent = wake.urgent || order.urgent;
  return wake.confirming && (more_urgent || wake.lost);
}

std::vector<milliseconds> confirm_times(const WnsSettings& settings) {
  std::vector<milliseconds> times;
  for (const std::string& text : settings.confirm_after) times.push_back(parse_duration(text).value_or(milliseconds(360'000)));
  return times;
}

std::string scrubbed(std::string_view said, std::size_t octets_max, std::string_view uri, std::string_view token) {
  said = said.substr(0, octets_max);
  constexpr std::size_t run = 8;
  for (std::size_t at = 0; at + run <= said.size(); ++at) {
    const std::string_view part = said.substr(at, run);
    if (uri.find(part) != std::string_view::npos || token.find(part) != std::string_view::npos) return "(withheld)";
  }
  std::string text(said);
  for (char& c : text)
    if (c < 0x20 || c > 0x7e) c = '?';
  return text;
}

}  // namespace greengate::adapters
