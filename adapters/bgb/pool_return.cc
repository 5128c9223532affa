// The way back from HTTP to TCP: by the clock, or at once when the way to a server changed (spec 1.3 rule 6). One question a server for
// all its sessions, and never more returns at a time than its handshakes allow.
#include "adapters/bgb/pool_http.h"

#include "core/log.h"
#include "core/random.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace greengate::adapters {

using bgb::SessionState;
using boost::system::error_code;
using std::chrono::milliseconds;

namespace {

const Log logger("bgb");

constexpr milliseconds answers_first{5'000};  // a session that owes an answer changes its way later
constexpr milliseconds route_look_every{10'000};
constexpr milliseconds return_spread_min{5'000};
constexpr milliseconds addresses_kept{60'000};
constexpr milliseconds verdict_kept_max{10'000};

milliseconds random_up_to(milliseconds bound) {
  return milliseconds(static_cast<std::int64_t>(random_u64() % (static_cast<std::uint64_t>(std::max<std::int64_t>(bound.count(), 0)) + 1)));
}

// So long that half of a budget of handshakes carries them: a session that returns is offline until its handshake had its turn.
milliseconds spread_of(std::size_t sessions, std::uint32_t handshakes_per_second) {
  return milliseconds(static_cast<std::int64_t>(sessions) * 2'000 / std::max(handshakes_per_second, 1u));
}

}  // namespace

SteadyTime SessionPool::Impl::next_tcp_retry() const {
  return clock.steady() + config.tcp_retry + random_up_to(config.tcp_retry / 5);
}

void SessionPool::Impl::tend_returns(SteadyTime now) {
  for (auto& server : servers)
    if (server->http && server->http->probe && server->http->probe_until <= now) probed_tcp(*server, false);
  look_at_routes(now);
  std::vector<std::shared_ptr<HttpSession>> due;
  for (bgb::WheelTimer* timer : http_wheel.advance(now)) due.push_back(static_cast<HttpSession&>(*timer).shared_from_this());
  for (const auto& session : due) session->return_due();
}

void SessionPool::Impl::look_at_routes(SteadyTime now) {
  if (now < next_route_look) return;
  next_route_look = now + route_look_every;
  for (auto& server : servers) {
    if (!server->http) continue;
    std::string way;
    if (!server->addresses.empty()) {
      way = routes(server->addresses.front().address().to_string());
    } else {
      if (server->http->sessions == 0) continue;  // nobody asked for its addresses yet
      resolve(*server);  // a name that is not known here may be where the next route leads
    }
    const auto before = std::exchange(server->http->way, way);
    if (!before || way.empty() || way == *before) continue;
    logger.info("route to a server changed", kv("server", server->text), kv("way", way));
    come_back_soon(*server, now);
  }
}

void SessionPool::Impl::come_back_soon(Server& server, SteadyTime now) {
  std::size_t everywhere = 0;
  for (const auto& one : servers) everywhere += one->http ? one->http->sessions : 0;
  const auto spread = std::max({return_spread_min, spread_of(server.http->sessions, config.handshakes_per_second),
                                spread_of(everywhere, config.handshakes_per_second_all)});
  server.http->dead_until = now;
  if (server.http->probe) {  // it went the old way
    drop_probe(server);
    probe_tcp(server);
  }
  for (auto& [id, link] : links) {
    // One that is between two connections, perhaps because the old way broke under it, too.
    if (!link->by_http || link->server != &server) continue;
    link->tcp_retry_at = now + random_up_to(spread);
    if (!link->http) continue;
    link->http->tcp_retry_at = link->tcp_retry_at;
    link->http->arm();
  }
}

void SessionPool::Impl::ask_tcp(Server& server, const std::shared_ptr<HttpSession>& asker) {
  HttpSide& side = *server.http;
  if (clock.steady() < side.dead_until) return asker->probed(false);
  side.askers.push_back(asker);
  if (side.probe || side.askers.size() > 1) return;  // somebody asks already
  const bool fresh = !server.addresses.empty() && clock.steady() - server.resolved_at < addresses_kept;
  if (fresh)
    probe_tcp(server);
  else
    resolve(server);
}

void SessionPool::Impl::addresses_found(Server& server) {
  if (!server.http || server.http->askers.empty() || server.http->probe) return;
  if (server.addresses.empty())
    probed_tcp(server, false);
  else
    probe_tcp(server);
}

void SessionPool::Impl::probe_tcp(Server& server) {
  HttpSide& side = *server.http;
  side.probe_until = clock.steady() + config.connect_timeout;
  side.probe = std::make_shared<tcp::socket>(strand);
  const tcp::endpoint target = server.addresses.front();
  if (prepare_socket(*side.probe, target.protocol())) return probed_tcp(server, false);
  // The server may be gone by then, so it is found again by its probe.
  side.probe->async_connect(target, [self = shared_from_this(), socket = side.probe](const error_code& refused) {
    if (!self->running) return;
    const auto asked = std::find_if(self->servers.begin(), self->servers.end(),
                                    [&](const auto& one) { return one->http && one->http->probe == socket; });
    if (asked != self->servers.end()) self->probed_tcp(**asked, !refused);
  });
}

void SessionPool::Impl::drop_probe(Server& server) {
  const auto socket = std::exchange(server.http->probe, nullptr);
  error_code ignored;
  if (socket) socket->close(ignored);
}

void SessionPool::Impl::probed_tcp(Server& server, bool there) {
  HttpSide& side = *server.http;
  drop_probe(server);
  if (!there) side.dead_until = clock.steady() + std::min(verdict_kept_max, config.tcp_retry / 10);
  for (const auto& asker : std::exchange(side.askers, {})) {
    const auto session = asker.lock();
    if (session && !session->done) session->probed(there);
  }
}

void SessionPool::Impl::end_returns() {
  for (auto& server : servers) {
    if (!server->http) continue;
    server->http->first_turns.clear();
    server->http->further_turns.clear();
    server->http->askers.clear();
    drop_probe(*server);
  }
}

void SessionPool::Impl::HttpSession::return_due() {
  if (done || !link || link->session.state() != SessionState::online) return;
  const auto now = pool->clock.steady();
  if (link->session.answer_due()) {
    tcp_retry_at = now + answers_first;
    return arm();
  }
  tcp_retry_at = SteadyTime::max();  // until the answer is there
  pool->ask_tcp(server, shared_from_this());
}

void SessionPool::Impl::HttpSession::probed(bool there) {
  if (!link) return;
  const auto now = pool->clock.steady();
  tcp_retry_at = link->tcp_retry_at = pool->next_tcp_retry();
  if (there && link->session.answer_due()) tcp_retry_at = now + answers_first;
  if (!there || link->session.state() != SessionState::online || link->session.answer_due()) return arm();
  pool->probe->http_back_to_tcp.add();
  link->by_http = false;
  Hands hands(*pool, *link);
  Link& mine = *link;
  Impl& owner = *pool;
  const auto keep = shared_from_this();
  mine.session.reconnect(now, {Remedy::retry, "bgb.back_to_tcp", "TCP is there again.", {}}, hands);
  owner.after(mine);
}

}  // namespace greengate::adapters
