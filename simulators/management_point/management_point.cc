#include "simulators/management_point/management_point.h"

#include "core/log.h"
#include "simulators/common/text.h"
#include "simulators/management_point/hostile.h"
#include "simulators/management_point/site.h"

#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include <atomic>
#include <optional>

namespace greengate::sim {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = boost::asio::ssl;
using tcp = asio::ip::tcp;
using beast::get_lowest_layer;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t read_block_bytes = 64 * 1024;
constexpr std::chrono::seconds goodbye_patience{1};
constexpr std::size_t goodbye_bytes_max = 256 * 1024;

const Log log_("mp_sim");

/// The head of a request, as far as this server cares.
struct Head {
  std::string method, path, query, content_type;
  std::optional<std::uint64_t> content_length;
  bool chunked = false, keep_alive = false, expects_continue = false, has_authorization = false;
};

std::optional<Head> read_head(std::string_view text, std::size_t header_bytes_max) {
  http::request_parser<http::empty_body> parser;
  parser.body_limit(boost::none);
  parser.header_limit(static_cast<std::uint32_t>(header_bytes_max));
  beast::error_code error;
  parser.put(asio::buffer(text.data(), text.size()), error);
  if ((error && error != http::error::need_more) || !parser.is_header_done()) return std::nullopt;
  const auto& message = parser.get();
  Head head;
  head.method = std::string(message.method_string());
  const std::string_view target = message.target();
  const std::size_t mark = target.find('?');
  head.path = std::string(target.substr(0, mark));
  if (mark != std::string_view::npos) head.query = std::string(target.substr(mark + 1));
  head.content_type = std::string(message[http::field::content_type]);
  head.chunked = message.has_content_length()
                     ? false
                     : message.find(http::field::transfer_encoding) != message.end();
  if (const auto length = parser.content_length()) head.content_length = *length;
  head.keep_alive = message.keep_alive();
  head.expects_continue = message.find(http::field::expect) != message.end();
  head.has_authorization = message.find(http::field::authorization) != message.end();
  return head;
}

std::string reply_text(const Outgoing& outgoing, bool keep_alive, bool head_only) {
  std::string text =
      "HTTP/1.1 " + std::to_string(outgoing.status) + " " +
      std::string(http::obsolete_reason(static_cast<http::status>(outgoing.status))) +
      "\r\nServer: greengate-sim\r\nContent-Length: " + std::to_string(outgoing.body.size()) +
      "\r\n";
  if (!outgoing.content_type.empty()) text += "Content-Type: " + outgoing.content_type + "\r\n";
  for (const auto& [name, value] : outgoing.headers) text += name + ": " + value + "\r\n";
  text += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  if (!head_only) text += outgoing.body;
  return text;
}

Outgoing bare(unsigned status) {
  Outgoing outgoing;
  outgoing.status = status;
  return outgoing;
}

/// What to do with a request whose head was read.
enum class Kind { message, sms_aut, sms_pol, none };

Kind kind_of(std::string_view path) {
  if (equals_ignoring_case(path, "/ccm_system/request") ||
      equals_ignoring_case(path, "/ccm_system_windowsauth/request"))
    return Kind::message;
  if (equals_ignoring_case(path, "/SMS_MP/.sms_aut") ||
      equals_ignoring_case(path, "/SMS_MP_WindowsAuth/.sms_aut"))
    return Kind::sms_aut;
  if (equals_ignoring_case(path, "/SMS_MP/.sms_pol") ||
      equals_ignoring_case(path, "/SMS_MP_WindowsAuth/.sms_pol"))
    return Kind::sms_pol;
  return Kind::none;
}

}  // namespace

