#include "adapters/http/server.h"

#include "core/log.h"

#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>
#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <type_traits>

namespace greengate::adapters {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;
using local = asio::local::stream_protocol;
using boost::system::error_code;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr auto farewell_time = std::chrono::seconds(1);
constexpr int farewell_reads_max = 64;
constexpr std::size_t farewell_read_bytes = 1024;  ///< Fits below the smallest request_bytes_max.
constexpr auto accept_pause =
    std::chrono::milliseconds(100);  ///< After a failure such as no descriptors left.

const Log logger("http_server");

template <class Protocol>
using Stream = beast::basic_stream<Protocol>;
template <class Protocol>
using Acceptor = asio::basic_socket_acceptor<Protocol>;

std::string errno_text() {
  return std::strerror(errno);
}

tl::unexpected<Error> no_listening(const std::string& where, const std::string& why) {
  return fail(Remedy::reject, "http.listen", "Cannot listen on " + where + ": " + why + ".");
}

}  // namespace

/// Lives as long as any of its coroutines.
struct HttpServer::State : std::enable_shared_from_this<HttpServer::State> {
  State(asio::io_context& net_context, HttpServerConfig given, HttpHandler answer)
      : net(net_context),
        config(std::move(given)),
        handler(std::move(answer)),
        unix_acceptor(net),
        tcp_acceptor(net) {}

  Result<void> listen_unix();
  Result<void> listen_tcp();
  template <class Protocol>
  asio::awaitable<void> accept(Acceptor<Protocol>& acceptor, std::shared_ptr<State> self);
  template <class Protocol>
  asio::awaitable<void> serve(std::shared_ptr<Stream<Protocol>> stream,
                              std::shared_ptr<State> self);
  void close();

  asio::io_context& net;
  const HttpServerConfig config;
  const HttpHandler handler;
  local::acceptor unix_acceptor;
  tcp::acceptor tcp_acceptor;
  std::uint16_t port = 0;

  // Net thread only.
  bool stopped = false;
  std::map<const void*, std::function<void()>> sessions;  // how to close each
};

Result<void> HttpServer::State::listen_unix() {
  const std::string& path = config.unix_path;
  if (path.size() >= sizeof(sockaddr_un::sun_path))
    return no_listening(path, "the path is too long for a socket");
  struct stat file {};
  if (::lstat(path.c_str(), &file) == 0) {
    if (!S_ISSOCK(file.st_mode)) return no_listening(path, "there is a file that is no socket");
    asio::io_context probe;
    local::socket other(probe);
    error_code error;
    other.connect(local::endpoint(path), error);
    if (!error) return no_listening(path, "another process listens there");
    if (::unlink(path.c_str()) != 0) return no_listening(path, errno_text());
  }
  error_code error;
  unix_acceptor.open(local(), error);
  if (!error) unix_acceptor.bind(local::endpoint(path), error);
  if (error) return no_listening(path, error.message());
  // Before listen() nobody can connect, so these rights are in force from the first connection on.
  if (::chmod(path.c_str(), 0660) != 0) return no_listening(path, errno_text());
  if (!config.unix_group.empty()) {
    const struct group* group = ::getgrnam(config.unix_group.c_str());
    if (!group) return no_listening(path, "there is no group " + config.unix_group);
    if (::chown(path.c_str(), static_cast<uid_t>(-1), group->gr_gid) != 0)
      return no_listening(path, errno_text());
  }
  unix_acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return no_listening(path, error.message());
  return {};
}

Result<void> HttpServer::State::listen_tcp() {
  error_code error;
  const auto address = asio::ip::make_address(config.address, error);
  const std::string where = config.address + ":" + std::to_string(*config.port);
  if (error) return no_listening(where, "that is no address");
  const tcp::endpoint endpoint(address, *config.port);
  tcp_acceptor.open(endpoint.protocol(), error);
  if (!error) tcp_acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) tcp_acceptor.bind(endpoint, error);
  if (!error) tcp_acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return no_listening(where, error.message());
  port = tcp_acceptor.local_endpoint(error).port();
  return {};
}

