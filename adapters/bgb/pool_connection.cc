// One connection's life: its server is chosen, resolved and connected to, TLS made, frames read and
// written, until it ends.
#include "adapters/bgb/session_pool_impl.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace greengate::adapters {

namespace asio = boost::asio;
using boost::system::error_code;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t reads_per_turn = 4;  // then the others come first
constexpr std::size_t unsent_bytes_max = 256 * 1024;
constexpr std::size_t addresses_max = 8;  // of one server's name
constexpr std::size_t scratch_bytes_kept = 64 * 1024;
constexpr milliseconds flush_time{5'000};  // for what is written when a session ends (spec 2.5)
constexpr milliseconds addresses_kept{60'000};

}  // namespace

void SessionPool::Impl::start_attempt(Link& link) {
  link.moves = false;
  Server& server = server_for(link);
  if (takes_http(link, server)) return start_http(link, server);
  if (link.server != &server) link.address = 0;
  link.server = &server;
  ++link.attempts;
  link.session.attempt_started(clock.steady());
  link.connection = std::make_shared<Connection>(*this, link);
  link.connection->count_in(server);
  const bool fresh =
      !server.addresses.empty() && clock.steady() - server.resolved_at < addresses_kept;
  if (fresh) {
    connect(link.connection);
  } else {
    server.awaiting_addresses.push_back(link.connection);
    resolve(server);
  }
  after(link);
}

void SessionPool::Impl::resolve(Server& server) {
  if (std::exchange(server.resolving, true)) return;
  server.resolver.async_resolve(
      server.where.host, server.where.port,
      [self = shared_from_this(), &server](const error_code& wrong,
                                           const tcp::resolver::results_type& found) {
        server.resolving = false;
        if (!self->running) return;
        if (!wrong) {
          server.addresses.clear();
          for (const auto& entry : found)
            if (server.addresses.size() < addresses_max)
              server.addresses.push_back(entry.endpoint());
          server.resolved_at = self->clock.steady();
        }
        for (const auto& waiter : std::exchange(server.awaiting_addresses, {})) {
          const auto connection = waiter.lock();
          if (!connection || !connection->link) continue;
          Link& link = *connection->link;
          if (server.addresses.empty())  // what was known before a bad day still serves
            connection->broke({Remedy::retry,
                               "bgb.resolve",
                               "The name " + server.where.host +
                                   " could not be resolved: " + wrong.message() + ".",
                               {}});
          else
            self->connect(connection);
          self->after(link);
        }
        self->addresses_found(server);
      });
}

void SessionPool::Impl::connect(const std::shared_ptr<Connection>& connection) {
  Link& link = *connection->link;
  const auto& addresses = link.server->addresses;
  const tcp::endpoint target = addresses[link.address % addresses.size()];
  tcp::socket& socket = connection->socket;
  error_code wrong;
  socket.open(target.protocol(), wrong);
  if (!wrong) socket.non_blocking(true, wrong);
  if (!wrong) wrong = sources.bind(socket, target.protocol());
  if (wrong)
    return connection->broke(
        {Remedy::retry, "bgb.connect", "No socket could be opened: " + wrong.message() + ".", {}});

  bgb::set_tcp_options(socket);
  socket.async_connect(target, [connection](const error_code& refused) {
    if (!connection->pool || !connection->link) return;
    Impl& pool = *connection->pool;
    Link& mine = *connection->link;
    if (refused)
      connection->broke(
          {Remedy::retry,
           "bgb.connect",
           "Connecting to " + mine.server->text + " failed: " + refused.message() + ".",
           {}});
    else
      pool.tcp_connected(*connection);
    pool.after(mine);
  });
}

void SessionPool::Impl::begin_tls(Connection& connection) {
  Link& link = *connection.link;
  auto identity = identities(link.id);
  if (!identity) {
    Error why = identity.error();
    return connection.broke({why.remedy, "bgb.identity", std::move(why.message), why.retry_after});
  }
  link.sms_id = identity->sms_id;
  link.session.connected(clock.steady(), link.sms_id);
  auto stream =
      bgb::TlsStream::make(*tls, connection.socket.native_handle(), link.server->where.host,
                           identity->certificate_der, identity->private_key_der);
  OPENSSL_cleanse(identity->private_key_der.data(), identity->private_key_der.size());
  if (!stream) return connection.broke(std::move(stream.error()));
  connection.stream = std::move(*stream);
  probe->handshakes.add();
  connection.handshake();
}

void SessionPool::Impl::Connection::count_in(Server& server) {
  counted = &server;
  ++server.in_flight;
}

void SessionPool::Impl::Connection::count_out() {
  if (counted) --std::exchange(counted, nullptr)->in_flight;
}

void SessionPool::Impl::Connection::finish(bool orderly) {
  link = nullptr;
  count_out();
  if (!orderly || !established) return let_go();
  if (out.empty()) {
    stream.close_notify();
    return let_go();
  }
  flush_until = pool->clock.steady() + flush_time;
  pool->lingering.push_back(shared_from_this());
  arm_write();
}

void SessionPool::Impl::Connection::let_go() {
  error_code ignored;
  socket.shutdown(tcp::socket::shutdown_both, ignored);  // it may never have been connected
  socket.close(ignored);
}

void SessionPool::Impl::Connection::abandon() {
  link = nullptr;
  pool = nullptr;
  let_go();
}

void SessionPool::Impl::Connection::arm_read() {
  if (read_armed || !socket.is_open()) return;
  read_armed = true;
  socket.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& wrong) {
    self->read_armed = false;
    if (!wrong && self->pool) self->progress();
  });
}

