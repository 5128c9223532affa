#pragma once

#include "core/result.h"
#include "simulators/notification_server/tls.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::sim::notify {

struct HttpCall {
  std::string method, target, content_type, cookie, body;
  std::optional<KeyHash> key;  ///< Of the client's certificate, over TLS.
  bool tls = false;
};

struct HttpAnswer {
  unsigned status = 200;
  std::vector<std::pair<std::string, std::string>> headers{};
  std::string body{};
  bool cut = false;  ///< Nothing is said; the connection is closed.
};

/// One request that may be held for minutes. Whoever took it answers it once; the door says when its client has gone.
struct HttpHold {
  std::uint64_t id = 0;
  std::function<void(HttpAnswer)> answer;  ///< Empty once used.
  std::function<void()> gone;              ///< Called at most once, and not after an answer.
};

/// HTTP/1.1 on a port of its own, plain or with TLS: reads requests, hands them on, writes the answers.
///
/// Limits    A body of `body_bytes_max`, 16 KiB of header, 120,000 connections.
/// Threads   The io_context's one thread.
/// Errors    notify.bind.
class HttpDoor : public std::enable_shared_from_this<HttpDoor> {
 public:
  using Taker = std::function<void(HttpCall, std::shared_ptr<HttpHold>)>;

  /// `context` names the TLS context of each new connection; it gives null for plain HTTP.
  HttpDoor(boost::asio::io_context& io, std::function<SSL_CTX*()> context, std::size_t body_bytes_max, Taker taker);
  Result<void> open(const std::string& address, std::uint16_t port);
  void close();
  std::uint16_t port() const { return port_; }

 private:
  template <class Stream>
  static boost::asio::awaitable<void> serve(std::shared_ptr<HttpDoor> self, Stream& stream, std::optional<KeyHash> key);
  static boost::asio::awaitable<void> greet(std::shared_ptr<HttpDoor> self, boost::asio::ip::tcp::socket socket);
  void accept();

  boost::asio::io_context& io_;
  const std::function<SSL_CTX*()> context_;
  const std::size_t body_bytes_max_;
  const Taker taker_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::uint16_t port_ = 0;
  std::size_t connections_ = 0;
  bool closed_ = false;
};

}  // namespace greengate::sim::notify
