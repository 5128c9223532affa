#include "adapters/bgb/session_pool.h"

#include "adapters/bgb/frame_codec.h"
#include "adapters/bgb/message_schema.h"
#include "adapters/bgb/profile.h"
#include "adapters/bgb/session.h"
#include "adapters/bgb/timer_wheel.h"
#include "adapters/bgb/transport.h"
#include "core/check.h"
#include "core/log.h"
#include "core/random.h"

#include <boost/asio.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

namespace greengate::adapters {

namespace asio = boost::asio;
using asio::ip::tcp;
using bgb::Session;
using bgb::SessionState;
using boost::system::error_code;
using std::chrono::milliseconds;

namespace {

const Log logger("bgb");

constexpr std::size_t read_bytes = 16 * 1024;  // one TLS record; shared by all sessions
constexpr std::size_t reads_per_turn = 4;      // then the others come first
constexpr std::size_t unsent_bytes_max = 256 * 1024;
constexpr std::size_t addresses_max = 8;  // of one server's name
constexpr std::size_t scratch_bytes_kept = 64 * 1024;
constexpr milliseconds flush_time{5'000};  // for what is written when a session ends (spec 2.5)
constexpr milliseconds addresses_kept{60'000};
constexpr milliseconds alarm_line_every{1'000};
constexpr milliseconds stop_patience{5'000};

// Finds a dead peer long before the next keep-alive would (spec 1.4): 120 s idle, 3 probes 20 s
// apart, 180 s in all.
constexpr int tcp_idle_seconds = 120, tcp_probe_seconds = 20, tcp_probes = 3;
constexpr unsigned tcp_user_timeout_ms = 180'000;

struct HostPort {
  std::string host;
  std::string port;
};

std::optional<HostPort> parse_server(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  HostPort parts{text.substr(0, colon), text.substr(colon + 1)};
  if (parts.host.size() > 2 && parts.host.front() == '[' && parts.host.back() == ']')
    parts.host = parts.host.substr(1, parts.host.size() - 2);
  else if (parts.host.find(':') != std::string::npos)
    return std::nullopt;
  unsigned port = 0;
  const char* end = parts.port.data() + parts.port.size();
  const auto [stop, wrong] = std::from_chars(parts.port.data(), end, port);
  if (wrong != std::errc() || stop != end || port == 0 || port > 65'535) return std::nullopt;
  return parts;
}

std::optional<bgb::ServerCheck> parse_check(const std::string& text) {
  if (text == "pin") return bgb::ServerCheck::pin;
  if (text == "pki") return bgb::ServerCheck::pki;
  if (text == "none-lab-only") return bgb::ServerCheck::none_lab_only;
  return std::nullopt;
}

// FNV-1a with a final mix: the same agent prefers the same server in every process.
std::uint64_t rendezvous(const std::string& agent, const std::string& server) {
  std::uint64_t hash = 0xCBF29CE484222325ull;
  for (const std::string* part : {&agent, &server})
    for (const char c : *part + "|")
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  hash ^= hash >> 33;
  hash *= 0xFF51AFD7ED558CCDull;
  return hash ^ (hash >> 33);
}

void set_option(int fd, int level, int option, const void* value, socklen_t size) {
  // A kernel without the option serves us all the same; the dead peer is then found by the next
  // keep-alive.
  (void)setsockopt(fd, level, option, value, size);
}

}  // namespace

std::vector<ConfigProblem> BgbConfig::problems() const {
  std::vector<ConfigProblem> found;
  if (!enabled) return found;
  const auto complain = [&](std::string key, std::string message) {
    found.push_back({"bgb." + std::move(key), std::move(message)});
  };
  if (servers.empty())
    complain(
        "servers",
        "is empty; name at least one notification server, such as \"mp01.example.com:10123\".");
  if (servers.size() > 64)
    complain("servers", "has more than 64 entries; a site has at most 15 management points.");
  for (const auto& server : servers)
    if (!parse_server(server))
      complain("servers", "has \"" + server + "\"; each is \"host:port\".");
  for (const auto& entry : server_profiles) {
    const auto equals = entry.find('=');
    if (equals == std::string::npos ||
        std::find(servers.begin(), servers.end(), entry.substr(0, equals)) == servers.end())
      complain("server_profiles",
               "has \"" + entry + "\"; each is \"host:port=PROFILE\" with one of bgb.servers.");
  }
  const auto check = parse_check(server_check);
  if (!check)
    complain("server_check",
             "is \"" + server_check + "\"; it can be \"pin\", \"pki\" or \"none-lab-only\".");
  if (check == bgb::ServerCheck::pin && certificate_file.empty())
    complain("certificate_file",
             "is empty; server_check \"pin\" needs the server's certificate or its CA.");
  for (const auto& address : source_addresses) {
    error_code wrong;
    asio::ip::make_address(address, wrong);
    if (wrong) complain("source_addresses", "has \"" + address + "\", which is no IP address.");
  }
  if (client_version.empty() || client_version.size() > 64)
    complain("client_version", "needs 1 to 64 characters, such as \"5.00.9141.1000\".");
  const auto within = [&](const char* key, milliseconds value, milliseconds low,
                          milliseconds high) {
    if (value < low || value > high)
      complain(key, "is " + duration_text(value) + "; it can be " + duration_text(low) + " to " +
                        duration_text(high) + ".");
  };
  using std::chrono::hours;
  using std::chrono::seconds;
  within("keepalive", keepalive, milliseconds(100), hours(24));
  within("connect_timeout", connect_timeout, milliseconds(10), hours(1));
  within("tls_timeout", tls_timeout, milliseconds(10), hours(1));
  within("sign_in_timeout", sign_in_timeout, milliseconds(10), hours(1));
  within("answer_timeout", answer_timeout, milliseconds(10), seconds(60));
  within("backoff_base", backoff_base, milliseconds(1), hours(1));
  within("backoff_cap", backoff_cap, backoff_base, hours(24));
  within("stable_after", stable_after, milliseconds(0), hours(24));
  within("start_window", start_window, milliseconds(0), hours(24));
  within("push_memory", push_memory, seconds(1), hours(24 * 7));
  within("tick", tick, milliseconds(1), seconds(5));
  const auto count = [&](const char* key, std::uint32_t value, std::uint32_t low,
                         std::uint32_t high) {
    if (value < low || value > high)
      complain(key, "is " + std::to_string(value) + "; it can be " + std::to_string(low) + " to " +
                        std::to_string(high) + ".");
  };
  count("handshakes_per_second", handshakes_per_second, 1, 100'000);
  count("handshakes_in_flight_max", handshakes_in_flight_max, 1, 100'000);
  count("sessions_max", sessions_max, 1, 1'000'000);
  count("pending_pushes_max", pending_pushes_max, 1, 10'000);
  count("pushes_remembered_max", pushes_remembered_max, 1, 100'000'000);
  count("header_bytes_max", header_bytes_max, 32, 64 * 1024);
  count("payload_bytes_max", payload_bytes_max, 1'024, 16 * 1024 * 1024);
  return found;
}

struct SessionPool::Impl : std::enable_shared_from_this<SessionPool::Impl> {
  struct Server;
  struct Link;
  struct Connection;
  class Hands;
  struct Probe;
  using Strand = asio::strand<asio::io_context::executor_type>;

  Impl(asio::io_context& net, BgbConfig config, const Clock& clock, Metrics& metrics,
       IdentitySource identities, BgbListener& listener);

  Result<void> prepare();
  void begin();
  void open(const AgentId& agent);
  void close(const AgentId& agent);
  void shut_all();
  void tear_down();

  template <class Event>
  void event(Link& link, Event&& what);
  void after(Link& link);
  void publish(Link& link);
  void bury(Link& link);
  void check_emptied();

  void pump();
  void start_attempt(Link& link);
  void connect(const std::shared_ptr<Connection>& connection);
  void resolve(Server& server);
  void tcp_connected(Connection& connection);
  void secured(Link& link);
  void received(Link& link, bgb::Message message);
  Server& server_for(const Link& link);

  void arm_tick();
  void on_tick();
  void arm_answers();
  void on_answers();

  asio::io_context& net;
  const BgbConfig config;
  const Clock& clock;
  const IdentitySource identities;
  BgbListener& listener;

  Strand strand;
  bgb::SessionRules rules;
  const std::unique_ptr<Probe> probe;
  std::optional<bgb::TlsContext> tls;
  std::vector<std::unique_ptr<Server>> servers;
  std::vector<asio::ip::address> sources;
  std::size_t next_source = 0;

  // The strand's own.
  bgb::PushMemoryInRam memory;
  std::uint64_t forgotten_reported = 0;
  bgb::TimerWheel wheel;
  bgb::HandshakeBudget budget;
  std::deque<AgentId> waiting;  // for their turn, first come first served
  std::size_t in_flight = 0;
  std::multimap<SteadyTime, AgentId>
      answers_due;  // finer than the wheel: a push must be answered within 5 s
  std::vector<std::shared_ptr<Connection>> lingering;
  std::vector<std::unique_ptr<Link>>
      graveyard;  // freed when nobody up the stack can hold them any more
  std::array<std::byte, read_bytes> buffer;
  std::string scratch;
  SteadyTime last_alarm_line{};
  std::uint64_t alarms_unsaid = 0;
  bool pump_armed = false;
  bool pumping = false;
  bool running = false;
  bool refusing = false;  // draining or stopped: nothing new
  bool full_said = false;
  asio::steady_timer tick_timer;
  asio::steady_timer pump_timer;
  asio::steady_timer answer_timer;

  std::atomic<bool> used =
      false;  // somebody asked for something, so the strand may hold something of ours

  mutable std::mutex mutex;  // guards links' structure, each Link::shown, and `quiet`
  std::unordered_map<AgentId, std::unique_ptr<Link>> links;
  std::condition_variable emptied;
  bool quiet = true;  // no session and nothing left to flush
};

// One notification server and how to speak with it.
struct SessionPool::Impl::Server {
  std::string text;
  HostPort where;
  bgb::FrameCodec codec;
  bgb::MessageSchema schema;
  std::vector<tcp::endpoint> addresses;
  SteadyTime resolved_at{};
  bool resolving = false;
  std::vector<std::weak_ptr<Connection>> awaiting_addresses;
  tcp::resolver resolver;

  Server(Strand& strand, std::string name, HostPort parts, const bgb::Profile& profile)
      : text(std::move(name)),
        where(std::move(parts)),
        codec(profile),
        schema(profile),
        resolver(strand) {}
};

struct SessionPool::Impl::Link : bgb::WheelTimer {
  Link(AgentId agent, const bgb::SessionRules& session_rules, bgb::PushMemory& push_memory)
      : id(std::move(agent)), session(session_rules, push_memory, random_u64()) {}

  AgentId id;
  Session session;
  SmsId sms_id;
  std::shared_ptr<Connection> connection;
  Server* server = nullptr;
  std::uint32_t address = 0;
  std::optional<SteadyTime> answer_at;
  std::optional<WallTime> online_since;
  std::uint32_t attempts = 0, pushes = 0, duplicates = 0, answers = 0;
  bool dead = false;

  struct Shown {
    SessionState state = SessionState::off;
    const Server* server = nullptr;
    std::optional<WallTime> online_since;
    const char* error_code = "";
    std::string error_message;
    std::uint32_t attempts = 0, pushes = 0, duplicates = 0, answers = 0;
  } shown;  // guarded by Impl::mutex
};

struct SessionPool::Impl::Probe {
  explicit Probe(Metrics& metrics) : metrics_(metrics) {
    for (std::size_t i = 0; i < states_.size(); ++i)
      states_[i].emplace(
          metrics.gauge("greengate_bgb_sessions", "Client notification sessions by state.",
                        {{"state", std::string(bgb::state_name(static_cast<SessionState>(i)))}}));
    static constexpr std::array<const char*, bgb::session_note_count> notes{
        "push_delivered",  "push_duplicate", "push_incomplete", "push_refused",
        "push_unanswered", "answer_late",    "confirm_again",   "unexpected_message"};
    for (std::size_t i = 0; i < notes.size(); ++i)
      notes_[i].emplace(metrics.counter("greengate_bgb_events_total",
                                        "What happened on sessions, by kind.",
                                        {{"event", notes[i]}}));
  }

  void moved(SessionState from, SessionState to) {
    if (from == to) return;
    if (from != SessionState::off) states_[static_cast<std::size_t>(from)]->add(-1);
    if (to != SessionState::off) states_[static_cast<std::size_t>(to)]->add(1);
  }
  void note(bgb::SessionNote note) { notes_[static_cast<std::size_t>(note)]->add(); }
  void ended(const char* code) {
    auto found = ends_.find(code);
    if (found == ends_.end())
      found = ends_
                  .emplace(code, metrics_.counter("greengate_bgb_session_ends_total",
                                                  "Sessions and attempts that ended, by reason.",
                                                  {{"code", code}}))
                  .first;
    found->second.add();
  }

  Metrics& metrics_;
  std::array<std::optional<Gauge>, 8> states_;
  std::array<std::optional<Counter>, bgb::session_note_count> notes_;
  std::map<std::string, Counter, std::less<>> ends_;
  Counter handshakes = metrics_.counter("greengate_bgb_handshakes_total", "TLS handshakes begun.");
  Counter frames = metrics_.counter("greengate_bgb_frames_total", "Frames received.");
  Counter answers = metrics_.counter("greengate_bgb_responses_total", "Answers to pushes sent.");
  Counter keepalives = metrics_.counter("greengate_bgb_keepalives_total", "Keep-alives sent.");
  Counter mismatches =
      metrics_.counter("greengate_bgb_kind_mismatch_total",
                       "Frames whose type field and XML root disagreed; the root was believed.");
  Counter full = metrics_.counter("greengate_bgb_sessions_refused_total",
                                  "Sessions refused above sessions_max.");
  Counter forgotten =
      metrics_.counter("greengate_bgb_pushes_forgotten_total",
                       "Pushes forgotten before their time, at pushes_remembered_max.");
  Counter alarm_refused =
      metrics_.counter("greengate_bgb_alarms_total", "Conditions a person should look at.",
                       {{"alarm", "signin_refused"}});
  Counter alarm_version =
      metrics_.counter("greengate_bgb_alarms_total", "Conditions a person should look at.",
                       {{"alarm", "no_version"}});
};

// One TCP connection with its TLS. Handlers in flight keep it alive; `link` is null once nobody
// wants it.
struct SessionPool::Impl::Connection : std::enable_shared_from_this<Connection> {
  Connection(Impl& owner, Link& whose) : pool(&owner), link(&whose), socket(owner.strand) {}

  // Cut from the session: flushes what is written if asked to, then goes.
  void finish(bool orderly) {
    link = nullptr;
    if (counted) {
      counted = false;
      --pool->in_flight;
    }
    if (!orderly || !established) return let_go();
    if (out.empty()) {
      stream.close_notify();
      return let_go();
    }
    flush_until = pool->clock.steady() + flush_time;
    pool->lingering.push_back(shared_from_this());
    arm_write();
  }

  void let_go() {
    error_code ignored;
    socket.shutdown(tcp::socket::shutdown_both, ignored);  // it may never have been connected
    socket.close(ignored);
  }

  void abandon() {
    link = nullptr;
    pool = nullptr;
    let_go();
  }

  void arm_read() {
    if (read_armed || !socket.is_open()) return;
    read_armed = true;
    socket.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& wrong) {
      self->read_armed = false;
      if (!wrong && self->pool) self->progress();
    });
  }

  void arm_write() {
    if (write_armed || !socket.is_open()) return;
    write_armed = true;
    socket.async_wait(tcp::socket::wait_write,
                      [self = shared_from_this()](const error_code& wrong) {
                        self->write_armed = false;
                        if (wrong || !self->pool) return;
                        if (self->established) self->flush();
                        self->progress();  // TLS may have had to write before it could read on
                      });
  }

  // Something can be read, or a handshake can go on.
  void progress() {
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

  void handshake() {
    switch (stream.handshake()) {
      case bgb::TlsStream::Step::done: {
        established = true;
        stream.forget_identity();
        counted = false;
        --pool->in_flight;
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

  void read_some() {
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

  void feed(std::span<const std::byte> fresh) {
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
    std::string rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    in.swap(rest);
  }

  void send(const std::string& bytes) {
    if (failure || !link) return;
    if (out.size() + bytes.size() > unsent_bytes_max)
      return broke(
          {Remedy::retry, "bgb.slow_server", "The server does not take what we send.", {}});
    out += bytes;
    flush();
  }

  void flush() {
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

  // Said once; the session hears of it when the present event is over.
  void broke(Error why) {
    if (!failure) failure = std::make_unique<Error>(std::move(why));
  }

  Impl* pool;
  Link* link;
  tcp::socket socket;
  bgb::TlsStream stream;
  std::string in, out;
  std::unique_ptr<Error> failure;
  std::optional<SteadyTime> flush_until;
  bool established = false;
  bool counted = false;  // among the handshakes in flight
  bool read_armed = false;
  bool write_armed = false;
};

// What a session's decisions do to its link.
class SessionPool::Impl::Hands final : public bgb::SessionActions {
 public:
  Hands(Impl& pool, Link& link) : pool_(pool), link_(link) {}

  void queue_attempt() override { pool_.waiting.push_back(link_.id); }
  bool advance_address() override {
    ++link_.address;
    return link_.server && link_.address < link_.server->addresses.size();
  }
  void send_sign_in() override {
    bgb::Message message;
    message.kind = bgb::Kind::sign_in;
    message.client_id = link_.sms_id.raw();
    message.client_type = link_.server->codec.profile().client_type;
    message.client_version = pool_.config.client_version;
    send(message);
  }
  void send_keep_alive() override {
    bgb::Message message;
    message.kind = bgb::Kind::keep_alive;
    message.client_id = link_.sms_id.raw();
    message.client_type = link_.server->codec.profile().client_type;
    message.client_version = pool_.config.client_version;
    pool_.probe->keepalives.add();
    send(message);
  }
  void send_response(std::uint64_t push_id, std::uint64_t task_id, bool success) override {
    if (!link_.connection) return;
    const auto& profile = link_.server->codec.profile();
    bgb::Message message;
    message.kind = bgb::Kind::response;
    message.push_id = push_id;
    message.task_id = task_id;
    message.return_code = success ? profile.success_code : profile.failure_code;
    pool_.probe->answers.add();
    ++link_.answers;
    send(message);
  }
  void close(bool orderly) override {
    if (!link_.connection) return;
    link_.connection->finish(orderly);
    link_.connection.reset();
  }
  void deliver(const BgbPush& push) override {
    ++link_.pushes;
    pool_.listener.on_push(link_.id, push);
  }
  void went_online() override {
    link_.online_since = pool_.clock.wall();
    logger.debug("session online", kv("agent", link_.id.raw()),
                 kv("server", link_.server->text));
    pool_.listener.on_online(link_.id);
  }
  void went_offline(const Error& why) override {
    link_.online_since.reset();
    logger.debug("session offline", kv("agent", link_.id.raw()), kv("code", why.code),
                 kv("why", why.message));
    pool_.listener.on_offline(link_.id, why);
  }
  void note(bgb::SessionNote note) override {
    if (note == bgb::SessionNote::push_duplicate) ++link_.duplicates;
    pool_.probe->note(note);
  }
  void alarm(bgb::SessionAlarm alarm) override {
    const bool refused = alarm == bgb::SessionAlarm::sign_in_refused;
    (refused ? pool_.probe->alarm_refused : pool_.probe->alarm_version).add();
    const auto now = pool_.clock.steady();
    if (now - pool_.last_alarm_line < alarm_line_every) {  // a whole fleet may be refused at once
      ++pool_.alarms_unsaid;
      return;
    }
    pool_.last_alarm_line = now;
    logger.error(refused ? "sign-in refused repeatedly" : "no message version in common",
                 kv("agent", link_.id.raw()), kv("sms_id", link_.sms_id.raw()),
                 kv("server", link_.server ? link_.server->text : ""),
                 kv("unsaid", std::exchange(pool_.alarms_unsaid, 0)));
  }

 private:
  void send(bgb::Message& message) {
    if (!link_.connection) return;
    const auto& codec = link_.server->codec;
    const auto& versions = codec.profile().versions;
    message.unix_seconds =
        std::chrono::duration_cast<std::chrono::seconds>(pool_.clock.wall().time_since_epoch())
            .count();
    std::string xml, bytes;
    auto written = link_.server->schema.write(message, xml);
    if (written)
      written = codec.encode(message.kind,
                             versions[link_.session.version_index() % versions.size()], xml, bytes);
    if (!written) return link_.connection->broke(std::move(written.error()));
    link_.connection->send(bytes);
  }

  Impl& pool_;
  Link& link_;
};

SessionPool::Impl::Impl(asio::io_context& context, BgbConfig settings, const Clock& time,
                        Metrics& numbers, IdentitySource source, BgbListener& who)
    : net(context),
      config(std::move(settings)),
      clock(time),
      identities(std::move(source)),
      listener(who),
      strand(asio::make_strand(context)),
      probe(std::make_unique<Probe>(numbers)),
      memory(config.pushes_remembered_max, config.push_memory, clock),
      wheel(std::max(config.tick, milliseconds(1)), clock.steady()),
      budget(std::max(config.handshakes_per_second, 1u), clock.steady()),
      tick_timer(strand),
      pump_timer(strand),
      answer_timer(strand) {
  rules.keepalive = config.keepalive;
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

  const auto check = parse_check(config.server_check);
  auto context = bgb::TlsContext::make(*check, config.certificate_file);
  if (!context) return pass(context);
  tls.emplace(std::move(*context));
  if (*check == bgb::ServerCheck::none_lab_only)
    logger.warn("notification servers are not checked; for a lab only",
                kv("server_check", config.server_check));

  for (const auto& address : config.source_addresses)
    sources.push_back(asio::ip::make_address(address));
  rules.version_count = 1;
  std::set<std::string> said;
  for (const auto& text : config.servers) {
    std::string from = config.profile;
    for (const auto& entry : config.server_profiles)
      if (entry.starts_with(text + "=")) from = entry.substr(text.size() + 1);
    auto profile = bgb::load_profile(from);
    if (!profile) return pass(profile);
    profile->header_bytes_max = std::min(profile->header_bytes_max, config.header_bytes_max);
    profile->payload_bytes_max = std::min(profile->payload_bytes_max, config.payload_bytes_max);
    rules.version_count =
        std::max(rules.version_count, static_cast<std::uint32_t>(profile->versions.size()));
    logger.info("notification server", kv("server", text), kv("profile", profile->name),
                kv("guessed_values", profile->guesses.size()));
    if (said.insert(from).second)
      for (const auto& [key, value] : profile->guesses)
        logger.info("profile value is guessed", kv("profile", profile->name), kv("key", key),
                    kv("value", value));
    servers.push_back(std::make_unique<Server>(strand, text, *parse_server(text), *profile));
  }
  return {};
}

void SessionPool::Impl::begin() {
  running = true;
  arm_tick();
  for (auto& [id, link] : links)
    event(*link, [&](Session& session, Hands& hands) { session.open(clock.steady(), hands); });
}

// Runs one of the session's calls and everything that follows from it.
template <class Event>
void SessionPool::Impl::event(Link& link, Event&& what) {
  if (link.dead) return;
  Hands hands(*this, link);
  what(link.session, hands);
  after(link);
}

void SessionPool::Impl::after(Link& link) {
  if (link.dead) return;
  while (link.connection && link.connection->failure) {
    const Error why = *link.connection->failure;
    const bool other = std::string_view(why.code) != "bgb.identity";
    Hands hands(*this, link);
    link.session.failed(clock.steady(), why, other, hands);
  }
  const SessionState state = link.session.state();
  if (state == SessionState::backoff || state == SessionState::online) link.address = 0;
  if (const auto due = link.session.due())
    wheel.arm(link, *due);
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
  quiet = links.empty() && lingering.empty();
  if (quiet) emptied.notify_all();
}

void SessionPool::Impl::open(const AgentId& agent) {
  if (refusing || !config.enabled) return;
  auto found = links.find(agent);
  if (found == links.end()) {
    if (links.size() >= config.sessions_max) {
      probe->full.add();
      if (!std::exchange(full_said, true))
        logger.error("too many sessions", kv("sessions_max", config.sessions_max),
                     kv("agent", agent.raw()));
      return;
    }
    std::lock_guard lock(mutex);
    found = links.emplace(agent, std::make_unique<Link>(agent, rules, memory)).first;
    quiet = false;
  }
  if (running)
    event(*found->second,
          [&](Session& session, Hands& hands) { session.open(clock.steady(), hands); });
}

void SessionPool::Impl::close(const AgentId& agent) {
  const auto found = links.find(agent);
  if (found == links.end()) return;
  if (!running) return bury(*found->second);
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
  std::lock_guard lock(mutex);
  for (auto& [id, link] : links) {
    if (link->connection) link->connection->abandon();
    link->connection.reset();
    wheel.disarm(*link);
    probe->moved(link->shown.state, SessionState::off);
  }
  links.clear();
  graveyard.clear();
  waiting.clear();
  answers_due.clear();
  quiet = true;
  emptied.notify_all();
}

void SessionPool::Impl::pump() {
  if (pumping || !running) return;  // an attempt that fails at once ends up here again
  pumping = true;
  while (!waiting.empty() && in_flight < config.handshakes_in_flight_max) {
    const auto found = links.find(waiting.front());
    if (found == links.end() || found->second->dead ||
        found->second->session.state() != SessionState::queued) {
      waiting.pop_front();
      continue;
    }
    const auto now = clock.steady();
    if (!budget.take(now)) {
      if (!std::exchange(pump_armed, true)) {
        pump_timer.expires_after(budget.wait(now));
        pump_timer.async_wait([self = shared_from_this()](const error_code& wrong) {
          self->pump_armed = false;
          if (!wrong) self->pump();
        });
      }
      break;
    }
    waiting.pop_front();
    start_attempt(*found->second);
  }
  pumping = false;
}

SessionPool::Impl::Server& SessionPool::Impl::server_for(const Link& link) {
  std::vector<std::pair<std::uint64_t, Server*>> order;
  for (auto& server : servers)
    order.emplace_back(rendezvous(link.id.raw(), server->text), server.get());
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  return *order[link.session.server_turn() % order.size()].second;
}

void SessionPool::Impl::start_attempt(Link& link) {
  Server& server = server_for(link);
  if (link.server != &server) link.address = 0;
  link.server = &server;
  ++link.attempts;
  link.session.attempt_started(clock.steady());
  link.connection = std::make_shared<Connection>(*this, link);
  link.connection->counted = true;
  ++in_flight;
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
  if (!wrong && !sources.empty()) {
    const auto& source = sources[next_source++ % sources.size()];
    if (source.is_v4() == target.address().is_v4()) {
      const int yes =
          1;  // the kernel picks the port at connect(), so one address serves many targets
      set_option(socket.native_handle(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
      socket.bind(tcp::endpoint(source, 0), wrong);
    }
  }
  if (wrong)
    return connection->broke(
        {Remedy::retry, "bgb.connect", "No socket could be opened: " + wrong.message() + ".", {}});

  const int fd = socket.native_handle();
  const int yes = 1;
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, &tcp_idle_seconds, sizeof tcp_idle_seconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, &tcp_probe_seconds, sizeof tcp_probe_seconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, &tcp_probes, sizeof tcp_probes);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &tcp_user_timeout_ms, sizeof tcp_user_timeout_ms);
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

void SessionPool::Impl::tcp_connected(Connection& connection) {
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

// These two leave after() to the connection, which may have more to say in the same breath.
void SessionPool::Impl::secured(Link& link) {
  Hands hands(*this, link);
  link.session.secured(clock.steady(), hands);
}

void SessionPool::Impl::received(Link& link, bgb::Message message) {
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
  for (bgb::WheelTimer* timer : wheel.advance(now))
    event(static_cast<Link&>(*timer),
          [&](Session& session, Hands& hands) { session.tick(now, hands); });
  std::erase_if(lingering, [&](const std::shared_ptr<Connection>& connection) {
    if (connection->socket.is_open() && *connection->flush_until <= now) connection->let_go();
    return !connection->socket.is_open();
  });
  probe->forgotten.add(static_cast<double>(memory.forgotten() - forgotten_reported));
  forgotten_reported = memory.forgotten();
  if (refusing) check_emptied();
  pump();
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

SessionPool::SessionPool(asio::io_context& net, BgbConfig config, const Clock& clock,
                         Metrics& metrics, IdentitySource identities, BgbListener& listener)
    : impl_(std::make_shared<Impl>(net, std::move(config), clock, metrics, std::move(identities),
                                   listener)) {}

SessionPool::~SessionPool() {
  stop();
}

Result<void> SessionPool::start() {
  if (!impl_->config.enabled) return {};
  if (auto ready = impl_->prepare(); !ready) return ready;
  impl_->used = true;
  asio::post(impl_->strand, [impl = impl_] { impl->begin(); });
  return {};
}

void SessionPool::drain(SteadyTime until) {
  if (!impl_->used || impl_->net.stopped()) return;
  asio::post(impl_->strand, [impl = impl_] { impl->shut_all(); });
  std::unique_lock lock(impl_->mutex);
  impl_->emptied.wait_until(lock, until, [&] { return impl_->quiet; });
}

void SessionPool::stop() {
  if (!impl_->used || impl_->net.stopped() || impl_->strand.running_in_this_thread())
    return impl_->tear_down();
  auto done = std::make_shared<std::promise<void>>();
  asio::post(impl_->strand, [impl = impl_, done] {
    impl->tear_down();
    done->set_value();
  });
  if (done->get_future().wait_for(stop_patience) != std::future_status::ready)
    logger.error("net thread did not answer in time", kv("component", "bgb"));
}

void SessionPool::open(const AgentId& agent) {
  impl_->used = true;
  asio::post(impl_->strand, [impl = impl_, agent] { impl->open(agent); });
}

void SessionPool::close(const AgentId& agent) {
  asio::post(impl_->strand, [impl = impl_, agent] { impl->close(agent); });
}

void SessionPool::respond(const AgentId& agent, std::uint64_t push_id, std::uint64_t task_id,
                          bool success) {
  asio::post(impl_->strand, [impl = impl_, agent, push_id, task_id, success] {
    const auto found = impl->links.find(agent);
    if (found == impl->links.end() || !impl->running) return;
    impl->event(*found->second, [&](Session& session, Impl::Hands& hands) {
      session.respond(impl->clock.steady(), push_id, task_id, success, hands);
    });
  });
}

std::optional<BgbSessionView> SessionPool::view(const AgentId& agent) const {
  std::lock_guard lock(impl_->mutex);
  const auto found = impl_->links.find(agent);
  if (found == impl_->links.end()) return std::nullopt;
  const auto& shown = found->second->shown;
  BgbSessionView view;
  view.state = std::string(bgb::state_name(shown.state));
  if (shown.server) view.server = shown.server->text;
  view.online_since = shown.online_since;
  view.last_error_code = shown.error_code;
  view.last_error_message = shown.error_message;
  view.attempts = shown.attempts;
  view.pushes = shown.pushes;
  view.duplicates = shown.duplicates;
  view.answers = shown.answers;
  return view;
}

BgbPoolView SessionPool::view() const {
  BgbPoolView view;
  std::lock_guard lock(impl_->mutex);
  view.sessions = impl_->links.size();
  for (const auto& [id, link] : impl_->links) {
    const auto state = link->shown.state;
    if (state == SessionState::online)
      ++view.online;
    else if (state == SessionState::backoff || state == SessionState::queued ||
             state == SessionState::off)
      ++view.waiting;
    else
      ++view.connecting;
  }
  return view;
}

}  // namespace greengate::adapters
