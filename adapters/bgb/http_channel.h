// One HTTP/1.1 connection of one agent: connected to, perhaps through a proxy, secured, and used for one exchange at a time.
#pragma once

#include "adapters/bgb/http_binding.h"
#include "adapters/bgb/http_link.h"
#include "adapters/bgb/transport.h"
#include "adapters/http/messages.h"
#include "adapters/http/reading.h"
#include "adapters/http/url.h"
#include "core/clock.h"
#include "core/result.h"

#include <boost/asio.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace greengate::adapters::bgb {

/// Where a server's HTTP mode is, and what its name (or the proxy's) resolved to.
struct HttpRoute {
  Url server;
  std::optional<Url> proxy;
  std::vector<boost::asio::ip::tcp::endpoint> addresses;
  SteadyTime resolved_at{};

  const Url& first_hop() const { return proxy ? *proxy : server; }
};

/// What shows an agent to the server's TLS.
struct HttpCredentials {
  std::string certificate_der;
  std::string private_key_der;  ///< PKCS#8; wiped by the channel.
};

class HttpChannelEvents {
 public:
  virtual ~HttpChannelEvents() = default;
  /// The connection is there, TLS begins under what this returns. With an error it ends.
  virtual Result<HttpCredentials> connected(Lane lane) = 0;
  virtual void secured(Lane lane) = 0;
  virtual void sent(Lane lane) = 0;
  virtual void replied(Lane lane, HttpResponse reply) = 0;
  /// `sent`: a part of a request had gone out. The channel is closed and can be used again.
  virtual void failed(Lane lane, Error why, bool sent) = 0;
};

/// What all channels of a pool share.
struct HttpChannelWorld {
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
  Strand& strand;
  const TlsContext& tls;
  const Clock& clock;
  std::span<std::byte> buffer;  ///< For reading; nothing stays in it.
  /// Opens and prepares a socket: source address, options.
  std::function<boost::system::error_code(boost::asio::ip::tcp::socket&, const boost::asio::ip::tcp&)> prepare;
};

/// One connection, opened again as often as needed.
///
/// Promise   A reply whole or an error; redirects are replies like any other; an idle connection that the server closes is simply
///           opened again for the next exchange. TLS sessions are never resumed, so never shared.
/// Limits    16 KiB of header, `body_bytes_max` of body, 8 KiB of a proxy's reply, 8 addresses. While it waits it holds no buffer.
/// Threads   The strand. Events arrive on it, never from within a call of the owner but from open() and exchange().
/// Errors    bgb.resolve, bgb.connect, bgb.http_proxy, bgb.tls, bgb.server_certificate, bgb.identity, bgb.lost, bgb.http_reply.
class HttpChannel final : public std::enable_shared_from_this<HttpChannel> {
 public:
  HttpChannel(const HttpChannelWorld& world, Lane lane, HttpRoute& route, std::size_t body_bytes_max, HttpChannelEvents& events);

  /// Connects, to the address of that number among those of the name.
  void open(std::uint32_t address);
  bool is_open() const { return phase_ == Phase::ready || phase_ == Phase::exchanging; }
  /// Sends at once on an open connection; otherwise opens one and sends then.
  void exchange(const HttpMessageRequest& request, std::uint32_t address);
  /// No event comes any more until the next open() or exchange().
  void close();
  /// For good: the owner goes away.
  void abandon();

 private:
  using tcp = boost::asio::ip::tcp;
  enum class Phase : std::uint8_t { closed, resolving, connecting, asking_proxy, securing, ready, exchanging };
  using Step = TlsStream::Step;

  void connect();
  void tcp_there();
  void begin_tls();
  void secured();
  void progress();
  void write();
  void read();
  void feed(std::span<const std::byte> bytes);
  void end_of_stream();
  void proxy_replied();
  void finish_exchange();
  void broke(Error why);
  void wait_read();
  void wait_write();
  TlsStream::Moved read_raw(std::span<std::byte> into);
  TlsStream::Moved write_raw(std::span<const std::byte> from);
  std::string head_of(const HttpMessageRequest& request) const;

  const HttpChannelWorld& world_;
  const Lane lane_;
  HttpRoute& route_;
  const std::size_t body_bytes_max_;
  HttpChannelEvents* events_;
  tcp::socket socket_;
  TlsStream stream_;
  std::unique_ptr<ReplyParser> parser_;
  std::string out_, in_;
  std::size_t written_ = 0;
  std::uint64_t turn_ = 0;  // handlers of an earlier connection are told apart by it
  std::uint32_t address_ = 0;
  int interim_ = 0;
  Error plain_error_;
  Phase phase_ = Phase::closed;
  bool request_waits_ = false;
  bool read_armed_ = false, write_armed_ = false;
};

}  // namespace greengate::adapters::bgb