struct ManagementPoint::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& context, MpSettings wanted, const Clock& clock)
      : io(context),
        settings(std::move(wanted)),
        site(settings, clock),
        acceptor(context),
        tls_acceptor(context),
        tls_context(ssl::context::tls_server) {}

  asio::io_context& io;
  const MpSettings settings;
  Site site;
  tcp::acceptor acceptor, tls_acceptor;
  ssl::context tls_context;
  std::uint16_t port = 0, tls_port = 0;
  std::atomic<std::size_t> connections{0};

  /// What the channel says about the client.
  struct Channel {
    bool tls = false;
    bool client_certificate = false;  ///< Presented, and trusted where a CA file was given.
  };

  Result<void> listen(tcp::acceptor& on, std::uint16_t wanted, std::uint16_t& got) {
    beast::error_code error;
    const auto address = asio::ip::make_address(settings.bind_address, error);
    if (!error) on.open(tcp::endpoint(address, 0).protocol(), error);
    if (!error) on.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) on.bind({address, wanted}, error);
    if (!error) on.listen(asio::socket_base::max_listen_connections, error);
    if (error)
      return fail(Remedy::reject, "mp.bind",
                  "The management point's port " + settings.bind_address + ":" +
                      std::to_string(wanted) + " cannot be opened: " + error.message() + ".");
    got = on.local_endpoint().port();
    return {};
  }

  Result<void> prepare_tls() {
    beast::error_code error;
    if (settings.tls_certificate_file.empty()) {
      const Identity& own = site.tls_identity();
      tls_context.use_certificate_chain(asio::buffer(own.certificate_pem), error);
      if (!error) tls_context.use_private_key(asio::buffer(own.key_pem), ssl::context::pem, error);
    } else {
      tls_context.use_certificate_chain_file(settings.tls_certificate_file, error);
      if (!error) tls_context.use_private_key_file(settings.tls_key_file, ssl::context::pem, error);
    }
    if (!error && !settings.client_ca_file.empty())
      tls_context.load_verify_file(settings.client_ca_file, error);
    if (!error)
      tls_context.set_options(
          ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 | ssl::context::default_workarounds,
          error);
    if (error)
      return fail(Remedy::reject, "mp.tls",
                  "The management point's certificate cannot be used: " + error.message() + ".");
    return {};
  }

  template <class Stream>
  asio::awaitable<bool> write(Stream& stream, std::string text) {
    get_lowest_layer(stream).expires_after(settings.read_timeout);
    auto [failed, bytes] = co_await asio::async_write(stream, asio::buffer(text), as_result);
    co_return !failed;
  }

  // Says goodbye so that the answer is not lost to a reset while the peer still sends.
  template <class Stream>
  asio::awaitable<void> part(Stream& stream) {
    auto& lowest = get_lowest_layer(stream);
    beast::error_code ignored;
    lowest.socket().shutdown(tcp::socket::shutdown_send, ignored);
    std::vector<char> sink(16 * 1024);
    std::size_t drained = 0;
    lowest.expires_after(goodbye_patience);
    while (drained < goodbye_bytes_max) {
      auto [failed, bytes] = co_await lowest.async_read_some(asio::buffer(sink), as_result);
      if (failed) break;
      drained += bytes;
    }
    lowest.close();
  }

  asio::awaitable<void> pause(std::int64_t millis) {
    asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds{millis});
    auto [woken] = co_await timer.async_wait(as_result);
    (void)woken;
  }

  // The answer with whatever faults are on it. False: close without a goodbye.
  template <class Stream>
  asio::awaitable<bool> send(Stream& stream, std::string text, const std::vector<Fault>& faults) {
    const Fault* trickle = nullptr;
    for (const Fault& fault : faults) {
      if (fault.kind == FaultKind::latency) co_await pause(fault.latency_ms);
      if (fault.kind == FaultKind::drop_reply) co_return false;
      if (fault.kind == FaultKind::close_mid_reply) {
        const bool sent = co_await write(stream, text.substr(0, text.size() / 2));
        (void)sent;
        co_return false;
      }
      if (fault.kind == FaultKind::trickle) trickle = &fault;
    }
    if (trickle == nullptr) {
      const bool sent = co_await write(stream, std::move(text));
      co_return sent;
    }
    const auto step = static_cast<std::size_t>(trickle->bytes);
    const std::int64_t apart = trickle->latency_ms;
    for (std::size_t at = 0; at < text.size(); at += step) {
      const bool sent = co_await write(stream, text.substr(at, step));
      if (!sent) co_return false;
      co_await pause(apart);
    }
    co_return true;
  }

  // Reads until `wanted` bytes are there. False: the peer went away or was too slow.
  template <class Stream>
  asio::awaitable<bool> fill(Stream& stream, std::string& in, std::size_t wanted) {
    get_lowest_layer(stream).expires_after(settings.read_timeout);
    while (in.size() < wanted) {
      const std::size_t before = in.size();
      in.resize(std::min(wanted, before + read_block_bytes));
      auto [failed, bytes] = co_await stream.async_read_some(
          asio::buffer(in.data() + before, in.size() - before), as_result);
      in.resize(before + (failed ? 0 : bytes));
      if (failed) co_return false;
    }
    co_return true;
  }

  // The length of the head, or 0 when there is none (gone, too slow) or npos when it is too long.
  template <class Stream>
  asio::awaitable<std::size_t> fill_head(Stream& stream, std::string& in) {
    get_lowest_layer(stream).expires_after(settings.read_timeout);
    for (;;) {
      if (const std::size_t end = in.find("\r\n\r\n");
          end != std::string::npos && end + 4 <= settings.header_bytes_max)
        co_return end + 4;
      if (in.size() >= settings.header_bytes_max) co_return std::string::npos;
      const std::size_t before = in.size();
      in.resize(before + 4096);
      auto [failed, bytes] =
          co_await stream.async_read_some(asio::buffer(in.data() + before, 4096), as_result);
      in.resize(before + (failed ? 0 : bytes));
      if (failed) co_return 0;
    }
  }

  // A request refused before its body counts. Always ends the connection.
  template <class Stream>
  asio::awaitable<void> refuse(Stream& stream, const Head& head, std::string_view raw,
                               unsigned status, const char* code, std::string text) {
    Incoming incoming;
    incoming.raw = raw;
    incoming.path = head.path;
    incoming.content_type = head.content_type;
    site.refuse_transport(code, text, incoming, status);
    Outgoing outgoing = bare(status);
    if (status == 405)
      outgoing.headers.emplace_back("Allow",
                                    kind_of(head.path) == Kind::message ? "CCM_POST" : "GET, HEAD");
    if (status == 401) outgoing.headers.emplace_back("WWW-Authenticate", "Negotiate");
    const bool sent = co_await write(stream, reply_text(outgoing, false, false));
    if (sent) co_await part(stream);
  }

  // Serves one request. False ends the connection.
  template <class Stream>
  asio::awaitable<bool> serve_one(Stream& stream, std::string& in, const Channel& channel) {
    const Head
        no_head;  // named: a temporary aggregate in an awaited call is destroyed twice by g++ 12
    const std::size_t head_bytes = co_await fill_head(stream, in);
    if (head_bytes == 0) co_return false;
    if (head_bytes == std::string::npos) {
      co_await refuse(stream, no_head, in, 431, "transport.header_too_long",
                      "The request's header is longer than " +
                          std::to_string(settings.header_bytes_max) + " bytes.");
      co_return false;
    }
    const auto head =
        read_head(std::string_view(in).substr(0, head_bytes), settings.header_bytes_max);
    if (!head) {
      co_await refuse(stream, no_head, in, 400, "transport.malformed_http",
                      "The request's header is no HTTP/1.1.");
      co_return false;
    }
    if (site.faults().any() && !site.faults().draw(head->path, "", true).empty()) {
      Incoming incoming;
      incoming.path = head->path;
      site.note_fault(incoming, "drop_before_read");
      co_return false;
    }
    const std::string_view raw_head = std::string_view(in).substr(0, head_bytes);
    const Kind kind = kind_of(head->path);
    if (channel.tls ? settings.require_client_certificate && !channel.client_certificate
                    : settings.https_only) {
      co_await refuse(stream, *head, raw_head, 403,
                      channel.tls ? "transport.client_certificate" : "transport.http_forbidden",
                      channel.tls ? "A trusted client certificate is required."
                                  : "This management point takes HTTPS only.");
      co_return false;
    }
    if (kind == Kind::none) {
      co_await refuse(stream, *head, raw_head, 404, "transport.path",
                      "There is nothing at " + shown(head->path) + ".");
      co_return false;
    }
    const bool head_only = head->method == "HEAD";
    if (kind == Kind::message ? head->method != "CCM_POST" : head->method != "GET" && !head_only) {
      co_await refuse(stream, *head, raw_head, 405, "transport.method",
                      "The method is " + shown(head->method) + "; this path takes " +
                          (kind == Kind::message ? "CCM_POST." : "GET."));
      co_return false;
    }
    if (head->chunked) {
      co_await refuse(stream, *head, raw_head, 411, "transport.chunked",
                      "The body is chunked; a Content-Length is needed.");
      co_return false;
    }
    if (kind == Kind::message && !head->content_length) {
      co_await refuse(stream, *head, raw_head, 411, "transport.length_missing",
                      "There is no Content-Length.");
      co_return false;
    }
    const std::uint64_t length = head->content_length.value_or(0);
    if (length > settings.content_length_max) {
      co_await refuse(stream, *head, raw_head, 413, "transport.too_long",
                      "Content-Length is " + std::to_string(length) + "; " +
                          std::to_string(settings.content_length_max) + " is the most.");
      co_return false;
    }
    const bool windows_auth = to_lower(head->path).starts_with("/ccm_system_windowsauth");
    if (windows_auth && settings.windows_auth_challenge && !head->has_authorization) {
      co_await refuse(stream, *head, raw_head, 401, "transport.path",
                      "Windows authentication is asked for first.");
      co_return false;
    }
    if (head->expects_continue) {
      const bool sent = co_await write(stream, "HTTP/1.1 100 Continue\r\n\r\n");
      if (!sent) co_return false;
    }
    const std::size_t whole = head_bytes + static_cast<std::size_t>(length);
    const bool there = co_await fill(stream, in, whole);
    Incoming incoming;
    incoming.path = head->path;
    incoming.content_type = head->content_type;
    incoming.windows_authenticated = windows_auth && head->has_authorization;
    incoming.expects_continue = head->expects_continue;
    if (!there) {
      incoming.raw = in;
      site.refuse_transport("transport.cut_off",
                            "The connection ended, or nothing came for too long, after " +
                                std::to_string(in.size() - head_bytes) + " of " +
                                std::to_string(length) + " bytes.",
                            incoming, 0);
      co_return false;
    }
    incoming.raw = std::string_view(in).substr(0, whole);
    incoming.body = incoming.raw.substr(head_bytes);

    std::vector<Fault> faults;
    if (site.faults().any()) {
      const std::string endpoint = kind == Kind::message && site.faults().need_endpoint()
                                       ? peek_endpoint(head->content_type, incoming.body)
                                       : std::string();
      faults = site.faults().draw(head->path, endpoint, false);
    }
    std::optional<Outgoing> outgoing;
    int registration_fault = 0;
    for (const Fault& fault : faults) {
      if (fault.kind == FaultKind::drop_after_read) {
        site.note_fault(incoming, "drop_after_read");
        co_return false;
      }
      if (fault.kind == FaultKind::hostile) {
        site.note_fault(incoming, "hostile");
        if (auto answer = hostile_answer(fault.form)) {
          const bool sent = co_await write(stream, std::move(*answer));
          (void)sent;
        }
        co_return false;
      }
      if (fault.kind == FaultKind::status || fault.kind == FaultKind::empty) {
        outgoing = bare(fault.kind == FaultKind::empty ? 200 : static_cast<unsigned>(fault.status));
        if (fault.retry_after_s >= 0)
          outgoing->headers.emplace_back("Retry-After", std::to_string(fault.retry_after_s));
        site.note_fault(incoming, fault.kind == FaultKind::empty ? "empty" : "status");
      }
      if (fault.kind == FaultKind::registration) registration_fault = fault.status;
    }
    if (!outgoing)
      outgoing = kind == Kind::message
                     ? site.post(incoming, registration_fault)
                     : site.get(kind == Kind::sms_aut ? ".sms_aut" : ".sms_pol", head->query);
    const bool sent =
        co_await send(stream, reply_text(*outgoing, head->keep_alive, head_only), faults);
    in.erase(0, whole);
    if (!sent || head->keep_alive) co_return sent;
    co_await part(stream);
    co_return false;
  }

  template <class Stream>
  asio::awaitable<void> serve(Stream& stream, const Channel& channel) {
    std::string in;
    for (;;) {
      const bool go_on = co_await serve_one(stream, in, channel);
      if (!go_on) break;
    }
    get_lowest_layer(stream).close();
  }

  asio::awaitable<void> serve_plain(tcp::socket socket) {
    beast::tcp_stream stream(std::move(socket));
    const Channel channel;
    co_await serve(stream, channel);
  }

  asio::awaitable<void> serve_tls(tcp::socket socket) {
    beast::ssl_stream<beast::tcp_stream> stream(std::move(socket), tls_context);
    bool trusted = true;
    if (settings.require_client_certificate || !settings.client_ca_file.empty()) {
      beast::error_code ignored;
      stream.set_verify_mode(ssl::verify_peer, ignored);
      // The handshake goes on with any certificate: a real server answers 403 in HTTP, which is
      // what a client must understand.
      stream.set_verify_callback(
          [&trusted](bool verified, ssl::verify_context&) {
            trusted = trusted && verified;
            return true;
          },
          ignored);
    }
    get_lowest_layer(stream).expires_after(settings.read_timeout);
    auto [failed] = co_await stream.async_handshake(ssl::stream_base::server, as_result);
    if (failed) {
      log_.debug("handshake failed", kv("why", failed.message()));
      co_return;
    }
    Channel channel;
    channel.tls = true;
    X509* const peer = SSL_get1_peer_certificate(stream.native_handle());
    channel.client_certificate = peer != nullptr && (trusted || settings.client_ca_file.empty());
    X509_free(peer);
    co_await serve(stream, channel);
  }

  asio::awaitable<void> accept(tcp::acceptor& on, bool tls) {
    while (on.is_open()) {
      auto [failed, socket] = co_await on.async_accept(asio::make_strand(io), as_result);
      if (failed == asio::error::operation_aborted) break;
      if (failed) {
        // Out of descriptors, most likely: wait a little instead of spinning.
        co_await pause(50);
        continue;
      }
      if (connections >= settings.connections_max) continue;  // the socket closes
      beast::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      ++connections;
      auto self = shared_from_this();
      auto strand = socket.get_executor();
      auto ended = [self](std::exception_ptr) { --self->connections; };
      if (tls)
        asio::co_spawn(strand, serve_tls(std::move(socket)), ended);
      else
        asio::co_spawn(strand, serve_plain(std::move(socket)), ended);
    }
  }
};

