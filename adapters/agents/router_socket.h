#pragma once

#include "adapters/agents/authenticator.h"
#include "adapters/agents/server_key.h"
#include "core/ids.h"
#include "core/result.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace greengate::adapters {

struct RouterConfig {
  std::string bind = "tcp://*:7443";
  CurveKeyPair key;
  int io_threads = 1;
  std::int64_t frame_bytes_max = 16 << 20;  ///< libzmq cuts the peer that sends more, before it allocates.
  int receive_frames_max = 64;              ///< Unread frames a connection; then TCP pushes back.
  int send_frames_max = 1'000;              ///< Unsent frames a connection; then send() says `full`.
  std::chrono::milliseconds handshake_time{10'000};
  std::chrono::milliseconds heartbeat_interval{15'000};
  std::chrono::milliseconds heartbeat_timeout{45'000};
  std::chrono::milliseconds linger{500};  ///< How long closing waits for frames that are on their way out.
  int backlog = 4'096;
};

/// Where a frame came from and an answer goes; libzmq's own number of the connection. Means nothing after it.
using RoutingId = StrongId<struct RoutingIdTag, std::uint32_t>;

/// One frame as it lies in libzmq's memory: valid until the next receive().
struct ReceivedFrame {
  RoutingId from;
  std::string_view key;     ///< The CURVE key of the connection, Z85, as the Authenticator saw it.
  std::string_view remote;  ///< IP address.
  std::string_view bytes;
  bool well_formed = true;  ///< False: more than one part, or a connection that named itself. Not for answering.
};

enum class Sent {
  sent,  ///< On its way, as far as we can know.
  gone,  ///< No such connection any more.
  full,  ///< The peer has not read what it was sent; nothing was queued.
};

/// The gateway's end of the agent wire: a ZeroMQ ROUTER with CURVE, its context and its Authenticator.
///
/// Promise   Whose a frame is comes from the connection's key. Nothing waits except wait().
/// Limits    RouterConfig. Routing ids are libzmq's own, never the peer's wish: a connection that names itself is read but marked
///           not well-formed. No router handover (zeromq/libzmq #4407 leaks descriptors).
/// Threads   open() anywhere; afterwards one owner thread only, destruction included.
/// Errors    agents.bind (retry); agents.socket (reject).
/// Source    docs/adr/0005-threads-and-sockets.md
class RouterSocket {
 public:
  /// Binds; port 0 takes any free one, endpoint() tells which.
  static Result<std::unique_ptr<RouterSocket>> open(const RouterConfig& config,
                                                    Authenticator::Gate is_revoked);
  /// Stops listening, waits up to `linger` for what is on its way out.
  ~RouterSocket();
  RouterSocket(const RouterSocket&) = delete;
  RouterSocket& operator=(const RouterSocket&) = delete;

  const std::string& endpoint() const { return endpoint_; }
  const Authenticator& authenticator() const { return *authenticator_; }

  /// Returns when a frame waits (only if `for_frames`), `fd` is readable, or `patience` is over. True: `fd` is readable.
  bool wait(int fd, bool for_frames, std::chrono::milliseconds patience);

  /// The next waiting frame, if any.
  bool receive(ReceivedFrame& frame);

  /// Copies `frame` into libzmq's queue for that connection.
  Sent send(RoutingId to, std::string_view frame);

 private:
  RouterSocket() = default;

  struct Message;  // a zmq_msg_t that closes itself
  void* context_ = nullptr;
  std::unique_ptr<Authenticator> authenticator_;
  void* socket_ = nullptr;
  std::string endpoint_;
  std::unique_ptr<Message> routing_, payload_, surplus_;
};

}  // namespace greengate::adapters
