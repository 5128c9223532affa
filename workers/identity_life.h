#pragma once

#include "adapters/mp/registration.h"
#include "core/backoff.h"
#include "core/clock.h"
#include "core/result.h"

#include <chrono>
#include <cstdint>
#include <optional>

namespace greengate::workers {

/// Where an agent's identity stands with the site. docs/reference/registration.md draws the arrows.
enum class LifeState : std::uint8_t {
  none,           ///< No key yet.
  registering,    ///< Asks for a record.
  pending,        ///< Registered, and not confirmed yet.
  ready,          ///< The site takes what this agent signs.
  doubted,        ///< Was ready, but the site refused what it signed: a Confirmation asks whether it is still known.
  reregistering,  ///< The site does not know it any more: registers again, proposing the SMSID it had.
  renewing,       ///< Ready, and on its way to another certificate or key.
  rejected,       ///< The site said no.
};
inline constexpr std::size_t life_states = 8;
const char* name_of(LifeState state);

/// What is to be done next.
enum class LifeAsk : std::uint8_t {
  make_key,           ///< Nothing is sent: a key, or the common one, on disk.
  registration,       ///< For the key in use.
  confirmation,       ///< For the key in use.
  look,               ///< Nothing is sent: how old is the certificate?
  prepare_next,       ///< Nothing is sent: the next certificate, on disk.
  next_registration,  ///< For the next certificate; the one in use stays.
  next_confirmation,
};
const char* name_of(LifeAsk ask);

/// How often and how patiently. The letters are evidence grades.
struct LifeRules {
  BackoffConfig confirm{std::chrono::seconds(30), std::chrono::minutes(5)};  ///< While pending (D 4.1).
  BackoffConfig failure{std::chrono::minutes(1), std::chrono::hours(1)};     ///< No answer, 5xx, Status 2 (I 6.3).
  BackoffConfig refused{std::chrono::seconds(4), std::chrono::minutes(5)};   ///< 200 and nothing (M 1.8).
  std::chrono::milliseconds rejected_retry = std::chrono::hours(1);          ///< Ours.
  std::uint32_t refusals_max = 3;                                            ///< I 6.3
  std::chrono::milliseconds refusal_spacing = std::chrono::minutes(5);       ///< I 6.3: closer ones count as one.
  std::chrono::milliseconds renew_before = std::chrono::hours(24 * 30);      ///< Ours; 0 never renews.
  std::chrono::milliseconds renew_retry = std::chrono::hours(24);            ///< After a refused renewal. Ours.
  std::chrono::milliseconds look_interval = std::chrono::hours(24);          ///< Between two looks at a certificate. Ours.
  bool renew_with_new_key = false;                                           ///< Else a new certificate of the same key.
};

/// Both hands of the clock at once.
struct Moment {
  WallTime wall;
  SteadyTime steady;
};

/// What must be on disk before the life may move on.
struct LifeTurn {
  bool adopt = false;         ///< The reply's SMSID is the agent's from now on.
  bool swap = false;          ///< The next certificate takes the place of the one in use.
  bool keep_next = false;     ///< The next certificate's standing changed.
  bool drop_next = false;
  bool resync = false;        ///< The site's record is new, or refused us for a while: it may lack what was delivered before.
  bool became_ready = false;
  const char* outcome = "";   ///< For the counter and the log.
};

/// One agent's way through registration, by the rules alone: no clock of its own, no disk, no network.
///
/// Promise   Something is always due. The identity in use is given up only for one the site has confirmed.
/// Threads   A plain value; the owner's thread only.
/// Source    mp-protocol 4.1, 4.4 to 4.6, 6.3
class IdentityLife {
 public:
  /// In `state`, since `since`. `rules` outlives this. A renewing one is taken to have been interrupted: nobody knows how far it came.
  IdentityLife(const LifeRules& rules, std::uint64_t seed, LifeState state, WallTime since, Moment now);

