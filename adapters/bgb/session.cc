#include "adapters/bgb/session.h"

#include <algorithm>

namespace greengate::adapters::bgb {
namespace {

using std::chrono::milliseconds;

Error error(Remedy remedy, const char* code, std::string message) {
  return Error{remedy, code, std::move(message), {}};
}

}  // namespace

std::string_view state_name(SessionState state) {
  switch (state) {
    case SessionState::off:
      return "off";
    case SessionState::queued:
      return "queued";
    case SessionState::connecting:
      return "connecting";
    case SessionState::securing:
      return "securing";
    case SessionState::signing_in:
      return "signing_in";
    case SessionState::online:
      return "online";
    case SessionState::draining:
      return "draining";
    case SessionState::backoff:
      return "backoff";
  }
  return "off";
}

Session::Session(const SessionRules& rules, PushMemory& memory, std::uint64_t seed)
    : rules_(rules),
      memory_(memory),
      backoff_(rules.backoff, seed),
      random_(seed ^ 0x5851F42D4C957F2Dull) {}

void Session::open(SteadyTime now, SessionActions& actions) {
  if (state_ == SessionState::draining) reopen_ = true;
  if (state_ != SessionState::off) return;
  if (rules_.start_window > milliseconds(0))
    wait(now, random_up_to(rules_.start_window));
  else
    queue(actions);
}

void Session::shut(SteadyTime now, SessionActions& actions) {
  reopen_ = false;
  if (state_ == SessionState::off || state_ == SessionState::draining) return;
  const bool owes_answers =
      std::any_of(pending_.begin(), pending_.end(), [](const Pending& p) { return p.copies > 0; });
  if (state_ == SessionState::online && owes_answers) {
    state_ = SessionState::draining;  // ends with the last answer, which answer_timeout bounds
    return;
  }
  turn_off(now, error(Remedy::halt, "bgb.closed", "The gateway closed the session."), actions);
}

void Session::respond(SteadyTime now, std::uint64_t push_id, std::uint64_t task_id, bool success,
                      SessionActions& actions) {
  const auto asked = std::find_if(pending_.begin(), pending_.end(), [&](const Pending& p) {
    return p.push_id == push_id && p.task_id == task_id;
  });
  if (asked == pending_.end()) {
    actions.note(SessionNote::answer_late);
    return;
  }
  const PushKey key = asked->key;
  settle(now, key, success, actions);
}

void Session::attempt_started(SteadyTime now) {
  if (state_ != SessionState::queued) return;
  state_ = SessionState::connecting;
  deadline_ = now + rules_.connect_timeout;
}

void Session::connected(SteadyTime now, const SmsId& sms_id) {
  if (state_ != SessionState::connecting) return;
  sms_id_ = sms_id;
  state_ = SessionState::securing;
  deadline_ = now + rules_.tls_timeout;
}

void Session::secured(SteadyTime now, SessionActions& actions) {
  if (state_ != SessionState::securing) return;
  state_ = SessionState::signing_in;
  deadline_ = now + rules_.sign_in_timeout;
  actions.send_sign_in();
  if (!rules_.confirm_required) become_online(now, actions);
}

void Session::received(SteadyTime now, Message message, SessionActions& actions) {
  const bool signing_in = state_ == SessionState::signing_in;
  if (!signing_in && state_ != SessionState::online && state_ != SessionState::draining) return;
  switch (message.kind) {
    case Kind::sign_in_confirm:
      if (signing_in)
        become_online(now, actions);
      else
        actions.note(SessionNote::confirm_again);
      return;
    case Kind::request:
      if (state_ == SessionState::draining)
        return;  // not ours any more; the server pushes again after the next sign-in
      if (!signing_in) return handle_request(now, message, actions);
      // A server may push before it confirms; what does not fit comes again after the next sign-in.
      if (early_.size() < rules_.pending_pushes_max)
        early_.push_back(std::move(message));
      else
        actions.note(SessionNote::push_refused);
      return;
    case Kind::negotiation_needed:
      return other_version(now, actions);
    case Kind::disconnect: {
      auto why =
          error(Remedy::retry, "bgb.disconnected", "The notification server asked us to leave.");
      if (signing_in) return refused(now, std::move(why), actions);
      backoff_.reset();  // an orderly request, not a failure of ours
      return end(now, std::move(why), true, actions);
    }
    default:
      actions.note(SessionNote::unexpected_message);
      return;
  }
}

void Session::failed(SteadyTime now, Error why, bool other_address, SessionActions& actions) {
  switch (state_) {
    case SessionState::off:
    case SessionState::backoff:
      return;
    case SessionState::signing_in:
      return refused(now, std::move(why), actions);
    case SessionState::connecting:
    case SessionState::securing:
      if (other_address && (actions.advance_address() || actions.fall_back())) {
        actions.close(false);
        last_error_ = std::move(why);
        return queue(actions);
      }
      [[fallthrough]];
    default:
      return end(now, std::move(why), false, actions);
  }
}

void Session::unavailable(SteadyTime now, Error why, SessionActions& actions) {
  if (state_ == SessionState::off || state_ == SessionState::backoff) return;
  end(now, std::move(why), false, actions);
}

void Session::reconnect(SteadyTime now, Error why, SessionActions& actions) {
  if (state_ != SessionState::online) return;
  const std::uint32_t same_server = server_turn_;
  end(now, std::move(why), true, actions);
  backoff_.reset();
  server_turn_ = same_server;
  queue(actions);
}

void Session::relocate(SteadyTime now, Error why, SessionActions& actions) {
  const SessionState before = state_;
  if (before == SessionState::off || before == SessionState::queued || before == SessionState::draining) return;
  const SteadyTime soon = now + random_up_to(rules_.backoff.base);
  if (before == SessionState::backoff) {
    deadline_ = std::min(deadline_, soon);
  } else {
    end(now, std::move(why), true, actions);
    if (before == SessionState::online) backoff_.reset();
    deadline_ = soon;
  }
  server_turn_ = 0;
}

void Session::tick(SteadyTime now, SessionActions& actions) {
  while (true) {  // answering removes entries, so look afresh each time
    const auto late = std::find_if(pending_.begin(), pending_.end(), [&](const Pending& p) {
      return p.copies > 0 && p.deadline <= now;
    });
    if (late == pending_.end()) break;
    actions.note(SessionNote::push_unanswered);
    const PushKey key = late->key;
    settle(now, key, false, actions);
  }
  switch (state_) {
    case SessionState::connecting:
      if (deadline_ <= now)
        failed(now,
               error(Remedy::retry, "bgb.connect_timeout",
                     "The notification server did not accept in time."),
               true, actions);
      return;
    case SessionState::securing:
      if (deadline_ <= now)
        failed(now,
               error(Remedy::retry, "bgb.tls_timeout", "The TLS handshake did not end in time."),
               true, actions);
      return;
    case SessionState::signing_in:
      if (deadline_ <= now)
        refused(now,
                error(Remedy::retry, "bgb.signin_timeout",
                      "The server did not confirm the sign-in in time."),
                actions);
      return;
    case SessionState::online:
      if (keepalive_ <= now) {
        actions.send_keep_alive();
        sent(now);
      }
      return;
    case SessionState::backoff:
      if (deadline_ <= now) queue(actions);
      return;
    default:
      return;
  }
}

std::optional<SteadyTime> Session::due() const {
  std::optional<SteadyTime> next;
  switch (state_) {
    case SessionState::connecting:
    case SessionState::securing:
    case SessionState::signing_in:
    case SessionState::backoff:
      next = deadline_;
      break;
    case SessionState::online:
      next = keepalive_;
      break;
    default:
      break;
  }
  const auto answer = answer_due();
  if (answer && (!next || *answer < *next)) next = answer;
  return next;
}

std::optional<SteadyTime> Session::answer_due() const {
  std::optional<SteadyTime> next;
  for (const Pending& p : pending_)
    if (p.copies > 0 && (!next || p.deadline < *next)) next = p.deadline;
  return next;
}

void Session::become_online(SteadyTime now, SessionActions& actions) {
  state_ = SessionState::online;
  refusals_ = 0;
  online_since_ = now;
  // The first keep-alive comes anywhere in the interval, so that a fleet that came back together
  // does not ping together.
  keepalive_ = now + random_up_to(rules_.keepalive);
  actions.went_online();
  for (const Message& message : std::exchange(early_, {})) handle_request(now, message, actions);
}

void Session::handle_request(SteadyTime now, const Message& message, SessionActions& actions) {
  if (!message.present.has(Member::push_id) || !message.present.has(Member::task_id)) {
    actions.note(SessionNote::push_incomplete);  // nothing to answer with
    return;
  }
  BgbPush push{message.push_id, message.task_id, message.task_guid, message.task_type,
               message.task_param};
  if (!message.present.has(Member::task_type)) {
    actions.note(SessionNote::push_incomplete);
    actions.send_response(push.push_id, push.task_id, false);
    return sent(now);
  }

  const PushKey key = push_key(sms_id_, push);
  const bool in_hand =
      std::any_of(pending_.begin(), pending_.end(), [&](const Pending& p) { return p.key == key; });
  const auto fate = memory_.find(key);
  if (in_hand || fate == PushFate::unanswered) {
    actions.note(SessionNote::push_duplicate);  // the one answer to come serves this copy as well
    if (!add_pending(now, push, key)) actions.note(SessionNote::push_refused);
    return;
  }
  if (fate) {
    actions.note(SessionNote::push_duplicate);
    actions.send_response(push.push_id, push.task_id, *fate == PushFate::succeeded);
    return sent(now);
  }
  const auto owed = static_cast<std::size_t>(std::count_if(
      pending_.begin(), pending_.end(), [](const Pending& p) { return p.copies > 0; }));
  if (owed >= rules_.pending_pushes_max) {
    actions.note(SessionNote::push_refused);
    actions.send_response(push.push_id, push.task_id, false);
    return sent(now);
  }
  memory_.remember(key, PushFate::unanswered);
  (void)add_pending(now, push, key);  // there is room: what is owed was just counted
  actions.note(SessionNote::push_delivered);
  actions.deliver(push);
}

bool Session::add_pending(SteadyTime now, const BgbPush& push, const PushKey& key) {
  const auto same = std::find_if(pending_.begin(), pending_.end(), [&](const Pending& p) {
    return p.key == key && p.push_id == push.push_id && p.task_id == push.task_id;
  });
  if (same != pending_.end()) {
    if (same->copies == 0) same->deadline = now + rules_.answer_timeout;
    ++same->copies;
    return true;
  }
  // Room is made at the cost of the oldest push of a lost connection: its fate stays in the memory.
  if (pending_.size() >= rules_.pending_pushes_max) {
    const auto stale = std::find_if(pending_.begin(), pending_.end(),
                                    [](const Pending& p) { return p.copies == 0; });
    if (stale == pending_.end()) return false;
    pending_.erase(stale);
  }
  pending_.push_back({push.push_id, push.task_id, key, now + rules_.answer_timeout, 1});
  return true;
}

void Session::settle(SteadyTime now, const PushKey& key, bool success, SessionActions& actions) {
  memory_.remember(key, success ? PushFate::succeeded : PushFate::failed);
  std::vector<Pending> answered;
  std::erase_if(pending_, [&](const Pending& p) {
    if (p.key == key) answered.push_back(p);
    return p.key == key;
  });
  if (pending_.empty()) pending_.shrink_to_fit();
  for (const Pending& p : answered)
    for (std::uint32_t copy = 0; copy < p.copies; ++copy)
      actions.send_response(p.push_id, p.task_id, success);
  if (state_ == SessionState::online) sent(now);
  if (state_ == SessionState::draining && !answer_due())
    turn_off(now, error(Remedy::halt, "bgb.closed", "The gateway closed the session."), actions);
}

void Session::other_version(SteadyTime now, SessionActions& actions) {
  auto why = error(Remedy::retry, "bgb.version",
                   "The notification server does not speak this message version.");
  const bool another = !version_retried_ && version_index_ + 1 < rules_.version_count;
  const bool wanted = state_ != SessionState::draining;
  const std::uint32_t same_server = server_turn_;
  end(now, std::move(why), true, actions);
  if (!wanted) return;
  if (another) {
    version_retried_ = true;
    ++version_index_;
    server_turn_ = same_server;
    return queue(actions);
  }
  version_index_ = 0;
  version_retried_ = false;
  actions.alarm(SessionAlarm::no_version);
  wait(now, rules_.backoff.cap - random_up_to(rules_.backoff.cap / 10));
}

void Session::end(SteadyTime now, Error why, bool orderly, SessionActions& actions) {
  const SessionState before = state_;
  if (before == SessionState::draining) return turn_off(now, std::move(why), actions);
  actions.close(orderly);
  early_ = {};
  for (Pending& p : pending_) p.copies = 0;
  if (before == SessionState::online && now - online_since_ >= rules_.stable_after) {
    backoff_.reset();
    server_turn_ = 0;
    version_retried_ = false;
  } else if (before != SessionState::online) {
    ++server_turn_;  // every address of this one failed: the agent's next choice
  }
  wait(now, backoff_.next(why.retry_after));
  last_error_ = std::move(why);
  if (before == SessionState::online) actions.went_offline(*last_error_);
}

void Session::refused(SteadyTime now, Error why, SessionActions& actions) {
  // However a server refuses a sign-in (close, Disconnect, silence), three in a row are no
  // accident.
  if (++refusals_ % rules_.refusals_to_alarm == 0) actions.alarm(SessionAlarm::sign_in_refused);
  end(now, std::move(why), false, actions);
}

void Session::wait(SteadyTime now, milliseconds time) {
  state_ = SessionState::backoff;
  deadline_ = now + time;
}

void Session::queue(SessionActions& actions) {
  state_ = SessionState::queued;
  actions.queue_attempt();
}

void Session::turn_off(SteadyTime now, Error why, SessionActions& actions) {
  const bool was_online = state_ == SessionState::online || state_ == SessionState::draining;
  actions.close(was_online);
  state_ = SessionState::off;
  early_ = {};
  for (Pending& p : pending_) p.copies = 0;
  last_error_ = std::move(why);
  if (was_online) actions.went_offline(*last_error_);
  if (std::exchange(reopen_, false)) open(now, actions);
}

void Session::sent(SteadyTime now) {
  // Anything sent restarts the interval. A wave of pushes makes a fleet answer together, so each
  // interval is shortened by up to a tenth: late is never, together is unlikely.
  keepalive_ = now + rules_.keepalive - random_up_to(rules_.keepalive / 10);
}

milliseconds Session::random_up_to(milliseconds bound) {
  random_ = random_ * 6364136223846793005ull + 1442695040888963407ull;
  const auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(bound.count(), 0)) + 1;
  return milliseconds(static_cast<std::int64_t>((random_ >> 33) % span));
}

}  // namespace greengate::adapters::bgb
