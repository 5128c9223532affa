#pragma once

#include "core/ids.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#include <thread>

namespace greengate::adapters {

/// Answers libzmq's question "who is this?" for every new connection (ZAP, RFC 27): turns a CURVE key into the `User-Id` that every
/// message of the connection then carries, and that no peer can forge.
///
/// Promise   Only CURVE gets in. A key that `is_revoked` names is refused with 400 during the handshake. Unknown keys are let in,
///           because enrolling is all they can do. A request that breaks the protocol is refused.
/// Order     Made before the first socket binds, destroyed after the last one closed: libzmq looks the handler up by name.
/// Limits    One question at a time, eight parts of at most 255 bytes each; libzmq gives up a handshake after its own interval.
/// Threads   Its own. `is_revoked` is called there: quick, from memory. The counters: any.
/// Source    ZeroMQ RFC 27 (ZAP 1.0); docs/adr/0007-transport-key-and-site-key.md
class Authenticator {
 public:
  using Gate = std::function<bool(const AgentKey&)>;

  /// `context`: the libzmq context whose sockets it guards; outlives this.
  Authenticator(void* context, Gate is_revoked);
  /// Ends the thread.
  ~Authenticator();
  Authenticator(const Authenticator&) = delete;
  Authenticator& operator=(const Authenticator&) = delete;

  std::uint64_t allowed() const { return allowed_.load(std::memory_order_relaxed); }
  std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

  /// What ZAP requests must name as their domain; the socket sets it.
  static constexpr std::string_view domain = "greengate.agents";

 private:
  void run();
  bool answer_one();

  void* context_;
  Gate is_revoked_;
  void* questions_;  // REP, the thread's own once it runs
  void* stop_here_;  // PAIR, ours: one byte ends the thread
  void* stop_there_;
  std::atomic<std::uint64_t> allowed_{0}, refused_{0};
  std::thread thread_;
};

}  // namespace greengate::adapters