template <class Protocol>
asio::awaitable<void> HttpServer::State::accept(Acceptor<Protocol>& acceptor,
                                                std::shared_ptr<State> self) {
  while (!stopped) {
    const auto stream = std::make_shared<Stream<Protocol>>(net);
    auto [error] = co_await acceptor.async_accept(stream->socket(), as_result);
    if (stopped || error == asio::error::operation_aborted) co_return;
    if (error) {
      logger.warn("accept failed", kv("why", error.message()));
      asio::steady_timer pause(net, accept_pause);
      auto [woken] = co_await pause.async_wait(as_result);
      static_cast<void>(woken);
      continue;
    }
    if (sessions.size() >= config.connections_max) continue;  // dropping it closes it
    sessions.emplace(stream.get(), [stream] { stream->close(); });
    asio::co_spawn(net, serve<Protocol>(stream, self), [self, stream](std::exception_ptr thrown) {
      self->sessions.erase(stream.get());
      if (thrown) std::rethrow_exception(thrown);
    });
  }
}

template <class Protocol>
asio::awaitable<void> HttpServer::State::serve(std::shared_ptr<Stream<Protocol>> stream,
                                               std::shared_ptr<State> /*kept alive*/) {
  beast::flat_buffer buffer(config.header_bytes_max + config.request_bytes_max);
  for (bool go_on = true; go_on && !stopped;) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(config.header_bytes_max));
    parser.body_limit(config.request_bytes_max);

    // Waiting for the first byte may take long; from there on the peer has to hurry.
    if (buffer.size() == 0) {
      stream->expires_after(config.idle_timeout);
      auto [nothing, first] = co_await stream->async_read_some(buffer.prepare(4096), as_result);
      if (nothing) break;
      buffer.commit(first);
    }
    stream->expires_after(config.request_timeout);
    auto [error, read] = co_await http::async_read(*stream, buffer, parser, as_result);
    static_cast<void>(read);

    HttpReply reply;
    bool keep_alive = false;
    unsigned version = 11;
    bool head_only = false;
    if (!error) {
      auto request = parser.release();
      keep_alive = request.keep_alive();
      version = request.version();
      head_only = request.method() == http::verb::head;
      HttpCall call;
      call.method = std::string(request.method_string());
      call.target = std::string(request.target());
      for (const auto& field : request)
        call.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
      call.body = std::move(request.body());
      call.over_unix_socket = std::is_same_v<Protocol, local>;
      stream->expires_never();  // the handler has its own bounds
      HttpReply answer = co_await handler(std::move(call));
      reply = std::move(answer);
    } else if (error == http::error::body_limit) {
      reply = HttpReply(413, "text/plain", "The request is larger than this server takes.\n");
    } else if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      reply = HttpReply(431, "text/plain",
                        "The request's headers are larger than this server takes.\n");
    } else if (error.category() == http::make_error_code(http::error::bad_method).category() &&
               error != http::error::end_of_stream && error != http::error::partial_message) {
      reply = HttpReply(400, "text/plain", "This is not HTTP.\n");
    } else {
      break;  // gone, or too slow
    }
    go_on = keep_alive;

    http::response<http::string_body> message(static_cast<http::status>(reply.status), version);
    message.set(http::field::content_type, reply.content_type);
    for (const auto& [name, value] : reply.headers) message.set(name, value);
    message.keep_alive(keep_alive);
    message.body() = std::move(reply.body);
    message.prepare_payload();
    stream->expires_after(config.request_timeout);
    if (head_only) {
      http::response_serializer<http::string_body> serializer(message);
      auto [not_sent, sent] = co_await http::async_write_header(*stream, serializer, as_result);
      static_cast<void>(sent);
      if (not_sent) break;
      continue;
    }
    auto [not_sent, sent] = co_await http::async_write(*stream, message, as_result);
    static_cast<void>(sent);
    if (not_sent) break;
  }
  error_code ignored;  // the session is over either way
  stream->socket().shutdown(Protocol::socket::shutdown_send, ignored);
  // Closing with unread bytes would reset the connection, and a refused peer would never see why.
  stream->expires_after(farewell_time);
  for (int reads = 0; reads < farewell_reads_max; ++reads) {
    buffer.clear();
    auto [gone, read] =
        co_await stream->async_read_some(buffer.prepare(farewell_read_bytes), as_result);
    static_cast<void>(read);
    if (gone) break;
  }
  stream->close();
}

