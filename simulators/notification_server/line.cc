// The line: one TCP connection with its TLS, from accept to close, that cuts the bytes read into
// frames and writes those queued.
#include "simulators/notification_server/engine.h"

#include "simulators/notification_server/engine_words.h"

#include <boost/asio/post.hpp>

#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace asio = boost::asio;
namespace json = boost::json;
using std::chrono::milliseconds;

namespace {

constexpr int reads_per_turn = 64;  // then others get their turn

}  // namespace

void NotifyEngine::accept() {
  if (!acceptor_.is_open()) return;
  acceptor_.async_accept(
      [self = shared_from_this()](boost::system::error_code failed, asio::ip::tcp::socket socket) {
        if (!self->running_) return;
        if (failed) {
          if (failed == asio::error::operation_aborted) return;  // the port is down for a while
          ++self->counts_["accept_failed"];  // out of descriptors, most likely: give some time back
          return self->remind(milliseconds(100), Due::accept_again);
        }
        self->accepted(std::move(socket));
        if (self->accept_gap_.count() > 0) return self->remind(self->accept_gap_, Due::accept_again);
        self->accept();
      });
}

void NotifyEngine::accepted(asio::ip::tcp::socket socket) {
  ++counts_["accepted"];
  boost::system::error_code failed;
  if (static_cast<std::int64_t>(sessions_.size()) >= config_.sessions_max) {
    ++counts_["refused_full"];
    return;
  }
  const FaultRule* rule = pick(Moment::accept, "");
  if (rule != nullptr && rule->fault == Fault::accept_close) return;
  socket.native_non_blocking(true, failed);
  socket.set_option(asio::ip::tcp::no_delay(true), failed);
  socket.set_option(asio::socket_base::keep_alive(true), failed);
  auto session = std::make_shared<Session>(std::move(socket));
  session->id = next_session_++;
  session->since = clock_.wall();
  session->ssl = make_ssl(context_.get(), session->socket.native_handle());
  if (!session->ssl) return;
  sessions_.emplace(session->id, session);
  if (rule != nullptr) return go_dark(session);
  remind(milliseconds(config_.handshake_timeout_ms), Due::handshake_limit, session->id);
  wait_read(session);
}

NotifyEngine::SessionPtr NotifyEngine::find_session(SessionId id) const {
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : found->second;
}

void NotifyEngine::wait_read(const SessionPtr& session) {
  if (session->http || session->reading || session->phase == Phase::closed || session->phase == Phase::black_hole)
    return;
  session->reading = true;
  session->socket.async_wait(asio::socket_base::wait_read, [self = shared_from_this(), session](
                                                               boost::system::error_code failed) {
    session->reading = false;
    if (failed || session->phase == Phase::closed || session->phase == Phase::black_hole) return;
    self->on_readable(session);
  });
}

void NotifyEngine::wait_write(const SessionPtr& session) {
  if (session->http || session->writing || session->phase == Phase::closed) return;
  session->writing = true;
  session->socket.async_wait(asio::socket_base::wait_write, [self = shared_from_this(), session](
                                                                boost::system::error_code failed) {
    session->writing = false;
    if (failed || session->phase == Phase::closed) return;
    if (session->phase == Phase::handshaking) return self->on_readable(session);
    self->flush(session);
  });
}

void NotifyEngine::handshake(const SessionPtr& session) {
  ERR_clear_error();
  const int done = SSL_do_handshake(session->ssl.get());
  if (done == 1) {
    session->key = peer_key_hash(session->ssl.get());
    const FaultRule* rule = pick(Moment::tls, "");
    json::object line{{"tls", SSL_get_version(session->ssl.get())},
                      {"cipher", SSL_get_cipher_name(session->ssl.get())}};
    if (session->key) line["key_sha256"] = hex(std::as_bytes(std::span(*session->key)));
    session->phase = Phase::signing_in;
    write_session_line(*session, "opened", std::move(line));
    if (rule != nullptr) return close(session, "fault tls-close");
    return remind(milliseconds(config_.signin_timeout_ms), Due::signin_limit, session->id);
  }
  const int why = SSL_get_error(session->ssl.get(), done);
  if (why == SSL_ERROR_WANT_READ) return wait_read(session);
  if (why == SSL_ERROR_WANT_WRITE) return wait_write(session);
  const std::string reason = why == SSL_ERROR_SYSCALL ? "connection lost" : take_ssl_error();
  ++counts_["handshakes_failed"];
  write_session_line(*session, "handshake_failed", {{"reason", reason}});
  close(session, "handshake failed", false);
}

void NotifyEngine::on_readable(const SessionPtr& session) {
  if (session->phase == Phase::handshaking) {
    handshake(session);
    if (session->phase == Phase::handshaking || session->phase == Phase::closed) return;
  }
  for (int reads = 0; reads < reads_per_turn; ++reads) {
    ERR_clear_error();
    const int got = SSL_read(session->ssl.get(), scratch_.data(), int(scratch_.size()));
    if (got > 0) {
      session->bytes_in += static_cast<std::uint64_t>(got);
      feed(session, std::span(scratch_).first(static_cast<std::size_t>(got)));
      if (session->phase == Phase::closed || session->phase == Phase::black_hole) return;
      continue;
    }
    const int why = SSL_get_error(session->ssl.get(), got);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
      wait_read(session);
      if (!session->out.empty() || why == SSL_ERROR_WANT_WRITE) flush(session);
      return;
    }
    if (!session->in.empty()) {
      const Findings findings{
          {"frame.truncated", "2.3", Severity::fatal, "the connection ended inside a frame"}};
      write_frame_line(*session, true, Kind::unknown, nullptr, "", "fatal", findings,
                       std::as_bytes(std::span(session->in)), nullptr);
      note(*session, findings);
    }
    if (why == SSL_ERROR_ZERO_RETURN) return close(session, "client closed");
    if (why == SSL_ERROR_SSL && !session->leaving) {
      const std::string reason = take_ssl_error();
      return close(session,
                   reason == "unexpected eof while reading" ? "client closed without close_notify"
                                                            : "tls: " + reason,
                   false);
    }
    return close(session, "connection lost", false);
  }
  // Much to read: the others first, then on.
  asio::post(io_, [self = shared_from_this(), session] {
    if (session->phase != Phase::closed && session->phase != Phase::black_hole)
      self->on_readable(session);
  });
}

