#include "workers/identity_life.h"

#include <algorithm>
#include <string_view>

namespace greengate::workers {

using adapters::RegistrationStatus;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds drain_poll{500};

}  // namespace

const char* name_of(LifeState state) {
  switch (state) {
    case LifeState::none: return "none";
    case LifeState::registering: return "registering";
    case LifeState::pending: return "pending";
    case LifeState::ready: return "ready";
    case LifeState::doubted: return "doubted";
    case LifeState::reregistering: return "re-registering";
    case LifeState::renewing: return "renewing";
    case LifeState::rejected: return "rejected";
  }
  return "unknown";
}

const char* name_of(LifeAsk ask) {
  switch (ask) {
    case LifeAsk::make_key: return "make a key";
    case LifeAsk::registration: return "registration";
    case LifeAsk::confirmation: return "confirmation";
    case LifeAsk::look: return "look at the certificate";
    case LifeAsk::prepare_next: return "prepare the next certificate";
    case LifeAsk::next_registration: return "registration of the next certificate";
    case LifeAsk::next_confirmation: return "confirmation of the next certificate";
  }
  return "unknown";
}

IdentityLife::IdentityLife(const LifeRules& rules, std::uint64_t seed, LifeState state, WallTime since, Moment now)
    : rules_(&rules),
      seed_(seed),
      spread_(seed >> 7),
      state_(state),
      since_(since),
      due_(now.steady),
      backoff_(rules.failure, seed),
      invoke_backoff_(rules.refused, seed + 1) {
  if (state == LifeState::rejected) {
    const auto passed = std::chrono::duration_cast<milliseconds>(now.wall - since);
    due_ += std::clamp(rules.rejected_retry - passed, milliseconds(0), rules.rejected_retry);
  }
  // Certificates are looked at soon after a start, but not all at once.
  if (state == LifeState::ready) due_ += milliseconds(dice() % static_cast<std::uint64_t>(rules.look_interval.count() / 100 + 1));
  if (state == LifeState::renewing) unknown_ = new_key_ = true;
  refused_before_ = state == LifeState::doubted || state == LifeState::reregistering;
}

std::uint64_t IdentityLife::dice() {
  seed_ += 0x9E3779B97F4A7C15ull;
  std::uint64_t z = seed_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  return z ^ (z >> 29);
}

LifeAsk IdentityLife::ask() const {
  switch (state_) {
    case LifeState::none: return LifeAsk::make_key;
    case LifeState::registering:
    case LifeState::reregistering:
    case LifeState::rejected: return LifeAsk::registration;
    case LifeState::pending:
    case LifeState::doubted: return LifeAsk::confirmation;
    case LifeState::ready: return LifeAsk::look;
    case LifeState::renewing: break;
  }
  if (!prepared_) return LifeAsk::prepare_next;
  return next_pending_ ? LifeAsk::next_confirmation : LifeAsk::next_registration;
}

bool IdentityLife::holds() const {
  if (state_ == LifeState::ready) return false;
  if (state_ != LifeState::renewing) return true;
  // With another key, the site's record may have either; with the same key both are verified alike.
  return suspect_ || draining_ || (new_key_ && unknown_);
}

bool IdentityLife::proposes_fresh(WallTime now) const {
  return state_ == LifeState::renewing && renewal_rejected_ && ends_ && now >= *ends_;
}

void IdentityLife::wait(Wait kind, Moment now, milliseconds at_least) {
  if (kind != waiting_for_) {
    waiting_for_ = kind;
    backoff_ = Backoff(kind == Wait::confirm   ? rules_->confirm
                       : kind == Wait::refused ? rules_->refused
                                               : rules_->failure,
                       dice());
  }
  due_ = now.steady + backoff_.next(at_least);
}

void IdentityLife::enter(LifeState state, Moment now, milliseconds wait) {
  if (state != state_) {
    state_ = state;
    since_ = now.wall;
    own_refused_ = invokes_refused_ = {};
  }
  waiting_for_ = Wait::none;
  if (state != LifeState::renewing) {
    prepared_ = new_key_ = next_pending_ = next_same_record_ = unknown_ = draining_ = suspect_ = renewal_rejected_ = false;
  }
  due_ = now.steady + wait;
}

void IdentityLife::enter_ready(Moment now) {
  enter(LifeState::ready, now, milliseconds(0));
  code_ = "";
  wants_new_key_ = refused_before_ = false;
  invoke_backoff_.reset();
}

