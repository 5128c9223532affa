#include "gateway/doors.h"

#include <boost/asio.hpp>

#include <charconv>

namespace greengate::gateway {

namespace asio = boost::asio;
using adapters::HttpCall;
using adapters::HttpReply;

struct Doors::AdminThread {
  asio::thread_pool pool{1};
};

namespace {

// Parameters are values: a coroutine outlives its caller's references.
asio::awaitable<HttpReply> ask_admin(asio::thread_pool::executor_type thread, Admin* admin, HttpCall call) {
  const auto net = co_await asio::this_coro::executor;
  AdminCall question{call.method, call.target, std::move(call.body)};
  co_await asio::post(asio::bind_executor(thread, asio::use_awaitable));
  AdminReply answer = admin->answer(question);
  co_await asio::post(asio::bind_executor(net, asio::use_awaitable));  // the connection is the net thread's
  HttpReply reply(answer.status, "application/json", std::move(answer.json));
  co_return reply;
}

HttpReply observe(const HttpCall& call, const Metrics& metrics, bool ready) {
  const std::string path = call.target.substr(0, call.target.find('?'));
  if (call.method != "GET" && call.method != "HEAD") return HttpReply(405, "text/plain", "GET only\n");
  if (path == "/metrics") return HttpReply(200, "text/plain; version=0.0.4", metrics.render());
  // That the net thread can answer is what this says, and all it says.
  if (path == "/health") return HttpReply(200, "text/plain", "ok\n");
  if (path == "/ready") return HttpReply(ready ? 200 : 503, "text/plain", ready ? "ready\n" : "not ready\n");
  return HttpReply(404, "text/plain", "there are /metrics, /health and /ready\n");
}

}  // namespace

Doors::Doors(const GatewayConfig& config, asio::io_context& net, Admin& admin, const Metrics& metrics)
    : admin_thread_(std::make_unique<AdminThread>()) {
  adapters::HttpServerConfig socket;
  socket.unix_path = config.admin_socket;
  socket.unix_group = config.admin_group;
  admin_server_ = std::make_unique<adapters::HttpServer>(
      net, socket, [executor = admin_thread_->pool.get_executor(), &admin](HttpCall call) {
        return ask_admin(executor, &admin, std::move(call));
      });

  adapters::HttpServerConfig loopback;
  const auto colon = config.observe.rfind(':');
  std::uint16_t port = 0;
  std::from_chars(config.observe.data() + colon + 1, config.observe.data() + config.observe.size(), port);
  loopback.address = config.observe.substr(0, colon);
  if (loopback.address.starts_with('[')) loopback.address = loopback.address.substr(1, loopback.address.size() - 2);
  loopback.port = port;
  observe_server_ = std::make_unique<adapters::HttpServer>(
      net, loopback, adapters::plain_handler([this, &metrics](const HttpCall& call) {
        return observe(call, metrics, ready_);
      }));
}

Doors::~Doors() { stop(); }

std::uint16_t Doors::observe_port() const { return observe_server_->port(); }

Result<void> Doors::start() {
  if (auto listening = admin_server_->start(); !listening) return listening;
  return observe_server_->start();
}

void Doors::drain(SteadyTime) { ready_ = false; }

void Doors::stop() {
  admin_server_->stop();
  observe_server_->stop();
  // The request in hand is answered; those that wait for their turn have nobody left to tell.
  admin_thread_->pool.stop();
  admin_thread_->pool.join();
}

}  // namespace greengate::gateway
