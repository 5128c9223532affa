#include "adapters/http/client.h"

#include "adapters/http/reading.h"
#include "core/log.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <charconv>
#include <list>
#include <map>
#include <mutex>
#include <optional>

namespace greengate::adapters {
namespace {

namespace http = boost::beast::http;
namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;
using boost::system::error_code;
using std::chrono::steady_clock;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t addresses_tried_max = 8;
constexpr std::size_t read_buffer_bytes = 16 * 1024;
constexpr int interim_replies_max = 4;  ///< 1xx before the answer itself.

/// One connection to one server; busy in one exchange, or kept.
struct Connection {
  explicit Connection(asio::io_context& context) : socket(context) {}
  ~Connection() { OPENSSL_cleanse(buffer.data(), buffer.size()); }  // replies can hold tokens
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  tcp::socket socket;
  std::optional<ssl::stream<tcp::socket&>> tls;
  std::vector<char> buffer = std::vector<char>(read_buffer_bytes);
  std::size_t buffered = 0;
  steady_clock::time_point idle_since{};
  bool used_before = false;
  bool untrusted = false;  ///< The peer's certificate does not prove its name.
};

/// An event loop and the connections that live on it.
struct Loop {
  explicit Loop(asio::io_context& given) : context(given) {}
  asio::io_context& context;
  std::map<Url, std::vector<std::unique_ptr<Connection>>> kept;
};

/// A loop of a waiting caller's own.
struct OwnLoop {
  asio::io_context context{1};
  Loop loop{context};
};

/// What the deadline ends: whatever the exchange waits for right now.
struct Attempt {
  bool expired = false;
  bool abandoned = false;
  Connection* connection = nullptr;
  asio::steady_timer* resolving = nullptr;

  void expire() {
    expired = true;
    error_code ignored;
    if (connection)
      connection->socket.close(ignored);  // whoever waits on it is told; nothing is left to report
    if (resolving) resolving->cancel();
  }
};

/// Told apart from a late reply: nothing of ours has reached the server.
tl::unexpected<Error> connect_timeout(const char* doing) {
  return fail(Remedy::retry, "http.connect_timeout",
              std::string("While ") + doing + ": the deadline passed.");
}

/// The exchanges under way, each with the loop whose thread alone may touch it.
struct Running {
  struct One {
    asio::io_context* context;
    std::shared_ptr<Attempt> attempt;
  };
  std::mutex mutex;  // guards what follows
  std::list<One> all;
};

/// Keeps an exchange among them as long as it lives; a coroutine may end later than its client.
class Entry {
 public:
  Entry(std::shared_ptr<Running> running, asio::io_context& context,
        std::shared_ptr<Attempt> attempt)
      : running_(std::move(running)) {
    std::lock_guard lock(running_->mutex);
    place_ = running_->all.insert(running_->all.end(), {&context, std::move(attempt)});
  }
  ~Entry() {
    std::lock_guard lock(running_->mutex);
    running_->all.erase(place_);
  }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

