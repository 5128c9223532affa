#include "adapters/agents/dealer_link.h"

#include "core/check.h"

#include <zmq.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace greengate::adapters {
namespace {

constexpr std::size_t curve_key_characters = 40;
constexpr std::string_view z85_alphabet =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

// Everything that can end a connection attempt, and what tells that it succeeded.
constexpr int watched_events =
    ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED |
    ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
    ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

Error link_error(Remedy remedy, const char* code, std::string message) {
  return Error{remedy, code, std::move(message), {}};
}

}  // namespace

struct DealerLink::State {
  explicit State(DealerLinkConfig wanted) : config(std::move(wanted)), context(1) {
    // Two sockets at a time, and the ones just closed, which libzmq ends on a thread of its own; it
    // reserves a slot for each that might be.
    context.set(zmq::ctxopt::max_sockets, 64);
  }

  DealerLinkConfig config;
  zmq::context_t context;
  std::string endpoint;
  zmq::socket_t dealer;  // closed when there is no connection
  zmq::socket_t monitor;
  std::uint64_t opened = 0;     // how often
  bool tcp_connected = false;
  bool greeted = false;         // connected has been told
  bool over = true;             // lost has been told, or nothing was opened
  std::optional<Error> ending;  // told once the frames that came before it are read

  void drop() {
    if (dealer) {
      zmq_socket_monitor(dealer.handle(), nullptr, 0);
      dealer.close();
    }
    if (monitor) monitor.close();
    tcp_connected = greeted = false;
    over = true;
    ending.reset();
  }

  std::string where() const { return "the gateway at " + endpoint; }

  // The error a monitor event stands for, if it ends the connection.
  std::optional<Error> judge(std::uint16_t event, std::uint32_t value) const {
    switch (event) {
      case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        // 400 is the gateway's considered "no"; 300 and 500 are its own trouble.
        if (value == 400) {
          return link_error(
              Remedy::reject, "link.auth_refused",
              "This agent's key was refused by " + where() + "; an operator there can say why.");
        }
        return link_error(Remedy::retry, "link.handshake",
                          "The CURVE handshake with " + where() + " ended with status " +
                              std::to_string(value) + ".");
      case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
      case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return handshake_error();
      case ZMQ_EVENT_DISCONNECTED:
        if (greeted)
          return link_error(Remedy::retry, "link.closed",
                            "The connection to " + where() + " was closed.");
        return handshake_error();
      case ZMQ_EVENT_CLOSED:
        if (tcp_connected) return std::nullopt;
        return link_error(Remedy::retry, "link.unreachable",
                          "No connection to " + where() +
                              "; check the address, the network and that the gateway runs.");
      default:
        return std::nullopt;
    }
  }

  Error handshake_error() const {
    return link_error(Remedy::retry, "link.handshake",
                      "The CURVE handshake with " + where() +
                          " failed; check that gateway.key is that gateway's public key.");
  }

  // Reads monitor events until one has to be told.
  std::optional<LinkEvent> next_monitored() {
    while (monitor && !ending) {
      zmq::message_t head, address;
      if (!monitor.recv(head, zmq::recv_flags::dontwait)) return std::nullopt;
      // Both parts of an event are written together, so the second is there.
      if (!monitor.recv(address, zmq::recv_flags::dontwait) || head.size() < 6) continue;
      std::uint16_t event;
      std::uint32_t value;
      std::memcpy(&event, head.data(), sizeof event);
      std::memcpy(&value, head.data<char>() + sizeof event, sizeof value);
      if (event == ZMQ_EVENT_CONNECTED) tcp_connected = true;
      if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        greeted = true;
        return LinkEvent{LinkEvent::Kind::connected, {}, {}};
      }
      ending = judge(event, value);
    }
    return std::nullopt;
  }
};

DealerLink::DealerLink(DealerLinkConfig config)
    : state_(std::make_unique<State>(std::move(config))) {}

DealerLink::~DealerLink() {
  state_->drop();
}

