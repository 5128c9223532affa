#include "adapters/wns/token_cache.h"

#include "adapters/wns/dice.h"
#include "core/check.h"

#include <algorithm>

namespace greengate::adapters {

using std::chrono::milliseconds;
using std::chrono::seconds;

const char* credential_state_name(CredentialState state) {
  switch (state) {
    case CredentialState::no_token: return "no_token";
    case CredentialState::ok: return "ok";
    case CredentialState::suspect: return "credentials_suspect";
    case CredentialState::refused: return "credentials_refused";
  }
  return "";
}

TokenCache::TokenCache(const WnsSettings& settings, std::size_t secrets, std::uint64_t seed)
    : settings_(settings), secrets_(secrets), random_(seed) {}

std::optional<TokenInUse> TokenCache::get(SteadyTime now) const {
  if (!token_ || now >= expires_) return std::nullopt;
  return TokenInUse{token_, generation_};
}

bool TokenCache::should_fetch(SteadyTime now) const {
  if (fetching_ || secrets_ == 0 || now < next_try_) return false;
  return !token_ || now >= refresh_at_;
}

std::size_t TokenCache::begin(SteadyTime now) {
  GREENGATE_CHECK(should_fetch(now), "a token is fetched once at a time");
  fetching_ = true;
  return secret_;
}

void TokenCache::done(SteadyTime now, Result<TokenGrant> result) {
  fetching_ = false;
  if (result) {
    token_ = std::make_shared<const Secret>(std::move(result->token));
    ++generation_;
    const auto margin = token_margin(result->life, std::chrono::duration_cast<seconds>(settings_.token_margin_max));
    expires_ = now + result->life;
    refresh_at_ = expires_ - margin;
    next_try_ = now;
    failures_ = 0;
    secret_ = 0;
    refused_ = false;
    failure_.reset();
    return;
  }
  failure_ = std::move(result.error());
  const bool another_secret = std::string_view(failure_->code) == "wns.token_client" && secret_ + 1 < secrets_;
  if (another_secret) {
    ++secret_;
    next_try_ = now;
    return;
  }
  secret_ = 0;
  if (failure_->remedy == Remedy::reject) {
    refused_ = true;
    next_try_ = now + settings_.credentials_refused_retry;
    return;
  }
  // 1 s doubled each time, anything between nothing and that, so that many gateways part.
  const auto doubled = settings_.token_backoff_base * (std::int64_t{1} << std::min<std::uint32_t>(failures_, 20));
  ++failures_;
  const auto top = std::min(doubled, settings_.token_backoff_cap);
  const auto jittered = milliseconds(static_cast<std::int64_t>(roll(random_, static_cast<std::uint64_t>(top.count()) + 1)));
  next_try_ = now + (failure_->retry_after.count() > 0 ? failure_->retry_after : jittered);
}

void TokenCache::rejected(std::uint64_t generation, SteadyTime now) {
  if (generation == rejected_generation_ && rejected_at_ != SteadyTime{}) return;  // one of many that were on their way with it
  if (rejected_at_ != SteadyTime{} && now - rejected_at_ <= settings_.credentials_suspect_window && !suspect_) suspect_ = true;
  if (suspect_) probe_at_ = now + settings_.credentials_suspect_probe;
  rejected_generation_ = generation;
  rejected_at_ = now;
  if (generation != generation_) return;  // a newer one is in use already
  token_.reset();
  if (suspect_) next_try_ = std::max(next_try_, probe_at_);
}

void TokenCache::honoured(std::uint64_t generation) {
  if (generation <= rejected_generation_ && rejected_at_ != SteadyTime{}) return;
  suspect_ = false;
  rejected_at_ = {};
}

void TokenCache::secrets_changed(std::size_t secrets, SteadyTime now) {
  secrets_ = secrets;
  secret_ = 0;
  failures_ = 0;
  if (!token_ || suspect_) next_try_ = now;
  if (suspect_) probe_at_ = now;
  refused_ = false;
}

CredentialState TokenCache::state(SteadyTime now) const {
  if (suspect_) return CredentialState::suspect;
  if (get(now)) return CredentialState::ok;
  return refused_ ? CredentialState::refused : CredentialState::no_token;
}

void TokenCache::probe_begun(SteadyTime now) { probe_at_ = now + settings_.credentials_suspect_probe; }

SteadyTime TokenCache::next_fetch(SteadyTime now) const {
  if (fetching_ || secrets_ == 0) return SteadyTime::max();
  return std::max({now, next_try_, token_ ? refresh_at_ : now});
}

}  // namespace greengate::adapters
