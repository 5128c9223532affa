#include "simulators/common/https_listener.h"

#include "core/log.h"
#include "simulators/common/client_hello.h"
#include "simulators/common/text.h"

#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include <algorithm>
#include <optional>

namespace greengate::sim {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;
using beast::get_lowest_layer;
using Stream = beast::ssl_stream<beast::tcp_stream>;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t hello_bytes_max = 16 * 1024 + 5;
constexpr std::chrono::seconds hello_patience{10};

const Log log_("https_sim");

int choose_http11(SSL*, const unsigned char** out, unsigned char* out_bytes, const unsigned char* in, unsigned in_bytes, void*) {
  static constexpr unsigned char mine[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_bytes, mine, sizeof mine, in, in_bytes) != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_NOACK;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

std::optional<std::uint64_t> read_head(std::string_view head, HttpsRequest& into) {
  http::request_parser<http::empty_body> parser;
  parser.body_limit(boost::none);
  parser.header_limit(static_cast<std::uint32_t>(head.size() + 1));
  beast::error_code error;
  parser.put(asio::buffer(head.data(), head.size()), error);
  if ((error && error != http::error::need_more) || !parser.is_header_done()) return std::nullopt;
  const auto& message = parser.get();
  into.method = std::string(message.method_string());
  into.target = std::string(message.target());
  for (const auto& field : message) into.fields.emplace_back(std::string(field.name_string()), std::string(field.value()));
  into.has_transfer_encoding = message.find(http::field::transfer_encoding) != message.end();
  into.expects_continue = equals_ignoring_case(into.field("Expect"), "100-continue");
  return parser.content_length().value_or(0);
}

std::string answer_text(const HttpsAnswer& answer, bool head_only) {
  std::string text = "HTTP/1.1 " + std::to_string(answer.status) + ' ' + answer.reason + "\r\n";
  bool has_length = false;
  for (const auto& [name, value] : answer.fields) {
    text += name + ": " + value + "\r\n";
    has_length = has_length || equals_ignoring_case(name, "content-length");
  }
  if (!has_length) text += "Content-Length: " + std::to_string(answer.body.size()) + "\r\n";
  if (answer.then == HttpsAnswer::Then::close) text += "Connection: close\r\n";
  text += "\r\n";
  if (!head_only) text += answer.body;
  return text;
}

}  // namespace

void prefer_http11(ssl::context& context) {
  SSL_CTX_set_alpn_select_cb(context.native_handle(), choose_http11, nullptr);
}

std::string_view HttpsRequest::field(std::string_view name) const {
  for (const auto& [each, value] : fields)
    if (equals_ignoring_case(each, name)) return value;
  return {};
}
std::size_t HttpsRequest::count(std::string_view name) const {
  return static_cast<std::size_t>(
      std::count_if(fields.begin(), fields.end(), [&](const auto& field) { return equals_ignoring_case(field.first, name); }));
}

struct HttpsListener::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& context, SimClock& time, Settings wanted, Receive reception, Handler service)
      : io(context), clock(time), settings(std::move(wanted)), receive(std::move(reception)), handler(std::move(service)), acceptor(context) {}

  asio::io_context& io;
  SimClock& clock;
  Settings settings;
  Receive receive;
  Handler handler;
  tcp::acceptor acceptor;
  std::size_t open = 0;
  bool stopping = false;
  Counters counters;

  asio::awaitable<void> pause(std::chrono::milliseconds wait) {
    asio::steady_timer timer(io, wait);
    auto [woken] = co_await timer.async_wait(as_result);
    (void)woken;
  }

  // Looks at the first record without taking it: which name is meant decides what happens next.
  asio::awaitable<std::optional<ClientHello>> peek(tcp::socket& socket) {
    const auto until = std::chrono::steady_clock::now() + hello_patience;
    std::string begin(hello_bytes_max, '\0');
    for (;;) {
      auto [failed] = co_await socket.async_wait(tcp::socket::wait_read, as_result);
      if (failed) co_return std::nullopt;
      beast::error_code error;
      const std::size_t got = socket.receive(asio::buffer(begin), tcp::socket::message_peek, error);
      if (error || got == 0) co_return std::nullopt;
      const std::string_view seen(begin.data(), got);
      const std::size_t whole = first_record_bytes(seen);
      if (whole > hello_bytes_max || (seen[0] != 22)) co_return std::nullopt;
      if (whole != 0 && got >= whole) co_return read_client_hello(seen.substr(0, whole));
      if (std::chrono::steady_clock::now() > until) co_return std::nullopt;
      co_await pause(std::chrono::milliseconds(5));
    }
  }

  asio::awaitable<bool> fill(Stream& stream, std::string& in, std::size_t wanted) {
    while (in.size() < wanted) {
      get_lowest_layer(stream).expires_after(settings.read_timeout);
      const std::size_t before = in.size();
      in.resize(before + std::max<std::size_t>(4096, wanted - before));
      auto [failed, bytes] = co_await stream.async_read_some(asio::buffer(in.data() + before, in.size() - before), as_result);
      in.resize(before + (failed ? 0 : bytes));
      if (failed) co_return false;
    }
    co_return true;
  }

  asio::awaitable<bool> write(Stream& stream, std::string text) {
    get_lowest_layer(stream).expires_after(settings.read_timeout);
    auto [failed, bytes] = co_await asio::async_write(stream, asio::buffer(text), as_result);
    co_return !failed;
  }

  // More than one request's bytes before the answer: pipelining (S-12).
  static bool more_waits(Stream& stream, const std::string& in, std::size_t whole) {
    if (in.size() > whole || SSL_has_pending(stream.native_handle()) == 1) return true;
    beast::error_code ignored;
    return get_lowest_layer(stream).socket().available(ignored) > 0;
  }

  asio::awaitable<bool> serve_one(Stream& stream, std::string& in, std::shared_ptr<HttpsRequest> request) {
    std::size_t end = in.find("\r\n\r\n");
    while (end == std::string::npos && in.size() <= settings.header_bytes_max) {
      const bool more = co_await fill(stream, in, in.size() + 1);
      if (!more) co_return false;
      end = in.find("\r\n\r\n");
    }
    const std::size_t head_bytes = end == std::string::npos ? 0 : end + 4;
    const auto length = head_bytes == 0 ? std::nullopt : read_head(std::string_view(in).substr(0, head_bytes), *request);
    if (!length) {
      ++counters.refused;
      const bool sent = co_await write(stream, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      (void)sent;
      co_return false;
    }
    std::size_t whole = head_bytes;
    if (*length > settings.body_bytes_max || request->has_transfer_encoding) {
      request->body_left_unread = true;
    } else {
      if (request->expects_continue && in.size() < head_bytes + *length) {
        {
          SimClock::Busy waiting(clock);
          co_await clock.sleep(settings.continue_delay, waiting);
        }
        const bool sent = co_await write(stream, "HTTP/1.1 100 Continue\r\n\r\n");
        if (!sent) co_return false;
      }
      whole += static_cast<std::size_t>(*length);
      const bool there = co_await fill(stream, in, whole);
      if (!there) co_return false;
    }
    auto busy = std::make_shared<SimClock::Busy>(clock);
    request->raw = in.substr(0, whole);
    request->body = request->raw.substr(head_bytes);
    ++counters.requests;
    HttpsAnswer answer = co_await handler(request, busy);
    if (answer.then == HttpsAnswer::Then::drop) co_return false;
    if (answer.then == HttpsAnswer::Then::stall) {
      busy.reset();
      char byte = 0;
      get_lowest_layer(stream).expires_after(settings.read_timeout);
      auto [failed, bytes] = co_await stream.async_read_some(asio::buffer(&byte, 1), as_result);
      (void)failed, (void)bytes;
      co_return false;
    }
    if (request->body_left_unread || equals_ignoring_case(request->field("Connection"), "close")) answer.then = HttpsAnswer::Then::close;
    const bool pipelined = !request->body_left_unread && more_waits(stream, in, whole);
    if (pipelined) {
      ++counters.pipelined;
      answer.then = HttpsAnswer::Then::close;
    }
    std::string text = answer.instead;
    if (text.empty()) text = answer_text(answer, request->method == "HEAD");
    const bool sent = co_await write(stream, std::move(text));
    if (!sent || answer.then == HttpsAnswer::Then::close || !answer.instead.empty()) co_return false;
    in.erase(0, whole);
    co_return true;
  }

  asio::awaitable<void> serve(tcp::socket socket) {
    const std::uint64_t number = ++counters.connections;
    const auto hello = co_await peek(socket);
    if (!hello) co_return;
    const Reception reception = receive(hello->server_name);
    if (reception.black_hole) {
      ++counters.black_holed;
      // Takes what comes and says nothing, until the peer has had enough.
      std::string sink(hello_bytes_max, '\0');
      beast::error_code error;
      socket.non_blocking(true, error);
      while (!stopping) {
        const std::size_t taken = socket.receive(asio::buffer(sink), 0, error);
        if (error != asio::error::would_block && (error || taken == 0)) break;
        co_await pause(std::chrono::milliseconds(20));
      }
      co_return;
    }
    if (reception.context == nullptr) {
      ++counters.refused;
      co_return;
    }
    Stream stream(std::move(socket), *reception.context);
    get_lowest_layer(stream).expires_after(settings.read_timeout);
    auto [failed] = co_await stream.async_handshake(ssl::stream_base::server, as_result);
    if (failed) {
      log_.debug("handshake failed", kv("why", failed.message()));
      co_return;
    }
    ++counters.handshakes;
    std::string in;
    for (std::uint32_t nth = 1;; ++nth) {
      auto request = std::make_shared<HttpsRequest>();
      request->connection = number;
      request->nth = nth;
      request->server_name = hello->server_name;
      request->offered_h2 = std::find(hello->protocols.begin(), hello->protocols.end(), "h2") != hello->protocols.end();
      const bool go_on = co_await serve_one(stream, in, request);
      if (!go_on || stopping) break;
    }
    get_lowest_layer(stream).expires_after(std::chrono::seconds(1));
    auto [unclean] = co_await stream.async_shutdown(as_result);
    (void)unclean;
    get_lowest_layer(stream).close();
  }

  asio::awaitable<void> accept() {
    while (acceptor.is_open()) {
      auto [failed, socket] = co_await acceptor.async_accept(as_result);
      if (failed == asio::error::operation_aborted) break;
      if (failed) {
        co_await pause(std::chrono::milliseconds(50));
        continue;
      }
      if (open >= settings.connections_max) continue;  // the socket closes
      beast::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      ++open;
      auto self = shared_from_this();
      asio::co_spawn(io, serve(std::move(socket)), [self](std::exception_ptr) { --self->open; });
    }
  }
};

