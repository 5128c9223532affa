#pragma once

#include "core/backoff.h"
#include "core/clock.h"
#include "core/result.h"
#include "greengate/v1/frame.pb.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace greengate::agent {

struct ConversationConfig {
  std::size_t endpoints = 1;  ///< How many gateways there are to try, in order.
  bool enrolled = false;      ///< Known from before: begin with Hello.
  std::string token;
  std::string agent_version, host_name, fqdn, operating_system;
  std::uint64_t incarnation = 0;
  BackoffConfig reconnect;  ///< When the gateway has not said, and after repeated failures.
  std::uint64_t seed = 1;

  std::chrono::milliseconds connect_patience{
      25'000};                                        ///< From open to an authenticated connection.
  std::chrono::milliseconds answer_patience{30'000};  ///< From Hello, Enrol or Ping to the answer.
  std::chrono::milliseconds ask_patience{60'000};  ///< From Ask to Answer; then the next question has its turn.
  std::chrono::milliseconds receipt_patience{
      120'000};  ///< From Publish to a receipt; then it is sent again.
  std::chrono::milliseconds refused_pause{
      3'600'000};  ///< After "never": look again once an hour, an operator may have relented.
  std::chrono::milliseconds replaced_pause{
      300'000};                             ///< After another machine with the same key came.
  std::size_t batch_reports_max = 64;       ///< In one Publish.
  std::size_t batch_bytes_max = 256 << 10;  ///< In one Publish of several reports.
  /// Sent without a receipt; one report may be larger, alone.
  std::size_t in_flight_bytes_max = 1 << 20;
};

/// What the owner is to do, in this order.
struct OpenLink {
  std::size_t endpoint;
};
struct CloseLink {};
struct SendFrame {
  v1::Frame frame;
};
/// The gateway has first…last on disk.
struct ReportsStored {
  std::uint64_t first, last;
  std::int64_t at_ms;
};
/// Nothing more will happen to first…last.
struct ReportsSettled {
  std::uint64_t first, last;
  std::string status, code, message;
  std::int64_t at_ms;
};
/// A push: answer it with tell().
struct TaskAsked {
  v1::Notification asked;
};
struct SendFullState {
  std::string reason;
};
/// The site's own rhythms, for the schedule.
struct Directed {
  v1::Directions directions;
};
/// A Welcome's slots and intervals, for the schedule.
struct Welcomed {
  std::string agent_id;
  v1::Welcome welcome;
};
/// The gateway knows more of this incarnation than the outbox ever gave: begin a new one, then say
/// renewed().
struct RenewIncarnation {};
/// For the log and for `status`.
struct StateChanged {
  std::string state;
  std::string code, message;
};
/// What the site, or the gateway, said to an Ask of ours.
struct Answered {
  v1::Answer answer;
};
/// No Ask still open will be answered.
struct AsksLost {};
struct EnrolmentEnded {
  v1::EnrolState state;
  std::string agent_id, code, message;
};
using Decision =
    std::variant<OpenLink, CloseLink, SendFrame, ReportsStored, ReportsSettled, TaskAsked,
                 SendFullState, Directed, Welcomed, RenewIncarnation, StateChanged, Answered, AsksLost, EnrolmentEnded>;

/// The agent's half of the protocol as a machine: frames and moments in, frames and decisions out.
/// No socket, no disk.
///
/// Promise   What the gateway has not called stored or rejected is offered again, in order, on
///           every connection until it is.
/// Order     Reports go out in sequence; after a gap, a throttle or a lost connection, from the
///           first the gateway lacks.
/// Limits    The gateway's in_flight_max and frame_bytes_max, and ConversationConfig's own; a
///           report that cannot fit is settled as rejected (report.too_large) instead of holding up
///           the rest.
/// Threads   One.
/// Source    proto/greengate/v1/frame.proto, docs/reference/agent-protocol.md
class Conversation {
 public:
  Conversation(ConversationConfig config, const Clock& clock);

  void start();
  /// The owner's link tells.
  void connected();
  void connection_lost(const Error& why);
  void received(const v1::Frame& frame);
  /// Do what is due at now().
  void tick();
  SteadyTime next_due() const;

  /// How many reports may go now, and from where; nothing when none may.
  struct Wanted {
    std::uint64_t after;
    std::size_t count_max;
    std::size_t bytes_max;
  };
  std::optional<Wanted> wanted() const;
  /// The outbox's answer to wanted(), in order. What does not fit is left for the next call. False
  /// when nothing of it could go.
  bool publish(std::vector<v1::Report> reports);
  /// The highest sequence the outbox ever gave; say so whenever it rises.
  void given(std::uint64_t last_sequence) { given_ = last_sequence; }
  void renewed(std::uint64_t incarnation);
  /// For the next Hello.
  void set_fqdn(std::string fqdn) { config_.fqdn = std::move(fqdn); }
  /// Asks the site through the gateway, one question after the other as the gateway wants it; Answered or AsksLost follows, or
  /// nothing if the gateway keeps silent for ask_patience. False when there is no gateway to ask, or 16 questions wait already.
  bool ask(const v1::Ask& ask);
  /// Of a task that was asked for. False when there is no gateway to hear it.
  bool tell(const v1::TaskResult& result);
  std::vector<Decision> take_decisions();

  bool publishing() const { return state_ == State::publishing; }
  std::uint64_t frames_sent() const { return frames_sent_; }

 private:
  enum class State { idle, waiting, connecting, enrolling, pending, greeting, publishing };
  struct Flight {
    std::uint64_t before;  ///< The sequence sent or stored just before this one.
    std::size_t bytes;
    SteadyTime sent_at;
  };

  void enter(State state, const std::string& told, const std::string& code = "",
             const std::string& message = "");
  void send(v1::Frame frame);
  void say_hello();
  void ask_to_enrol();
  void leave(std::chrono::milliseconds wait, const std::string& told, const Error& why);
  void on_welcome(const v1::Welcome& welcome);
  void on_enrol_result(const v1::EnrolResult& result);
  void on_receipt(const v1::Receipt& receipt);
  void on_refused(const v1::Refused& refused);
  void on_answer(const v1::Answer& answer);
  void send_ask();
  void lose_asks();
  void drop_offender(const v1::Refused& refused);
  void landed(std::uint64_t first, std::uint64_t last);
  void rewind(std::uint64_t last_kept);
  std::uint64_t before(std::uint64_t first) const;
  std::chrono::milliseconds comeback(std::chrono::milliseconds slot);

  ConversationConfig config_;
  const Clock& clock_;
  Backoff backoff_;
  std::vector<Decision> decisions_;

  State state_ = State::idle;
  bool linked_ = false;
  bool enrolled_;
  std::size_t endpoint_ = 0;
  SteadyTime due_{};  // of waiting, pending; the deadline of connecting, enrolling, greeting
  SteadyTime connected_at_{}, last_sent_{}, last_received_{};
  std::optional<SteadyTime> pong_due_;
  std::uint64_t next_nonce_ = 1;
  std::uint64_t frames_sent_ = 0;

  // From the last Welcome
  std::size_t frame_bytes_max_ = 0;
  std::size_t in_flight_max_ = 0;
  std::chrono::milliseconds reconnect_slot_{-1};
  std::chrono::milliseconds ping_interval_{0};

  // The stream of reports on this connection
  std::uint64_t cursor_ = 0;        // sent, or known to be stored, up to here
  std::uint64_t sent_through_ = 0;  // the highest sent on this connection, or known to be stored
  std::uint64_t given_ = 0;
  std::map<std::uint64_t, Flight> in_flight_;
  std::size_t in_flight_bytes_ = 0;
  SteadyTime publish_from_{};  // throttled until then
  bool one_by_one_ = false;    // a frame was refused: find the report that is to blame

  std::deque<v1::Ask> asks_;  // the first is with the gateway, the others wait
  SteadyTime ask_due_{};      // when the first is given up
};

}  // namespace greengate::agent
