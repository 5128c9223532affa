#include "adapters/agents/router_socket.h"

#include "core/check.h"

#include <zmq.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace greengate::adapters {

struct RouterSocket::Message {
  zmq_msg_t raw;
  Message() { zmq_msg_init(&raw); }
  ~Message() { zmq_msg_close(&raw); }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  std::string_view bytes() {
    return {static_cast<const char*>(zmq_msg_data(&raw)), zmq_msg_size(&raw)};
  }
  bool more() const { return zmq_msg_more(&raw) != 0; }
};

namespace {

// The ids libzmq makes: a zero byte and four bytes of a counter that starts anywhere.
constexpr std::size_t routing_id_bytes = 5;

// What CURVE and its padding add to a frame on the wire; libzmq compares the sealed size with its bound.
constexpr std::int64_t sealed_extra_bytes = 4'096;

template <class T>
bool set(void* socket, int option, const T& value) {
  return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}
bool set_text(void* socket, int option, std::string_view text) {
  return zmq_setsockopt(socket, option, text.data(), text.size()) == 0;
}
int millis(std::chrono::milliseconds time) { return static_cast<int>(time.count()); }

bool configure(void* socket, const RouterConfig& config) {
  const std::int64_t sealed_max = config.frame_bytes_max + sealed_extra_bytes;
  return set(socket, ZMQ_CURVE_SERVER, 1) &&
         set_text(socket, ZMQ_CURVE_SECRETKEY, config.key.secret_key) &&
         // libzmq lets a connection in when there is no handler at all; receive() then finds no User-Id and refuses its frames.
         set_text(socket, ZMQ_ZAP_DOMAIN, Authenticator::domain) && set(socket, ZMQ_ROUTER_MANDATORY, 1) &&
         set(socket, ZMQ_MAXMSGSIZE, sealed_max) &&
         set(socket, ZMQ_RCVHWM, config.receive_frames_max) &&
         set(socket, ZMQ_SNDHWM, config.send_frames_max) &&
         set(socket, ZMQ_HANDSHAKE_IVL, millis(config.handshake_time)) &&
         set(socket, ZMQ_HEARTBEAT_IVL, millis(config.heartbeat_interval)) &&
         set(socket, ZMQ_HEARTBEAT_TIMEOUT, millis(config.heartbeat_timeout)) &&
         set(socket, ZMQ_HEARTBEAT_TTL, millis(config.heartbeat_timeout)) &&
         set(socket, ZMQ_TCP_KEEPALIVE, 1) && set(socket, ZMQ_TCP_KEEPALIVE_IDLE, 60) &&
         set(socket, ZMQ_TCP_KEEPALIVE_INTVL, 15) && set(socket, ZMQ_TCP_KEEPALIVE_CNT, 4) &&
         set(socket, ZMQ_IPV6, 1) && set(socket, ZMQ_BACKLOG, config.backlog) &&
         set(socket, ZMQ_LINGER, millis(config.linger));
}

// libzmq writes an IPv4 address on an IPv6 socket as [::ffff:192.0.2.1]; people and configuration files do not.
std::string plain_endpoint(std::string endpoint) {
  constexpr std::string_view mapped = "[::ffff:";
  const auto begin = endpoint.find(mapped);
  const auto end = endpoint.find(']', begin);
  if (begin == std::string::npos || end == std::string::npos) return endpoint;
  const std::string address = endpoint.substr(begin + mapped.size(), end - begin - mapped.size());
  if (address.find('.') == std::string::npos) return endpoint;
  return endpoint.replace(begin, end - begin + 1, address);
}

}  // namespace