 private:
  std::shared_ptr<Running> running_;
  std::list<Running::One>::iterator place_;
};

/// "127.0.0.1:8443", "[::1]:443"
std::optional<tcp::endpoint> endpoint_of(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string address(text.substr(0, colon));
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  error_code no_address;
  const auto where = asio::ip::make_address(address, no_address);
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
  if (no_address || error != std::errc() || end != text.data() + text.size() || port == 0 || port > 65'535) return std::nullopt;
  return tcp::endpoint(where, static_cast<std::uint16_t>(port));
}

void wipe_credentials(HttpRequest& request) {
  for (auto& [name, value] : request.headers)
    if (name == "Authorization") OPENSSL_cleanse(value.data(), value.size());
}

bool is_token(std::string_view text) {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return std::isalnum(c) != 0 || marks.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool fits_a_line(std::string_view text, bool spaces) {
  return std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return c == ' ' ? spaces : (c > 0x20 && c != 0x7f) || (spaces && c == '\t');
  });
}

/// Request line and headers. Fails http.request when something in it could be taken for another
/// line.
Result<std::string> head_of(const HttpRequest& request) {
  const auto refuse = [](const std::string& what) {
    return fail(Remedy::reject, "http.request", "The request cannot be sent: " + what + ".");
  };
  if (!is_token(request.method)) return refuse("its method is no token");
  if (request.target.empty() || request.target.front() != '/' ||
      !fits_a_line(request.target, false))
    return refuse("its target is no path");
  std::string head;
  std::size_t octets = 512 + request.target.size();
  for (const auto& [name, value] : request.headers) octets += name.size() + value.size() + 4;
  head.reserve(octets);  // never moves: what is wiped later is the only copy
  head.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\nHost: ");
  head.append(request.server.authority()).append("\r\n");
  for (const auto& [name, value] : request.headers) {
    if (!is_token(name) || !fits_a_line(value, true))
      return refuse("its header " + name.substr(0, 40) + " is malformed");
    head.append(name).append(": ").append(value).append("\r\n");
  }
  if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD"))
    head.append("Content-Length: ").append(std::to_string(request.body.size())).append("\r\n");
  return head.append("\r\n");
}

/// A text that may hold credentials, wiped when it has served.
struct Wiped {
  explicit Wiped(std::string& whose) : text(whose) {}
  ~Wiped() { OPENSSL_cleanse(text.data(), text.size()); }
  Wiped(const Wiped&) = delete;
  Wiped& operator=(const Wiped&) = delete;
  std::string& text;
};

/// Where an override leads the host, if one does.
std::optional<tcp::endpoint> overridden(const std::vector<std::string>& overrides, const std::string& host) {
  for (const std::string& entry : overrides) {
    const auto equals = entry.find('=');
    const std::string_view suffix = std::string_view(entry).substr(0, equals);
    const bool fits = host == suffix || (host.size() > suffix.size() && host.ends_with(suffix) && host[host.size() - suffix.size() - 1] == '.');
    const auto to = equals == std::string::npos ? std::nullopt : endpoint_of(std::string_view(entry).substr(equals + 1));
    if (fits && to) return to;
  }
  return std::nullopt;
}

/// Neither this machine nor a network of its own.
bool is_public(const asio::ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) return is_public(asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()));
  if (address.is_unspecified() || address.is_loopback() || address.is_multicast()) return false;
  if (address.is_v6()) {
    const auto bytes = address.to_v6().to_bytes();
    return !address.to_v6().is_link_local() && !address.to_v6().is_site_local() && (bytes[0] & 0xfe) != 0xfc;
  }
  const auto bytes = address.to_v4().to_bytes();
  const bool shared = bytes[0] == 100 && (bytes[1] & 0xc0) == 64;
  return bytes[0] != 0 && bytes[0] != 10 && !(bytes[0] == 172 && (bytes[1] & 0xf0) == 16) && !(bytes[0] == 192 && bytes[1] == 168) &&
         !(bytes[0] == 169 && bytes[1] == 254) && !shared && bytes[0] < 240;
}

/// Addresses of the server's name. The resolver cannot be interrupted, so the caller waits on a
/// timer that it ends.
asio::awaitable<Result<std::vector<tcp::endpoint>>> resolve(asio::io_context& context,
                                                            const Url& server, Attempt& attempt) {
  error_code no_literal;
  const auto literal = asio::ip::make_address(server.host, no_literal);
  if (!no_literal) co_return std::vector<tcp::endpoint>{tcp::endpoint(literal, server.port)};

  struct Answer {
    explicit Answer(asio::io_context& c) : resolver(c), done(c, steady_clock::time_point::max()) {}
    tcp::resolver resolver;
    asio::steady_timer done;
    bool arrived = false;
    error_code error;
    std::vector<tcp::endpoint> endpoints;
  };
  const auto answer = std::make_shared<Answer>(context);
  answer->resolver.async_resolve(
      server.host, std::to_string(server.port),
      [answer](error_code error, const tcp::resolver::results_type& found) {
        answer->arrived = true;
        answer->error = error;
        for (const auto& entry : found)
          if (answer->endpoints.size() < addresses_tried_max)
            answer->endpoints.push_back(entry.endpoint());
        answer->done.cancel();
      });
  attempt.resolving = &answer->done;
  auto [woken] = co_await answer->done.async_wait(as_result);
  static_cast<void>(woken);  // always "cancelled": by the answer, or by the deadline
  attempt.resolving = nullptr;
  if (!answer->arrived)
    co_return connect_timeout("resolving the server's name");
  if (answer->error || answer->endpoints.empty())
    co_return fail(Remedy::retry, "http.resolve",
                   "The server's name is not known: " + answer->error.message() + ".");
  co_return std::move(answer->endpoints);
}

