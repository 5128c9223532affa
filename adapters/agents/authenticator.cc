#include "adapters/agents/authenticator.h"

#include "core/check.h"

#include <zmq.h>

#include <array>
#include <cerrno>
#include <string>
#include <vector>

namespace greengate::adapters {
namespace {

constexpr const char* zap_endpoint = "inproc://zeromq.zap.01";
constexpr std::size_t parts_max = 8;
constexpr std::size_t part_bytes_max = 255;
constexpr std::size_t curve_key_bytes = 32;

/// The request's parts by position (RFC 27): version, request id, domain, address, identity, mechanism, credentials.
enum Part : std::size_t { version, request_id, zap_domain, address, identity, mechanism, key };

/// All parts of the waiting request. Longer or more than a ZAP request can be: an empty list, after reading it away.
std::vector<std::string> read_request(void* socket) {
  std::vector<std::string> parts;
  bool sane = true;
  while (true) {
    zmq_msg_t part;
    zmq_msg_init(&part);
    if (zmq_msg_recv(&part, socket, 0) < 0) {
      zmq_msg_close(&part);
      return {};
    }
    const bool more = zmq_msg_more(&part) != 0;
    sane = sane && zmq_msg_size(&part) <= part_bytes_max && parts.size() < parts_max;
    if (sane) parts.emplace_back(static_cast<const char*>(zmq_msg_data(&part)), zmq_msg_size(&part));
    zmq_msg_close(&part);
    if (!more) break;
  }
  if (!sane) parts.clear();
  return parts;
}

void* made(void* socket) {
  GREENGATE_CHECK(socket != nullptr, "a context at start has room for three more sockets");
  const int linger_ms = 0;
  zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
  return socket;
}

}  // namespace

Authenticator::Authenticator(void* context, Gate is_revoked)
    : context_(context),
      is_revoked_(std::move(is_revoked)),
      questions_(made(zmq_socket(context_, ZMQ_REP))),
      stop_here_(made(zmq_socket(context_, ZMQ_PAIR))),
      stop_there_(made(zmq_socket(context_, ZMQ_PAIR))) {
  const std::string stop = "inproc://greengate.authenticator.stop";
  GREENGATE_CHECK(zmq_bind(questions_, zap_endpoint) == 0, "one authenticator a context");
  GREENGATE_CHECK(zmq_bind(stop_here_, stop.c_str()) == 0, "one authenticator a context");
  GREENGATE_CHECK(zmq_connect(stop_there_, stop.c_str()) == 0, "inproc connects at once");
  thread_ = std::thread([this] { run(); });
}

Authenticator::~Authenticator() {
  zmq_send(stop_here_, "", 0, ZMQ_DONTWAIT);
  thread_.join();
  zmq_close(stop_here_);
}

void Authenticator::run() {
  std::array<zmq_pollitem_t, 2> waits{{{questions_, 0, ZMQ_POLLIN, 0}, {stop_there_, 0, ZMQ_POLLIN, 0}}};
  while (true) {
    if (zmq_poll(waits.data(), static_cast<int>(waits.size()), -1) < 0) {
      if (errno == EINTR) continue;
      break;  // the context is being closed
    }
    if (waits[1].revents != 0) break;
    if (waits[0].revents != 0 && !answer_one()) break;
  }
  zmq_close(questions_);
  zmq_close(stop_there_);
}

bool Authenticator::answer_one() {
  const std::vector<std::string> request = read_request(questions_);
  std::string status = "400", text = "Only CURVE with a known request form is let in.", user;
  const bool well_formed = request.size() == key + 1 && request[version] == "1.0" &&
                           request[zap_domain] == domain && request[mechanism] == "CURVE" &&
                           request[key].size() == curve_key_bytes;
  if (well_formed) {
    std::array<char, 41> z85{};
    zmq_z85_encode(z85.data(), reinterpret_cast<const std::uint8_t*>(request[key].data()),
                   curve_key_bytes);
    if (is_revoked_ && is_revoked_(AgentKey(z85.data()))) {
      text = "This key was revoked.";
    } else {
      status = "200";
      text = "OK";
      user = z85.data();
    }
  }
  (status == "200" ? allowed_ : refused_).fetch_add(1, std::memory_order_relaxed);

  const std::string id = request.size() > request_id ? request[request_id] : std::string();
  const std::array<std::string, 6> reply{"1.0", id, status, text, user, ""};
  for (std::size_t i = 0; i < reply.size(); ++i)
    if (zmq_send(questions_, reply[i].data(), reply[i].size(),
                 i + 1 < reply.size() ? ZMQ_SNDMORE : 0) < 0)
      return errno == EINTR || errno == EFSM;  // anything else: the context is being closed
  return true;
}

}  // namespace greengate::adapters
