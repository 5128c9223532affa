#pragma once

#include "greengate/v1/frame.pb.h"

#include <zmq.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::test {

/// An agent's end of the wire with nothing of the product in it: a CURVE DEALER that sends what it is told, byte by byte.
/// One thread.
class RawAgent {
 public:
  struct Keys {
    std::string public_key, secret_key;
    static Keys fresh() {
      std::array<char, 41> ours{}, secret{};
      zmq_curve_keypair(ours.data(), secret.data());
      return {ours.data(), secret.data()};
    }
  };

  RawAgent(const std::string& endpoint, const std::string& server_key, Keys keys = Keys::fresh(),
           const std::string& own_routing_id = "", int receive_frames_max = 100'000)
      : keys_(std::move(keys)), context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_DEALER)) {
    text(ZMQ_CURVE_SERVERKEY, server_key);
    text(ZMQ_CURVE_PUBLICKEY, keys_.public_key);
    text(ZMQ_CURVE_SECRETKEY, keys_.secret_key);
    if (!own_routing_id.empty()) text(ZMQ_ROUTING_ID, own_routing_id);
    number(ZMQ_LINGER, 0);
    number(ZMQ_RECONNECT_IVL, 20);
    number(ZMQ_RCVHWM, receive_frames_max);
    zmq_connect(socket_, endpoint.c_str());
  }
  ~RawAgent() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  RawAgent(const RawAgent&) = delete;
  RawAgent& operator=(const RawAgent&) = delete;

  const Keys& keys() const { return keys_; }
  void* socket() { return socket_; }

  void send_bytes(std::string_view bytes, bool more = false) {
    zmq_send(socket_, bytes.data(), bytes.size(), more ? ZMQ_SNDMORE : 0);
  }
  void send(const v1::Frame& frame) { send_bytes(frame.SerializeAsString()); }

  void hello(std::uint64_t incarnation = 7) {
    v1::Frame frame;
    auto& hello = *frame.mutable_hello();
    hello.set_protocol_version(1);
    hello.set_incarnation(incarnation);
    hello.set_host_name("web01");
    hello.set_agent_version("raw-agent 1");
    send(frame);
  }
  void enrol(const std::string& token) {
    v1::Frame frame;
    frame.mutable_enrol()->set_protocol_version(1);
    frame.mutable_enrol()->set_token(token);
    frame.mutable_enrol()->set_host_name("web01");
    send(frame);
  }
  void ping(std::uint64_t nonce) {
    v1::Frame frame;
    frame.mutable_ping()->set_nonce(nonce);
    send(frame);
  }
  static v1::Report& add_report(v1::Frame& frame, std::uint64_t sequence,
                                const std::string& body = "body") {
    v1::Report& report = *frame.mutable_publish()->add_reports();
    report.set_sequence(sequence);
    report.set_lane(v1::LANE_STATE);
    report.set_kind(v1::KIND_STATE_MESSAGES);
    report.set_body(body);
    return report;
  }
  /// Reports first…last in one frame.
  void publish(std::uint64_t first, std::uint64_t last, const std::string& body = "body") {
    v1::Frame frame;
    for (std::uint64_t sequence = first; sequence <= last; ++sequence)
      add_report(frame, sequence, body);
    send(frame);
  }

  /// The next frame; nothing when none came in time.
  std::optional<v1::Frame> receive(std::chrono::milliseconds patience = std::chrono::seconds(10)) {
    number(ZMQ_RCVTIMEO, static_cast<int>(patience.count()));
    zmq_msg_t message;
    zmq_msg_init(&message);
    int got = 0;
    do {
      got = zmq_msg_recv(&message, socket_, 0);
    } while (got < 0 && errno == EINTR);
    std::optional<v1::Frame> frame;
    if (got >= 0) {
      frame.emplace();
      if (!frame->ParseFromArray(zmq_msg_data(&message), got)) frame.reset();
    }
    zmq_msg_close(&message);
    return frame;
  }
  /// The next frame of this kind; others are passed over.
  std::optional<v1::Frame> receive(v1::Frame::KindCase kind) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (std::chrono::steady_clock::now() < until)
      if (auto frame = receive(std::chrono::seconds(10)); frame && frame->kind_case() == kind)
        return frame;
    return std::nullopt;
  }

 private:
  void text(int option, std::string_view value) {
    zmq_setsockopt(socket_, option, value.data(), value.size());
  }
  void number(int option, int value) { zmq_setsockopt(socket_, option, &value, sizeof value); }

  Keys keys_;
  void* context_;
  void* socket_;
};

}  // namespace greengate::test