/// A step's own limit inside the exchange's: what it waits for is ended, and `late` says why.
class StepLimit {
 public:
  StepLimit(asio::io_context& context, std::chrono::milliseconds limit, Attempt& attempt) : timer_(context), late_(std::make_shared<Late>()) {
    if (limit.count() <= 0) return;
    late_->attempt = &attempt;
    timer_.expires_after(limit);
    timer_.async_wait([late = late_](error_code cancelled) {
      if (cancelled || !late->attempt) return;
      late->passed = true;
      error_code ignored;
      if (late->attempt->connection) late->attempt->connection->socket.close(ignored);
      if (late->attempt->resolving) late->attempt->resolving->cancel();
    });
  }
  ~StepLimit() { late_->attempt = nullptr; }  // the timer's handler may be on its way already
  StepLimit(const StepLimit&) = delete;
  StepLimit& operator=(const StepLimit&) = delete;
  bool passed() const { return late_->passed; }

 private:
  struct Late {
    Attempt* attempt = nullptr;
    bool passed = false;
  };
  asio::steady_timer timer_;
  std::shared_ptr<Late> late_;
};

std::string_view family_of(const Url& server) {
  return server.tls ? "https" : "http";
}

}  // namespace

struct HttpClient::State {
  State(asio::io_context& net_context, HttpClientConfig given, Metrics& metrics)
      : config(std::move(given)),
        net(net_context),
        tls(ssl::context::tls_client),
        replies(metrics.counter("greengate_http_exchanges_total",
                                "HTTP exchanges by how they ended", {{"outcome", "reply"}})),
        errors(metrics.counter("greengate_http_exchanges_total", "HTTP exchanges by how they ended",
                               {{"outcome", "error"}})),
        opened(
            metrics.counter("greengate_http_connections_opened_total", "HTTP connections opened")),
        resent(metrics.counter("greengate_http_resent_total",
                               "Requests sent again because a kept connection had been closed")) {}

  Result<void> read_certificates();
  asio::awaitable<Result<std::unique_ptr<Connection>>> connect(Loop& loop, Url server,
                                                               Attempt& attempt);
  asio::awaitable<Result<HttpResponse>> exchange(Loop& loop, const HttpRequest& request,
                                                 Attempt& attempt);
  asio::awaitable<void> exchange_into(Loop& loop, const HttpRequest& request, Attempt& attempt,
                                      std::optional<Result<HttpResponse>>& answer);
  std::unique_ptr<Connection> take_kept(Loop& loop, const Url& server);
  void keep(Loop& loop, const Url& server, std::unique_ptr<Connection> connection);

  const HttpClientConfig config;
  Loop net;
  ssl::context tls;
  std::string pin;  // 32 bytes, or empty
  std::atomic<bool> stopping{false};

  const Counter replies, errors, opened, resent;

  const std::shared_ptr<Running> running = std::make_shared<Running>();

  std::mutex mutex;  // guards idle_loops
  std::vector<std::unique_ptr<OwnLoop>>
      idle_loops;  // the last returned is taken first: its connections are fresh
};