void HttpServer::State::close() {
  if (std::exchange(stopped, true)) return;
  error_code ignored;  // closing is all that is left to do
  if (unix_acceptor.is_open()) {
    unix_acceptor.close(ignored);
    ::unlink(config.unix_path.c_str());
  }
  tcp_acceptor.close(ignored);
  for (const auto& [session, close_it] : sessions) close_it();
}

HttpServer::HttpServer(asio::io_context& net, HttpServerConfig config, HttpHandler handler)
    : state_(std::make_shared<State>(net, std::move(config), std::move(handler))) {}

HttpServer::~HttpServer() {
  stop();
}

Result<void> HttpServer::start() {
  const auto end_of_accepting = [](std::exception_ptr thrown) {
    if (thrown) std::rethrow_exception(thrown);
  };
  if (!state_->config.unix_path.empty()) {
    auto listening = state_->listen_unix();
    if (!listening) return listening;
  }
  if (state_->config.port) {
    auto listening = state_->listen_tcp();
    if (!listening) return listening;
  }
  if (state_->unix_acceptor.is_open())
    asio::co_spawn(state_->net, state_->accept<local>(state_->unix_acceptor, state_),
                   end_of_accepting);
  if (state_->tcp_acceptor.is_open())
    asio::co_spawn(state_->net, state_->accept<tcp>(state_->tcp_acceptor, state_),
                   end_of_accepting);
  return {};
}

void HttpServer::stop() {
  asio::post(state_->net, [state = state_] { state->close(); });
}

std::uint16_t HttpServer::port() const {
  return state_->port;
}

std::string_view HttpCall::header(std::string_view name) const {
  return header_in(headers, name);
}

HttpHandler plain_handler(std::function<HttpReply(const HttpCall&)> answer) {
  // Parameters by value, and no captures in the coroutine itself: both would dangle once it waits.
  struct Answering {
    static asio::awaitable<HttpReply> once(std::function<HttpReply(const HttpCall&)> how,
                                           HttpCall call) {
      co_return how(call);
    }
  };
  return [answer = std::move(answer)](HttpCall call) {
    return Answering::once(answer, std::move(call));
  };
}

std::vector<ConfigProblem> HttpServerConfig::problems(const std::string& prefix) const {
  std::vector<ConfigProblem> found;
  const auto complain = [&](const char* key, const std::string& message) {
    found.push_back({prefix + "." + key, prefix + "." + key + message});
  };
  error_code error;
  asio::ip::make_address(address, error);
  if (error)
    complain("address", " is \"" + address + "\"; give an IP address, such as \"127.0.0.1\".");
  if (unix_path.size() >= sizeof(sockaddr_un::sun_path))
    complain("unix_path", " is too long for a socket.");
  if (header_bytes_max < 1024 || header_bytes_max > 1u << 20)
    complain("header_bytes_max", " must lie between 1KiB and 1MiB.");
  if (request_bytes_max < 1024 || request_bytes_max > 1u << 30)
    complain("request_bytes_max", " must lie between 1KiB and 1GiB.");
  if (connections_max < 1 || connections_max > 10'000)
    complain("connections_max", " can be 1 to 10000.");
  return found;
}

}  // namespace greengate::adapters
