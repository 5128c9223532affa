// Whose turn it is to connect: each server's queue and budget, and the budget of the whole process.
#include "adapters/bgb/server_order.h"
#include "adapters/bgb/session_pool_impl.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::adapters {

using bgb::SessionState;
using boost::system::error_code;
using std::chrono::milliseconds;

SessionPool::Impl::Server& SessionPool::Impl::server_for(const Link& link) {
  const ServerList& own = *link.servers;
  std::vector<std::string_view> names;
  names.reserve(own.size());
  for (const Server* server : own) names.push_back(server->text);
  const auto order = bgb::server_order(link.id, names);
  return *own[order[link.session.server_turn() % order.size()]];
}

void SessionPool::Impl::queue(Link& link) {
  Server& server = server_for(link);
  link.queued_at = &server;
  server.waiting.push_back(link.id);
  ++waiting;
}

void SessionPool::Impl::pump() {
  if (pumping || !running || waiting == 0) return;  // an attempt that fails at once ends up here again
  pumping = true;
  milliseconds wait = milliseconds::max();
  ++next_turn;
  for (bool given = true; given;) {
    given = false;
    for (std::size_t i = 0; i < servers.size(); ++i) {
      Server& server = *servers[(next_turn + i) % servers.size()];
      given = give_start(server, wait) || given;
      given = give_turn(server, wait) || given;
    }
  }
  pumping = false;
  if (wait == milliseconds::max() || std::exchange(pump_armed, true)) return;
  pump_timer.expires_after(wait);
  pump_timer.async_wait([self = shared_from_this()](const error_code& wrong) {
    self->pump_armed = false;
    if (!wrong) self->pump();
  });
}

// Both answer false when nobody waits at this server, or nobody may go; `wait` is then when to ask again, unless the end of another
// handshake will.
bool SessionPool::Impl::give_turn(Server& server, milliseconds& wait) {
  Link* next = nullptr;
  while (!next && !server.waiting.empty()) {
    const auto found = links.find(server.waiting.front());
    const bool waits = found != links.end() && !found->second->dead && found->second->queued_at == &server &&
                       found->second->session.state() == SessionState::queued;
    if (waits) {
      next = found->second.get();
    } else {
      server.waiting.pop_front();
      --waiting;
    }
  }
  if (!next || server.in_flight >= config.handshakes_in_flight_max) return false;
  const auto now = clock.steady();
  if (!pace.turns.ready(now) || !server.pace.turns.ready(now)) {
    wait = std::min(wait, std::max(pace.turns.wait(now), server.pace.turns.wait(now)));
    return false;
  }
  (void)pace.turns.take(now);
  (void)server.pace.turns.take(now);
  server.waiting.pop_front();
  --waiting;
  next->queued_at = nullptr;
  start_attempt(*next);
  return true;
}

bool SessionPool::Impl::give_start(Server& server, milliseconds& wait) {
  std::shared_ptr<Connection> next;
  while (!next && !server.connected.empty()) {
    next = server.connected.front().lock();
    if (next && next->link && !next->failure) break;
    next.reset();
    server.connected.pop_front();
    --waiting;
  }
  if (!next) return false;
  const auto now = clock.steady();
  if (!pace.starts.ready(now) || !server.pace.starts.ready(now)) {
    wait = std::min(wait, std::max(pace.starts.wait(now), server.pace.starts.wait(now)));
    return false;
  }
  (void)pace.starts.take(now);
  (void)server.pace.starts.take(now);
  server.connected.pop_front();
  --waiting;
  Link& link = *next->link;
  begin_tls(*next);
  after(link);
  return true;
}

// Its handshake begins with the next pump(), which is now unless the second is full.
void SessionPool::Impl::tcp_connected(Connection& connection) {
  connection.link->server->connected.push_back(connection.weak_from_this());
  ++waiting;
}

}  // namespace greengate::adapters