void NotifyEngine::feed(const SessionPtr& session, std::span<const std::byte> bytes) {
  const bool begun = !session->in.empty();
  std::string joined;
  if (begun) {
    joined = std::exchange(session->in, {});
    joined.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    bytes = std::as_bytes(std::span(joined));
  }
  bool first = true;
  while (!bytes.empty()) {
    const Cut cut = cut_frame(rules_, bytes);
    if (cut.status == Cut::Status::need_more) break;
    if (cut.status == Cut::Status::bad) return on_bad_stream(session, cut, bytes);
    on_frame(session, cut, bytes.first(cut.frame_bytes));
    if (session->phase == Phase::closed || session->phase == Phase::black_hole) return;
    bytes = bytes.subspan(cut.frame_bytes);
    first = false;
  }
  if (bytes.empty()) return;
  if (begun && first) {
    session->in = std::move(joined);  // still the same frame
    return;
  }
  session->in.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  session->frame_since = now();
  watch_frame(*session, milliseconds(config_.frame_timeout_ms));
}

void NotifyEngine::watch_frame(Session& session, milliseconds in) {
  if (session.frame_watched) return;  // one appointment per session, however many frames it begins
  session.frame_watched = true;
  remind(in, Due::frame_limit, session.id);
}

void NotifyEngine::push_chunk(const SessionPtr& session, Chunk chunk) {
  if (session->phase == Phase::closed || session->phase == Phase::black_hole) return;
  if (session->http) return push_bytes(session, std::move(chunk.bytes), chunk.close_after);
  session->out_bytes += chunk.bytes.size();
  session->out.push_back(std::move(chunk));
  flush(session);
  if (session->phase == Phase::closed ||
      session->out_bytes <= static_cast<std::size_t>(config_.out_bytes_max))
    return;
  ++counts_["slow_readers"];
  close(session, "reads too slowly");
}

void NotifyEngine::flush(const SessionPtr& session) {
  while (!session->out.empty() && session->phase != Phase::closed &&
         session->phase != Phase::black_hole && session->phase != Phase::handshaking) {
    Chunk& chunk = session->out.front();
    if (chunk.wait.count() > 0) {
      chunk.not_before = now() + chunk.wait;
      remind(chunk.wait, Due::chunk, session->id);
      chunk.wait = milliseconds(0);
    }
    if (chunk.not_before > now()) return;
    std::size_t want = std::min<std::size_t>(chunk.bytes.size() - chunk.sent, 16 * 1024);
    if (chunk.byte_by_byte) want = std::min<std::size_t>(want, 1);
    if (want > 0) {
      ERR_clear_error();
      const int sent = SSL_write(session->ssl.get(), chunk.bytes.data() + chunk.sent, int(want));
      if (sent <= 0) {
        const int why = SSL_get_error(session->ssl.get(), sent);
        if (why == SSL_ERROR_WANT_WRITE) return wait_write(session);
        if (why == SSL_ERROR_WANT_READ) return wait_read(session);
        take_ssl_error();
        return close(session, "connection lost", false);
      }
      chunk.sent += static_cast<std::size_t>(sent);
    }
    if (chunk.sent < chunk.bytes.size()) continue;
    const bool done = chunk.close_after;
    session->out_bytes -= chunk.bytes.size();
    session->out.pop_front();
    if (done) return close(session, "fault close-mid-frame");
  }
}

void NotifyEngine::close(const SessionPtr& session, std::string_view reason, bool orderly) {
  if (session->phase == Phase::closed) return;
  const Phase was = session->phase;
  session->phase = Phase::closed;
  const int fd = session->http ? -1 : session->socket.native_handle();
  if (session->http) close_http_session(session, was);
  if (!session->http && orderly && was != Phase::handshaking && was != Phase::black_hole) {
    ERR_clear_error();
    SSL_shutdown(session->ssl.get());
    ERR_clear_error();
    // What we said must not be lost to a reset, which unread bytes would cause.
    ::shutdown(fd, SHUT_WR);
    for (int i = 0; i < 16; ++i)
      if (::recv(fd, scratch_.data(), scratch_.size(), MSG_DONTWAIT) <= 0) break;
  }
  boost::system::error_code ignored;
  session->socket.close(ignored);
  session->ssl.reset();
  session->out.clear();
  session->in = {};
  write_session_line(*session, "closed",
                     {{"reason", reason},
                      {"channel", session->http ? "HTTP" : "TCP"},
                      {"frames_in", session->frames_in},
                      {"frames_out", session->frames_out},
                      {"bytes_in", session->bytes_in}});
  if (session->client != nobody) {
    Client& client = clients_[session->client];
    std::erase(client.sessions, session->id);
    if (client.sessions.empty()) client.socket_lost = now();
  }
  sessions_.erase(session->id);
}

void NotifyEngine::go_dark(const SessionPtr& session) {
  session->phase = Phase::black_hole;
  write_session_line(*session, "black_hole");
  remind(milliseconds(config_.black_hole_ms), Due::close_session, session->id);
}

}  // namespace greengate::sim
