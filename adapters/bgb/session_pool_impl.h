#pragma once

// The inside of SessionPool, as its own files share it: what it holds, and who does what. session_pool.cc is its public face;
// pool_sessions.cc: which sessions there are and what is due when; pool_servers.cc: which servers, and whose; pool_turns.cc: whose turn
// it is; pool_connection.cc: one connection's life; pool_http.cc: the sessions over HTTP; pool_return.cc: their way back to TCP;
// pool_hands.cc: what a session decides.

#include "adapters/bgb/frame_codec.h"
#include "adapters/bgb/handshake_budget.h"
#include "adapters/bgb/http_channel.h"
#include "adapters/bgb/message_schema.h"
#include "adapters/bgb/pool_config.h"
#include "adapters/bgb/pool_probe.h"
#include "adapters/bgb/profile.h"
#include "adapters/bgb/session.h"
#include "adapters/bgb/session_pool.h"
#include "adapters/bgb/tcp_options.h"
#include "adapters/bgb/timer_wheel.h"
#include "adapters/bgb/transport.h"
#include "core/random.h"

#include <boost/asio.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace greengate::adapters {

struct SessionPool::Impl : std::enable_shared_from_this<SessionPool::Impl> {
  struct Server;
  struct Link;
  struct Connection;
  struct HttpSide;
  struct HttpSession;
  class Hands;
  /// Some agents' servers, sorted. One list for all agents that have the same.
  using ServerList = std::vector<Server*>;
  using SharedServerList = std::shared_ptr<const ServerList>;
  using tcp = boost::asio::ip::tcp;
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;

  static constexpr std::size_t read_bytes = 16 * 1024;  // one TLS record; shared by all sessions

  Impl(boost::asio::io_context& net, BgbConfig config, const Clock& clock, Metrics& metrics, IdentitySource identities,
       BgbListener& listener, SessionRight right, RouteSource routes);

  Result<void> prepare();
  void begin();
  void open(const AgentId& agent, const BgbServers& names);
  void change_servers(const AgentId& agent, const BgbServers& names);
  void close(const AgentId& agent);
  void shut_all();
  void tear_down();

  template <class Event>
  void event(Link& link, Event&& what);
  void after(Link& link);
  void publish(Link& link);
  void bury(Link& link);
  void check_emptied();

  void queue(Link& link);
  void pump();
  bool give_turn(Server& server, std::chrono::milliseconds& wait);
  bool give_start(Server& server, std::chrono::milliseconds& wait);
  void tcp_connected(Connection& connection);
  void start_attempt(Link& link);
  void connect(const std::shared_ptr<Connection>& connection);
  void resolve(Server& server);
  void begin_tls(Connection& connection);
  void secured(Link& link);
  void received(Link& link, bgb::Message message);
  Server& server_for(const Link& link);

  Result<void> prepare_servers();
  std::string profile_of(const std::string& server) const;
  Result<Server*> add_server(const std::string& text, bool configured);
  Server* server_named(const std::string& text);
  SharedServerList list_of(const BgbServers& names);
  SharedServerList shared(ServerList list);
  void give_servers(Link& link, SharedServerList list);
  void leave_server(Link& link);
  void drop_unused_servers(SteadyTime now, std::chrono::milliseconds idle);
  void refuse_server(const std::string& text, const char* code, const std::string& why);

  Result<void> prepare_http(Server& server, const bgb::Profile& profile);
  bool fall_back(Link& link);
  bool takes_http(Link& link, Server& server);
  void start_http(Link& link, Server& server);
  void drop_http(Link& link, bool orderly);
  void settle_http(Link& link);
  void take_http_turn(const std::shared_ptr<HttpSession>& session, bgb::Lane lane);
  void serve_http_turns();
  void tend_http(SteadyTime now);

  void tend_returns(SteadyTime now);
  void look_at_routes(SteadyTime now);
  void come_back_soon(Server& server, SteadyTime now);
  void ask_tcp(Server& server, const std::shared_ptr<HttpSession>& asker);
  void probe_tcp(Server& server);
  void probed_tcp(Server& server, bool there);
  void drop_probe(Server& server);
  void end_returns();
  void addresses_found(Server& server);
  SteadyTime next_tcp_retry() const;
  boost::system::error_code prepare_socket(tcp::socket& socket, const tcp& family);

