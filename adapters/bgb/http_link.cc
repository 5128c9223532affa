#include "adapters/bgb/http_link.h"

#include <algorithm>
#include <utility>

namespace greengate::adapters::bgb {

using std::chrono::milliseconds;
using std::chrono::seconds;

HttpLink::HttpLink(const HttpRules& rules, std::uint64_t seed)
    : rules_(rules), random_(seed ^ 0x9E3779B97F4A7C15ull) {
  if (rules_.can_ask_hold)
    hold_seconds_ = static_cast<std::uint32_t>(std::chrono::duration_cast<seconds>(rules_.hang).count());
}

void HttpLink::send(SteadyTime now, Message message, HttpLinkActions& actions) {
  if (over_) return;
  if (message.kind == Kind::sign_in) {
    sign_in_ = std::move(message);
    return ask(now, Lane::receive, HttpPurpose::sign_in, &*sign_in_, actions);
  }
  if (sends_.size() >= rules_.sends_max)
    return end(HttpEnd::lost, {Remedy::retry, "bgb.slow_server", "The server does not take what we send.", {}}, actions);
  sends_.push_back(std::move(message));
  if (at(Lane::send).doing == Doing::nothing)
    ask(now, Lane::send, HttpPurpose::send, &sends_.front(), actions);
}

void HttpLink::replied(SteadyTime now, Lane lane, HttpMeaning meaning, HttpLinkActions& actions) {
  Side& side = at(lane);
  if (over_ || side.doing != Doing::asking) return;
  const HttpPurpose purpose = side.purpose;
  side.doing = Doing::nothing;
  side.connects = 0;
  switch (meaning.verdict) {
    case HttpVerdict::refused:
      return end(HttpEnd::refused, std::move(meaning.error), actions);
    case HttpVerdict::broken:
      return end(HttpEnd::broken, std::move(meaning.error), actions);
    case HttpVerdict::proxy:
      return end(HttpEnd::unavailable, std::move(meaning.error), actions);
    case HttpVerdict::strange:
      return end(HttpEnd::lost, std::move(meaning.error), actions);
    case HttpVerdict::busy: {
      actions.note(HttpNote::busy);
      if (meaning.error.retry_after <= milliseconds(0)) meaning.error.retry_after = rules_.busy;
      // Nobody waits with a sign-in half done: the session backs off for as long as the server asks.
      if (purpose == HttpPurpose::sign_in || ++side.busy >= rules_.busy_max)
        return end(HttpEnd::unavailable, std::move(meaning.error), actions);
      return wait(lane, now + meaning.error.retry_after);
    }
    case HttpVerdict::cut:
      if (purpose == HttpPurpose::receive) return cut(now, actions, std::move(meaning.error));
      return end(purpose == HttpPurpose::sign_in ? HttpEnd::unavailable : HttpEnd::lost, std::move(meaning.error), actions);
    case HttpVerdict::messages:
    case HttpVerdict::empty:
      break;
  }
  side.busy = 0;
  if (purpose == HttpPurpose::send) {
    sends_.pop_front();
    if (!hand_on(meaning.messages, actions)) return;
    return ask_next(now, actions);
  }
  short_cuts_ = quick_cuts_ = 0;
  const bool empty = meaning.messages.empty();
  if (purpose == HttpPurpose::receive) actions.note(empty ? HttpNote::empty : HttpNote::held);
  if (!hand_on(meaning.messages, actions) || leaving_) return;
  if (empty && purpose == HttpPurpose::receive) return wait(Lane::receive, now + pause());
  sign_in_.reset();
  ask(now, Lane::receive, HttpPurpose::receive, nullptr, actions);
}

void HttpLink::failed(SteadyTime now, Lane lane, Error why, bool sent, HttpLinkActions& actions) {
  Side& side = at(lane);
  if (over_ || side.doing != Doing::asking) return;
  side.doing = Doing::nothing;
  if (side.purpose == HttpPurpose::sign_in) return end(HttpEnd::lost, std::move(why), actions);
  if (!sent) {
    actions.note(HttpNote::late_connection);
    if (++side.connects >= rules_.connects_max) return end(HttpEnd::lost, std::move(why), actions);
    return wait(lane, now + pause());
  }
  // Whether what we said arrived nobody knows; after the next sign-in the server asks again for what it misses.
  if (lane == Lane::send) return end(HttpEnd::lost, std::move(why), actions);
  cut(now, actions, std::move(why));
}

void HttpLink::sent(SteadyTime now, Lane lane) {
  Side& side = at(lane);
  if (side.doing != Doing::asking) return;
  side.connects = 0;
  side.asked = now;
  side.until = now + patience(side);
}

void HttpLink::tick(SteadyTime now, HttpLinkActions& actions) {
  for (const Lane lane : {Lane::receive, Lane::send}) {
    Side& side = at(lane);
    if (over_ || side.doing == Doing::nothing || side.until > now) continue;
    if (side.doing == Doing::waiting) {
      side.doing = Doing::nothing;
      if (lane == Lane::receive)
        ask(now, lane, HttpPurpose::receive, nullptr, actions);
      else
        ask_next(now, actions);
      continue;
    }
    actions.hang_up(lane);
    side.doing = Doing::nothing;
    Error why{Remedy::retry, "bgb.http_timeout", "The server did not answer in time.", {}};
    if (lane == Lane::receive && side.purpose == HttpPurpose::receive)
      cut(now, actions, std::move(why));
    else
      end(HttpEnd::lost, std::move(why), actions);
  }
}

void HttpLink::leave(HttpLinkActions& actions) {
  if (std::exchange(leaving_, true) || over_) return;
  at(Lane::receive).doing = Doing::nothing;
  actions.hang_up(Lane::receive);
}

std::optional<SteadyTime> HttpLink::due() const {
  std::optional<SteadyTime> next;
  if (over_) return next;
  for (const Side& side : sides_)
    if (side.doing != Doing::nothing && (!next || side.until < *next)) next = side.until;
  return next;
}

void HttpLink::ask(SteadyTime now, Lane lane, HttpPurpose purpose, const Message* message, HttpLinkActions& actions) {
  Side& side = at(lane);
  side.doing = Doing::asking;
  side.purpose = purpose;
  side.asked = now;
  side.until = now + rules_.connect + patience(side);
  actions.exchange(lane, purpose, message, purpose == HttpPurpose::receive ? hold_seconds_ : 0);
}

void HttpLink::ask_next(SteadyTime now, HttpLinkActions& actions) {
  if (over_ || at(Lane::send).doing != Doing::nothing) return;  // what a reply led to may be on its way already
  if (!sends_.empty()) return ask(now, Lane::send, HttpPurpose::send, &sends_.front(), actions);
  actions.hang_up(Lane::send);
}

void HttpLink::wait(Lane lane, SteadyTime until) {
  at(lane).doing = Doing::waiting;
  at(lane).until = until;
}

void HttpLink::cut(SteadyTime now, HttpLinkActions& actions, Error why) {
  const auto held = now - at(Lane::receive).asked;
  if (leaving_) return;
  actions.note(HttpNote::cut);
  if (held < rules_.quick_cut) {
    if (++quick_cuts_ >= rules_.quick_cuts_max) return end(HttpEnd::lost, std::move(why), actions);
  } else {
    quick_cuts_ = 0;
  }
  if (held >= rules_.middlebox) {
    short_cuts_ = 0;
  } else if (++short_cuts_ == 2) {
    short_cuts_ = 0;
    actions.note(HttpNote::middlebox);
    const auto least = static_cast<std::uint32_t>(std::chrono::duration_cast<seconds>(rules_.hold_min).count());
    if (hold_seconds_ > 0) hold_seconds_ = std::max(hold_seconds_ / 2, std::max(least, 1u));
  }
  wait(Lane::receive, now + pause());
}

void HttpLink::end(HttpEnd how, Error why, HttpLinkActions& actions) {
  over_ = true;
  sends_.clear();
  for (Side& side : sides_) side.doing = Doing::nothing;
  actions.ended(how, std::move(why));
}

bool HttpLink::hand_on(std::vector<Message>& messages, HttpLinkActions& actions) {
  for (Message& message : messages)
    if (!actions.received(std::move(message)) || over_) return false;
  return true;
}

milliseconds HttpLink::patience(const Side& side) const {
  switch (side.purpose) {
    case HttpPurpose::sign_in:
      return rules_.sign_in;
    case HttpPurpose::send:
      return rules_.reply;
    case HttpPurpose::receive:
      break;
  }
  return rules_.hang + rules_.hang_margin;
}

milliseconds HttpLink::pause() {
  random_ = random_ * 6364136223846793005ull + 1442695040888963407ull;
  const auto span = static_cast<std::uint64_t>(std::max<std::int64_t>((rules_.pause_max - rules_.pause_min).count(), 0)) + 1;
  return rules_.pause_min + milliseconds(static_cast<std::int64_t>((random_ >> 33) % span));
}

}  // namespace greengate::adapters::bgb
