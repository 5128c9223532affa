#include "adapters/http/connector.h"

#include "adapters/http/addresses.h"

#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <optional>
#include <vector>

namespace greengate::adapters {
namespace {

namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;
using boost::system::error_code;
using std::chrono::steady_clock;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t addresses_tried_max = 8;

/// Told apart from a late reply: nothing of ours has reached the server.
tl::unexpected<Error> connect_timeout(const char* doing) {
  return fail(Remedy::retry, "http.connect_timeout",
              std::string("While ") + doing + ": the deadline passed.");
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

Connector::Connector(const HttpClientConfig& config, Counter opened)
    : config_(config), opened_(std::move(opened)), tls_(ssl::context::tls_client) {}

Result<void> Connector::read_certificates() {
  const auto refuse = [](const std::string& what, const error_code& error) {
    return fail(Remedy::reject, "http.tls_config", what + ": " + error.message() + ".");
  };
  error_code error;
  SSL_CTX_set_min_proto_version(tls_.native_handle(), TLS1_2_VERSION);
  if (!config_.pinned_sha256.empty()) {
    for (std::size_t i = 0; i + 1 < config_.pinned_sha256.size(); i += 2)
      pin_.push_back(
          static_cast<char>(std::strtol(config_.pinned_sha256.substr(i, 2).c_str(), nullptr, 16)));
  } else if (!config_.ca_file.empty()) {
    tls_.load_verify_file(config_.ca_file, error);
    if (error) return refuse("The CA file " + config_.ca_file + " cannot be used", error);
  } else {
    tls_.set_default_verify_paths(error);
    if (error) return refuse("The system's certificates cannot be used", error);
  }
  tls_.set_verify_mode(ssl::verify_peer, error);
  if (!config_.client_certificate_file.empty()) {
    tls_.use_certificate_chain_file(config_.client_certificate_file, error);
    if (error)
      return refuse("The client certificate " + config_.client_certificate_file + " cannot be used",
                    error);
    tls_.use_private_key_file(config_.client_key_file, ssl::context::pem, error);
    if (error) return refuse("The client key " + config_.client_key_file + " cannot be used", error);
  }
  return {};
}

asio::awaitable<Result<std::unique_ptr<Connection>>> Connector::connect(asio::io_context& context, Url server, Attempt& attempt) {
  std::optional<StepLimit> limit;
  limit.emplace(context, config_.connect_timeout, attempt);
  std::vector<tcp::endpoint> endpoints;
  if (const auto instead = overridden(config_.connect_override, server.host)) {
    endpoints.push_back(*instead);
  } else {
    auto found = co_await resolve(context, server, attempt);
    if (!found) co_return pass(found);
    // The name's answer and the end may come in the same breath.
    if (attempt.expired || limit->passed()) co_return connect_timeout("resolving the server's name");
    endpoints = std::move(*found);
    if (config_.public_addresses_only) std::erase_if(endpoints, [](const tcp::endpoint& to) { return !is_public(to.address()); });
    if (endpoints.empty())
      co_return fail(Remedy::retry, "http.address", server.host + " leads to this machine or a private network; it is not called.");
  }
  auto connection = std::make_unique<Connection>(context);
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
  opened_.add();
  error_code ignored;  // without it only latency is lost
  connection->socket.set_option(tcp::no_delay(true), ignored);
  if (!server.tls) co_return connection;

  connection->tls.emplace(connection->socket, tls_);
  error_code no_literal;
  asio::ip::make_address(server.host, no_literal);
  if (no_literal) SSL_set_tlsext_host_name(connection->tls->native_handle(), server.host.c_str());
  if (pin_.empty()) {
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
                            pin_ != std::string_view(reinterpret_cast<const char*>(digest.data()), length);
          return !peer->untrusted;
        },
        ignored);
  }
  limit.emplace(context, config_.tls_timeout, attempt);
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

}  // namespace greengate::adapters