Result<void> HttpClient::State::read_certificates() {
  const auto refuse = [](const std::string& what, const error_code& error) {
    return fail(Remedy::reject, "http.tls_config", what + ": " + error.message() + ".");
  };
  error_code error;
  SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_2_VERSION);
  if (!config.pinned_sha256.empty()) {
    for (std::size_t i = 0; i + 1 < config.pinned_sha256.size(); i += 2)
      pin.push_back(
          static_cast<char>(std::strtol(config.pinned_sha256.substr(i, 2).c_str(), nullptr, 16)));
  } else if (!config.ca_file.empty()) {
    tls.load_verify_file(config.ca_file, error);
    if (error) return refuse("The CA file " + config.ca_file + " cannot be used", error);
  } else {
    tls.set_default_verify_paths(error);
    if (error) return refuse("The system's certificates cannot be used", error);
  }
  tls.set_verify_mode(ssl::verify_peer, error);
  if (!config.client_certificate_file.empty()) {
    tls.use_certificate_chain_file(config.client_certificate_file, error);
    if (error)
      return refuse("The client certificate " + config.client_certificate_file + " cannot be used",
                    error);
    tls.use_private_key_file(config.client_key_file, ssl::context::pem, error);
    if (error) return refuse("The client key " + config.client_key_file + " cannot be used", error);
  }
  return {};
}

std::unique_ptr<Connection> HttpClient::State::take_kept(Loop& loop, const Url& server) {
  const auto found = loop.kept.find(server);
  if (found == loop.kept.end()) return nullptr;
  auto& waiting = found->second;
  const auto oldest = steady_clock::now() - config.kept_idle_max;
  std::erase_if(waiting, [&](const auto& connection) { return connection->idle_since < oldest; });
  if (waiting.empty()) return nullptr;
  auto connection = std::move(waiting.back());
  waiting.pop_back();
  return connection;
}

void HttpClient::State::keep(Loop& loop, const Url& server,
                             std::unique_ptr<Connection> connection) {
  auto& waiting = loop.kept[server];
  if (waiting.size() >= config.kept_per_server_max) return;
  connection->idle_since = steady_clock::now();
  connection->used_before = true;
  waiting.push_back(std::move(connection));
}

asio::awaitable<Result<std::unique_ptr<Connection>>> HttpClient::State::connect(Loop& loop,
                                                                                Url server,
                                                                                Attempt& attempt) {
  std::optional<StepLimit> limit;
  limit.emplace(loop.context, config.connect_timeout, attempt);
  std::vector<tcp::endpoint> endpoints;
  if (const auto instead = overridden(config.connect_override, server.host)) {
    endpoints.push_back(*instead);
  } else {
    auto found = co_await resolve(loop.context, server, attempt);
    if (!found) co_return pass(found);
    // The name's answer and the end may come in the same breath.
    if (attempt.expired || limit->passed()) co_return connect_timeout("resolving the server's name");
    endpoints = std::move(*found);
    if (config.public_addresses_only) std::erase_if(endpoints, [](const tcp::endpoint& to) { return !is_public(to.address()); });
    if (endpoints.empty())
      co_return fail(Remedy::retry, "http.address", server.host + " leads to this machine or a private network; it is not called.");
  }
  auto connection = std::make_unique<Connection>(loop.context);
  attempt.connection = connection.get();
  error_code failed = asio::error::host_not_found;
  for (const tcp::endpoint& endpoint : endpoints) {
    error_code ignored;
    connection->socket.close(ignored);
    auto [error] = co_await connection->socket.async_connect(endpoint, as_result);
    failed = error;
    if (!failed || attempt.expired || limit->passed()) break;
  }
  if (attempt.expired || limit->passed()) failed = asio::error::operation_aborted;
  if (failed) {
    attempt.connection = nullptr;
    if (failed == asio::error::operation_aborted) co_return connect_timeout("connecting");
    co_return fail(Remedy::retry, "http.connect",
                   "No connection to " + server.authority() + ": " + failed.message() + ".");
  }
  opened.add();
  error_code ignored;  // without it only latency is lost
  connection->socket.set_option(tcp::no_delay(true), ignored);
  if (!server.tls) co_return connection;

  connection->tls.emplace(connection->socket, tls);
  error_code no_literal;
  asio::ip::make_address(server.host, no_literal);
  if (no_literal) SSL_set_tlsext_host_name(connection->tls->native_handle(), server.host.c_str());
  if (pin.empty()) {
    connection->tls->set_verify_callback(
        [check = ssl::host_name_verification(server.host), peer = connection.get()](bool so_far, ssl::verify_context& chain) {
          const bool proven = check(so_far, chain);
          if (!proven) peer->untrusted = true;
          return proven;
        },
        ignored);
  } else {
    connection->tls->set_verify_callback(
        [this, peer = connection.get()](bool, ssl::verify_context& chain) {
          // Only the server's own certificate is compared; what signed it does not matter to a pin.
          X509_STORE_CTX* store = chain.native_handle();
          if (X509_STORE_CTX_get_error_depth(store) != 0) return true;
          X509* certificate = X509_STORE_CTX_get_current_cert(store);
          std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
          unsigned length = 0;
          peer->untrusted = !certificate || X509_digest(certificate, EVP_sha256(), digest.data(), &length) != 1 ||
                            pin != std::string_view(reinterpret_cast<const char*>(digest.data()), length);
          return !peer->untrusted;
        },
        ignored);
  }
  limit.emplace(loop.context, config.tls_timeout, attempt);
  auto [no_handshake] =
      co_await connection->tls->async_handshake(ssl::stream_base::client, as_result);
  if (attempt.expired || limit->passed() || no_handshake) {
    attempt.connection = nullptr;
    if (attempt.expired || limit->passed()) co_return connect_timeout("greeting the server");
    co_return fail(Remedy::retry, connection->untrusted ? "http.tls_untrusted" : "http.tls",
                   "No " + std::string(family_of(server)) + " with " + server.authority() + ": " +
                       no_handshake.message() + ".");
  }
  co_return connection;
}

