// Which sessions there are, which of them may stay, and what is due when.
#include "adapters/bgb/pool_http.h"
#include "adapters/bgb/route_lookup.h"
#include "adapters/bgb/session_pool_impl.h"
#include "core/log.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::adapters {

namespace asio = boost::asio;
using bgb::Session;
using bgb::SessionState;
using boost::system::error_code;
using std::chrono::milliseconds;

namespace {

const Log logger("bgb");

// A look at every session's right is cut into slices, so that it never holds up the net thread.
constexpr std::size_t rights_at_once_min = 1'000, rights_slices = 20;

// Each session is a descriptor; without a tenth to spare the store and the agents' sockets would miss some.
void warn_of_few_descriptors(std::uint32_t sessions_max) {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) return;
  const std::uint64_t wanted = std::uint64_t{sessions_max} + sessions_max / 10;
  if (files.rlim_cur < wanted)
    logger.warn("fewer descriptors than sessions; raise nofile", kv("limit", files.rlim_cur), kv("sessions_max", sessions_max));
}

RouteSource kernels_routes() {
  return [lookup = std::make_shared<bgb::RouteLookup>()](const std::string& address) { return lookup->way_to(address); };
}

}  // namespace

SessionPool::Impl::Impl(asio::io_context& context, BgbConfig settings, const Clock& time,
                        Metrics& numbers, IdentitySource source, BgbListener& who, SessionRight may, RouteSource ways)
    : net(context),
      config(std::move(settings)),
      clock(time),
      identities(std::move(source)),
      listener(who),
      right(std::move(may)),
      routes(ways ? std::move(ways) : kernels_routes()),
      strand(asio::make_strand(context)),
      probe(std::make_unique<bgb::PoolProbe>(numbers)),
      memory(config.pushes_remembered_max, config.push_memory, clock),
      wheel(std::max(config.tick, milliseconds(1)), clock.steady()),
      pace(config.handshakes_per_second_all, clock.steady()),
      next_check(clock.steady() + config.identity_check),
      http_wheel(std::max(config.tick, milliseconds(1)), clock.steady()),
      tick_timer(strand),
      pump_timer(strand),
      answer_timer(strand),
      http_turn_timer(strand) {
  rules.keepalive = config.keepalive_interval();
  rules.connect_timeout = config.connect_timeout;
  rules.tls_timeout = config.tls_timeout;
  rules.sign_in_timeout = config.sign_in_timeout;
  rules.answer_timeout = config.answer_timeout;
  rules.stable_after = config.stable_after;
  rules.start_window = config.start_window;
  rules.backoff = {config.backoff_base, config.backoff_cap};
  rules.pending_pushes_max = config.pending_pushes_max;
  rules.confirm_required = config.confirm_required;
}

Result<void> SessionPool::Impl::prepare() {
  const auto problems = config.problems();
  if (!problems.empty())
    return fail(Remedy::reject, "bgb.config",
                problems.front().key + " " + problems.front().message);

  const auto check = bgb::parse_check(config.server_check);
  auto context = bgb::TlsContext::make(*check, config.certificate_file);
  if (!context) return pass(context);
  tls.emplace(std::move(*context));
  if (*check == bgb::ServerCheck::none_lab_only)
    logger.warn("notification servers are not checked; for a lab only",
                kv("server_check", config.server_check));

  warn_of_few_descriptors(config.sessions_max);
  http_world.emplace(bgb::HttpChannelWorld{strand, *tls, clock, buffer,
                                           [this](tcp::socket& socket, const tcp& family) { return prepare_socket(socket, family); }});
  for (const auto& address : config.source_addresses) sources.add(asio::ip::make_address(address));
  return prepare_servers();
}

void SessionPool::Impl::begin() {
  running = true;
  arm_tick();
  std::vector<Link*> without;
  for (auto& [id, link] : links) {
    const auto own = names_before_start.find(id);
    link->servers = own == names_before_start.end() ? settings_list : list_of(own->second);
    if (!link->servers) without.push_back(link.get());
  }
  names_before_start.clear();
  for (Link* link : without) {
    probe->without_server.add();
    bury(*link);
  }
  for (auto& [id, link] : links)
    event(*link, [&](Session& session, Hands& hands) { session.open(clock.steady(), hands); });
}

