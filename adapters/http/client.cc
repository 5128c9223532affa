#include "adapters/http/client.h"

#include "adapters/http/addresses.h"
#include "adapters/http/connection.h"
#include "adapters/http/connector.h"
#include "adapters/http/reading.h"
#include "adapters/http/request_head.h"
#include "adapters/http/speaking.h"

#include <openssl/crypto.h>
#include <boost/asio.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ssl/error.hpp>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <list>
#include <map>
#include <mutex>
#include <optional>

namespace greengate::adapters {
namespace {

using boost::system::error_code;
using std::chrono::steady_clock;

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

void wipe_credentials(HttpRequest& request) {
  for (auto& [name, value] : request.headers)
    if (name == "Authorization") OPENSSL_cleanse(value.data(), value.size());
}

bool closed_by_peer(const error_code& error) {
  return error == asio::error::eof || error == asio::error::connection_reset ||
         error == asio::error::broken_pipe || error == asio::ssl::error::stream_truncated;
}

/// A text that may hold credentials, wiped when it has served.
struct Wiped {
  explicit Wiped(std::string& whose) : text(whose) {}
  ~Wiped() { OPENSSL_cleanse(text.data(), text.size()); }
  Wiped(const Wiped&) = delete;
  Wiped& operator=(const Wiped&) = delete;
  std::string& text;
};

}  // namespace

struct HttpClient::State {
  State(asio::io_context& net_context, HttpClientConfig given, Metrics& metrics)
      : config(std::move(given)),
        net(net_context),
        connector(config, metrics.counter("greengate_http_connections_opened_total", "HTTP connections opened")),
        replies(metrics.counter("greengate_http_exchanges_total",
                                "HTTP exchanges by how they ended", {{"outcome", "reply"}})),
        errors(metrics.counter("greengate_http_exchanges_total", "HTTP exchanges by how they ended",
                               {{"outcome", "error"}})),
        resent(metrics.counter("greengate_http_resent_total",
                               "Requests sent again because a kept connection had been closed")) {}

  asio::awaitable<Result<HttpResponse>> exchange(Loop& loop, const HttpRequest& request,
                                                 Attempt& attempt);
  asio::awaitable<void> exchange_into(Loop& loop, const HttpRequest& request, Attempt& attempt,
                                      std::optional<Result<HttpResponse>>& answer);
  std::unique_ptr<Connection> take_kept(Loop& loop, const Url& server);
  void keep(Loop& loop, const Url& server, std::unique_ptr<Connection> connection);

  const HttpClientConfig config;
  Loop net;
  Connector connector;
  std::atomic<bool> stopping{false};

  const Counter replies, errors, resent;

  const std::shared_ptr<Running> running = std::make_shared<Running>();

  std::mutex mutex;  // guards idle_loops
  std::vector<std::unique_ptr<OwnLoop>>
      idle_loops;  // the last returned is taken first: its connections are fresh
};

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
      auto made = co_await connector.connect(loop.context, request.server, attempt);
      if (!made) co_return pass(made);
      connection = std::move(*made);
    }
    attempt.connection = connection.get();
    Spoken spoken = co_await speak(*connection, config, *head, request);
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
  (result ? replies : errors).add();
  if (!result && attempt.abandoned) {
    answer.emplace(fail(Remedy::halt, "http.stopping", "The exchange was abandoned."));
  } else {
    answer.emplace(std::move(result));
  }
}

Result<std::unique_ptr<HttpClient>> HttpClient::create(asio::io_context& net,
                                                       HttpClientConfig config, Metrics& metrics) {
  auto state = std::make_unique<State>(net, std::move(config), metrics);
  auto read = state->connector.read_certificates();
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