  LifeState state() const { return state_; }
  WallTime since() const { return since_; }
  LifeAsk ask() const;
  SteadyTime due() const { return due_; }
  /// Would a report sent now perhaps be lost at the site?
  bool holds() const;
  const char* last_code() const { return code_; }
  /// 200 and nothing, in a row, to signed Invokes.
  std::uint32_t refusals() const { return invokes_refused_.count; }
  std::optional<WallTime> certificate_ends() const { return ends_; }
  /// The next certificate must come with another key.
  bool wants_new_key() const { return wants_new_key_; }
  bool next_has_new_key() const { return new_key_; }
  /// The site would not renew, and the certificate has ended: ask for a record of its own instead.
  bool proposes_fresh(WallTime now) const;

  // What was done.
  void key_made(Moment now);
  /// `ends`: of the certificate in use. `ours`: made here, so renewed here. `fits`: it is of the kind the identity mode wants.
  void certificate_seen(WallTime ends, bool ours, bool fits, Moment now);
  /// `new_key`: other than the one in use. `registered`: it was registered before, `same_record`: under the SMSID in use.
  void next_prepared(bool new_key, bool registered, bool same_record, Moment now);
  /// What was prepared cannot be found.
  void next_lost(Moment now);
  /// Messages signed with the old key are still on their way: come back soon.
  void must_drain(Moment now);

  // What came back for it.
  /// `same_record`: the reply's SMSID is the one in use, or it has none.
  LifeTurn answered(adapters::RegistrationStatus status, bool same_record, Moment now);
  /// 200 and nothing.
  LifeTurn refused(Moment now);
  void failed(const Error& error, Moment now);

  // What others saw or want.
  /// A signed Invoke was answered.
  void invoke_answered();
  /// A signed Invoke was answered 200 and nothing. How long to wait before the next.
  std::chrono::milliseconds invoke_refused(Moment now);
  /// A signed Invoke was answered with something else than its reply: perhaps a registration reset (Q10).
  void reply_unexpected(Moment now);
  /// The operator wants another key. False: not now.
  bool rotate(Moment now);
  /// Before a crash the operator wanted another key.
  void resume_rotation() { wants_new_key_ = true; }

 private:
  enum class Wait : std::uint8_t { none, confirm, failure, refused };
  void enter(LifeState state, Moment now, std::chrono::milliseconds wait);
  void wait(Wait kind, Moment now, std::chrono::milliseconds at_least = {});
  void enter_ready(Moment now);
  void doubt(Moment now);
  struct Refusals {
    std::uint32_t count = 0;  ///< In a row; those too close to the last counted one are not counted.
    std::optional<SteadyTime> last;
  };
  /// True: so many that something is wrong.
  bool one_more(Refusals& refusals, Moment now) const;
  LifeTurn answered_in_use(adapters::RegistrationStatus status, bool same_record, Moment now);
  LifeTurn answered_next(adapters::RegistrationStatus status, bool same_record, Moment now);
  LifeTurn next_given_up(Moment now);
  void renewal_refused(Moment now);
  std::uint64_t dice();

  const LifeRules* rules_;
  std::uint64_t seed_;
  std::uint64_t spread_;
  LifeState state_;
  WallTime since_;
  SteadyTime due_;
  const char* code_ = "";

  Refusals own_refused_, invokes_refused_;
  std::optional<SteadyTime> last_doubt_, last_renewed_;
  bool refused_before_ = false;  // since it was last ready, signed messages were refused
  Wait waiting_for_ = Wait::none;
  Backoff backoff_, invoke_backoff_;

  std::optional<WallTime> ends_;
  bool wants_new_key_ = false;
  // Of a renewal.
  bool prepared_ = false;
  bool new_key_ = false;
  bool next_pending_ = false;    // registered, and not confirmed yet
  bool next_same_record_ = false;
  bool unknown_ = false;         // the site may have the new key already: a request's answer was lost
  bool draining_ = false;
  bool suspect_ = false;         // the key in use was refused meanwhile
  bool renewal_rejected_ = false;
};

}  // namespace greengate::workers