void SessionPool::Impl::after(Link& link) {
  if (link.dead) return;
  while (link.connection && link.connection->failure) {
    const Error why = *link.connection->failure;
    const bool other = std::string_view(why.code) != "bgb.identity";
    Hands hands(*this, link);
    link.session.failed(clock.steady(), why, other, hands);
  }
  settle_http(link);
  if (link.moves && !link.session.answer_due()) leave_server(link);
  const SessionState state = link.session.state();
  if (state == SessionState::backoff || state == SessionState::online) link.address = 0;
  auto next = link.session.due();
  if (link.connection && link.connection->frame_since) {
    const SteadyTime frame_due = *link.connection->frame_since + config.frame_timeout;
    next = next ? std::min(*next, frame_due) : frame_due;
  }
  if (next)
    wheel.arm(link, *next);
  else
    wheel.disarm(link);
  if (const auto due = link.session.answer_due(); due && due != link.answer_at) {
    link.answer_at = due;
    const bool first = answers_due.empty() || *due < answers_due.begin()->first;
    answers_due.emplace(*due, link.id);
    if (first) arm_answers();
  }
  publish(link);
  if (state == SessionState::off) bury(link);
  pump();
}

void SessionPool::Impl::publish(Link& link) {
  const SessionState state = link.session.state();
  const auto& error = link.session.last_error();
  std::lock_guard lock(mutex);
  Link::Shown& shown = link.shown;
  if (shown.state != state) {
    probe->moved(shown.state, state);
    if (error && (state == SessionState::backoff || state == SessionState::off))
      probe->ended(error->code);
    shown.state = state;
  }
  shown.server = link.server;
  shown.by_http = link.http != nullptr;
  shown.holds_key = link.connection && link.connection->stream.holds_key();
  shown.online_since = link.online_since;
  shown.attempts = link.attempts;
  shown.pushes = link.pushes;
  shown.duplicates = link.duplicates;
  shown.answers = link.answers;
  if (error && (shown.error_code != error->code || shown.error_message != error->message)) {
    shown.error_code = error->code;
    shown.error_message = error->message;
  }
}

void SessionPool::Impl::bury(Link& link) {
  link.dead = true;
  wheel.disarm(link);
  if (graveyard.empty())
    asio::post(strand, [self = shared_from_this()] { self->graveyard.clear(); });
  {
    std::lock_guard lock(mutex);
    auto node = links.extract(link.id);
    graveyard.push_back(std::move(node.mapped()));
  }
  check_emptied();
}

void SessionPool::Impl::check_emptied() {
  std::lock_guard lock(mutex);
  quiet = links.empty() && lingering.empty() && http_lingering.empty();
  if (quiet) emptied.notify_all();
}

void SessionPool::Impl::open(const AgentId& agent, const BgbServers& names) {
  if (refusing || !config.enabled) return;
  auto found = links.find(agent);
  const bool fresh = found == links.end();
  SharedServerList own = running && (fresh || names) ? list_of(names) : nullptr;
  if (fresh) {
    if (links.size() >= config.sessions_max) {
      probe->full.add();
      if (!std::exchange(full_said, true))
        logger.error("too many sessions", kv("sessions_max", config.sessions_max),
                     kv("agent", agent.raw()));
      return;
    }
    if (running ? !own : config.servers.empty() && !names) {
      probe->without_server.add();
      logger.debug("no session, its agent has no server", kv("agent", agent.raw()));
      return;
    }
    std::lock_guard lock(mutex);
    found = links.emplace(agent, std::make_unique<Link>(agent, rules, memory)).first;
    quiet = false;
  }
  if (!running) {
    if (names) names_before_start[agent] = names;
    return;
  }
  give_servers(*found->second, std::move(own));
  event(*found->second,
        [&](Session& session, Hands& hands) { session.open(clock.steady(), hands); });
}

void SessionPool::Impl::close(const AgentId& agent) {
  const auto found = links.find(agent);
  if (found == links.end()) return;
  if (!running) {
    names_before_start.erase(agent);
    return bury(*found->second);
  }
  event(*found->second,
        [&](Session& session, Hands& hands) { session.shut(clock.steady(), hands); });
}

void SessionPool::Impl::shut_all() {
  refusing = true;
  std::vector<AgentId> all;
  for (const auto& [id, link] : links) all.push_back(id);
  for (const auto& id : all) close(id);
  check_emptied();
}

