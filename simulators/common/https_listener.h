#pragma once

#include "core/result.h"
#include "simulators/common/sim_clock.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::sim {

using HttpFields = std::vector<std::pair<std::string, std::string>>;

/// A request as it came. Header names keep their case, values are trimmed.
struct HttpsRequest {
  std::uint64_t connection = 0;  ///< Counts from 1.
  std::uint32_t nth = 0;         ///< Which request on this connection, from 1.
  std::string server_name;       ///< From the TLS handshake, lower case.
  std::string method, target, raw, body;
  HttpFields fields;
  bool has_transfer_encoding = false, expects_continue = false, body_left_unread = false, offered_h2 = false;

  /// The first of this name in any case; empty when there is none.
  std::string_view field(std::string_view name) const;
  std::size_t count(std::string_view name) const;
};

struct HttpsAnswer {
  enum class Then { keep, close, drop, stall };
  unsigned status = 200;
  std::string reason;
  HttpFields fields;
  std::string body;
  std::string instead;  ///< Sent as it is, in place of everything above, when not empty.
  Then then = Then::keep;  ///< drop: close without an answer; stall: never answer while the peer stays.
};

/// What befalls a connection before HTTP.
struct Reception {
  boost::asio::ssl::context* context = nullptr;  ///< Null: the connection closes.
  bool black_hole = false;                       ///< Taken, and never answered.
};

/// One strict HTTP/1.1 server over TLS for many names: the name in the handshake chooses certificate and, by HttpsRequest::server_name,
/// the service.
///
/// Promise   The bytes of a request reach the handler exactly as they came. A second request before the first was answered ends the
///           connection after that answer (S-12). `Expect: 100-continue` is answered after `continue_delay` of simulated time (S-13).
/// Limits    All in Settings; a body longer than body_bytes_max is left unread and the connection closes after the answer.
/// Threads   The io_context's one thread.
/// Errors    https.bind
class HttpsListener {
 public:
  struct Settings {
    std::string bind_address = "127.0.0.1";
    std::uint16_t port = 0;
    std::size_t header_bytes_max = 32 * 1024;
    std::uint64_t body_bytes_max = 1 << 20;
    std::size_t connections_max = 4096;
    std::chrono::seconds read_timeout{120};
    std::chrono::milliseconds continue_delay{350};
  };
  using Handler = std::function<boost::asio::awaitable<HttpsAnswer>(std::shared_ptr<HttpsRequest>, std::shared_ptr<SimClock::Busy>)>;
  using Receive = std::function<Reception(const std::string& server_name)>;

  HttpsListener(boost::asio::io_context& io, SimClock& clock, Settings settings, Receive receive, Handler handler);
  ~HttpsListener();
  Result<void> start();
  void stop();
  std::uint16_t port() const;

  struct Counters {
    std::uint64_t connections = 0, handshakes = 0, requests = 0, pipelined = 0, black_holed = 0, refused = 0;
  };
  const Counters& counters() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// Takes http/1.1 from what a client offers by ALPN, and agrees on nothing else.
void prefer_http11(boost::asio::ssl::context& context);

}  // namespace greengate::sim
