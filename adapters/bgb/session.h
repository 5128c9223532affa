#pragma once

#include "adapters/bgb/message.h"
#include "adapters/bgb/push_memory.h"
#include "core/backoff.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters::bgb {

enum class SessionState : std::uint8_t {
  off,         ///< Not wanted.
  queued,      ///< Wanted; waits for its turn of the handshake budget.
  connecting,  ///< TCP.
  securing,    ///< TLS.
  signing_in,  ///< SignIn sent.
  online,
  draining,  ///< No longer wanted; takes no push, answers those in hand.
  backoff,   ///< Waits before the next attempt.
};
std::string_view state_name(SessionState state);

/// The numbers a session lives by. All are ours (spec 1.3 to 1.5), none is a product fact.
struct SessionRules {
  std::chrono::milliseconds keepalive{900'000};
  std::chrono::milliseconds connect_timeout{20'000};
  std::chrono::milliseconds tls_timeout{30'000};
  std::chrono::milliseconds sign_in_timeout{60'000};
  std::chrono::milliseconds answer_timeout{4'500};
  std::chrono::milliseconds stable_after{600'000};
  std::chrono::milliseconds start_window{0};
  BackoffConfig backoff{std::chrono::milliseconds(60'000), std::chrono::milliseconds(3'600'000)};
  std::uint32_t pending_pushes_max = 64;
  std::uint32_t refusals_to_alarm = 3;
  std::uint32_t version_count = 1;  ///< How many version pairs the profile has.
  bool confirm_required = true;
};

/// Things worth counting that change no state.
enum class SessionNote : std::uint8_t {
  push_delivered,
  push_duplicate,
  push_incomplete,  ///< PushID, TaskID or TaskType missing or no number.
  push_refused,     ///< More than pending_pushes_max wait for an answer.
  push_unanswered,  ///< Nobody answered in time; the failure code went out.
  answer_late,      ///< An answer for a push that has been answered, or was never pushed.
  confirm_again,
  unexpected_message,
};
inline constexpr std::size_t session_note_count = 8;

enum class SessionAlarm : std::uint8_t {
  sign_in_refused,  ///< Unregistered, blocked or wrong certificate are the likely causes.
  no_version,       ///< The server speaks none of the profile's versions.
};

/// What a session makes happen. Called from within the session's own calls; must not call back into it.
class SessionActions {
 public:
  virtual ~SessionActions() = default;
  /// Wants a turn; attempt_started() answers it.
  virtual void queue_attempt() = 0;
  /// Gives this address up. True when the server has another, which the next attempt takes.
  virtual bool advance_address() = 0;
  /// Every address of the server failed. True when there is another way to it, which the next attempt takes.
  virtual bool fall_back() { return false; }
  virtual void send_sign_in() = 0;
  virtual void send_keep_alive() = 0;
  virtual void send_response(std::uint64_t push_id, std::uint64_t task_id, bool success) = 0;
  /// `orderly` flushes what is written, then close_notify and FIN; else cuts.
  virtual void close(bool orderly) = 0;
  virtual void deliver(const BgbPush& push) = 0;
  virtual void went_online() = 0;
  virtual void went_offline(const Error& why) = 0;
  virtual void note(SessionNote note) = 0;
  virtual void alarm(SessionAlarm alarm) = 0;
};

/// The client's side of one BGB session as a state machine: no socket, no timer, no thread.
///
/// Order     Pushes are delivered in the order they came; each is answered exactly once per copy received.
/// Limits    SessionRules::pending_pushes_max pushes unanswered, and as many received before the confirmation.
/// Threads   One. Time comes in with each call; due() says when tick() has something to do.
/// Errors    bgb.connect_timeout, bgb.tls_timeout, bgb.signin_timeout, bgb.signin_refused, bgb.version, bgb.disconnected,
///           bgb.closed, and whatever the driver reports.
/// Source    bgb-protocol 2.5, 2.6
class Session {
 public:
  Session(const SessionRules& rules, PushMemory& memory, std::uint64_t seed);

  // What the gateway wants.
  void open(SteadyTime now, SessionActions& actions);
  void shut(SteadyTime now, SessionActions& actions);
  void respond(SteadyTime now, std::uint64_t push_id, std::uint64_t task_id, bool success, SessionActions& actions);

  // What the driver saw.
  void attempt_started(SteadyTime now);
  void connected(SteadyTime now, const SmsId& sms_id);    ///< TCP is there; TLS begins under this identity.
  void secured(SteadyTime now, SessionActions& actions);  ///< TLS is there.
  void received(SteadyTime now, Message message, SessionActions& actions);
  /// Connection, TLS, frame or XML went wrong. `other_address` when another address of the server may do better.
  void failed(SteadyTime now, Error why, bool other_address, SessionActions& actions);

  /// The server cannot have us now, and refused nobody.
  void unavailable(SteadyTime now, Error why, SessionActions& actions);
  /// There is a better way to the server: signs off and asks for a turn at once. Only while online.
  void reconnect(SteadyTime now, Error why, SessionActions& actions);
  /// Its server is not one of its agent's any more: leaves it, in order where it is signed in, and asks for a turn within the
  /// back-off's base. One that waits already waits no longer than that. Nothing while off, queued or draining.
  void relocate(SteadyTime now, Error why, SessionActions& actions);

  void tick(SteadyTime now, SessionActions& actions);
  /// When tick() is due next; nothing when only the world can change this session.
  std::optional<SteadyTime> due() const;
  /// The earliest moment a push must be answered; part of due(), apart for drivers with a finer clock for it.
  std::optional<SteadyTime> answer_due() const;

  SessionState state() const { return state_; }
  std::uint32_t server_turn() const { return server_turn_; }      ///< Which server of the agent's own order to try.
  std::uint32_t version_index() const { return version_index_; }  ///< Which version pair of the profile to speak.
  const std::optional<Error>& last_error() const { return last_error_; }
  std::size_t pending() const { return pending_.size(); }

 private:
  struct Pending {
    std::uint64_t push_id, task_id;
    PushKey key;
    SteadyTime deadline;
    std::uint32_t copies;  // answers owed on the present connection; 0 after it was lost
  };

  void become_online(SteadyTime now, SessionActions& actions);
  void handle_request(SteadyTime now, const Message& message, SessionActions& actions);
  bool add_pending(SteadyTime now, const BgbPush& push, const PushKey& key);
  void settle(SteadyTime now, const PushKey& key, bool success, SessionActions& actions);
  void other_version(SteadyTime now, SessionActions& actions);
  void end(SteadyTime now, Error why, bool orderly, SessionActions& actions);
  void refused(SteadyTime now, Error why, SessionActions& actions);
  void wait(SteadyTime now, std::chrono::milliseconds time);
  void queue(SessionActions& actions);
  void turn_off(SteadyTime now, Error why, SessionActions& actions);
  void sent(SteadyTime now);
  std::chrono::milliseconds random_up_to(std::chrono::milliseconds bound);

  const SessionRules& rules_;
  PushMemory& memory_;
  Backoff backoff_;
  std::uint64_t random_;
  SmsId sms_id_;
  std::vector<Message> early_;
  std::vector<Pending> pending_;
  SteadyTime deadline_{};   // of the states that have one
  SteadyTime keepalive_{};  // when the next keep-alive goes out
  SteadyTime online_since_{};
  std::optional<Error> last_error_;
  std::uint32_t server_turn_ = 0;
  std::uint32_t version_index_ = 0;
  std::uint32_t refusals_ = 0;
  SessionState state_ = SessionState::off;
  bool version_retried_ = false;
  bool reopen_ = false;
};

}  // namespace greengate::adapters::bgb