  void arm_tick();
  void on_tick();
  void check_rights(SteadyTime now);
  void arm_answers();
  void on_answers();

  boost::asio::io_context& net;
  const BgbConfig config;
  const Clock& clock;
  const IdentitySource identities;
  BgbListener& listener;
  const SessionRight right;
  const RouteSource routes;

  Strand strand;
  bgb::SessionRules rules;
  const std::unique_ptr<bgb::PoolProbe> probe;
  std::optional<bgb::TlsContext> tls;
  std::vector<std::unique_ptr<Server>> servers;
  std::map<std::string, bgb::Profile> profiles;  // by what the settings call them
  SharedServerList settings_list;                // none when the settings name no server
  bgb::SourceAddresses sources;
  std::optional<bgb::HttpChannelWorld> http_world;
  std::set<std::string> http_said;

  // The strand's own.
  std::map<ServerList, std::weak_ptr<const ServerList>> lists;
  std::size_t clear_lists_at = 64;
  BgbServers list_names;          // agents come by subnet: what the last one had…
  SharedServerList list_of_names;  // …and which list that is
  SteadyTime next_server_look{}, servers_full_until{};
  SteadyTime last_refusal_line{};
  std::map<AgentId, BgbServers> names_before_start;
  bgb::PushMemoryInRam memory;
  std::uint64_t forgotten_reported = 0;
  bgb::TimerWheel wheel;
  bgb::HandshakePace pace;    // of the process; each server has its own beside it
  std::size_t waiting = 0;    // over all servers
  std::size_t next_turn = 0;  // which server is asked first
  std::deque<AgentId> to_check;
  SteadyTime next_check{};
  std::multimap<SteadyTime, AgentId> answers_due;  // finer than the wheel: a push must be answered within 5 s
  std::vector<std::shared_ptr<Connection>> lingering;
  std::vector<std::unique_ptr<Link>> graveyard;  // freed when nobody up the stack can hold them any more
  std::vector<std::shared_ptr<HttpSession>> http_lingering;
  bgb::TimerWheel http_wheel;  // of sessions over HTTP: when each tries TCP
  SteadyTime next_route_look{};
  bool http_turns_armed = false;
  std::array<std::byte, read_bytes> buffer;
  std::string scratch;
  SteadyTime last_alarm_line{};
  std::uint64_t alarms_unsaid = 0;
  bool pump_armed = false;
  bool pumping = false;
  bool running = false;
  bool refusing = false;  // draining or stopped: nothing new
  bool full_said = false;
  boost::asio::steady_timer tick_timer;
  boost::asio::steady_timer pump_timer;
  boost::asio::steady_timer answer_timer;
  boost::asio::steady_timer http_turn_timer;

  std::atomic<bool> used = false;  // somebody asked for something, so the strand may hold something of ours

  mutable std::mutex mutex;  // guards links' structure, each Link::shown, and `quiet`
  std::unordered_map<AgentId, std::unique_ptr<Link>> links;
  std::condition_variable emptied;
  bool quiet = true;  // no session and nothing left to flush
};

// One notification server and how to speak with it.
struct SessionPool::Impl::Server {
  std::string text;
  bgb::HostPort where;
  bgb::FrameCodec codec;
  bgb::MessageSchema schema;
  std::vector<tcp::endpoint> addresses;
  SteadyTime resolved_at{};
  bool resolving = false;
  std::vector<std::weak_ptr<Connection>> awaiting_addresses;
  tcp::resolver resolver;
  bgb::HandshakePace pace;
  std::deque<AgentId> waiting;                      // for their turn, first come first served
  std::deque<std::weak_ptr<Connection>> connected;  // TCP is there; their handshakes begin in turn
  std::size_t in_flight = 0;
  std::shared_ptr<HttpSide> http;  // none when the HTTP mode is off
  std::string message_version;  // of its last confirmation; guarded by Impl::mutex
  const bool configured;
  bool in_use = true;
  SteadyTime used_at;  // when it was last seen to be

