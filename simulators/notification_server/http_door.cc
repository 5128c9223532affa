#include "simulators/notification_server/http_door.h"

#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

namespace greengate::sim::notify {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t connections_max = 120'000;
constexpr std::uint32_t header_bytes_max = 16 * 1024;

// What a connection waits for while its request is held: an answer, or its client's end.
struct Waiting {
  explicit Waiting(asio::io_context& io) : bell(io, std::chrono::steady_clock::time_point::max()) {}
  asio::steady_timer bell;
  std::optional<HttpAnswer> answer;
  bool gone = false;
};

}  // namespace

HttpDoor::HttpDoor(asio::io_context& io, std::function<SSL_CTX*()> context, std::size_t body_bytes_max, Taker taker)
    : io_(io), context_(std::move(context)), body_bytes_max_(body_bytes_max), taker_(std::move(taker)), acceptor_(io) {}

Result<void> HttpDoor::open(const std::string& text, std::uint16_t port) {
  error_code refused;
  const auto address = asio::ip::make_address(text, refused);
  const tcp::endpoint endpoint(address, port);
  if (!refused) acceptor_.open(endpoint.protocol(), refused);
  if (!refused) acceptor_.set_option(asio::socket_base::reuse_address(true), refused);
  if (!refused) acceptor_.bind(endpoint, refused);
  if (!refused) acceptor_.listen(4096, refused);
  if (refused)
    return fail(Remedy::retry, "notify.bind",
                "Cannot listen on " + text + ":" + std::to_string(port) + ": " + refused.message() + ".");
  port_ = acceptor_.local_endpoint(refused).port();
  accept();
  return {};
}

void HttpDoor::close() {
  closed_ = true;
  error_code ignored;
  acceptor_.close(ignored);
}

void HttpDoor::accept() {
  acceptor_.async_accept([self = shared_from_this()](error_code failed, tcp::socket socket) {
    if (self->closed_) return;
    if (!failed && self->connections_ < connections_max) {
      ++self->connections_;
      asio::co_spawn(self->io_, greet(self, std::move(socket)), [self](std::exception_ptr thrown) {
        --self->connections_;
        if (thrown) std::rethrow_exception(thrown);
      });
    }
    self->accept();
  });
}

asio::awaitable<void> HttpDoor::greet(std::shared_ptr<HttpDoor> self, tcp::socket socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  SSL_CTX* const raw = self->context_();
  if (raw == nullptr) {
    co_await serve(self, socket, std::nullopt);
    socket.close(ignored);
    co_return;
  }
  SSL_CTX_up_ref(raw);  // the wrapper frees one
  asio::ssl::context context(raw);
  asio::ssl::stream<tcp::socket&> stream(socket, context);
  auto [no_handshake] = co_await stream.async_handshake(asio::ssl::stream_base::server, as_result);
  if (no_handshake) co_return;
  const auto key = peer_key_hash(stream.native_handle());
  co_await serve(self, stream, key);
  socket.close(ignored);
}

template <class Stream>
asio::awaitable<void> HttpDoor::serve(std::shared_ptr<HttpDoor> self, Stream& stream, std::optional<KeyHash> key) {
  boost::beast::flat_buffer buffer(header_bytes_max + self->body_bytes_max_);
  for (;;) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(header_bytes_max);
    parser.body_limit(self->body_bytes_max_);
    auto [unread, bytes] = co_await http::async_read(stream, buffer, parser, as_result);
    static_cast<void>(bytes);
    if (unread || self->closed_) co_return;
    auto request = parser.release();

    HttpCall call;
    call.method = std::string(request.method_string());
    call.target = std::string(request.target());
    call.content_type = std::string(request[http::field::content_type]);
    call.cookie = std::string(request[http::field::cookie]);
    call.body = std::move(request.body());
    call.key = key;
    call.tls = key.has_value() || !std::is_same_v<Stream, tcp::socket>;
    const auto waiting = std::make_shared<Waiting>(self->io_);
    const auto hold = std::make_shared<HttpHold>();
    hold->answer = [waiting](HttpAnswer answer) {
      waiting->answer = std::move(answer);
      waiting->bell.cancel();
    };
    self->taker_(std::move(call), hold);
    if (!waiting->answer) {
      // A client that says more while it waits has gone, as far as we are concerned: nobody pipelines here.
      auto& socket = stream.lowest_layer();
      socket.async_wait(tcp::socket::wait_read, [waiting](error_code stopped) {
        if (stopped) return;
        waiting->gone = true;
        waiting->bell.cancel();
      });
      auto [rung] = co_await waiting->bell.async_wait(as_result);
      static_cast<void>(rung);  // always "cancelled"
      error_code ignored;
      socket.cancel(ignored);
    }
    if (!waiting->answer) {
      hold->answer = nullptr;
      if (hold->gone) std::exchange(hold->gone, nullptr)();
      co_return;
    }
    hold->answer = nullptr;
    hold->gone = nullptr;
    if (waiting->answer->cut) co_return;
    http::response<http::string_body> reply(static_cast<http::status>(waiting->answer->status), request.version());
    reply.set(http::field::server, "notification server simulator");
    for (const auto& [name, value] : waiting->answer->headers) reply.insert(name, value);
    if (!waiting->answer->body.empty()) reply.set(http::field::content_type, "application/octet-stream");
    reply.body() = std::move(waiting->answer->body);
    reply.keep_alive(request.keep_alive());
    reply.prepare_payload();
    auto [unsent, sent] = co_await http::async_write(stream, reply, as_result);
    static_cast<void>(sent);
    if (unsent || !request.keep_alive()) co_return;
  }
}

}  // namespace greengate::sim::notify