namespace {

/// How one try on one connection ended.
struct Spoken {
  Spoken() = default;
  error_code error;
  const char* doing = "";
  bool nothing_arrived = true;
  bool keep = false;
  HttpResponse reply;
};

/// Sends the request and reads the reply. Over a plain socket or TLS alike.
template <class Stream>
asio::awaitable<Spoken> speak(Stream& stream, Connection& connection,
                              const HttpClientConfig& config, const std::string& head,
                              const HttpRequest& request) {
  Spoken spoken;
  const std::array<asio::const_buffer, 2> parts{asio::buffer(head), asio::buffer(request.body)};
  auto [not_sent, sent] = co_await asio::async_write(stream, parts, as_result);
  static_cast<void>(sent);
  if (not_sent) {
    spoken.error = not_sent;
    spoken.doing = "sending the request";
    co_return spoken;
  }

  spoken.doing = "reading the reply";
  for (int interim = 0;; ++interim) {
    ReplyParser parser;
    parser.header_limit(static_cast<std::uint32_t>(config.header_bytes_max));
    parser.body_limit(config.body_bytes_max);
    parser.eager(true);
    if (request.method == "HEAD") parser.skip(true);
    while (!parser.is_done()) {
      if (connection.buffered > 0) {
        error_code error;
        const std::size_t used =
            parser.put(asio::buffer(connection.buffer.data(), connection.buffered), error);
        connection.buffered -= used;
        if (used > 0)
          std::copy_n(connection.buffer.data() + used, connection.buffered,
                      connection.buffer.data());
        if (error == http::error::body_limit && config.cut_long_bodies) {
          spoken.reply = take_reply(parser);  // what it says in its head is known; the connection is not kept
          co_return spoken;
        }
        if (error && error != http::error::need_more) {
          spoken.error = error;
          co_return spoken;
        }
        if (parser.is_done()) break;
        if (!error && used > 0) continue;
        // Only a header whose end has not come yet is left unread: it may need more room.
        if (connection.buffered == connection.buffer.size()) {
          if (connection.buffer.size() >= config.header_bytes_max) {
            spoken.error = http::error::header_limit;
            co_return spoken;
          }
          connection.buffer.resize(std::min(connection.buffer.size() * 2, config.header_bytes_max));
        }
      }
      auto [error, read] = co_await stream.async_read_some(
          asio::buffer(connection.buffer.data() + connection.buffered,
                       connection.buffer.size() - connection.buffered),
          as_result);
      connection.buffered += read;
      if (read > 0) spoken.nothing_arrived = false;
      if (error == asio::error::eof || error == ssl::error::stream_truncated) {
        error_code cut;
        if (parser.got_some()) parser.put_eof(cut);  // a body without a length ends here
        if (!parser.is_done() || cut) {
          spoken.error = cut ? cut : error;
          co_return spoken;
        }
      } else if (error) {
        spoken.error = error;
        co_return spoken;
      }
    }
    if (parser.get().result_int() / 100 == 1 && interim < interim_replies_max) continue;
    spoken.keep = parser.keep_alive() && connection.buffered == 0;
    spoken.reply = take_reply(parser);
    co_return spoken;
  }
}

bool closed_by_peer(const error_code& error) {
  return error == asio::error::eof || error == asio::error::connection_reset ||
         error == asio::error::broken_pipe || error == ssl::error::stream_truncated;
}

}  // namespace