Result<void> DealerLink::open(const std::string& endpoint) {
  State& state = *state_;
  state.drop();
  state.endpoint = endpoint;
  try {
    const DealerLinkConfig& config = state.config;
    zmq::socket_t dealer(state.context, zmq::socket_type::dealer);
    dealer.set(zmq::sockopt::linger, 0);
    dealer.set(zmq::sockopt::reconnect_ivl, -1);  // never by itself
    dealer.set(zmq::sockopt::ipv6, true);
    dealer.set(zmq::sockopt::sndhwm, config.frames_max);
    dealer.set(zmq::sockopt::rcvhwm, config.frames_max);
    dealer.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(config.receive_bytes_max));
    dealer.set(zmq::sockopt::connect_timeout, static_cast<int>(config.handshake_patience.count()));
    dealer.set(zmq::sockopt::handshake_ivl, static_cast<int>(config.handshake_patience.count()));
    dealer.set(zmq::sockopt::heartbeat_ivl, static_cast<int>(config.heartbeat_interval.count()));
    dealer.set(zmq::sockopt::heartbeat_timeout,
               static_cast<int>(config.heartbeat_interval.count()));
    dealer.set(zmq::sockopt::curve_serverkey, config.gateway_key);
    dealer.set(zmq::sockopt::curve_publickey, config.public_key);
    dealer.set(zmq::sockopt::curve_secretkey, config.secret_key);

    zmq::socket_t monitor(state.context, zmq::socket_type::pair);
    monitor.set(zmq::sockopt::linger, 0);
    // A name of its own: libzmq lets go of the last one's some time after the socket is closed.
    const std::string monitored = "inproc://dealer-monitor-" + std::to_string(++state.opened);
    if (zmq_socket_monitor(dealer.handle(), monitored.c_str(), watched_events) != 0)
      throw zmq::error_t();
    monitor.connect(monitored);
    dealer.connect(endpoint);
    state.dealer = std::move(dealer);
    state.monitor = std::move(monitor);
    state.over = false;
    return {};
  } catch (const zmq::error_t& error) {
    if (error.num() == EINVAL || error.num() == EPROTONOSUPPORT) {
      return fail(Remedy::reject, "link.address",
                  "\"" + endpoint +
                      "\" with the given keys cannot be connected to; an address looks like "
                      "tcp://gateway.example.com:7443.");
    }
    return fail(Remedy::retry, "link.unreachable",
                "No connection to " + state.where() + ": " + error.what() + ".");
  }
}

void DealerLink::close() {
  state_->drop();
}

bool DealerLink::is_open() const {
  return !state_->over;
}

Result<void> DealerLink::send(std::string_view frame) {
  State& state = *state_;
  if (state.over || !state.greeted) {
    return fail(Remedy::retry, "link.closed", "There is no connection to send on.");
  }
  try {
    if (state.dealer.send(zmq::buffer(frame), zmq::send_flags::dontwait)) return {};
    return fail(Remedy::retry, "link.busy",
                "The connection to " + state.where() + " takes no more for now.");
  } catch (const zmq::error_t& error) {
    return fail(Remedy::retry, "link.closed", std::string("Sending failed: ") + error.what() + ".");
  }
}

std::optional<LinkEvent> DealerLink::next() {
  State& state = *state_;
  if (state.over) return std::nullopt;
  try {
    // The monitor first: `connected` comes before the first frame, while an ending waits for the
    // frames before it.
    if (auto event = state.next_monitored()) return event;
    if (state.greeted) {
      zmq::message_t message;
      if (state.dealer.recv(message, zmq::recv_flags::dontwait)) {
        std::string frame(message.data<char>(), message.size());
        // The wire has one part a message; a longer one is passed on as it is and refused by its
        // reader.
        while (message.more() && state.dealer.recv(message, zmq::recv_flags::dontwait))
          frame.clear();
        return LinkEvent{LinkEvent::Kind::frame, {}, std::move(frame)};
      }
    }
  } catch (const zmq::error_t& error) {
    state.ending = link_error(Remedy::retry, "link.closed",
                              std::string("Receiving failed: ") + error.what() + ".");
  }
  if (!state.ending) return std::nullopt;
  LinkEvent lost{LinkEvent::Kind::lost, std::move(*state.ending), {}};
  state.drop();
  return lost;
}

std::vector<bool> DealerLink::wait(std::span<const int> others,
                                   std::chrono::milliseconds patience) {
  State& state = *state_;
  constexpr std::size_t others_max = 40;
  GREENGATE_CHECK(others.size() <= others_max, "an agent waits for a handful of descriptors");
  std::array<zmq_pollitem_t, others_max + 2> items{};
  std::size_t count = 0;
  for (const int fd : others) items[count++] = {nullptr, fd, ZMQ_POLLIN, 0};
  if (!state.over) {
    items[count++] = {state.monitor.handle(), 0, ZMQ_POLLIN, 0};
    if (state.greeted) items[count++] = {state.dealer.handle(), 0, ZMQ_POLLIN, 0};
  }
  // An interrupted wait is a short wait: the caller asks again.
  const auto limited = std::clamp<std::int64_t>(patience.count(), 0, 86'400'000);
  zmq_poll(items.data(), static_cast<int>(count), static_cast<long>(limited));
  std::vector<bool> readable(others.size());
  for (std::size_t i = 0; i < others.size(); ++i)
    readable[i] = (items[i].revents & ZMQ_POLLIN) != 0;
  return readable;
}

CurvePair make_curve_pair() {
  std::array<char, curve_key_characters + 1> public_key{}, secret_key{};
  const int made = zmq_curve_keypair(public_key.data(), secret_key.data());
  GREENGATE_CHECK(made == 0, "libzmq is built with CURVE");
  return {public_key.data(), secret_key.data()};
}

std::optional<std::string> curve_public_of(const std::string& secret_key) {
  if (!is_curve_key(secret_key)) return std::nullopt;
  std::array<char, curve_key_characters + 1> public_key{};
  if (zmq_curve_public(public_key.data(), secret_key.c_str()) != 0) return std::nullopt;
  return std::string(public_key.data());
}

bool is_curve_key(std::string_view text) {
  return text.size() == curve_key_characters && std::all_of(text.begin(), text.end(), [](char c) {
           return z85_alphabet.find(c) != std::string_view::npos;
         });
}

}  // namespace greengate::adapters