void IdentityLife::doubt(Moment now) {
  last_doubt_ = now.steady;
  if (state_ == LifeState::renewing && prepared_ && !suspect_) {
    // A lost answer may have given the site the new key already: that is asked first.
    suspect_ = true;
    own_refused_ = invokes_refused_ = {};
    due_ = now.steady;
    return;
  }
  enter(LifeState::doubted, now, milliseconds(0));
}

bool IdentityLife::one_more(Refusals& refusals, Moment now) const {
  if (refusals.last && now.steady - *refusals.last < rules_->refusal_spacing) return false;
  refusals.last = now.steady;
  return ++refusals.count >= rules_->refusals_max;
}

void IdentityLife::key_made(Moment now) {
  code_ = "";
  enter(LifeState::registering, now, milliseconds(0));
}

void IdentityLife::certificate_seen(WallTime ends, bool ours, bool fits, Moment now) {
  ends_ = ends;
  code_ = "";
  if (state_ != LifeState::ready) return;
  waiting_for_ = Wait::none;
  if (!fits) return enter(LifeState::renewing, now, milliseconds(0));
  auto until = rules_->look_interval;
  if (ours && rules_->renew_before > milliseconds(0)) {
    // Those that were enrolled on one day are not renewed in one hour.
    const auto spread = milliseconds(spread_ % static_cast<std::uint64_t>(rules_->renew_before.count() / 10 + 1));
    const WallTime renew_at = ends - rules_->renew_before + spread;
    const bool just_renewed = last_renewed_ && now.steady - *last_renewed_ < rules_->look_interval;
    if (now.wall >= renew_at && !just_renewed) {
      wants_new_key_ = rules_->renew_with_new_key;
      return enter(LifeState::renewing, now, milliseconds(0));
    }
    if (now.wall < renew_at) until = std::min(until, std::chrono::ceil<milliseconds>(renew_at - now.wall));
  }
  due_ = now.steady + until;
}

void IdentityLife::next_prepared(bool new_key, bool registered, bool same_record, Moment now) {
  if (state_ != LifeState::renewing) return;
  prepared_ = true;
  new_key_ = new_key;
  next_pending_ = registered;
  next_same_record_ = registered && same_record;
  if (registered && !same_record) unknown_ = false;  // the key in use still has its own record
  due_ = now.steady;
}

void IdentityLife::next_lost(Moment now) {
  prepared_ = false;
  code_ = "identity.next_lost";
  wait(Wait::failure, now);
}

void IdentityLife::must_drain(Moment now) {
  draining_ = true;
  due_ = now.steady + drain_poll;
}

LifeTurn IdentityLife::answered(RegistrationStatus status, bool same_record, Moment now) {
  draining_ = false;
  own_refused_ = {};
  return state_ == LifeState::renewing ? answered_next(status, same_record, now) : answered_in_use(status, same_record, now);
}

LifeTurn IdentityLife::answered_in_use(RegistrationStatus status, bool same_record, Moment now) {
  LifeTurn turn;
  const LifeState was = state_;
  switch (status) {
    case RegistrationStatus::done:
      turn.adopt = turn.became_ready = true;
      // A Confirmation, or a registration that is done at once, speaks of a record that was there all the time.
      turn.resync = !same_record || refused_before_ || (was != LifeState::doubted && was != LifeState::reregistering);
      turn.outcome = "confirmed";
      enter_ready(now);
      return turn;
    case RegistrationStatus::pending:
      turn.adopt = true;
      turn.outcome = was == LifeState::pending || was == LifeState::doubted ? "still_pending" : "registered";
      code_ = "";
      if (was != LifeState::pending) enter(LifeState::pending, now, milliseconds(0));
      wait(Wait::confirm, now);
      return turn;
    case RegistrationStatus::again:
      turn.outcome = "again";
      code_ = "registration.again";
      if (was == LifeState::doubted) {
        enter(LifeState::reregistering, now, milliseconds(0));
      } else {
        if (was == LifeState::pending) enter(LifeState::reregistering, now, milliseconds(0));
        if (was == LifeState::rejected) enter(LifeState::registering, now, milliseconds(0));
        wait(Wait::failure, now);
      }
      return turn;
    case RegistrationStatus::rejected:
      turn.outcome = "rejected";
      code_ = "registration.rejected";
      if (was == LifeState::doubted) {
        enter(LifeState::reregistering, now, milliseconds(0));  // the one who asks for a record hears the last word (6.3)
      } else {
        enter(LifeState::rejected, now, rules_->rejected_retry);
      }
      return turn;
  }
  return turn;
}

