#include "adapters/mdm/dm_server.h"

#include "core/log.h"

#include <openssl/bn.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

namespace greengate::adapters {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;
using boost::system::error_code;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr auto accept_pause = std::chrono::milliseconds(100);
constexpr auto farewell_time = std::chrono::seconds(1);
constexpr std::size_t farewell_bytes_max = 8 << 20;  ///< Of a refused request that are still read.
constexpr std::string_view syncml_type = "application/vnd.syncml.dm+xml";

using Stream = ssl::stream<beast::tcp_stream>;

struct Address {
  std::string host;
  std::uint16_t port = 0;
};

std::optional<Address> address_of(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || colon + 1 == text.size()) return std::nullopt;
  Address address;
  address.host = text.substr(0, colon);
  if (address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']') {
    address.host = address.host.substr(1, address.host.size() - 2);
  }
  unsigned port = 0;
  for (const char c : text.substr(colon + 1)) {
    if (c < '0' || c > '9') return std::nullopt;
    port = port * 10 + static_cast<unsigned>(c - '0');
    if (port > 65'535) return std::nullopt;
  }
  error_code error;
  static_cast<void>(asio::ip::make_address(address.host, error));
  if (error) return std::nullopt;
  address.port = static_cast<std::uint16_t>(port);
  return address;
}

std::string lower(std::string_view text) {
  std::string low(text);
  std::transform(low.begin(), low.end(), low.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return low;
}

/// The media type, and no charset but UTF-8.
bool is_syncml(std::string_view content_type) {
  const std::string type = lower(content_type);
  const auto semicolon = type.find(';');
  std::string media = type.substr(0, semicolon);
  while (!media.empty() && media.back() == ' ') media.pop_back();
  if (media != syncml_type) return false;
  const auto charset = type.find("charset=");
  return charset == std::string::npos || type.find("utf-8", charset) != std::string::npos;
}

std::string hex(const unsigned char* bytes, std::size_t size) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

std::string serial_of(const X509* certificate) {
  BIGNUM* number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr);
  if (!number) return {};
  char* text = BN_bn2hex(number);
  std::string serial = text ? lower(text) : "";
  OPENSSL_free(text);
  BN_free(number);
  const auto first = serial.find_first_not_of('0');
  return first == std::string::npos ? "0" : serial.substr(first);
}

std::string issuer_of(const X509* certificate) {
  BIO* out = BIO_new(BIO_s_mem());
  if (!out) return {};
  X509_NAME_print_ex(out, X509_get_issuer_name(certificate), 0, XN_FLAG_RFC2253);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(out, &bytes);
  std::string text(bytes, static_cast<std::size_t>(std::clamp<long>(size, 0, 4'096)));
  BIO_free(out);
  return text;
}

/// Does its chain lead to one of our CAs, at this moment? Asked here and not in the handshake, so that a person reads 403 and not an alert.
bool is_trusted(SSL* tls, X509* certificate, std::time_t now) {
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  if (!context) return false;
  bool good = X509_STORE_CTX_init(context, SSL_CTX_get_cert_store(SSL_get_SSL_CTX(tls)), certificate, SSL_get_peer_cert_chain(tls)) == 1;
  if (good) {
    X509_VERIFY_PARAM* rules = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_time(rules, now);
    X509_VERIFY_PARAM_set_depth(rules, 4);
    X509_VERIFY_PARAM_set_purpose(rules, X509_PURPOSE_SSL_CLIENT);
    good = X509_verify_cert(context) == 1;
  }
  X509_STORE_CTX_free(context);
  return good;
}

DmPeer peer_of(SSL* tls, bool has_authority, WallTime now) {
  DmPeer peer;
  X509* certificate = SSL_get0_peer_certificate(tls);
  if (!certificate) return peer;
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size <= 0) return peer;
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(der, static_cast<std::size_t>(size), digest.data());
  OPENSSL_free(der);
  peer.fingerprint = hex(digest.data(), digest.size());
  peer.serial = serial_of(certificate);
  peer.issuer = issuer_of(certificate);
  std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  peer.in_time = X509_cmp_time(X509_get0_notBefore(certificate), &seconds) < 0 && X509_cmp_time(X509_get0_notAfter(certificate), &seconds) > 0;
  peer.trusted = has_authority && is_trusted(tls, certificate, seconds);
  return peer;
}

}  // namespace

std::vector<ConfigProblem> DmServerConfig::problems() const {
  std::vector<ConfigProblem> found;
  const auto complain = [&](const char* key, const std::string& what) { found.push_back({key, std::string(key) + what}); };
  if (!address_of(listen)) complain("mdm.listen", " is \"" + listen + "\"; it takes an address and a port, such as \"0.0.0.0:8443\".");
  if (path.empty() || path.front() != '/' || path.size() > 256) complain("mdm.path", " is \"" + path + "\"; it begins with a slash, such as \"/dm\".");
  if (certificate_file.empty() || key_file.empty()) complain("mdm.certificate_file", " or mdm.key_file is missing; devices speak TLS alone.");
  if (threads < 1 || threads > 64) complain("mdm.threads", " is " + std::to_string(threads) + "; it can be 1 to 64 (2 if left out).");
  if (connections_max < 1 || connections_max > 1'000'000) complain("mdm.connections_max", " can be 1 to 1000000.");
  for (const auto& [key, value] : {std::pair{"mdm.handshake_timeout", handshake_timeout}, {"mdm.request_timeout", request_timeout},
                                   {"mdm.idle_timeout", idle_timeout}}) {
    if (value < std::chrono::milliseconds(100) || value > std::chrono::minutes(10)) complain(key, " is " + duration_text(value) + "; it can be 100ms to 10min.");
  }
  return found;
}

struct DmServer::State {
  State(DmServerConfig given, Handler handle, const Clock& given_clock, Metrics& metrics)
      : config(std::move(given)),
        handler(std::move(handle)),
        clock(given_clock),
        acceptor(asio::make_strand(context)),
        connections_opened(metrics.counter("greengate_mdm_connections_total", "TLS connections of Windows devices that were accepted.")),
        connections_refused(metrics.counter("greengate_mdm_connections_refused_total", "Connections closed at once: there were too many.")),
        connections_open(metrics.gauge("greengate_mdm_connections_open", "TLS connections of Windows devices open now.")) {}

  Result<void> prepare_tls();
  Result<void> listen();
  asio::awaitable<void> accept();
  asio::awaitable<void> serve(std::shared_ptr<Stream> stream);
  http::response<http::string_body> answer(const http::request<http::string_body>& request, const DmPeer& peer);

  const DmServerConfig config;
  const Handler handler;
  const Clock& clock;
  const Log log{"mdm"};
  asio::io_context context;
  ssl::context tls{ssl::context::tls_server};
  tcp::acceptor acceptor;
  const Counter connections_opened, connections_refused;
  const Gauge connections_open;
  std::vector<std::thread> threads;
  std::atomic<bool> stopping{false}, draining{false};
  std::uint16_t port = 0;

  std::mutex mutex;  // guards what follows
  std::map<const void*, std::weak_ptr<Stream>> open;
};

Result<void> DmServer::State::prepare_tls() {
  const auto refuse = [](const std::string& file, const error_code& error) {
    return fail(Remedy::reject, "mdm.certificate", file + " cannot be used: " + error.message() + ".");
  };
  error_code error;
  tls.set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 | ssl::context::no_sslv3 |
                      ssl::context::no_compression | ssl::context::single_dh_use,
                  error);
  // Each connection shows its certificate anew: who may come is decided now, not when a ticket was written.
  SSL_CTX_set_options(tls.native_handle(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_num_tickets(tls.native_handle(), 0);
  SSL_CTX_set_session_cache_mode(tls.native_handle(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(tls.native_handle(), SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_max_cert_list(tls.native_handle(), 32 * 1024);
  tls.use_certificate_chain_file(config.certificate_file, error);
  if (error) return refuse(config.certificate_file, error);
  tls.use_private_key_file(config.key_file, ssl::context::pem, error);
  if (error) return refuse(config.key_file, error);
  if (!config.client_ca_file.empty()) {
    tls.load_verify_file(config.client_ca_file, error);
    if (error) return refuse(config.client_ca_file, error);
    SSL_CTX_set_client_CA_list(tls.native_handle(), SSL_load_client_CA_file(config.client_ca_file.c_str()));
  }
  tls.set_verify_mode(ssl::verify_peer, error);
  tls.set_verify_callback([](bool, ssl::verify_context&) { return true; }, error);
  return {};
}

Result<void> DmServer::State::listen() {
  const auto where = address_of(config.listen);
  const auto refuse = [&](const std::string& why) { return fail(Remedy::reject, "mdm.listen", "Cannot listen on " + config.listen + ": " + why + "."); };
  if (!where) return refuse("that is no address");
  error_code error;
  const tcp::endpoint endpoint(asio::ip::make_address(where->host), where->port);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return refuse(error.message());
  port = acceptor.local_endpoint(error).port();
  return {};
}

asio::awaitable<void> DmServer::State::accept() {
  while (!stopping) {
    // A strand each: its timer and its reads may not meet on two threads.
    auto strand = asio::make_strand(context);
    auto [error, socket] = co_await acceptor.async_accept(strand, as_result);
    if (stopping || error == asio::error::operation_aborted) co_return;
    if (error) {
      log.warn("accept failed", kv("why", error.message()));
      asio::steady_timer pause(acceptor.get_executor(), accept_pause);
      auto [woken] = co_await pause.async_wait(as_result);
      static_cast<void>(woken);
      continue;
    }
    const auto stream = std::make_shared<Stream>(beast::tcp_stream(std::move(socket)), tls);
    {
      std::lock_guard lock(mutex);
      if (open.size() >= config.connections_max) {
        connections_refused.add();
        continue;  // dropping it closes it
      }
      open.emplace(stream.get(), stream);
      connections_open.set(static_cast<double>(open.size()));
    }
    connections_opened.add();
    asio::co_spawn(strand, serve(stream), [this, key = stream.get()](std::exception_ptr thrown) {
      {
        std::lock_guard lock(mutex);
        open.erase(key);
        connections_open.set(static_cast<double>(open.size()));
      }
      if (thrown) std::rethrow_exception(thrown);
    });
  }
}

http::response<http::string_body> DmServer::State::answer(const http::request<http::string_body>& request, const DmPeer& peer) {
  http::response<http::string_body> reply(http::status::ok, request.version());
  const auto plain = [&](unsigned status, std::string text) {
    reply.result(status);
    reply.set(http::field::content_type, "text/plain");
    reply.body() = std::move(text);
  };
  const std::string_view target(request.target().data(), request.target().size());
  if (target.substr(0, target.find('?')) != config.path) {
    plain(404, "There is nothing here.\n");
  } else if (request.method() != http::verb::post) {
    reply.set(http::field::allow, "POST");
    plain(405, "Management messages are posted.\n");
  } else if (const auto type = request[http::field::content_type]; !is_syncml({type.data(), type.size()})) {
    plain(415, "Management messages are application/vnd.syncml.dm+xml in UTF-8.\n");
  } else {
    DmReply made = handler(peer, request.body());
    if (made.status == 200) {
      reply.set(http::field::content_type, syncml_type);
      reply.body() = std::move(made.body);
    } else {
      plain(made.status, std::move(made.body));
    }
    if (made.retry_after.count() > 0) reply.set(http::field::retry_after, std::to_string(made.retry_after.count()));
  }
  return reply;
}

asio::awaitable<void> DmServer::State::serve(std::shared_ptr<Stream> stream) {
  auto& socket = beast::get_lowest_layer(*stream);
  socket.expires_after(config.handshake_timeout);
  auto [refused] = co_await stream->async_handshake(ssl::stream_base::server, as_result);
  if (refused || stopping) co_return;
  error_code no_remote;
  DmPeer peer = peer_of(stream->native_handle(), !config.client_ca_file.empty(), clock.wall());
  if (const auto remote = socket.socket().remote_endpoint(no_remote); !no_remote) peer.remote = remote.address().to_string();

  beast::flat_buffer buffer(config.header_bytes_max + config.message_bytes_max);
  for (bool go_on = true; go_on && !stopping;) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(config.header_bytes_max));
    parser.body_limit(config.message_bytes_max);
    if (buffer.size() == 0) {
      socket.expires_after(config.idle_timeout);
      auto [gone, first] = co_await stream->async_read_some(buffer.prepare(4096), as_result);
      if (gone) break;
      buffer.commit(first);
    }
    // From the first byte on there is one deadline for all: a byte now and then does not move it.
    socket.expires_after(config.request_timeout);
    auto [error, read] = co_await http::async_read(*stream, buffer, parser, as_result);
    static_cast<void>(read);
    http::response<http::string_body> reply;
    bool keep_alive = false;
    if (!error) {
      const auto request = parser.release();
      http::response<http::string_body> answered = answer(request, peer);
      reply = std::move(answered);
      // Who comes back in a minute would only hold another's place until then.
      const bool come_later = reply.result() == http::status::too_many_requests || reply.result() == http::status::service_unavailable;
      keep_alive = request.keep_alive() && !draining && !come_later;
    } else {
      const bool not_http = error.category() == http::make_error_code(http::error::bad_method).category() &&
                            error != http::error::end_of_stream && error != http::error::partial_message;
      if (error == http::error::body_limit) reply.result(413);
      else if (error == http::error::header_limit || error == http::error::buffer_overflow) reply.result(431);
      else if (not_http) reply.result(400);
      else break;  // gone, or too slow
      reply.set(http::field::content_type, "text/plain");
      reply.body() = "The request was not taken.\n";
    }
    go_on = keep_alive;
    reply.keep_alive(keep_alive);
    reply.prepare_payload();
    socket.expires_after(config.request_timeout);
    auto [not_sent, sent] = co_await http::async_write(*stream, reply, as_result);
    static_cast<void>(sent);
    if (not_sent) break;
    if (!error) continue;
    // Closing with unread bytes would reset the connection, and a refused device would never see why.
    socket.expires_after(farewell_time);
    std::array<char, 16 * 1024> unread;
    for (std::size_t bytes = 0; bytes < farewell_bytes_max;) {
      auto [gone, more] = co_await stream->async_read_some(asio::buffer(unread), as_result);
      if (gone) break;
      bytes += more;
    }
  }
  socket.expires_after(farewell_time);
  auto [not_closed] = co_await stream->async_shutdown(as_result);
  static_cast<void>(not_closed);
  socket.close();
}

DmServer::DmServer(DmServerConfig config, Handler handler, const Clock& clock, Metrics& metrics)
    : state_(std::make_unique<State>(std::move(config), std::move(handler), clock, metrics)) {}

DmServer::~DmServer() { stop(); }

Result<void> DmServer::start() {
  if (auto ready = state_->prepare_tls(); !ready) return ready;
  if (auto ready = state_->listen(); !ready) return ready;
  asio::co_spawn(state_->acceptor.get_executor(), state_->accept(), [](std::exception_ptr thrown) {
    if (thrown) std::rethrow_exception(thrown);
  });
  for (std::uint32_t i = 0; i < state_->config.threads; ++i) state_->threads.emplace_back([this] { state_->context.run(); });
  state_->log.info("listening for Windows devices", kv("endpoint", state_->config.listen));
  return {};
}

void DmServer::drain(SteadyTime) {
  state_->draining = true;
  asio::post(state_->acceptor.get_executor(), [this] {
    error_code ignored;  // closing is all that is left to do
    state_->acceptor.close(ignored);
  });
}

void DmServer::stop() {
  if (state_->stopping.exchange(true)) return;
  state_->context.stop();
  for (std::thread& thread : state_->threads) thread.join();
  state_->threads.clear();
  // Nobody works on them any more; without this they would stay open until the server is gone.
  std::lock_guard lock(state_->mutex);
  for (const auto& [key, stream] : state_->open) {
    if (const auto still = stream.lock()) beast::get_lowest_layer(*still).close();
  }
}

std::uint16_t DmServer::port() const { return state_->port; }

}  // namespace greengate::adapters
