#pragma once

#include "core/result.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

struct DealerLinkConfig {
  std::string public_key;  ///< The agent's own CURVE pair, Z85.
  std::string secret_key;
  std::string gateway_key;  ///< Z85; pinned: nobody else is spoken to.
  std::size_t receive_bytes_max = 1
                                  << 20;  ///< A longer frame from the gateway ends the connection.
  int frames_max = 64;  ///< Waiting in each direction; send() refuses at the bound.
  std::chrono::milliseconds handshake_patience{15'000};  ///< From connected TCP to finished CURVE.
  std::chrono::milliseconds heartbeat_interval{
      30'000};  ///< ZMTP's own; a dead peer is noticed after two.
};

/// What happened on the link.
struct LinkEvent {
  enum class Kind {
    connected,  ///< CURVE is done: the gateway is who it should be.
    lost,   ///< This connection is over, or never was; `error` says why. open() makes the next one.
    frame,  ///< One whole message, in `frame`.
  };
  Kind kind;
  Error error;
  std::string frame;
};

/// The agent's end of the wire: one CURVE-protected DEALER connection at a time, each on a socket
/// of its own.
///
/// Promise   Never reconnects by itself and never waits: when to come back is the caller's (that
///           is, the gateway's) decision.
/// Order     connected, then frames as they came, then lost; nothing after lost until the next
///           open().
/// Limits    DealerLinkConfig; what the gateway sends beyond receive_bytes_max ends the connection.
/// Threads   One. (libzmq adds its own I/O thread and reaper.)
/// Errors    link.unreachable, link.handshake, link.closed, link.busy (retry); link.auth_refused,
///           link.address (reject).
/// Source    ZMTP 3.1 and CurveZMQ (rfc.zeromq.org 37, 26); libzmq's edge-triggered ZMQ_FD is why
///           wait() asks zmq_poll.
class DealerLink {
 public:
  explicit DealerLink(DealerLinkConfig config);
  ~DealerLink();
  DealerLink(const DealerLink&) = delete;
  DealerLink& operator=(const DealerLink&) = delete;

  /// Begins a connection to "tcp://host:port", dropping the one before. Its outcome comes from
  /// next().
  Result<void> open(const std::string& endpoint);
  /// Drops the connection, and what was not yet sent with it. May come twice.
  void close();
  bool is_open() const;

  /// Hands one frame to the connection; never waits. link.busy at frames_max, link.closed without a
  /// connection.
  Result<void> send(std::string_view frame);

  /// The next thing that happened, or nothing. Never waits.
  std::optional<LinkEvent> next();

  /// Sleeps until the link or one of `others` is readable, or `patience` is over. The answer has
  /// one entry for each of `others`.
  std::vector<bool> wait(std::span<const int> others, std::chrono::milliseconds patience);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A fresh CURVE pair, Z85.
struct CurvePair {
  std::string public_key;
  std::string secret_key;
};
CurvePair make_curve_pair();
/// The public key that belongs to a secret one; nothing when it is not a key.
std::optional<std::string> curve_public_of(const std::string& secret_key);
/// Forty characters of Z85.
bool is_curve_key(std::string_view text);

}  // namespace greengate::adapters