void SessionPool::Impl::tear_down() {
  refusing = true;
  running = false;
  tick_timer.cancel();
  pump_timer.cancel();
  answer_timer.cancel();
  for (auto& server : servers) server->resolver.cancel();
  for (auto& connection : lingering) connection->abandon();
  lingering.clear();
  http_turn_timer.cancel();
  for (auto& session : http_lingering) session->abandon();
  http_lingering.clear();
  end_returns();
  std::lock_guard lock(mutex);
  for (auto& [id, link] : links) {
    if (link->connection) link->connection->abandon();
    link->connection.reset();
    if (link->http) link->http->abandon();
    link->http.reset();
    wheel.disarm(*link);
    probe->moved(link->shown.state, SessionState::off);
  }
  links.clear();
  graveyard.clear();
  waiting = 0;
  for (auto& server : servers) {
    server->waiting.clear();
    server->connected.clear();
  }
  answers_due.clear();
  names_before_start.clear();
  quiet = true;
  emptied.notify_all();
}

// These two leave after() to the connection, which may have more to say in the same breath.
void SessionPool::Impl::secured(Link& link) {
  Hands hands(*this, link);
  link.session.secured(clock.steady(), hands);
}

void SessionPool::Impl::received(Link& link, bgb::Message message) {
  if (message.kind == bgb::Kind::sign_in_confirm && message.message_version != link.server->message_version) {
    logger.info("server's message version", kv("server", link.server->text), kv("message_version", message.message_version));
    std::lock_guard lock(mutex);
    link.server->message_version = message.message_version;
  }
  Hands hands(*this, link);
  link.session.received(clock.steady(), std::move(message), hands);
}

void SessionPool::Impl::arm_tick() {
  tick_timer.expires_after(config.tick);
  tick_timer.async_wait([self = shared_from_this()](const error_code& wrong) {
    if (wrong || !self->running) return;
    self->on_tick();
    self->arm_tick();
  });
}

void SessionPool::Impl::on_tick() {
  const auto now = clock.steady();
  for (bgb::WheelTimer* timer : wheel.advance(now)) {
    Link& link = static_cast<Link&>(*timer);
    event(link, [&](Session& session, Hands& hands) {
      // Whatever was pushed behind a frame that does not end is lost to us; the server pushes it again after the next sign-in.
      Connection* const connection = link.connection.get();
      if (connection && connection->frame_since && *connection->frame_since + config.frame_timeout <= now)
        return connection->broke({Remedy::retry, "bgb.frame_stalled", "The server began a frame and did not end it.", {}});
      session.tick(now, hands);
    });
  }
  check_rights(now);
  tend_http(now);
  if (now >= next_server_look) drop_unused_servers(now, config.servers_idle);
  std::erase_if(lingering, [&](const std::shared_ptr<Connection>& connection) {
    if (connection->socket.is_open() && *connection->flush_until <= now) connection->let_go();
    return !connection->socket.is_open();
  });
  probe->forgotten.add(static_cast<double>(memory.forgotten() - forgotten_reported));
  forgotten_reported = memory.forgotten();
  if (refusing) check_emptied();
  pump();
}

void SessionPool::Impl::check_rights(SteadyTime now) {
  if (!right) return;
  if (to_check.empty()) {
    if (now < next_check) return;
    next_check = now + config.identity_check;
    for (const auto& [id, link] : links)
      if (link->connection || link->http) to_check.push_back(id);
  }
  std::size_t slice = std::max(rights_at_once_min, links.size() / rights_slices);
  for (; slice > 0 && !to_check.empty(); --slice) {
    const AgentId agent = std::move(to_check.front());
    to_check.pop_front();
    const auto found = links.find(agent);
    // Before TLS begins there is no identity to lose.
    const bool by_tcp = found != links.end() && found->second->connection && found->second->connection->stream;
    const bool by_http = found != links.end() && found->second->http && found->second->http->signing;
    if (!by_tcp && !by_http) continue;
    if (right(agent, found->second->sms_id)) continue;
    logger.info("session ended, its agent may not hold it any more", kv("agent", agent.raw()),
                kv("sms_id", found->second->sms_id.raw()));
    close(agent);
  }
}

void SessionPool::Impl::arm_answers() {
  if (answers_due.empty()) return;
  answer_timer.expires_after(
      std::max(answers_due.begin()->first - clock.steady(), SteadyTime::duration::zero()));
  answer_timer.async_wait([self = shared_from_this()](const error_code& wrong) {
    if (wrong || !self->running) return;
    self->on_answers();
    self->arm_answers();
  });
}

void SessionPool::Impl::on_answers() {
  const auto now = clock.steady();
  while (!answers_due.empty() && answers_due.begin()->first <= now) {
    const AgentId agent = answers_due.begin()->second;
    answers_due.erase(answers_due.begin());
    const auto found = links.find(agent);
    if (found == links.end()) continue;
    found->second->answer_at.reset();
    event(*found->second, [&](Session& session, Hands& hands) { session.tick(now, hands); });
  }
}

}  // namespace greengate::adapters
