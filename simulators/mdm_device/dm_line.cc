#include "simulators/mdm_device/dm_line.h"

#include "simulators/common/text.h"

#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include <optional>

namespace greengate::sim::mdm {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
using Stream = beast::ssl_stream<beast::tcp_stream>;
using beast::get_lowest_layer;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t answer_bytes_max = 1 << 20;

}  // namespace

Result<DmAddress> DmAddress::parse(const std::string& url, const std::string& connect) {
  const auto wrong = [&](const std::string& what) {
    return fail(Remedy::reject, "option.dm_url", what);
  };
  if (!url.starts_with("https://")) return wrong("The DM server's address is \"" + url + "\"; it begins with https://.");
  DmAddress address;
  const std::string rest = url.substr(8);
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  address.host_field = rest.substr(0, slash);
  address.target = slash < rest.size() ? rest.substr(slash) : "/";
  const std::size_t colon = address.host_field.rfind(':');
  address.name = address.host_field.substr(0, colon);
  address.connect_host = address.name;
  address.connect_port = colon == std::string::npos ? "443" : address.host_field.substr(colon + 1);
  if (!connect.empty()) {
    const std::size_t at = connect.rfind(':');
    if (at == std::string::npos) return wrong("\"" + connect + "\" is no host:port.");
    address.connect_host = connect.substr(0, at);
    address.connect_port = connect.substr(at + 1);
  }
  const auto port = parse_number(address.connect_port);
  if (address.name.empty() || !port || *port == 0 || *port > 65535) return wrong("The DM server's address \"" + url + "\" has no host or no port.");
  return address;
}

struct DmLine::Impl {
  Impl(asio::io_context& context, ssl::context& security, DmAddress where, Issued who, bool check, std::chrono::milliseconds patience)
      : io(context), tls(security), address(std::move(where)), certificate(std::move(who)), verify(check), timeout(patience) {}
  asio::io_context& io;
  ssl::context& tls;
  const DmAddress address;
  const Issued certificate;
  const bool verify;
  const std::chrono::milliseconds timeout;
  std::optional<Stream> stream;
  beast::flat_buffer buffer{answer_bytes_max + 64 * 1024};

  asio::awaitable<std::string> open() {
    asio::ip::tcp::resolver resolver(io);
    auto [unknown, found] = co_await resolver.async_resolve(address.connect_host, address.connect_port, as_result);
    if (unknown) co_return "resolve: " + unknown.message();
    stream.emplace(io, tls);
    buffer.clear();
    SSL* const native = stream->native_handle();
    SSL_use_certificate(native, certificate.certificate.get());
    SSL_use_PrivateKey(native, certificate.key.get());
    SSL_set_tlsext_host_name(native, address.name.c_str());
    beast::error_code ignored;
    stream->set_verify_mode(verify ? ssl::verify_peer : ssl::verify_none, ignored);
    if (verify) stream->set_verify_callback(ssl::host_name_verification(address.name), ignored);
    get_lowest_layer(*stream).expires_after(timeout);
    auto [no_line, peer] = co_await get_lowest_layer(*stream).async_connect(found, as_result);
    if (no_line) {
      stream.reset();
      co_return "connect: " + no_line.message();
    }
    get_lowest_layer(*stream).socket().set_option(asio::ip::tcp::no_delay(true), ignored);
    auto [no_tls] = co_await stream->async_handshake(ssl::stream_base::client, as_result);
    if (no_tls) {
      stream.reset();
      co_return "tls: " + no_tls.message();
    }
    co_return std::string();
  }

  asio::awaitable<Reply> exchange(std::string body, std::vector<std::pair<std::string, std::string>> fields) {
    Reply reply;
    if (!stream) {
      reply.trouble = co_await open();
      if (!reply.trouble.empty()) co_return reply;
    }
    http::request<http::string_body> request(http::verb::post, address.target, 11, std::move(body));
    request.set(http::field::host, address.host_field);
    for (const auto& [name, value] : fields) request.set(name, value);
    request.prepare_payload();
    get_lowest_layer(*stream).expires_after(timeout);
    auto [unsent, sent] = co_await http::async_write(*stream, request, as_result);
    http::response_parser<http::string_body> parser;
    parser.body_limit(answer_bytes_max);
    beast::error_code unread;
    if (!unsent) {
      auto [failed, bytes] = co_await http::async_read(*stream, buffer, parser, as_result);
      unread = failed;
    }
    if (unsent || unread) {
      reply.trouble = unsent ? "send: " + unsent.message() : "read: " + unread.message();
      stream.reset();
      co_return reply;
    }
    auto message = parser.release();
    reply.status = static_cast<int>(message.result_int());
    reply.content_type = std::string(message[http::field::content_type]);
    reply.retry_after = std::string(message[http::field::retry_after]);
    reply.has_length = message.find(http::field::content_length) != message.end();
    const bool keep = message.keep_alive();
    reply.body = std::move(message.body());
    if (!keep) stream.reset();
    co_return reply;
  }
};

DmLine::DmLine(asio::io_context& io, ssl::context& context, DmAddress address, const Issued& certificate, bool verify,
               std::chrono::milliseconds timeout)
    : impl_(std::make_shared<Impl>(io, context, std::move(address), certificate, verify, timeout)) {}
DmLine::~DmLine() = default;

asio::awaitable<DmLine::Reply> DmLine::post(std::string body, std::vector<std::pair<std::string, std::string>> fields) {
  auto impl = impl_;
  Reply reply = co_await impl->exchange(std::move(body), std::move(fields));
  co_return reply;
}

}  // namespace greengate::sim::mdm
