#include "simulators/common/admin_server.h"

#include "core/log.h"

#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>

#include <atomic>
#include <chrono>
#include <map>

namespace greengate::sim {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

constexpr int connections_max = 64;
constexpr std::size_t body_bytes_max = 1024 * 1024;
constexpr std::uint32_t header_bytes_max = 16 * 1024;
constexpr std::chrono::seconds request_timeout{30};
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

const Log log_("sim_admin");

}  // namespace

AdminReply admin_error(unsigned status, const std::string& code, const std::string& text) {
  return {status, boost::json::serialize(boost::json::object{{"code", code}, {"text", text}})};
}

struct AdminServer::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& io, std::string address, std::uint16_t wanted)
      : acceptor(io), bind_address(std::move(address)), port(wanted) {}

  asio::ip::tcp::acceptor acceptor;
  std::string bind_address;
  std::uint16_t port;
  std::map<std::string, AdminHandler, std::greater<>>
      handlers;  // longest of a common beginning first
  std::atomic<int> connections{0};

  asio::awaitable<AdminReply> answer(AdminRequest request) {
    for (const auto& [prefix, handler] : handlers)
      if (request.path.starts_with(prefix)) co_return co_await handler(std::move(request));
    co_return admin_error(404, "admin.path", "There is nothing at " + request.path + ".");
  }

  asio::awaitable<void> serve(asio::ip::tcp::socket socket) {
    beast::tcp_stream stream(std::move(socket));
    beast::flat_buffer buffer(header_bytes_max + body_bytes_max);
    for (;;) {
      stream.expires_after(request_timeout);
      http::request_parser<http::string_body> parser;
      parser.body_limit(body_bytes_max);
      parser.header_limit(header_bytes_max);
      auto [unread, bytes] = co_await http::async_read(stream, buffer, parser, as_result);
      AdminReply reply;
      bool keep_alive = false;
      if (unread == http::error::body_limit || unread == http::error::header_limit) {
        reply = admin_error(413, "admin.too_long", "The request is too long.");
      } else if (unread) {
        break;
      } else {
        const auto& message = parser.get();
        AdminRequest request;
        request.method = std::string(message.method_string());
        request.path = std::string(message.target());
        if (const auto mark = request.path.find('?'); mark != std::string::npos) {
          request.query = request.path.substr(mark + 1);
          request.path.resize(mark);
        }
        request.body = message.body();
        keep_alive = message.keep_alive();
        reply = co_await answer(std::move(request));
      }
      http::response<http::string_body> response(static_cast<http::status>(reply.status), 11);
      response.set(http::field::content_type, "application/json");
      response.body() = std::move(reply.json);
      response.body() += '\n';
      response.keep_alive(keep_alive);
      response.prepare_payload();
      stream.expires_after(request_timeout);
      auto [unsent, sent] = co_await http::async_write(stream, response, as_result);
      if (unsent || !keep_alive) break;
    }
    beast::error_code ignored;
    stream.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }

  asio::awaitable<void> accept() {
    while (acceptor.is_open()) {
      auto [failed, socket] = co_await acceptor.async_accept(as_result);
      if (failed == asio::error::operation_aborted) break;
      if (failed) {
        // Out of descriptors, most likely: wait a little instead of spinning.
        asio::steady_timer pause(acceptor.get_executor(), std::chrono::milliseconds{50});
        auto [woken] = co_await pause.async_wait(as_result);
        if (woken) break;
        continue;
      }
      if (connections >= connections_max) continue;
      ++connections;
      auto self = shared_from_this();
      asio::co_spawn(acceptor.get_executor(), serve(std::move(socket)),
                     [self](std::exception_ptr) { --self->connections; });
    }
  }
};

AdminServer::AdminServer(asio::io_context& io, std::string bind_address, std::uint16_t port)
    : impl_(std::make_shared<Impl>(io, std::move(bind_address), port)) {}
AdminServer::~AdminServer() {
  stop();
}

void AdminServer::mount(std::string prefix, AdminHandler handler) {
  impl_->handlers[std::move(prefix)] = std::move(handler);
}

Result<void> AdminServer::start() {
  beast::error_code error;
  const auto address = asio::ip::make_address(impl_->bind_address, error);
  if (!error) impl_->acceptor.open(asio::ip::tcp::endpoint(address, 0).protocol(), error);
  if (!error) impl_->acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) impl_->acceptor.bind({address, impl_->port}, error);
  if (!error) impl_->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error)
    return fail(Remedy::reject, "admin.bind",
                "The admin port cannot be opened on " + impl_->bind_address + ":" +
                    std::to_string(impl_->port) + ": " + error.message() + ".");
  impl_->port = impl_->acceptor.local_endpoint().port();
  auto impl = impl_;
  asio::co_spawn(impl_->acceptor.get_executor(), impl_->accept(), [impl](std::exception_ptr) {});
  return {};
}

void AdminServer::stop() {
  beast::error_code ignored;
  impl_->acceptor.close(ignored);
}

std::uint16_t AdminServer::port() const {
  return impl_->port;
}

}  // namespace greengate::sim