LifeTurn IdentityLife::answered_next(RegistrationStatus status, bool same_record, Moment now) {
  LifeTurn turn;
  const bool was_pending = next_pending_, was_same_record = next_same_record_;
  switch (status) {
    case RegistrationStatus::done:
      turn.swap = turn.adopt = turn.became_ready = true;
      turn.resync = !same_record || refused_before_;
      turn.outcome = "renewed";
      last_renewed_ = now.steady;
      ends_.reset();
      enter_ready(now);
      return turn;
    case RegistrationStatus::pending:
      next_pending_ = true;
      next_same_record_ = same_record;
      unknown_ = same_record;
      renewal_rejected_ = false;
      code_ = "";
      turn.keep_next = true;
      turn.outcome = was_pending ? "still_pending" : "renewal_registered";
      wait(Wait::confirm, now);
      return turn;
    case RegistrationStatus::again:
      if (suspect_ || (was_pending && was_same_record)) return next_given_up(now);
      next_pending_ = false;
      turn.keep_next = was_pending;
      turn.outcome = "again";
      code_ = "registration.again";
      wait(Wait::failure, now);
      return turn;
    case RegistrationStatus::rejected:
      if (suspect_ || (was_pending && was_same_record)) return next_given_up(now);
      turn.keep_next = was_pending;
      turn.outcome = "renewal_rejected";
      renewal_refused(now);
      return turn;
  }
  return turn;
}

// The site keeps the record we have: asked again, rarely.
void IdentityLife::renewal_refused(Moment now) {
  next_pending_ = next_same_record_ = unknown_ = false;
  renewal_rejected_ = true;
  code_ = "renewal.rejected";
  waiting_for_ = Wait::none;
  due_ = now.steady + rules_->renew_retry;
}

// Which key the site holds is not known any more: the one in use is asked for.
LifeTurn IdentityLife::next_given_up(Moment now) {
  LifeTurn turn;
  turn.drop_next = true;
  turn.outcome = "renewal_given_up";
  code_ = "renewal.given_up";
  last_doubt_ = now.steady;
  enter(LifeState::doubted, now, milliseconds(0));
  return turn;
}

LifeTurn IdentityLife::refused(Moment now) {
  LifeTurn turn;
  turn.outcome = "refused";
  code_ = "mp.refused";
  draining_ = false;
  const bool enough = one_more(own_refused_, now);
  if (enough && state_ == LifeState::renewing) {
    if (suspect_ || (next_pending_ && next_same_record_)) return next_given_up(now);
    turn.keep_next = next_pending_;
    renewal_refused(now);
    own_refused_ = {};
    return turn;
  }
  if (enough && (state_ == LifeState::pending || state_ == LifeState::doubted)) enter(LifeState::reregistering, now, milliseconds(0));
  if (state_ == LifeState::rejected) {
    due_ = now.steady + rules_->rejected_retry;
  } else {
    wait(Wait::refused, now);
  }
  return turn;
}

void IdentityLife::failed(const Error& error, Moment now) {
  const std::string_view code = error.code;
  code_ = error.code;
  draining_ = false;
  const bool never_left = code == "mp.none_available" || code == "pacing.budget" || code == "http.connect";
  if (ask() == LifeAsk::next_registration && new_key_ && !never_left) unknown_ = true;
  if (suspect_ && !prepared_) return enter(LifeState::doubted, now, milliseconds(0));
  if (code == "mp.none_available" || code == "pacing.budget") {
    // All management points resting says nothing about this agent: come back when the first may be tried.
    due_ = now.steady + error.retry_after + milliseconds(dice() % 1'000);
    return;
  }
  wait(Wait::failure, now, error.retry_after);
}

void IdentityLife::invoke_answered() {
  if (state_ != LifeState::ready && state_ != LifeState::renewing) return;
  invokes_refused_ = {};
  invoke_backoff_.reset();
}

milliseconds IdentityLife::invoke_refused(Moment now) {
  if (state_ != LifeState::ready && state_ != LifeState::renewing) return rules_->refused.cap;
  if (one_more(invokes_refused_, now)) {
    refused_before_ = true;
    doubt(now);
  }
  return invoke_backoff_.next();
}

void IdentityLife::reply_unexpected(Moment now) {
  if (state_ != LifeState::ready && state_ != LifeState::renewing) return;
  if (last_doubt_ && now.steady - *last_doubt_ < rules_->refusal_spacing) return;
  doubt(now);
}

bool IdentityLife::rotate(Moment now) {
  if (state_ != LifeState::ready && state_ != LifeState::renewing) return false;
  if (state_ == LifeState::ready || !new_key_) {
    enter(LifeState::renewing, now, milliseconds(0));
    prepared_ = next_pending_ = next_same_record_ = draining_ = false;
  }
  wants_new_key_ = true;
  due_ = now.steady;
  return true;
}

}  // namespace greengate::workers