Result<std::unique_ptr<RouterSocket>> RouterSocket::open(const RouterConfig& config,
                                                         Authenticator::Gate is_revoked) {
  std::unique_ptr<RouterSocket> router(new RouterSocket);
  router->context_ = zmq_ctx_new();
  GREENGATE_CHECK(router->context_ != nullptr, "a libzmq context can be made at start");
  zmq_ctx_set(router->context_, ZMQ_IO_THREADS, config.io_threads);
  zmq_ctx_set(router->context_, ZMQ_MAX_SOCKETS, 16);
  router->authenticator_ =
      std::make_unique<Authenticator>(router->context_, std::move(is_revoked));
  router->routing_ = std::make_unique<Message>();
  router->payload_ = std::make_unique<Message>();
  router->surplus_ = std::make_unique<Message>();

  router->socket_ = zmq_socket(router->context_, ZMQ_ROUTER);
  if (router->socket_ == nullptr || !configure(router->socket_, config))
    return fail(Remedy::reject, "agents.socket",
                std::string("libzmq refused the socket's settings: ") + zmq_strerror(errno) + ".");
  if (zmq_bind(router->socket_, config.bind.c_str()) != 0)
    return fail(Remedy::retry, "agents.bind",
                "Listening on " + config.bind + " failed: " + zmq_strerror(errno) + ".");
  std::array<char, 256> endpoint{};
  std::size_t length = endpoint.size();
  zmq_getsockopt(router->socket_, ZMQ_LAST_ENDPOINT, endpoint.data(), &length);
  router->endpoint_ = plain_endpoint(endpoint.data());
  return router;
}

RouterSocket::~RouterSocket() {
  routing_.reset();
  payload_.reset();
  surplus_.reset();
  if (socket_ != nullptr) zmq_close(socket_);
  authenticator_.reset();
  if (context_ != nullptr)
    while (zmq_ctx_term(context_) != 0 && errno == EINTR) {
    }
}

bool RouterSocket::wait(int fd, bool for_frames, std::chrono::milliseconds patience) {
  // zmq_poll asks the socket itself before it sleeps, which is the care its edge-triggered descriptor needs. A signal
  // ends the wait early, which the caller's loop does not mind.
  std::array<zmq_pollitem_t, 2> waits{{{nullptr, fd, ZMQ_POLLIN, 0}, {socket_, 0, ZMQ_POLLIN, 0}}};
  return zmq_poll(waits.data(), for_frames ? 2 : 1, patience.count()) > 0 && waits[0].revents != 0;
}

bool RouterSocket::receive(ReceivedFrame& frame) {
  if (zmq_msg_recv(&routing_->raw, socket_, ZMQ_DONTWAIT) < 0) return false;
  frame = {};
  // A ROUTER always gives the routing id first and then at least one part, whole or not at all.
  bool more = routing_->more();
  if (!more || zmq_msg_recv(&payload_->raw, socket_, ZMQ_DONTWAIT) < 0) {
    frame.well_formed = false;
    return true;
  }
  more = payload_->more();
  frame.well_formed = !more;
  while (more && zmq_msg_recv(&surplus_->raw, socket_, ZMQ_DONTWAIT) >= 0) more = surplus_->more();

  const std::string_view id = routing_->bytes();
  if (id.size() != routing_id_bytes || id[0] != 0) {
    frame.well_formed = false;
    return true;
  }
  std::uint32_t number = 0;
  std::memcpy(&number, id.data() + 1, sizeof number);
  frame.from = RoutingId(number);
  const char* user = zmq_msg_gets(&payload_->raw, "User-Id");
  const char* remote = zmq_msg_gets(&payload_->raw, "Peer-Address");
  frame.key = user != nullptr ? user : "";
  frame.remote = remote != nullptr ? remote : "";
  // The socket speaks IPv6; an IPv4 peer comes mapped, which no operator wants to read.
  if (frame.remote.starts_with("::ffff:")) frame.remote.remove_prefix(7);
  frame.bytes = payload_->bytes();
  frame.well_formed = frame.well_formed && !frame.key.empty();
  return true;
}

Sent RouterSocket::send(RoutingId to, std::string_view frame) {
  std::array<char, routing_id_bytes> id{};
  std::memcpy(id.data() + 1, &to.raw(), sizeof(std::uint32_t));
  int sent = 0;
  do {
    sent = zmq_send(socket_, id.data(), id.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return errno == EAGAIN ? Sent::full : Sent::gone;
  // The second part follows the first into the same pipe, so only a vanished connection can refuse it; libzmq then drops it silently.
  do {
    sent = zmq_send(socket_, frame.data(), frame.size(), ZMQ_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? Sent::gone : Sent::sent;
}

}  // namespace greengate::adapters
