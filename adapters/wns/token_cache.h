#pragma once

#include "adapters/wns/secret.h"
#include "adapters/wns/settings.h"
#include "adapters/wns/token_source.h"
#include "core/clock.h"
#include "core/result.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace greengate::adapters {

/// A token in use, told from the one before it by its generation.
struct TokenInUse {
  std::shared_ptr<const Secret> token;
  std::uint64_t generation = 0;
};

/// Where an app's credentials stand (wns-mdm-push 8.1, R-7, R-8).
enum class CredentialState : std::uint8_t { no_token, ok, suspect, refused };
const char* credential_state_name(CredentialState state);

/// One app's token: fetched once, shared, fetched again before its end or when WNS refuses it. Decides; the owner fetches.
///
/// Promise   At most one request for a token at a time. A token that WNS refused leads to a new one only if it still is the one in use
///           . Replaced tokens are wiped when the last request with them is over. Times are the monotonic clock's.
/// Threads   The owner's lock.
/// Source    wns-mdm-push
class TokenCache {
 public:
  TokenCache(const WnsSettings& settings, std::size_t secrets, std::uint64_t seed);

  /// The token to send with; nothing when there is none, or none may be used now.
  std::optional<TokenInUse> get(SteadyTime now) const;
  /// Is it time to ask the service? Then begin() says with which secret, and done() must follow.
  bool should_fetch(SteadyTime now) const;
  std::size_t begin(SteadyTime now);
  void done(SteadyTime now, Result<TokenGrant> result);
  /// WNS answered 401 to a push with this token.
  void rejected(std::uint64_t generation, SteadyTime now);
  /// WNS took a push with this token, whatever it then said of the channel.
  void honoured(std::uint64_t generation);
  /// The secret files changed: what was refused may do now.
  void secrets_changed(std::size_t secrets, SteadyTime now);

  CredentialState state(SteadyTime now) const;
  /// While suspect only one push may try at a time, not before probe_at().
  bool suspect() const { return suspect_; }
  SteadyTime probe_at() const { return probe_at_; }
  void probe_begun(SteadyTime now);
  bool fetching() const { return fetching_; }
  /// When should_fetch() may turn true by time alone.
  SteadyTime next_fetch(SteadyTime now) const;
  /// The last failure while there is one.
  const std::optional<Error>& failure() const { return failure_; }

 private:
  const WnsSettings& settings_;
  std::size_t secrets_;
  std::uint64_t random_;
  std::shared_ptr<const Secret> token_;
  std::uint64_t generation_ = 0;
  SteadyTime refresh_at_{}, expires_{};
  SteadyTime next_try_{};
  std::size_t secret_ = 0;  // of this attempt; 0 is the newest
  std::uint32_t failures_ = 0;
  bool fetching_ = false;
  bool refused_ = false;
  std::optional<Error> failure_;

  std::uint64_t rejected_generation_ = 0;  // the last one WNS refused
  SteadyTime rejected_at_{};
  bool suspect_ = false;
  SteadyTime probe_at_{};
};

}  // namespace greengate::adapters