HttpsListener::HttpsListener(asio::io_context& io, SimClock& clock, Settings settings, Receive receive, Handler handler)
    : impl_(std::make_shared<Impl>(io, clock, std::move(settings), std::move(receive), std::move(handler))) {}
HttpsListener::~HttpsListener() {
  stop();
}

Result<void> HttpsListener::start() {
  beast::error_code error;
  const auto address = asio::ip::make_address(impl_->settings.bind_address, error);
  if (!error) impl_->acceptor.open(tcp::endpoint(address, 0).protocol(), error);
  if (!error) impl_->acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) impl_->acceptor.bind({address, impl_->settings.port}, error);
  if (!error) impl_->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error)
    return fail(Remedy::reject, "https.bind",
                "The HTTPS port cannot be opened on " + impl_->settings.bind_address + ":" + std::to_string(impl_->settings.port) + ": " +
                    error.message() + ".");
  impl_->settings.port = impl_->acceptor.local_endpoint().port();
  auto impl = impl_;
  asio::co_spawn(impl_->io, impl_->accept(), [impl](std::exception_ptr) {});
  return {};
}

void HttpsListener::stop() {
  impl_->stopping = true;
  beast::error_code ignored;
  impl_->acceptor.close(ignored);
}
std::uint16_t HttpsListener::port() const {
  return impl_->settings.port;
}
const HttpsListener::Counters& HttpsListener::counters() const {
  return impl_->counters;
}

}  // namespace greengate::sim
