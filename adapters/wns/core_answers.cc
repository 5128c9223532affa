// What answers of WNS and of its token services lead to, and what is told of the whole.
#include "adapters/wns/core_parts.h"

#include "core/check.h"

#include <algorithm>

namespace greengate::adapters {

using std::chrono::hours;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t deaths_remembered_max = 100'000;
constexpr auto alarm_line_spacing = std::chrono::minutes(1);
constexpr std::uint64_t ratio_counts_from = 20;  // fewer wakes say nothing
constexpr std::size_t deaths_count_from = 5;

// Of a wait that many share; upwards, so that nobody comes early (6.3).
milliseconds jittered(milliseconds wait, std::uint64_t& random) {
  return wait + milliseconds(static_cast<std::int64_t>(roll(random, static_cast<std::uint64_t>(wait.count()) / 10 + 1)));
}

bool is_failure(PushOutcome outcome) {
  return outcome == PushOutcome::transport || outcome == PushOutcome::untrusted_host || outcome == PushOutcome::server_error ||
         outcome == PushOutcome::unavailable;
}

bool is_accepted(PushOutcome outcome) { return outcome <= PushOutcome::unknown_status; }

const char* failed_code(PushOutcome outcome) {
  switch (outcome) {
    case PushOutcome::app_mismatch: return "wake.app_mismatch";
    case PushOutcome::domain_blocked: return "wake.app_blocked";
    case PushOutcome::bad_request: return "wake.bad_request";
    case PushOutcome::too_large: return "wake.too_large";
    case PushOutcome::unexpected_redirect: return "wake.redirect";
    case PushOutcome::untrusted_host: return "wake.untrusted_host";
    default: return "wake.refused";
  }
}

}  // namespace

void WnsCore::push_answered(std::uint64_t push, const PushAnswer& answer) {
  auto node = in_flight_.extract(push);
  GREENGATE_CHECK(!node.empty(), "a push is answered once");
  const InFlight sent = std::move(node.mapped());
  const SteadyTime at = now();
  const WallTime wall = clock_.wall();
  App& app = *sent.app;

  const PushReply reply{answer.status, answer.reason, [&](std::string_view name) { return header_in(answer.headers, name); }};
  const Classified verdict = answer.status == 0 ? classify_failure(answer.failure) : classify(reply, wall, classify_defaults_);
  const PushOutcome outcome = verdict.outcome;
  probe_.push(app.config.pfn, outcome);
  probe_.push_seconds.observe(std::chrono::duration<double>(at - sent.sent_at).count());

  const bool failed = is_failure(outcome);
  probe_.host(sent.host, !failed);
  const bool told_to_wait = verdict.throttle_scope == ThrottleScope::host && verdict.retry == RetryWord::after;
  const milliseconds wait = verdict.throttle_scope == ThrottleScope::app ? verdict.wait : jittered(verdict.wait, random_);
  using End = HostPace::End;
  host(sent.host).finished(sent.host_probe, told_to_wait ? End::told_to_wait : failed ? End::failed : End::answered, wait, at);
  if (outcome == PushOutcome::app_throttled) app.pace.throttle(at + wait);
  app.pace.finished(sent.app_probe, !failed && outcome != PushOutcome::app_throttled && outcome != PushOutcome::token_rejected, at);

  if (sent.suspect_probe) app.suspect_probe_out = false;
  if (outcome == PushOutcome::token_rejected) {
    const bool before = app.tokens.suspect();
    app.tokens.rejected(sent.token.generation, at);
    if (app.tokens.suspect() && !before)
      raise("credentials_suspect", &app, nullptr, "WNS refused two tokens in a row; one push in a while tries again.");
  } else if (!failed) {
    app.tokens.honoured(sent.token.generation);
  }

  Channel* channel = find(sent.device);
  const std::string said = scrubbed(header_in(answer.headers, "X-WNS-Error-Description"), 200, sent.uri, sent.token.token->reveal());
  if (outcome == PushOutcome::domain_blocked) {
    raise("domain_blocked", &app, channel, "WNS blocks the app for abuse; nothing more is sent for it before a restart. " + said);
    app.blocked = true;
  }
  if (outcome == PushOutcome::app_mismatch)
    raise("app_mismatch", &app, channel, "Token and channel belong to different apps: check pfn and client_id. " + said);
  if (outcome == PushOutcome::bad_request || outcome == PushOutcome::too_large)
    raise("bad_request", &app, channel, "WNS answered " + std::to_string(answer.status) + " to a push. " + said);
  if (outcome == PushOutcome::untrusted_host)
    raise("untrusted_host", &app, channel, "Who answers as " + sent.host + " cannot prove to be it; no token was sent.");
  if (outcome == PushOutcome::unexpected_redirect)
    raise("redirect", &app, channel, sent.host + " answered with a redirect; it was not followed.");

  if (channel) {
    channel->busy = false;
    channel->last_outcome = outcome_name(outcome);
    // These two never reached the channel, so its spacing does not count them.
    if (outcome == PushOutcome::app_throttled || outcome == PushOutcome::token_rejected) channel->last_push = sent.last_push_before;
    if (outcome == PushOutcome::channel_throttled && channel->record.uri == sent.uri) channel->throttled_until = at + wait;
    bool ended = false;
    if (verdict.channel_action != ChannelAction::keep) {
      const auto to = verdict.channel_action == ChannelAction::dead ? ChannelRecord::State::dead : ChannelRecord::State::quarantine;
      ended = end_channel(channel->record, sent.uri, to, outcome_name(outcome), wall);
      if (ended) mark_dirty(*channel);
      if (ended && to == ChannelRecord::State::dead && deaths_.size() < deaths_remembered_max) deaths_.push_back(at);
    } else if (channel->record.state == ChannelRecord::State::quarantine && channel->record.uri == sent.uri && is_accepted(outcome)) {
      channel->record.state = ChannelRecord::State::active;  // the probe after its day got through
      channel->record.why.clear();
      mark_dirty(*channel);
    }
    if (channel->wake && channel->wake->id == sent.wake) {
      Wake& wake = *channel->wake;
      const std::string_view token = sent.token.token->reveal();
      wake.msg_id = scrubbed(header_in(answer.headers, "X-WNS-Msg-ID"), 32, sent.uri, token);
      wake.debug_trace = scrubbed(header_in(answer.headers, "X-WNS-Debug-Trace"), 64, sent.uri, token);
      wake.echoed_correlation = scrubbed(header_in(answer.headers, "MS-CV"), 64, sent.uri, token);
      wake.device_status = scrubbed(header_in(answer.headers, "X-WNS-DeviceConnectionStatus"), 20, sent.uri, token);
      if (answer.status == 0) wake.device_status.clear();
      settle(*channel, sent, verdict, wait, ended);
    }
  }
  if (!app.blocked) return;
  // Rare enough to look at everyone.
  for (auto& [id, other] : channels_)
    if (other.wake && !other.wake->in_flight && app_of(other.record) == &app) finish(other, WakeState::failed, "wake.app_blocked");
}

