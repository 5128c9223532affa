// Whose turn it is to connect: each server's queue and budget, and the budget of the whole process.
#include "adapters/bgb/server_order.h"
#include "adapters/bgb/session_pool_impl.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

namespace greengate::adapters {

using bgb::SessionState;
using boost::system::error_code;
using std::chrono::milliseconds;

namespace {

// A turn is for a handshake now. Connections that a server took only much later, all at once perhaps, need a turn of their own.
constexpr milliseconds turn_lasts{250};

}  // namespace

SessionPool::Impl::Server& SessionPool::Impl::server_for(const Link& link) {
  const auto order = bgb::server_order(link.id, server_names);
  return *servers[order[link.session.server_turn() % order.size()]];
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
  const auto now = clock.steady();
  milliseconds wait = milliseconds::max();
  ++next_turn;
  for (bool given = true; given;) {
    given = false;
    for (std::size_t i = 0; i < servers.size(); ++i)
      given = give_turn(*servers[(next_turn + i) % servers.size()], now, wait) || given;
  }
  pumping = false;
  if (wait == milliseconds::max() || std::exchange(pump_armed, true)) return;
  pump_timer.expires_after(wait);
  pump_timer.async_wait([self = shared_from_this()](const error_code& wrong) {
    self->pump_armed = false;
    if (!wrong) self->pump();
  });
}

// One turn for one of those who wait at this server; false when nobody does, or nobody may. `wait` is then when to ask again, unless
// the end of another handshake will.
bool SessionPool::Impl::give_turn(Server& server, SteadyTime now, milliseconds& wait) {
  std::shared_ptr<Connection> late;
  while (!late && !server.too_late.empty()) {
    late = server.too_late.front().lock();
    if (late && late->link) break;
    late.reset();
    server.too_late.pop_front();
    --waiting;
  }
  Link* next = nullptr;
  while (!late && !next && !server.waiting.empty()) {
    const auto found = links.find(server.waiting.front());
    const bool waits = found != links.end() && !found->second->dead && found->second->queued_at == &server &&
                       found->second->session.state() == SessionState::queued;
    if (waits) {
      next = found->second.get();
      break;
    }
    server.waiting.pop_front();
    --waiting;
  }
  if (!late && (!next || server.in_flight >= config.handshakes_in_flight_max)) return false;
  if (!budget.ready(now) || !server.budget.ready(now)) {
    wait = std::min(wait, std::max(budget.wait(now), server.budget.wait(now)));
    return false;
  }
  (void)budget.take(now);
  (void)server.budget.take(now);
  --waiting;
  if (late) {
    server.too_late.pop_front();
    Link& link = *late->link;
    begin_tls(*late);
    after(link);
  } else {
    server.waiting.pop_front();
    next->queued_at = nullptr;
    start_attempt(*next);
  }
  return true;
}

void SessionPool::Impl::begin_tls_in_turn(Connection& connection) {
  if (clock.steady() - connection.turn_at <= turn_lasts) return begin_tls(connection);
  connection.link->server->too_late.push_back(connection.weak_from_this());
  ++waiting;  // after() pumps
}

}  // namespace greengate::adapters
