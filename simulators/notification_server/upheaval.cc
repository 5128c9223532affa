// What befalls the server as a whole: it listens, goes down and comes back, changes its certificate, cuts everybody off.
#include "simulators/notification_server/engine.h"

#include <openssl/err.h>

#include <filesystem>
#include <utility>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace asio = boost::asio;
using std::chrono::milliseconds;

namespace {

constexpr std::uint64_t side_tcp = 1, side_http = 2;
constexpr milliseconds bind_again{50};

}  // namespace

Result<void> NotifyEngine::listen() {
  boost::system::error_code refused;
  const std::uint16_t wanted = port_ != 0 ? port_ : config_.port;
  const auto address = asio::ip::make_address(config_.bind_address, refused);
  const asio::ip::tcp::endpoint endpoint(address, wanted);
  if (!refused) acceptor_.open(endpoint.protocol(), refused);
  if (!refused) acceptor_.set_option(asio::socket_base::reuse_address(true), refused);
  if (!refused) acceptor_.bind(endpoint, refused);
  if (!refused) acceptor_.listen(4096, refused);
  if (refused) {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    return fail(Remedy::retry, "notify.bind",
                "Cannot listen on " + config_.bind_address + ":" + std::to_string(wanted) + ": " + refused.message() + ".");
  }
  port_ = acceptor_.local_endpoint(refused).port();
  return {};
}

void NotifyEngine::go_down(const std::string& side, milliseconds down, std::int64_t accepts_per_second) {
  const std::uint64_t sides = side == "tcp" ? side_tcp : side == "http" ? side_http : side_tcp | side_http;
  std::vector<SessionPtr> cut;
  for (const auto& [id, session] : sessions_)
    if ((sides & (session->http ? side_http : side_tcp)) != 0) cut.push_back(session);
  for (const auto& session : cut) {
    if (session->hold != 0) answer_call(std::exchange(session->hold, 0), {.cut = true});
    close(session, "server restarts", false);
  }
  boost::system::error_code ignored;
  if ((sides & side_tcp) != 0) acceptor_.close(ignored);
  if ((sides & side_http) != 0) close_http();
  accept_gap_ = milliseconds(accepts_per_second > 0 ? 1000 / accepts_per_second : 0);
  ++counts_["restarts"];
  remind(down, Due::restart_over, sides);
}

void NotifyEngine::restart_over(std::uint64_t sides) {
  if ((sides & side_tcp) != 0 && !acceptor_.is_open()) {
    if (auto listening = listen(); listening)
      accept();
    else
      remind(bind_again, Due::restart_over, side_tcp);  // somebody sits on the port
  }
  if ((sides & side_http) != 0) {
    config_.http_port = http_port_;
    if (auto opened = open_http(); !opened) remind(bind_again, Due::restart_over, side_http);
  }
}

Result<void> NotifyEngine::change_certificate(const std::string& state) {
  ServerIdentity identity{.certificate_file = config_.dir / ("certificate-" + state + ".pem"),
                          .key_file = config_.dir / ("key-" + state + ".pem"),
                          .name = config_.server_name,
                          .tls13_only = config_.tls_min == "1.3",
                          .tls12_only = config_.tls_max == "1.2"};
  if (state == "expired" || state == "not-yet") {
    identity.state = state;
  } else if (state == "wrong") {
    identity.name = "other.invalid";
    identity.with_loopback = false;
  } else if (state == "valid") {  // the one it began with
    const bool made = config_.certificate_file.empty();
    identity.make = made;
    identity.certificate_file = made ? config_.dir / "server-certificate.pem" : config_.certificate_file;
    identity.key_file = made ? config_.dir / "server-key.pem" : config_.key_file;
  } else if (state != "changed") {
    return fail(Remedy::reject, "notify.certificate", "\"state\" is valid, changed, wrong, expired or not-yet.");
  }
  auto context = make_context(identity, config_.check_certificate && config_.refuse_as == "tls-alert");
  if (!context) return pass(context);
  context_ = std::move(*context);  // sessions that are open keep theirs
  return {};
}

void NotifyEngine::cut_everybody() {
  for (const auto& [id, session] : sessions_) agenda_.push({now(), Due::close_session, id});
  arm();
}

// Both are warnings at worst: a client may refuse to negotiate anew (9.2), but not to change its keys.
void NotifyEngine::shake_tls(Session& session, Fault how) {
  if (session.http) return;
  SSL* const ssl = session.ssl.get();
  ERR_clear_error();
  if (how == Fault::tls_key_update) {
    if (SSL_version(ssl) == TLS1_3_VERSION) SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
  } else if (SSL_version(ssl) < TLS1_3_VERSION) {
    SSL_clear_options(ssl, SSL_OP_NO_RENEGOTIATION);
    SSL_renegotiate(ssl);
    SSL_do_handshake(ssl);
  }
  ERR_clear_error();
}

}  // namespace greengate::sim