ManagementPoint::ManagementPoint(asio::io_context& io, MpSettings settings, const Clock& clock)
    : impl_(std::make_shared<Impl>(io, std::move(settings), clock)) {}
ManagementPoint::~ManagementPoint() {
  stop();
}

Result<void> ManagementPoint::start() {
  if (auto opened = impl_->site.open(); !opened) return opened;
  if (auto listening = impl_->listen(impl_->acceptor, impl_->settings.port, impl_->port);
      !listening)
    return listening;
  auto impl = impl_;
  if (impl_->settings.tls) {
    if (auto prepared = impl_->prepare_tls(); !prepared) return prepared;
    if (auto listening =
            impl_->listen(impl_->tls_acceptor, impl_->settings.tls_port, impl_->tls_port);
        !listening)
      return listening;
    asio::co_spawn(impl_->tls_acceptor.get_executor(), impl_->accept(impl_->tls_acceptor, true),
                   [impl](std::exception_ptr) {});
  }
  asio::co_spawn(impl_->acceptor.get_executor(), impl_->accept(impl_->acceptor, false),
                 [impl](std::exception_ptr) {});
  return {};
}

void ManagementPoint::stop() {
  beast::error_code ignored;
  impl_->acceptor.close(ignored);
  impl_->tls_acceptor.close(ignored);
}

std::uint16_t ManagementPoint::port() const {
  return impl_->port;
}
std::uint16_t ManagementPoint::tls_port() const {
  return impl_->tls_port;
}
AdminReply ManagementPoint::admin(const AdminRequest& request) {
  return impl_->site.admin(request);
}
const ClientDirectory& ManagementPoint::clients() const {
  return impl_->site;
}

}  // namespace greengate::sim