void WnsCore::settle(Channel& channel, const InFlight& sent, const Classified& verdict, milliseconds wait, bool ended) {
  Wake& wake = *channel.wake;
  const SteadyTime at = now();
  wake.in_flight = false;
  wake.outcome = verdict.outcome;
  const bool resent = wake.resent_after_401;
  wake.resent_after_401 = false;
  if (at >= wake.deadline) return finish(channel, WakeState::expired, "");

  switch (verdict.retry) {
    case RetryWord::await_session:
    case RetryWord::confirm_timer:
    case RetryWord::await_session_until_ttl:
    case RetryWord::poll_or_next_wake: {
      wake.retries = 0;
      if (!wake.first_accepted) wake.first_accepted = at;
      wake.last_accepted = at;
      wake.confirming = true;
      wake.lost = verdict.retry == RetryWord::poll_or_next_wake;
      const bool until_ttl = verdict.retry == RetryWord::await_session_until_ttl || wake.lost;
      schedule(channel, until_ttl ? at + sent.ttl : confirm_due(wake, at, confirm_after_), WakeState::pushed);
      return;
    }
    case RetryWord::after:
      if (verdict.throttle_scope == ThrottleScope::app) return enqueue(channel, true);
      if (verdict.throttle_scope == ThrottleScope::channel)
        return schedule(channel, std::max(channel.throttled_until, at), WakeState::waiting_channel);
      ++wake.retries;
      return schedule(channel, at + std::max(wait, settings_.push_spacing), WakeState::queued);
    case RetryWord::once_now:
      if (!resent) {
        wake.resent_after_401 = true;
        return enqueue(channel, true);
      }
      schedule(channel, at + retry_wait(wake, settings_), WakeState::waiting_token);
      ++wake.retries;
      return;
    case RetryWord::backoff:
      schedule(channel, at + retry_wait(wake, settings_), WakeState::queued);
      ++wake.retries;
      return;
    case RetryWord::never:
      if (verdict.channel_action == ChannelAction::dead && !ended && may_push(channel.record, clock_.wall(), settings_))
        return enqueue(channel, false);  // the device has another channel by now
      if (verdict.channel_action == ChannelAction::dead) return finish(channel, WakeState::no_channel, "wake.channel_dead");
      return finish(channel, WakeState::failed, failed_code(verdict.outcome));
  }
}

