#include "gateway/enrolment.h"

#include "core/check.h"
#include "gateway/enrolment_token.h"

#include <algorithm>
#include <string_view>

namespace greengate::gateway {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t asked_max = 256;
constexpr double peer_burst = 3;
constexpr std::size_t text_bytes_max = 256;
// Room for a pending or full registry comes when an operator acts, not within seconds.
constexpr auto full_retry = 300'000ms;
constexpr auto busy_retry = 5'000ms;

v1::EnrolResult refused(std::string_view code, std::string message,
                        std::chrono::milliseconds retry_after) {
  v1::EnrolResult result;
  result.set_state(v1::ENROL_STATE_REFUSED);
  result.set_code(std::string(code));
  result.set_message(std::move(message));
  result.set_retry_after_ms(static_cast<std::uint32_t>(retry_after.count()));
  return result;
}

std::string cut(const std::string& text) { return text.substr(0, text_bytes_max); }

}  // namespace

Enrolment::Enrolment(EnrolmentConfig config, store::DeviceRegistry& registry,
                     std::function<void()> woken)
    : config_(config),
      registry_(registry),
      woken_(std::move(woken)),
      all_(config.enrolments_per_second, 2.0 * config.enrolments_per_second),
      inbox_(std::make_shared<Inbox>(asked_max)) {}

std::optional<v1::EnrolResult> Enrolment::ask(const AgentKey& key, const v1::Enrol& enrol,
                                              SteadyTime now) {
  std::chrono::milliseconds retry_after{};
  if (!peer_may(key, now, retry_after))
    return refused("enrol.rate", "This key asks too often.", retry_after);
  if (!all_.take(now))
    return refused("enrol.rate", "Too many agents ask at once.", all_.next_in() + busy_retry);
  if (asked_ >= asked_max)
    return refused("enrol.busy", "The store is still busy with earlier requests.", busy_retry);

  store::EnrolRequest request;
  request.key = key;
  if (!enrol.token().empty()) request.token_hash = token_hash(enrol.token());
  request.host_name = cut(enrol.host_name());
  request.fqdn = cut(enrol.fqdn());
  request.operating_system = cut(enrol.operating_system());
  request.agent_version = cut(enrol.agent_version());
  asked_ += 1;
  registry_.enrol(std::move(request),
                  [inbox = inbox_, woken = woken_, key](Result<store::Device> outcome) {
                    const bool kept = inbox->answers.try_push({key, std::move(outcome)});
                    GREENGATE_CHECK(kept, "no more answers come than were asked for");
                    woken();
                  });
  return std::nullopt;
}

std::vector<Enrolment::Answer> Enrolment::answers() {
  auto all = inbox_->answers.drain();
  asked_ -= all.size();
  return all;
}

v1::EnrolResult Enrolment::tell(const store::Device& device) const {
  v1::EnrolResult result;
  result.set_agent_id(device.id.raw());
  switch (device.state) {
    case store::DeviceState::active: result.set_state(v1::ENROL_STATE_ACTIVE); break;
    case store::DeviceState::pending:
      result.set_state(v1::ENROL_STATE_PENDING);
      result.set_message("An operator has to approve this agent.");
      result.set_retry_after_ms(static_cast<std::uint32_t>(config_.pending_retry.count()));
      break;
    case store::DeviceState::revoked:
      return refused("enrol.revoked", "This agent was revoked by an operator.", 0ms);
  }
  return result;
}

v1::EnrolResult Enrolment::tell(const Error& error) const {
  const std::string_view code = error.code;
  std::chrono::milliseconds retry_after = error.retry_after;
  if (code == "enrol.pending_full" || code == "enrol.devices_full")
    retry_after = std::max(retry_after, std::chrono::milliseconds(full_retry));
  else if (error.remedy != Remedy::reject)
    retry_after = std::max(retry_after, std::chrono::milliseconds(busy_retry));
  return refused(code, error.message, retry_after);
}

bool Enrolment::peer_may(const AgentKey& key, SteadyTime now,
                         std::chrono::milliseconds& retry_after) {
  auto found = paces_.find(key);
  if (found == paces_.end()) {
    if (paces_.size() >= config_.peers_max) {
      const auto oldest = std::min_element(
          paces_.begin(), paces_.end(),
          [](const auto& a, const auto& b) { return a.second.asked_at < b.second.asked_at; });
      paces_.erase(oldest);
    }
    const double per_second =
        1'000.0 / static_cast<double>(std::max<std::int64_t>(config_.enrol_interval.count(), 1));
    found = paces_.emplace(key, Pace{TokenBucket(per_second, peer_burst), now}).first;
  }
  found->second.asked_at = now;
  if (found->second.bucket.take(now)) return true;
  retry_after = found->second.bucket.next_in();
  return false;
}

}  // namespace greengate::gateway
