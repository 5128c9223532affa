#include "adapters/wns/wns_core.h"

#include "adapters/wns/core_parts.h"
#include "core/check.h"

#include <algorithm>
#include <limits>

namespace greengate::adapters {

using std::chrono::milliseconds;
using std::chrono::seconds;

WnsCore::WnsCore(const WnsSettings& settings, std::string install_key, const Clock& clock, WnsProbe& probe, std::uint64_t seed)
    : settings_(settings),
      install_key_(std::move(install_key)),
      confirm_after_(confirm_times(settings)),
      classify_defaults_{settings.channel_throttle, settings.app_throttle, settings.retry_after_max},
      clock_(clock),
      probe_(probe),
      random_(seed),
      // A fifth of a second's worth at once, so that sessions never come in a heap.
      sessions_(settings.sessions_per_second, std::max(1.0, settings.sessions_per_second / 5.0)),
      hour_began_(clock.steady()) {
  for (const WnsApp& app : settings_.apps) apps_.push_back(std::make_unique<App>(settings_, app, apps_.size(), roll(random_, 0)));
}

WnsCore::~WnsCore() = default;

bool WnsCore::knows(const AgentId& device) const { return channels_.contains(device); }
std::size_t WnsCore::pushes_in_flight() const { return in_flight_.size(); }
std::size_t WnsCore::channels() const { return channels_.size(); }

void WnsCore::load(const AgentId& device, ChannelRecord record) {
  // What is still to be written is newer than what the book said.
  if (knows(device) || dirty_.contains(device) || writing_.contains(device)) return;
  channel_of(device).record = std::move(record);
}

WnsCore::Channel* WnsCore::find(const AgentId& device) {
  const auto found = channels_.find(device);
  return found == channels_.end() ? nullptr : &found->second;
}

WnsCore::Channel& WnsCore::channel_of(const AgentId& device) {
  if (Channel* known = find(device)) return *known;
  if (channels_.size() >= settings_.channels_in_memory_max) evict_one();
  const auto made = channels_.try_emplace(device).first;
  made->second.id = &made->first;
  return made->second;
}

// Walks on from where it stopped the last time, so that every idle channel has its turn.
void WnsCore::evict_one() {
  const SteadyTime at = now();
  for (std::size_t looked_at = 0; looked_at < 256; ++looked_at) {
    eviction_bucket_ = (eviction_bucket_ + 1) % channels_.bucket_count();
    for (auto it = channels_.begin(eviction_bucket_); it != channels_.end(eviction_bucket_); ++it) {
      const Channel& channel = it->second;
      const bool rested = (!channel.last_push || at - *channel.last_push > settings_.push_spacing) && channel.throttled_until <= at;
      if (channel.wake || channel.busy || channel.session_open || dirty_.contains(it->first) || writing_.contains(it->first) || !rested) continue;
      const AgentId device = it->first;
      channels_.erase(device);
      return;
    }
  }
}

WnsCore::App* WnsCore::app_of(const ChannelRecord& record) {
  if (apps_.empty()) return nullptr;
  if (record.pfn.empty()) return apps_.front().get();
  for (const auto& app : apps_)
    if (app->config.pfn == record.pfn) return app.get();
  return nullptr;
}

HostPace& WnsCore::host(const std::string& name) { return hosts_.try_emplace(name, settings_).first->second; }

const TokenCache& WnsCore::tokens(std::size_t app) const { return apps_.at(app)->tokens; }

void WnsCore::mark_dirty(const Channel& channel) { dirty_.insert(*channel.id); }

std::vector<std::pair<AgentId, std::string>> WnsCore::take_records(std::size_t count_max) {
  std::vector<std::pair<AgentId, std::string>> records;
  writing_.clear();
  while (!dirty_.empty() && records.size() < count_max) {
    AgentId device = std::move(dirty_.extract(dirty_.begin()).value());
    const Channel* channel = find(device);
    std::string text = channel ? encode_record(channel->record) : std::string();
    writing_.insert(device);
    records.emplace_back(std::move(device), std::move(text));
  }
  return records;
}

// Orders and sessions.

WakeAnswer WnsCore::wake(const AgentId& device, const WakeOrder& order) {
  const auto answer = [](WakeState state, const char* code) { return WakeAnswer{state, false, code}; };
  if (refusing_) return answer(WakeState::failed, "wake.stopping");
  Channel* channel = find(device);
  if (!channel) return answer(WakeState::failed, "wake.unknown_device");
  const SteadyTime at = now();
  const WallTime wall = clock_.wall();
  if (channel->session_open && at - channel->session_since <= settings_.session_life_max)
    return answer(WakeState::confirmed, "wake.session_open");
  if (order.deadline <= wall) return answer(WakeState::expired, "wake.deadline");
  const auto left = std::min<WallTime::duration>(order.deadline - wall, std::chrono::hours(24 * 366));
  const SteadyTime deadline = at + std::chrono::duration_cast<SteadyTime::duration>(left);

  if (channel->wake) {
    Wake& wake = *channel->wake;
    const bool again = join(wake, order, deadline);
    const bool to_urgent_lane = wake.in_lane && wake.urgent != channel->in_urgent;
    if (again || to_urgent_lane) {
      wake.confirming = wake.lost = false;
      leave_lane(*channel);
      enqueue(*channel, false);
      if (!channel->wake) return answer(channel->last_wake, "wake.no_channel");
    } else if (!wake.in_flight) {
      arm(*channel, wake.in_lane ? wake.deadline : std::min(wake.due, wake.deadline));
    }
    return {shown_state(*channel), true, ""};
  }

  const App* app = app_of(channel->record);
  if (app && app->blocked) return answer(WakeState::failed, "wake.app_blocked");
  if (!app) return answer(WakeState::no_channel, "wake.no_app");
  if (!may_push(channel->record, wall, settings_)) return answer(WakeState::no_channel, why_not(standing_of(channel->record, wall, settings_)));

  channel->wake = std::make_unique<Wake>();
  Wake& wake = *channel->wake;
  wake.id = ++ids_;
  wake.reasons.push_back(order.reason.substr(0, 64));
  wake.requested_at = at;
  wake.deadline = deadline;
  wake.urgent = order.urgent;
  probe_.wakes.set(static_cast<double>(++wakes_));
  enqueue(*channel, false);
  if (!channel->wake) return answer(channel->last_wake, "wake.no_channel");
  return {shown_state(*channel), false, ""};
}

void WnsCore::session_opened(const AgentId& device) {
  Channel& channel = channel_of(device);
  channel.session_open = true;
  channel.session_since = now();
  if (!channel.wake) return;
  const Wake& wake = *channel.wake;
  // Nothing in a session says what caused it: it is ascribed to a push that is fresh enough, and the audit calls it that.
  const bool attributed = wake.last_accepted && now() - *wake.last_accepted <= settings_.attributed_within;
  if (wake.last_accepted) probe_.wake_seconds.observe(std::chrono::duration<double>(now() - *wake.last_accepted).count());
  finish(channel, WakeState::confirmed, "", attributed);
}

void WnsCore::session_closed(const AgentId& device) {
  if (Channel* channel = find(device)) channel->session_open = false;
}

void WnsCore::channel_read(const AgentId& device, const ChannelReading& reading) {
  Channel& channel = channel_of(device);
  const WallTime wall = clock_.wall();
  const std::string pfn = apps_.empty() ? std::string() : apps_.front()->config.pfn;
  const ReadingResult result = apply_reading(channel.record, reading, pfn, wall, settings_);
  if (result.changed) mark_dirty(channel);
  const App* app = app_of(channel.record);
  if (result.refused)
    raise("hostile_uri", app, &channel, "The device reported a channel at " + result.host + ", which is not WNS; nothing was sent there.");
  if (result.flapping) raise("uri_flapping", app, &channel, "The device reports ever new channels; no more are taken today.");
  if (result.changed && reading.push_status && (*reading.push_status == 1 || *reading.push_status == 3))
    raise("pfn_invalid", app, &channel, "The device says that the PFN is invalid or revoked.");
  if (!result.new_channel && !result.enrolled_anew) return;
  channel.throttled_until = {};
  channel.last_push.reset();
  // What waited for the old channel goes to the new one.
  if (channel.wake && !channel.wake->in_flight && !channel.wake->confirming) {
    leave_lane(channel);
    enqueue(channel, false);
  }
}

std::string WnsCore::pfn_to_set(const AgentId& device) {
  if (apps_.empty()) return {};
  Channel& channel = channel_of(device);
  const std::string& pfn = apps_.front()->config.pfn;
  if (!take_pfn_turn(channel.record, pfn, app_of(channel.record) != nullptr, clock_.wall(), settings_)) return {};
  mark_dirty(channel);
  return pfn;
}

void WnsCore::forget(const AgentId& device) {
  Channel* channel = find(device);
  dirty_.insert(device);  // the book may hold one that was never asked for
  ++forgotten_;
  if (!channel) return;
  if (channel->wake) finish(*channel, WakeState::failed, "wake.forgotten");
  disarm(*channel);
  channels_.erase(device);
}

std::optional<ChannelView> WnsCore::view(const AgentId& device) const {
  const auto found = channels_.find(device);
  if (found == channels_.end()) return std::nullopt;
  const Channel& channel = found->second;
  const ChannelRecord& record = channel.record;
  ChannelView view;
  view.state = standing_name(standing_of(record, clock_.wall(), settings_));
  view.why = record.why;
  if (!record.uri.empty()) {
    view.fingerprint = channel_fingerprint(install_key_, record.uri);
    view.first_seen = record.first_seen;
  }
  if (record.last_read != WallTime{}) view.last_read = record.last_read;
  if (channel.last_push_wall != WallTime{}) view.last_push = channel.last_push_wall;
  view.last_outcome = channel.last_outcome;
  view.push_status = record.push_status;
  if (channel.wake) {
    view.wake = shown_state(channel);
  } else if (channel.had_wake) {
    view.wake = channel.last_wake;
  }
  for (const auto& app : apps_)
    if (app->blocked && app->config.pfn == record.pfn && record.state == ChannelRecord::State::active) {
      view.state = standing_name(Standing::quarantine);
      view.why = "WNS blocks the app";
    }
  return view;
}

// What waits in a lane waits for its app; the rest says itself what it waits for.
WakeState WnsCore::shown_state(const Channel& channel) const {
  const Wake& wake = *channel.wake;
  if (!wake.in_lane) return wake.state;
  const App& app = *channel.lane->app;
  if (app.pace.throttled()) return WakeState::waiting_app;
  if (app.tokens.suspect() || !app.tokens.get(now())) return WakeState::waiting_token;
  return WakeState::queued;
}

// A wake's ways.

void WnsCore::arm(Channel& channel, SteadyTime at) {
  disarm(channel);
  channel.timer_at = at;
  timers_.emplace(at, &channel);
}

void WnsCore::disarm(Channel& channel) {
  if (channel.timer_at) timers_.erase({*channel.timer_at, &channel});
  channel.timer_at.reset();
}

void WnsCore::schedule(Channel& channel, SteadyTime due, WakeState state) {
  Wake& wake = *channel.wake;
  wake.state = state;
  wake.due = due;
  arm(channel, std::min(due, wake.deadline));
}

void WnsCore::leave_lane(Channel& channel) {
  Wake& wake = *channel.wake;
  if (!wake.in_lane) return;
  (channel.in_urgent ? channel.lane->urgent : channel.lane->normal).erase(channel.place);
  --channel.lane->app->waiting;
  wake.in_lane = false;
  channel.lane = nullptr;
}

void WnsCore::enqueue(Channel& channel, bool in_front) {
  Wake& wake = *channel.wake;
  const SteadyTime at = now();
  const WallTime wall = clock_.wall();
  App* app = app_of(channel.record);
  if (!app) return finish(channel, WakeState::no_channel, "wake.no_app");
  if (app->blocked) return finish(channel, WakeState::failed, "wake.app_blocked");
  if (!may_push(channel.record, wall, settings_))
    return finish(channel, WakeState::no_channel, why_not(standing_of(channel.record, wall, settings_)));
  if (wake.pushes >= settings_.pushes_per_wake_max)
    return finish(channel, wake.last_accepted ? WakeState::unconfirmed : WakeState::failed, "wake.budget");

  SteadyTime earliest = channel.throttled_until;
  if (channel.last_push && !wake.resent_after_401) earliest = std::max(earliest, *channel.last_push + settings_.push_spacing);
  if (channel.busy) earliest = std::max(earliest, at + settings_.push_spacing);
  if (earliest > at) return schedule(channel, earliest, WakeState::waiting_channel);

  const auto where = parse_channel_uri(channel.record.uri);  // again before each send
  if (!where) return finish(channel, WakeState::no_channel, "wake.invalid_channel");
  Lane& lane = app->lanes.try_emplace(where->host, app, where->host).first->second;
  std::list<Channel*>& queue = wake.urgent ? lane.urgent : lane.normal;
  channel.place = queue.insert(in_front ? queue.begin() : queue.end(), &channel);
  channel.lane = &lane;
  channel.in_urgent = wake.urgent;
  ++app->waiting;
  wake.in_lane = true;
  wake.state = WakeState::queued;
  arm(channel, wake.deadline);
}

void WnsCore::timer_fired(Channel& channel) {
  if (!channel.wake || channel.wake->in_flight) return;  // the answer goes on from here
  Wake& wake = *channel.wake;
  if (now() >= wake.deadline) return finish(channel, WakeState::expired, "");
  if (wake.in_lane) return arm(channel, wake.deadline);
  if (wake.confirming) {
    if (wake.stage >= confirm_after_.size()) return finish(channel, WakeState::unconfirmed, "");
    ++wake.stage;
    wake.confirming = false;
  }
  enqueue(channel, false);
}

void WnsCore::finish(Channel& channel, WakeState state, const char* code, bool attributed) {
  leave_lane(channel);
  disarm(channel);
  const std::unique_ptr<Wake> wake = std::move(channel.wake);
  channel.last_wake = state;
  channel.had_wake = true;
  probe_.wakes.set(static_cast<double>(--wakes_));
  probe_.wake_ended(state);
  probe_.pushes_per_wake.observe(wake->pushes);
  if (wake->last_accepted) {
    ++hour_accepted_;
    if (state == WakeState::confirmed) ++hour_confirmed_;
  }
  std::string reasons;
  for (const std::string& reason : wake->reasons) reasons += (reasons.empty() ? "" : ",") + reason;
  wns_log().info("wake ended", kv("wake", wake->id), kv("agent", channel.id->raw()),
                 kv("channel", channel.record.uri.empty() ? std::string() : channel_fingerprint(install_key_, channel.record.uri)),
                 kv("reasons", reasons), kv("state", wake_state_name(state)), kv("code", code),
                 kv("outcome", wake->pushes > 0 ? outcome_name(wake->outcome) : "none"), kv("pushes", wake->pushes),
                 kv("attributed", attributed), kv("msg_id", wake->msg_id), kv("debug_trace", wake->debug_trace),
                 kv("correlation", wake->echoed_correlation), kv("device_status", wake->device_status),
                 kv("took_ms", std::chrono::duration_cast<milliseconds>(now() - wake->requested_at)));
}

// Sending.

WnsWork WnsCore::turn() {
  WnsWork work;
  while (!timers_.empty() && timers_.begin()->first <= now()) {
    Channel& channel = *timers_.begin()->second;
    disarm(channel);
    timer_fired(channel);
  }
  for (const auto& app : apps_) {
    while (start_next(*app, work)) {
    }
    if (app->waiting > 0 && !app->blocked && app->tokens.should_fetch(now()))
      work.tokens.push_back({app->index, app->tokens.begin(now())});
    // Empty lanes belong to hosts nobody waits for.
    std::erase_if(app->lanes, [](const auto& named) { return named.second.urgent.empty() && named.second.normal.empty(); });
  }
  probe_.in_flight.set(static_cast<double>(in_flight_.size()));
  return work;
}

bool WnsCore::start_next(App& app, WnsWork& work) {
  const SteadyTime at = now();
  if (app.waiting == 0 || app.blocked || refusing_) return false;
  const auto token = app.tokens.get(at);
  if (!token) return false;
  const bool suspect = app.tokens.suspect();
  if (suspect && (app.suspect_probe_out || at < app.tokens.probe_at())) return false;
  if (!app.pace.can_start(at) || !sessions_.has_one(at)) return false;

  // Hosts in turn, from the one after the last.
  auto it = app.lanes.upper_bound(app.cursor);
  Lane* lane = nullptr;
  for (std::size_t looked_at = 0; looked_at < app.lanes.size() && !lane; ++looked_at, ++it) {
    if (it == app.lanes.end()) it = app.lanes.begin();
    Lane& candidate = it->second;
    if ((!candidate.urgent.empty() || !candidate.normal.empty()) && host(candidate.host).can_start(at)) lane = &candidate;
  }
  if (!lane) return false;
  app.cursor = lane->host;
  Channel& channel = *(lane->urgent.empty() ? lane->normal : lane->urgent).front();
  Wake& wake = *channel.wake;
  const std::string host_name = lane->host;
  leave_lane(channel);
  auto where = parse_channel_uri(channel.record.uri);
  if (!where || where->host != host_name || !may_push(channel.record, clock_.wall(), settings_)) {
    enqueue(channel, false);  // it changed while it waited
    return true;
  }

  if (wake.correlation.empty()) wake.correlation = correlation_base(random_);
  InFlight sent;
  sent.device = *channel.id;
  sent.wake = wake.id;
  sent.app = &app;
  sent.host = host_name;
  sent.uri = channel.record.uri;
  sent.token = *token;
  sent.sent_at = at;
  sent.last_push_before = channel.last_push;
  sent.ttl = ttl_of(wake, at, settings_);
  sent.app_probe = app.pace.started(at);
  sent.host_probe = host(host_name).started(at);
  sent.suspect_probe = suspect;
  if (suspect) {
    app.suspect_probe_out = true;
    app.tokens.probe_begun(at);
  }
  sessions_.take();

  PushOrder order;
  order.id = ++ids_;
  order.channel = std::move(*where);
  order.token = sent.token.token;
  order.ttl = sent.ttl;
  order.urgent = wake.urgent;
  order.correlation = wake.correlation + "." + std::to_string(wake.pushes);
  work.pushes.push_back(std::move(order));
  wake.in_flight = true;
  ++wake.pushes;
  channel.busy = true;
  channel.last_push = at;
  channel.last_push_wall = clock_.wall();
  in_flight_.emplace(ids_, std::move(sent));
  return true;
}

SteadyTime WnsCore::next_due() {
  const SteadyTime at = now();
  SteadyTime due = timers_.empty() ? SteadyTime::max() : timers_.begin()->first;
  for (const auto& app : apps_) {
    if (app->waiting == 0 || app->blocked) continue;
    const bool has_token = app->tokens.get(at).has_value();
    due = std::min(due, app->tokens.next_fetch(at));
    if (!has_token || (app->tokens.suspect() && app->suspect_probe_out)) continue;
    SteadyTime start = app->pace.next_at(at);
    if (app->tokens.suspect()) start = std::max(start, app->tokens.probe_at());
    if (!sessions_.has_one(at)) start = std::max(start, sessions_.next_at(at));
    SteadyTime some_host = SteadyTime::max();
    for (const auto& [name, lane] : app->lanes) some_host = std::min(some_host, host(name).next_at(at));
    due = std::min(due, std::max(start, some_host));
  }
  return due;
}

}  // namespace greengate::adapters