void WnsCore::token_answered(std::size_t index, Result<TokenGrant> result) {
  App& app = *apps_.at(index);
  const SteadyTime at = now();
  const bool had_one = result.has_value();
  probe_.token(app.config.pfn, had_one ? "ok" : result.error().code);
  app.tokens.done(at, std::move(result));
  if (had_one) return;
  const Error& why = *app.tokens.failure();
  if (why.remedy == Remedy::reject && app.tokens.next_fetch(at) > at) {
    const bool closed = std::string_view(why.code) == "wns.token_closed";
    raise(closed ? "endpoint_closed" : "credentials_refused", &app, nullptr, why.message);
  } else {
    wns_log().warn("no token", kv("app", app.config.pfn), kv("code", why.code), kv("why", why.message));
  }
}

void WnsCore::secrets_changed(std::size_t index, std::size_t secrets) { apps_.at(index)->tokens.secrets_changed(secrets, now()); }

void WnsCore::raise(const char* alarm, const App* app, const Channel* channel, std::string_view why) {
  probe_.alarm(alarm);
  // What concerns one device is said of each; what concerns an app, once in a while.
  const std::string_view name = alarm;
  const bool of_device = channel && (name == "hostile_uri" || name == "uri_flapping");
  const std::string key = std::string(name) + "|" + (of_device ? channel->id->raw() : app ? app->config.pfn : std::string());
  const auto said = last_said_.find(key);
  if (said != last_said_.end() && now() - said->second < alarm_line_spacing) return;
  last_said_[key] = now();
  const bool named = channel && !channel->record.uri.empty();
  wns_log().error("alarm", kv("alarm", alarm), kv("app", app ? app->config.pfn : std::string()),
                  kv("agent", channel ? channel->id->raw() : std::string()),
                  kv("channel", named ? channel_fingerprint(install_key_, channel->record.uri) : std::string()), kv("why", why));
}

void WnsCore::drop_idle_hosts() {
  const SteadyTime at = now();
  std::erase_if(hosts_, [&](const auto& named) {
    const HostPace& pace = named.second;
    return pace.in_flight() == 0 && (pace.idle() || at - pace.last_used() > hours(1));
  });
}

void WnsCore::take_stock() {
  const SteadyTime at = now();
  const WallTime wall = clock_.wall();
  std::array<std::size_t, standing_count> counts{};
  std::array<std::size_t, 4> ages{};
  std::size_t silent = 0, live = 0;
  for (const auto& [id, channel] : channels_) {
    const ChannelRecord& record = channel.record;
    ++counts[static_cast<std::size_t>(standing_of(record, wall, settings_))];
    if (record.state != ChannelRecord::State::active) continue;
    ++live;
    const auto age = wall - record.first_seen;
    ++ages[age < settings_.channel_renew_due ? 0 : age < settings_.channel_replace_age ? 1 : age < settings_.channel_life ? 2 : 3];
    if (wall - record.last_read > 2 * settings_.poll_interval) ++silent;
  }
  probe_.channels(counts);
  probe_.ages(ages);
  probe_.silent.set(static_cast<double>(silent));
  for (const auto& app : apps_) {
    const auto until = app->pace.throttled_until();
    const double left = until && *until > at ? std::chrono::duration<double>(*until - at).count() : 0;
    const std::string state = app->blocked ? "blocked" : app->pace.throttled() ? "throttled" : credential_state_name(app->tokens.state(at));
    probe_.app_state(app->config.pfn, state, left);
  }
  while (!deaths_.empty() && at - deaths_.front() > hours(24)) deaths_.pop_front();
  if (deaths_.size() >= deaths_count_from && deaths_.size() * 20 > live + deaths_.size())
    raise("channels_dying", nullptr, nullptr, "More than 5 % of the channels ended within a day: look at their outcomes.");
  if (at - hour_began_ >= hours(1)) {
    if (hour_accepted_ >= ratio_counts_from && hour_confirmed_ * 2 < hour_accepted_)
      raise("unconfirmed", nullptr, nullptr, "Fewer than half of the accepted wakes of an hour led to a session.");
    hour_accepted_ = hour_confirmed_ = 0;
    hour_began_ = at;
  }
  drop_idle_hosts();
  std::erase_if(last_said_, [&](const auto& said) { return at - said.second >= alarm_line_spacing; });
}

}  // namespace greengate::adapters
