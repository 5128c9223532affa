// Sessions over HTTP: when the pool takes that way, how one is opened, driven and ended.
#include "adapters/bgb/pool_http.h"

#include "core/log.h"
#include "core/random.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace greengate::adapters {

namespace asio = boost::asio;
using bgb::HttpEnd;
using bgb::HttpPurpose;
using bgb::Lane;
using bgb::Session;
using bgb::SessionState;
using boost::system::error_code;
using std::chrono::milliseconds;

namespace {

const Log logger("bgb");

constexpr milliseconds flush_time{5'000};       // for what is left to say when a session ends (spec 2.5)

}  // namespace

// ---- which way ----------------------------------------------------------------------------------

Result<void> SessionPool::Impl::prepare_http(Server& server, const bgb::Profile& profile) {
  if (config.http == "off") return {};
  std::string text = "https://" + (server.where.host.find(':') != std::string::npos ? "[" + server.where.host + "]" : server.where.host);
  for (const auto& entry : config.http_urls)
    if (entry.starts_with(server.text + "=")) text = entry.substr(server.text.size() + 1);
  auto url = parse_url(text);
  if (!url) return fail(Remedy::reject, "bgb.config", "bgb.http_urls has \"" + text + "\": " + url.error().message);
  bgb::HttpRoute route;
  route.server = *url;
  if (!config.http_proxy.empty()) {
    auto proxy = parse_url(config.http_proxy);
    if (!proxy) return fail(Remedy::reject, "bgb.config", "bgb.http_proxy: " + proxy.error().message);
    route.proxy = *proxy;
  }
  if (!url->tls) logger.warn("HTTP mode without TLS; for a lab only", kv("server", server.text), kv("url", text));
  server.http = std::make_shared<HttpSide>(profile, std::move(route));
  const auto& http = profile.http;
  bgb::HttpRules& numbers = server.http->rules;
  numbers.connect = config.connect_timeout + config.tls_timeout;
  numbers.sign_in = config.sign_in_timeout;
  numbers.hang = std::chrono::seconds(http.hang_seconds);
  numbers.can_ask_hold = !http.hang_parameter.empty();
  if (http_said.insert(profile.name + "/" + http.name).second)
    for (const auto& [key, value] : http.guesses)
      logger.info("profile value is guessed", kv("profile", http.name), kv("key", key), kv("value", value));
  return {};
}

bool SessionPool::Impl::fall_back(Link& link) {
  if (config.http != "fallback" || link.by_http || !link.server || !link.server->http) return false;
  if (clock.steady() < link.server->http->broken_until) return false;
  link.by_http = true;
  link.http_served = true;  // until it is seen not to
  link.address = 0;
  link.tcp_retry_at = next_tcp_retry();
  probe->http_fallback.add();
  logger.debug("session falls back to HTTP", kv("agent", link.id.raw()), kv("server", link.server->text));
  return true;
}

bool SessionPool::Impl::takes_http(Link& link, Server& server) {
  if (!server.http) return false;
  if (config.http == "only") return true;
  // TCP is tried again at another server, after an attempt by HTTP that came to nothing, and when its time has come.
  if (link.by_http && (link.server != &server || !link.http_served || clock.steady() >= link.tcp_retry_at)) link.by_http = false;
  return link.by_http;
}

void SessionPool::Impl::start_http(Link& link, Server& server) {
  if (link.server != &server) link.address = 0;
  link.server = &server;
  link.http_served = false;
  ++link.attempts;
  link.session.attempt_started(clock.steady());
  link.http = std::make_shared<HttpSession>(*this, link);
  link.http->counted[static_cast<std::size_t>(Lane::receive)] = true;
  ++server.in_flight;
  const SteadyTime now = clock.steady();
  if (now < server.http->broken_until) {
    // With a second server there is somebody to ask before the time is over.
    const auto rest = link.servers->size() > 1 ? milliseconds(0) : std::chrono::ceil<milliseconds>(server.http->broken_until - now);
    link.http->ended(HttpEnd::unavailable, {Remedy::retry, "bgb.http_broken", "This server's HTTP mode did not work a while ago.", rest});
  } else {
    take_http_turn(link.http, Lane::receive);
  }
  after(link);
}

error_code SessionPool::Impl::prepare_socket(tcp::socket& socket, const tcp& family) {
  error_code wrong;
  socket.open(family, wrong);
  if (!wrong) socket.non_blocking(true, wrong);
  if (!wrong) wrong = sources.bind(socket, family);
  if (!wrong) bgb::set_tcp_options(socket);
  return wrong;
}

void SessionPool::Impl::drop_http(Link& link, bool orderly) {
  const auto http = std::exchange(link.http, nullptr);
  if (http) http->finish(orderly);
}

// What an HTTP session ended with, told to the session when it can hear it.
void SessionPool::Impl::settle_http(Link& link) {
  while (link.http && link.http->ending) {
    const auto end = std::exchange(link.http->ending, nullptr);
    Hands hands(*this, link);
    const auto now = clock.steady();
    if (end->how == HttpEnd::broken) {
      HttpSide& side = link.http->side;
      if (now >= side.broken_until)
        logger.warn("HTTP mode of a server does not work", kv("server", link.server->text), kv("why", end->why.message));
      side.broken_until = now + config.http_broken;
    }
    if (end->how == HttpEnd::broken || end->how == HttpEnd::unavailable)
      link.session.unavailable(now, std::move(end->why), hands);
    else
      link.session.failed(now, std::move(end->why), end->other_address, hands);
  }
  if (link.http) link.http->arm();
}

void SessionPool::Impl::take_http_turn(const std::shared_ptr<HttpSession>& session, Lane lane) {
  const bool first = session->counted[static_cast<std::size_t>(lane)];
  (first ? session->side.first_turns : session->side.further_turns).emplace_back(session, lane);
  serve_http_turns();
}

// What is to be said on further connections comes before sign-ins: an answer has five seconds.
void SessionPool::Impl::serve_http_turns() {
  const auto now = clock.steady();
  milliseconds wait = milliseconds::max();
  for (std::size_t i = 0; i < servers.size(); ++i) {
    Server& server = *servers[(next_turn + i) % servers.size()];
    if (!server.http) continue;
    for (auto* queue : {&server.http->further_turns, &server.http->first_turns}) {
      while (!queue->empty() && running) {
        const auto session = queue->front().first.lock();
        const Lane lane = queue->front().second;
        if (!session || session->done) {
          queue->pop_front();
          continue;
        }
        bool& counted = session->counted[static_cast<std::size_t>(lane)];
        if (!counted && server.in_flight >= config.handshakes_in_flight_max) break;  // the end of another one asks again
        if (!pace.starts.ready(now) || !server.pace.starts.ready(now)) {
          wait = std::min(wait, std::max({pace.starts.wait(now), server.pace.starts.wait(now), milliseconds(1)}));
          break;
        }
        (void)pace.starts.take(now);
        (void)server.pace.starts.take(now);
        if (!std::exchange(counted, true)) ++server.in_flight;
        queue->pop_front();
        // From the strand anew: the session may be in the middle of something.
        asio::post(strand, [session, lane] { session->turn_came(lane); });
      }
    }
  }
  if (wait == milliseconds::max() || std::exchange(http_turns_armed, true)) return;
  http_turn_timer.expires_after(wait);
  http_turn_timer.async_wait([self = shared_from_this()](const error_code& wrong) {
    self->http_turns_armed = false;
    if (!wrong) self->serve_http_turns();
  });
}

void SessionPool::Impl::tend_http(SteadyTime now) {
  std::erase_if(http_lingering, [&](const std::shared_ptr<HttpSession>& session) {
    if (!session->done && session->flush_until <= now) session->let_go();
    return session->done;
  });
  if (config.http == "fallback") tend_returns(now);
}

// ---- one session --------------------------------------------------------------------------------

SessionPool::Impl::HttpSession::HttpSession(Impl& owner, Link& whose)
    : pool(&owner),
      link(&whose),
      server(*whose.server),
      side(*whose.server->http),
      agent(whose.id),
      address(whose.address),
      machine(side.rules, random_u64()),
      timer(owner.strand),
      tcp_retry_at(owner.config.http == "only" ? SteadyTime::max() : whose.tcp_retry_at) {
  ++side.sessions;
  owner.probe->http_sessions.add(1);
  for (const Lane lane : {Lane::receive, Lane::send})
    channels[static_cast<std::size_t>(lane)] =
        std::make_shared<bgb::HttpChannel>(*owner.http_world, lane, side.route, side.binding.body_bytes_max(), *this);
}

void SessionPool::Impl::HttpSession::open() {
  ++nested;
  channel(Lane::receive).open(address);
  --nested;
}

void SessionPool::Impl::HttpSession::say(bgb::Message message) {
  machine.send(pool->clock.steady(), std::move(message), *this);
}

void SessionPool::Impl::HttpSession::finish(bool orderly) {
  link = nullptr;
  ending.reset();
  if (!signing) count_out(Lane::receive);
  if (!orderly || !signing || machine.over()) return let_go();
  machine.leave(*this);
  if (machine.quiet()) return let_go();
  flush_until = pool->clock.steady() + flush_time;
  pool->http_lingering.push_back(shared_from_this());
  arm();
}

void SessionPool::Impl::HttpSession::let_go() {
  if (std::exchange(done, true)) return;
  for (const Lane lane : {Lane::receive, Lane::send}) count_out(lane);
  timer.cancel();
  pool->http_wheel.disarm(*this);
  for (const auto& one : channels) one->abandon();
  --side.sessions;
  pool->probe->http_sessions.add(-1);
}

void SessionPool::Impl::HttpSession::abandon() {
  link = nullptr;
  let_go();
}

void SessionPool::Impl::HttpSession::count_out(Lane lane) {
  if (!std::exchange(counted[static_cast<std::size_t>(lane)], false)) return;
  --server.in_flight;
  pool->serve_http_turns();
}

void SessionPool::Impl::HttpSession::arm() {
  if (done) return;
  if (link && link->session.state() == SessionState::online && tcp_retry_at != SteadyTime::max())
    pool->http_wheel.arm(*this, tcp_retry_at);
  else
    pool->http_wheel.disarm(*this);
  auto due = machine.due();
  if (!link) due = due ? std::min(*due, flush_until) : flush_until;
  if (!due) return;
  timer.expires_after(std::max(*due - pool->clock.steady(), SteadyTime::duration::zero()));
  timer.async_wait([self = shared_from_this()](const error_code& wrong) {
    if (!wrong && !self->done) self->on_timer();
  });
}

void SessionPool::Impl::HttpSession::on_timer() {
  const auto now = pool->clock.steady();
  if (!link && flush_until <= now) return let_go();
  machine.tick(now, *this);
  settle();
}

void SessionPool::Impl::HttpSession::settle() {
  if (nested > 0 || done) return;
  if (link) return pool->after(*link);
  if (machine.quiet() || machine.over()) return let_go();
  arm();
}

Result<BgbIdentity> SessionPool::Impl::HttpSession::identity() const {
  auto as = pool->identities(agent);
  if (!as) {
    Error why = as.error();
    return fail(why.remedy, "bgb.identity", std::move(why.message), why.retry_after);
  }
  if (signing && as->sms_id != sms_id) {
    OPENSSL_cleanse(as->private_key_der.data(), as->private_key_der.size());
    return fail(Remedy::retry, "bgb.identity", "The agent has another identity than the one it signed in with.");
  }
  return as;
}

void SessionPool::Impl::HttpSession::exchange(Lane lane, HttpPurpose purpose, const bgb::Message* message,
                                              std::uint32_t hold_seconds) {
  auto as = identity();
  if (!as) return ended(HttpEnd::lost, std::move(as.error()));
  const auto& versions = side.binding.profile().versions;
  const bgb::VersionPair version = versions[link ? link->session.version_index() % versions.size() : 0];
  auto request = side.binding.request(purpose, message, version, {sms_id, as->private_key_der}, cookies, hold_seconds);
  OPENSSL_cleanse(as->private_key_der.data(), as->private_key_der.size());
  if (!request) return ended(HttpEnd::lost, std::move(request.error()));
  if (!channel(lane).is_open()) {  // one more handshake, which has its turn like any other
    wants_turn[static_cast<std::size_t>(lane)] = std::move(*request);
    return pool->take_http_turn(shared_from_this(), lane);
  }
  ++nested;
  channel(lane).exchange(*request, address);
  --nested;
}

void SessionPool::Impl::HttpSession::turn_came(Lane lane) {
  if (done) return;
  if (!std::exchange(opened, true)) return open();
  auto& request = wants_turn[static_cast<std::size_t>(lane)];
  if (!request) return count_out(lane);  // nobody wants it any more
  const auto ready = std::exchange(request, std::nullopt);
  channel(lane).exchange(*ready, address);
  settle();
}

void SessionPool::Impl::HttpSession::hang_up(Lane lane) {
  wants_turn[static_cast<std::size_t>(lane)].reset();
  channel(lane).close();
  count_out(lane);
}

bool SessionPool::Impl::HttpSession::received(bgb::Message message) {
  if (!link) return false;
  pool->received(*link, std::move(message));
  return link != nullptr && !ending;
}

void SessionPool::Impl::HttpSession::ended(HttpEnd how, Error why) {
  if (ending) return;
  const bool other = std::string_view(why.code) != "bgb.identity";
  ending = std::make_unique<End>(End{how, std::move(why), other});
}

void SessionPool::Impl::HttpSession::note(bgb::HttpNote note) {
  pool->probe->http_note(note);
}

Result<bgb::HttpCredentials> SessionPool::Impl::HttpSession::connected(Lane lane) {
  auto as = identity();
  if (!as) return pass(as);
  if (lane == Lane::receive && !signing && link) {
    sms_id = as->sms_id;
    link->sms_id = sms_id;
    link->session.connected(pool->clock.steady(), sms_id);
  }
  if (side.route.server.tls) pool->probe->handshakes.add();
  return bgb::HttpCredentials{std::move(as->certificate_der), std::move(as->private_key_der)};
}

void SessionPool::Impl::HttpSession::secured(Lane lane) {
  count_out(lane);
  if (lane != Lane::receive || signing || !link) return;
  signing = true;
  ++nested;
  pool->secured(*link);
  --nested;
  settle();
}

void SessionPool::Impl::HttpSession::sent(Lane lane) {
  count_out(lane);
  machine.sent(pool->clock.steady(), lane);
}

void SessionPool::Impl::HttpSession::replied(Lane lane, HttpResponse reply) {
  const auto keep = shared_from_this();
  cookies.take(reply.headers);
  auto meaning = side.binding.read(reply, pool->clock.wall());
  for (std::size_t i = 0; i < meaning.messages.size(); ++i) pool->probe->frames.add();
  for (std::uint32_t i = 0; i < meaning.kind_mismatches; ++i) pool->probe->mismatches.add();
  ++nested;
  machine.replied(pool->clock.steady(), lane, std::move(meaning), *this);
  --nested;
  settle();
}

void SessionPool::Impl::HttpSession::failed(Lane lane, Error why, bool sent) {
  const auto keep = shared_from_this();
  count_out(lane);
  if (!signing)
    ended(HttpEnd::lost, std::move(why));  // the session hears of it as of a TCP connection that failed
  else
    machine.failed(pool->clock.steady(), lane, std::move(why), sent, *this);
  settle();
}

}  // namespace greengate::adapters
