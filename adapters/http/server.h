#pragma once

#include "adapters/http/messages.h"
#include "core/config_reader.h"
#include "core/result.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace greengate::adapters {

namespace asio = boost::asio;

/// A request that came in, whole.
struct HttpCall {
  HttpCall() = default;
  std::string method;
  std::string target;
  HttpHeaders headers;
  std::string body;
  bool over_unix_socket = false;  ///< The caller passed the socket file's permissions.

  std::string_view header(std::string_view name) const;
};

struct HttpReply {
  HttpReply() = default;
  HttpReply(unsigned code, std::string type, std::string text)
      : status(code), content_type(std::move(type)), body(std::move(text)) {}
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpHeaders headers;
};

/// Answers one request. Runs on the net thread, so it does not wait for the disk there. `HttpCall`
/// comes by value.
using HttpHandler = std::function<asio::awaitable<HttpReply>(HttpCall)>;
/// The same for an answer that is ready at once.
HttpHandler plain_handler(std::function<HttpReply(const HttpCall&)> answer);

struct HttpServerConfig {
  HttpServerConfig() = default;
  std::string unix_path;   ///< Empty: none. Made with mode 0660.
  std::string unix_group;  ///< Empty: the process's own.
  std::string address = "127.0.0.1";
  std::optional<std::uint16_t> port;  ///< None: no TCP; 0: any free one, port() then says which.
  std::size_t header_bytes_max = 16 * 1024;
  std::size_t request_bytes_max = 1u << 20;
  std::size_t connections_max = 64;
  std::chrono::milliseconds request_timeout{
      10'000};  ///< From a request's first byte to its last, and to write the reply.
  std::chrono::milliseconds idle_timeout{60'000};  ///< Between two requests.

  std::vector<ConfigProblem> problems(const std::string& prefix) const;
};

/// A small HTTP/1.1 server for operators: one Unix socket, one loopback port, or both.
///
/// Limits    header_bytes_max (431), request_bytes_max (413), connections_max (the next is closed at once), two timeouts.
/// Threads   Made and started by any one thread; everything else happens on the net thread. stop(): any.
/// Errors    http.listen (reject).
class HttpServer {
 public:
  HttpServer(asio::io_context& net, HttpServerConfig config, HttpHandler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Binds and listens; a socket file nobody answers on any more is replaced.
  Result<void> start();
  /// Closes everything. A handler under way runs to its end, but its reply goes nowhere. May come
  /// twice.
  void stop();
  /// The TCP port listened on; 0 when none.
  std::uint16_t port() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace greengate::adapters