void SessionPool::Impl::Connection::arm_write() {
  if (write_armed || !socket.is_open()) return;
  write_armed = true;
  socket.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const error_code& wrong) {
    self->write_armed = false;
    if (wrong || !self->pool) return;
    if (self->established) self->flush();
    self->progress();  // TLS may have had to write before it could read on
  });
}

void SessionPool::Impl::Connection::progress() {
  if (!link || !socket.is_open()) return;
  Impl& owner = *pool;
  Link& mine = *link;
  if (!established)
    handshake();
  else
    read_some();
  if (link && !failure && established && !out.empty() && !write_armed) flush();
  owner.after(mine);
}

void SessionPool::Impl::Connection::handshake() {
  switch (stream.handshake()) {
    case bgb::TlsStream::Step::done: {
      established = true;
      stream.forget_identity();
      count_out();
      pool->secured(*link);
      return arm_read();
    }
    case bgb::TlsStream::Step::want_read:
      return arm_read();
    case bgb::TlsStream::Step::want_write:
      return arm_write();
    default:
      return broke(stream.error());
  }
}

void SessionPool::Impl::Connection::read_some() {
  for (std::size_t turn = 0; turn < reads_per_turn; ++turn) {
    const auto [step, bytes] = stream.read(pool->buffer);
    switch (step) {
      case bgb::TlsStream::Step::done:
        feed(std::span(pool->buffer).first(bytes));
        if (!link || failure) return;
        break;
      case bgb::TlsStream::Step::want_read:
        return arm_read();
      case bgb::TlsStream::Step::want_write:
        arm_write();
        return arm_read();
      default:
        return broke(stream.error());
    }
  }
  asio::post(pool->strand, [self = shared_from_this()] {
    if (self->pool) self->progress();
  });
}

void SessionPool::Impl::Connection::feed(std::span<const std::byte> fresh) {
  std::span<const std::byte> bytes = fresh;
  if (!in.empty()) {
    in.append(reinterpret_cast<const char*>(fresh.data()), fresh.size());
    bytes = std::as_bytes(std::span(in));
  }
  while (!bytes.empty()) {
    const auto decoded = link->server->codec.decode(bytes, pool->scratch);
    if (decoded.status == bgb::Decoded::Status::need_more) break;
    if (decoded.status == bgb::Decoded::Status::bad)
      return broke({Remedy::retry, decoded.code, decoded.why, {}});
    pool->probe->frames.add();
    bytes = bytes.subspan(decoded.bytes);
    auto parsed = link->server->schema.parse(decoded.frame);
    if (pool->scratch.capacity() > scratch_bytes_kept) std::string().swap(pool->scratch);
    if (!parsed) {
      parsed.error().remedy = Remedy::retry;
      return broke(std::move(parsed.error()));
    }
    if (parsed->kind_mismatch) pool->probe->mismatches.add();
    pool->received(*link, std::move(parsed->message));
    if (!link || failure) return;  // the message ended the session
  }
  // What is left is the beginning of one frame, so the codec's bounds are its bounds.
  const bool same_frame = !in.empty() && bytes.size() == in.size();  // nothing was consumed
  if (bytes.empty())
    frame_since.reset();
  else if (!same_frame)
    frame_since = pool->clock.steady();
  if (same_frame) return;
  std::string rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  in.swap(rest);
}

void SessionPool::Impl::Connection::send(const std::string& bytes) {
  if (failure || !link) return;
  if (out.size() + bytes.size() > unsent_bytes_max)
    return broke({Remedy::retry, "bgb.slow_server", "The server does not take what we send.", {}});
  out += bytes;
  flush();
}

void SessionPool::Impl::Connection::flush() {
  std::size_t sent = 0;
  while (sent < out.size()) {
    const auto [step, bytes] = stream.write(std::as_bytes(std::span(out)).subspan(sent));
    if (step == bgb::TlsStream::Step::done) {
      sent += bytes;
      continue;
    }
    out.erase(0, sent);
    if (step == bgb::TlsStream::Step::want_write) return arm_write();
    if (step == bgb::TlsStream::Step::want_read) return arm_read();
    if (link) return broke(stream.error());
    return let_go();
  }
  std::string().swap(out);  // assignment would keep the memory
  if (link || !flush_until) return;
  stream.close_notify();
  let_go();
}

void SessionPool::Impl::Connection::broke(Error why) {
  if (!failure) failure = std::make_unique<Error>(std::move(why));
}

}  // namespace greengate::adapters