asio::awaitable<Result<HttpResponse>> HttpClient::State::exchange(Loop& loop,
                                                                  const HttpRequest& request,
                                                                  Attempt& attempt) {
  auto head = head_of(request);
  if (!head) co_return pass(head);
  const Wiped wiped(*head);
  for (auto connection = take_kept(loop, request.server);; connection = nullptr) {
    // Ended before it waited for anything: nobody would end it a second time.
    if (attempt.expired) co_return http_error("sending the request", asio::error::operation_aborted);
    if (!connection) {
      auto made = co_await connect(loop, request.server, attempt);
      if (!made) co_return pass(made);
      connection = std::move(*made);
    }
    attempt.connection = connection.get();
    // Not a conditional expression: g++ 12 destroys an awaited result in one twice.
    Spoken spoken;
    if (connection->tls) {
      spoken = co_await speak(*connection->tls, *connection, config, *head, request);
    } else {
      spoken = co_await speak(connection->socket, *connection, config, *head, request);
    }
    attempt.connection = nullptr;
    if (attempt.expired) co_return http_error(spoken.doing, asio::error::operation_aborted);
    if (spoken.error) {
      if (connection->used_before && spoken.nothing_arrived && closed_by_peer(spoken.error)) {
        resent.add();
        loop.kept.erase(request.server);  // its sisters are of the same age
        continue;
      }
      co_return http_error(spoken.doing, spoken.error);
    }
    if (spoken.keep) keep(loop, request.server, std::move(connection));
    if (spoken.reply.status >= 300 && spoken.reply.status < 400)
      co_return fail(Remedy::retry, "http.redirect",
                     "The server answered " + std::to_string(spoken.reply.status) +
                         "; redirects are not followed.");
    co_return std::move(spoken.reply);
  }
}

asio::awaitable<void> HttpClient::State::exchange_into(
    Loop& loop, const HttpRequest& request, Attempt& attempt,
    std::optional<Result<HttpResponse>>& answer) {
  auto result = co_await exchange(loop, request, attempt);
  if (!result && attempt.abandoned)
    result = fail(Remedy::halt, "http.stopping", "The exchange was abandoned.");
  (result ? replies : errors).add();
  answer.emplace(std::move(result));
}

Result<std::unique_ptr<HttpClient>> HttpClient::create(asio::io_context& net,
                                                       HttpClientConfig config, Metrics& metrics) {
  auto state = std::make_unique<State>(net, std::move(config), metrics);
  auto read = state->read_certificates();
  if (!read) return pass(read);
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(state)));
}

HttpClient::HttpClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpClient::~HttpClient() = default;

void HttpClient::stop() {
  state_->stopping = true;
}

void HttpClient::close_idle() {
  const auto oldest = steady_clock::now() - state_->config.kept_idle_max;
  for (auto& [server, waiting] : state_->net.kept)
    std::erase_if(waiting, [&](const auto& connection) { return connection->idle_since < oldest; });
  std::erase_if(state_->net.kept, [](const auto& named) { return named.second.empty(); });
}