  Server(Impl& pool, std::string name, bgb::HostPort parts, const bgb::Profile& profile, bool from_settings)
      : text(std::move(name)),
        where(std::move(parts)),
        codec(profile),
        schema(profile),
        resolver(pool.strand),
        pace(pool.config.handshakes_per_second, pool.clock.steady()),
        configured(from_settings),
        used_at(pool.clock.steady()) {}
};

// One agent: its session, its connection while there is one, and what an operator is shown of it.
struct SessionPool::Impl::Link : bgb::WheelTimer {
  Link(AgentId agent, const bgb::SessionRules& session_rules, bgb::PushMemory& push_memory)
      : id(std::move(agent)), session(session_rules, push_memory, random_u64()) {}

  AgentId id;
  bgb::Session session;
  SmsId sms_id;
  std::shared_ptr<Connection> connection;
  std::shared_ptr<HttpSession> http;  // this or a connection, never both
  SteadyTime tcp_retry_at{};
  bool by_http = false;      // fell back
  bool http_served = false;  // the last attempt by HTTP came online
  bool moves = false;        // leaves its server as soon as it owes no answer
  SharedServerList servers;
  Server* server = nullptr;
  Server* queued_at = nullptr;  // where its turn comes, while it waits for one
  std::uint32_t address = 0;
  std::optional<SteadyTime> answer_at;
  std::optional<WallTime> online_since;
  std::uint32_t attempts = 0, pushes = 0, duplicates = 0, answers = 0;
  bool dead = false;

  struct Shown {
    bgb::SessionState state = bgb::SessionState::off;
    const Server* server = nullptr;
    bool by_http = false;
    bool holds_key = false;
    std::optional<WallTime> online_since;
    const char* error_code = "";
    std::string error_message;
    std::uint32_t attempts = 0, pushes = 0, duplicates = 0, answers = 0;
  } shown;  // guarded by Impl::mutex
};

// One TCP connection with its TLS. Handlers in flight keep it alive; `link` is null once nobody wants it.
struct SessionPool::Impl::Connection : std::enable_shared_from_this<Connection> {
  Connection(Impl& owner, Link& whose) : pool(&owner), link(&whose), socket(owner.strand) {}

  // Cut from the session: flushes what is written if asked to, then goes.
  void finish(bool orderly);
  void let_go();
  void abandon();
  void count_in(Server& server);
  void count_out();
  void arm_read();
  void arm_write();
  // Something can be read, or a handshake can go on.
  void progress();
  void handshake();
  void read_some();
  void feed(std::span<const std::byte> fresh);
  void send(const std::string& bytes);
  void flush();
  // Said once; the session hears of it when the present event is over.
  void broke(Error why);

  Impl* pool;
  Link* link;
  tcp::socket socket;
  bgb::TlsStream stream;
  std::string in, out;
  std::unique_ptr<Error> failure;
  std::optional<SteadyTime> flush_until;
  std::optional<SteadyTime> frame_since;  // when the frame whose beginning is in `in` began
  Server* counted = nullptr;              // among whose handshakes in flight it is
  bool established = false;
  bool read_armed = false;
  bool write_armed = false;
};

// What a session's decisions do to its link.
class SessionPool::Impl::Hands final : public bgb::SessionActions {
 public:
  Hands(Impl& pool, Link& link) : pool_(pool), link_(link) {}

  void queue_attempt() override;
  bool advance_address() override;
  bool fall_back() override;
  void send_sign_in() override;
  void send_keep_alive() override;
  void send_response(std::uint64_t push_id, std::uint64_t task_id, bool success) override;
  void close(bool orderly) override;
  void deliver(const BgbPush& push) override;
  void went_online() override;
  void went_offline(const Error& why) override;
  void note(bgb::SessionNote note) override;
  void alarm(bgb::SessionAlarm alarm) override;

 private:
  void send(bgb::Message& message);

  Impl& pool_;
  Link& link_;
};

// Runs one of the session's calls and everything that follows from it.
template <class Event>
void SessionPool::Impl::event(Link& link, Event&& what) {
  if (link.dead) return;
  Hands hands(*this, link);
  what(link.session, hands);
  after(link);
}

}  // namespace greengate::adapters
