#pragma once

#include "adapters/bgb/http_binding.h"
#include "core/clock.h"
#include "core/result.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace greengate::adapters::bgb {

/// The numbers an HTTP session lives by; those of the rules in bgb-protocol 3.
struct HttpRules {
  std::chrono::milliseconds connect{50'000};        ///< TCP and TLS of a further connection.
  std::chrono::milliseconds reply{30'000};          ///< To a message sent.
  std::chrono::milliseconds sign_in{60'000};
  std::chrono::milliseconds hang{300'000};          ///< What the server is expected to hold…
  std::chrono::milliseconds hang_margin{30'000};    ///< …and how much later the connection counts as dead.
  std::chrono::milliseconds pause_min{200};         ///< Before the next request after an empty reply.
  std::chrono::milliseconds pause_max{2'000};
  std::chrono::milliseconds middlebox{60'000};      ///< A request cut sooner than this, twice in a row, was cut on the way.
  std::chrono::milliseconds quick_cut{2'000};       ///< Cut sooner than this it was no wait at all…
  std::uint32_t quick_cuts_max = 5;                 ///< …and so many in a row end the session.
  std::chrono::milliseconds busy{60'000};           ///< After a 503 that names no time.
  std::uint32_t busy_max = 3;                       ///< In a row; then the session ends and backs off.
  std::chrono::milliseconds hold_min{15'000};       ///< A hint is not halved below this.
  std::uint32_t connects_max = 3;                   ///< Connections that fail before anything was sent, in a row.
  std::size_t sends_max = 256;                      ///< Messages waiting to be sent.
  bool can_ask_hold = false;                        ///< The profile has a place for the hint.
};

/// A connection of the session: one for the request that waits, one for what we say.
enum class Lane : std::uint8_t { receive, send };
inline constexpr std::size_t lane_count = 2;

enum class HttpNote : std::uint8_t { held, empty, cut, middlebox, busy, late_connection };
inline constexpr std::size_t http_note_count = 6;

/// Why an HTTP session is over.
enum class HttpEnd : std::uint8_t {
  lost,         ///< As a TCP connection that broke.
  refused,      ///< 401, 403.
  broken,       ///< 404, 500: this server's HTTP mode is of no use for a while.
  unavailable,  ///< Busy, or a proxy in the way: nobody refused us.
};

/// What an HTTP session makes happen. Called from within its own calls; of these only send() may be called back.
class HttpLinkActions {
 public:
  virtual ~HttpLinkActions() = default;
  /// One request on this lane's connection, which is opened when there is none. `message` is null for `receive`.
  virtual void exchange(Lane lane, HttpPurpose purpose, const Message* message, std::uint32_t hold_seconds) = 0;
  virtual void hang_up(Lane lane) = 0;
  /// False: the session took this as its end.
  virtual bool received(Message message) = 0;
  virtual void ended(HttpEnd how, Error why) = 0;
  virtual void note(HttpNote note) = 0;
};

/// One agent's session over HTTP: which request goes out when, and what each reply leads to. No socket, no timer.
///
/// Promise   One hanging request at a time; the next at once after a reply with messages, after a random pause on an empty one. What is
///           said goes out in order, one request at a time, on a second connection that is closed when nothing is left to say.
/// Limits    HttpRules::sends_max messages waiting.
/// Threads   One. Time comes in with each call; due() says when tick() has something to do.
/// Errors    Through ended(): bgb.http_* of HttpBinding, bgb.http_timeout, bgb.slow_server, and what the connections report.
/// Source    bgb-protocol 3
class HttpLink {
 public:
  HttpLink(const HttpRules& rules, std::uint64_t seed);

  /// A SignIn goes out as such; everything else is queued.
  void send(SteadyTime now, Message message, HttpLinkActions& actions);
  void replied(SteadyTime now, Lane lane, HttpMeaning meaning, HttpLinkActions& actions);
  /// The lane's connection ended before a whole reply. `sent`: the request, or a part of it, had gone out.
  void failed(SteadyTime now, Lane lane, Error why, bool sent, HttpLinkActions& actions);
  /// The request is on its way: a lane that waited for its connection waits for the reply from now on.
  void sent(SteadyTime now, Lane lane);
  void tick(SteadyTime now, HttpLinkActions& actions);
  /// Nothing more is received; what is queued still goes out.
  void leave(HttpLinkActions& actions);

  std::optional<SteadyTime> due() const;
  bool over() const { return over_; }
  /// Nothing is left to say.
  bool quiet() const { return sends_.empty(); }
  std::uint32_t hold_seconds() const { return hold_seconds_; }

 private:
  enum class Doing : std::uint8_t { nothing, asking, waiting };
  struct Side {
    Doing doing = Doing::nothing;
    HttpPurpose purpose = HttpPurpose::receive;
    SteadyTime asked{};
    SteadyTime until{};  // of the reply, or of the pause
    std::uint32_t connects = 0, busy = 0;
  };

  Side& at(Lane lane) { return sides_[static_cast<std::size_t>(lane)]; }
  const Side& at(Lane lane) const { return sides_[static_cast<std::size_t>(lane)]; }
  void ask(SteadyTime now, Lane lane, HttpPurpose purpose, const Message* message, HttpLinkActions& actions);
  void ask_next(SteadyTime now, HttpLinkActions& actions);
  void wait(Lane lane, SteadyTime until);
  void cut(SteadyTime now, HttpLinkActions& actions, Error why);
  void end(HttpEnd how, Error why, HttpLinkActions& actions);
  bool hand_on(std::vector<Message>& messages, HttpLinkActions& actions);
  std::chrono::milliseconds patience(const Side& side) const;
  std::chrono::milliseconds pause();

  const HttpRules& rules_;
  std::array<Side, lane_count> sides_;
  std::deque<Message> sends_;
  std::optional<Message> sign_in_;
  std::uint64_t random_;
  std::uint32_t hold_seconds_ = 0;
  std::uint32_t short_cuts_ = 0, quick_cuts_ = 0;
  bool leaving_ = false;
  bool over_ = false;
};

}  // namespace greengate::adapters::bgb
