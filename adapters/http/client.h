#pragma once

#include "adapters/http/messages.h"
#include "core/config_reader.h"
#include "core/metrics.h"
#include "core/result.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>
#include <vector>

namespace greengate::adapters {

namespace asio = boost::asio;

struct HttpClientConfig {
  HttpClientConfig() = default;
  std::string ca_file;  ///< PEM; empty: the system's own.
  std::string
      pinned_sha256;  ///< 64 hex digits of the server certificate's DER: then nothing else decides.
  std::string client_certificate_file;  ///< PEM chain; empty: none is offered.
  std::string client_key_file;          ///< PEM
  std::size_t header_bytes_max = 64 * 1024;
  std::size_t body_bytes_max = 32u << 20;
  std::size_t kept_per_server_max = 16;  ///< Idle connections of the net thread's own exchanges.
  std::chrono::milliseconds kept_idle_max{60'000};  ///< IIS closes an idle one after 120 s.
  std::chrono::milliseconds connect_timeout{0};     ///< Of resolving and connecting; 0: the exchange's deadline alone.
  std::chrono::milliseconds tls_timeout{0};         ///< Of the handshake; likewise.
  bool cut_long_bodies = false;  ///< What exceeds body_bytes_max is dropped and the connection closed, instead of an error.
  bool public_addresses_only = false;  ///< A name that leads to this machine or a private network is not called.
  std::vector<std::string> connect_override;  ///< "host suffix=address:port": where such hosts are connected to, without asking DNS. Their
                                              ///< names and certificates are checked as ever.

  std::vector<ConfigProblem> problems(const std::string& prefix) const;
};

/// Speaks HTTP/1.1 to servers of ours: one exchange at a time on a connection, connections kept for
/// the next.
///
/// Promise   A reply whole or an error; no redirect is followed, no compressed reply is asked for.
/// An exchange is sent
///           a second time only if it went out on a kept connection that the peer had closed before
///           it said a word.
/// Limits    header_bytes_max, body_bytes_max (a longer Content-Length is refused before its body
/// is read or room made),
///           kept_per_server_max, one deadline per exchange.
/// Threads   exchange(): the net thread. exchange_and_wait(): any other; each waiting caller drives
/// a small event loop
///           of its own, so no other thread is woken for it, and keeps one connection per server
///           there.
/// Errors    retry, before the request was sent: http.resolve, http.address (public_addresses_only),
///           http.connect, http.connect_timeout, http.tls, http.tls_untrusted (the certificate does
///           not prove the name); after: http.timeout, http.closed, http.protocol,
///           http.reply_too_large, http.redirect. reject: http.request (a header or target that is
///           none). halt: http.stopping. config: http.tls_config (reject), from create().
class HttpClient {
 public:
  /// Reads the certificates. `net` and `metrics` outlive the client.
  static Result<std::unique_ptr<HttpClient>> create(asio::io_context& net, HttpClientConfig config,
                                                    Metrics& metrics);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  asio::awaitable<Result<HttpResponse>> exchange(HttpRequest request);
  Result<HttpResponse> exchange_and_wait(HttpRequest request);

  /// Closes connections that were kept for longer than kept_idle_max. The net thread; now and then.
  void close_idle();
  /// Refuses new exchanges from now on; those under way end by their deadlines.
  void stop();
  /// As stop(), and those under way end at once with http.stopping. Any thread.
  void abandon();

 private:
  struct State;
  explicit HttpClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace greengate::adapters