void HttpClient::abandon() {
  stop();
  std::lock_guard lock(state_->running->mutex);
  for (const auto& running : state_->running->all)
    asio::post(*running.context, [attempt = running.attempt] {
      attempt->abandoned = true;
      attempt->expire();
    });
}

asio::awaitable<Result<HttpResponse>> HttpClient::exchange(HttpRequest request) {
  if (state_->stopping)
    co_return fail(Remedy::halt, "http.stopping", "The HTTP client is stopping.");
  const auto attempt = std::make_shared<Attempt>();
  const Entry entry(state_->running, state_->net.context, attempt);
  asio::steady_timer deadline(state_->net.context, request.deadline);
  deadline.async_wait([attempt](error_code cancelled) {
    if (!cancelled) attempt->expire();
  });
  std::optional<Result<HttpResponse>> answer;
  co_await state_->exchange_into(state_->net, request, *attempt, answer);
  wipe_credentials(request);
  co_return std::move(*answer);
}

Result<HttpResponse> HttpClient::exchange_and_wait(HttpRequest request) {
  if (state_->stopping) return fail(Remedy::halt, "http.stopping", "The HTTP client is stopping.");
  std::unique_ptr<OwnLoop> own;
  {
    std::lock_guard lock(state_->mutex);
    if (!state_->idle_loops.empty()) {
      own = std::move(state_->idle_loops.back());
      state_->idle_loops.pop_back();
    }
  }
  if (!own) own = std::make_unique<OwnLoop>();

  const auto until = steady_clock::now() + request.deadline;
  const auto attempt = std::make_shared<Attempt>();
  std::optional<Result<HttpResponse>> answer;
  {
    const Entry entry(state_->running, own->context, attempt);
    // Who was not in the list when abandon() read it sees its flag here.
    if (state_->stopping)
      return fail(Remedy::halt, "http.stopping", "The HTTP client is stopping.");
    asio::co_spawn(own->context, state_->exchange_into(own->loop, request, *attempt, answer),
                   [](std::exception_ptr thrown) {
                     if (thrown) std::rethrow_exception(thrown);  // out of memory, or a bug of ours
                   });
    own->context.restart();
    while (!answer && own->context.run_one_until(until) > 0) {
    }
    if (!answer) {
      attempt->expire();
      while (!answer && own->context.run_one() > 0) {
      }
    }
  }
  // The coroutine's own end may still be queued, or a word from abandon(); neither must find the
  // next exchange of this loop.
  own->context.poll();
  std::lock_guard lock(state_->mutex);
  state_->idle_loops.push_back(std::move(own));
  return std::move(*answer);
}

std::vector<ConfigProblem> HttpClientConfig::problems(const std::string& prefix) const {
  std::vector<ConfigProblem> found;
  const auto complain = [&](const char* key, const std::string& message) {
    found.push_back({prefix + "." + key, prefix + "." + key + message});
  };
  const bool hex = std::all_of(pinned_sha256.begin(), pinned_sha256.end(),
                               [](unsigned char c) { return std::isxdigit(c) != 0; });
  if (!pinned_sha256.empty() && (pinned_sha256.size() != 64 || !hex))
    complain("pinned_sha256", " must be the 64 hex digits of the certificate's SHA-256.");
  if (client_certificate_file.empty() != client_key_file.empty())
    complain("client_certificate_file", " and client_key_file go together.");
  if (header_bytes_max < read_buffer_bytes || header_bytes_max > 1u << 20)
    complain("header_bytes_max", " must lie between 16KiB and 1MiB.");
  if (body_bytes_max < 1024 || body_bytes_max > (1u << 30))
    complain("body_bytes_max", " must lie between 1KiB and 1GiB.");
  if (kept_per_server_max > 1000) complain("kept_per_server_max", " can be at most 1000.");
  for (const std::string& entry : connect_override) {
    const auto equals = entry.find('=');
    if (equals == std::string::npos || equals == 0 || !endpoint_of(std::string_view(entry).substr(equals + 1)))
      complain("connect_override", " holds \"" + entry + "\"; each takes the form \"host suffix=address:port\".");
  }
  return found;
}

}  // namespace greengate::adapters
