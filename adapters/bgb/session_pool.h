#pragma once

#include "adapters/bgb/push_memory.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/ids.h"
#include "core/lifecycle.h"
#include "core/metrics.h"
#include "core/result.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace greengate::adapters {

/// As whom an agent signs in. Fetched for a handshake, dropped after it.
struct BgbIdentity {
  SmsId sms_id;
  std::string certificate_der;
  std::string private_key_der;  ///< PKCS#8; wiped when the handshake is prepared.
};

/// Settings of the client notification channel. Every number is ours (bgb-protocol 1.3), none a product fact; what the protocol
/// leaves open is in the profile.
struct BgbConfig {
  bool enabled = false;
  std::vector<std::string> servers;               ///< "host:port" or "[v6]:port"; each agent takes its own order of them.
  /// "settings": `servers` are everybody's. "location": each agent has those the site's location answer names for it, and
  /// `servers` until it has one; whoever opens a session brings them.
  std::string servers_from = "settings";
  std::uint32_t port = 10'123;     ///< M: of servers that only a location answer names.
  std::uint32_t servers_max = 64;  ///< In all; a site has at most 15 management points.
  std::chrono::milliseconds servers_idle{600'000};  ///< One from a location answer that nobody used this long is forgotten.
  std::string profile = "A";                      ///< Built-in name (A, B, C, A8, A16) or a JSON file; for every server…
  std::vector<std::string> server_profiles;       ///< …unless here: "host:port=PROFILE".
  std::string server_check = "pin";               ///< "pin", "pki" or "none-lab-only".
  std::string certificate_file;                   ///< PEM or DER: pinned certificates or CAs, or the CAs of pki.
  std::vector<std::string> source_addresses;      ///< Local addresses to spread connections over; empty: the kernel's choice.
  std::string client_version = "5.00.9141.1000";  ///< ClientVersion of SignIn; form I (2.2).
  /// "off": TCP alone. "fallback": HTTP(S) when no address of a server takes TCP or its TLS, and back to TCP when that goes
  /// again. "only": HTTP(S) alone. What HTTP mode says is inferred throughout (I), so a site's owner turns it on.
  std::string http = "off";
  std::vector<std::string> http_urls;  ///< "host:port=https://host"; without one, https on the server's own name.
  std::string http_proxy;              ///< "http://proxy:8080"; of the HTTP mode alone, TCP never takes one.
  bool confirm_required = true;                   ///< Online only after SignInConfirm; I (2.5).

  /// "connected": a session only while the agent is connected to the gateway, so that the console's online status is true.
  /// "always": for every agent with a confirmed identity; a push for one that is away waits for it here instead of at the site.
  std::string sessions = "connected";
  std::chrono::milliseconds keepalive{900'000};  ///< M: 15 min (1.4).
  /// "default": `keepalive`. "strict-online": 240 s at most, for a site that calls a client offline after 5 min of silence (1.4,
  /// I).
  std::string keepalive_profile = "default";
  std::chrono::milliseconds connect_timeout{20'000};
  std::chrono::milliseconds tls_timeout{30'000};
  std::chrono::milliseconds sign_in_timeout{60'000};
  std::chrono::milliseconds answer_timeout{4'500};  ///< Then the failure code goes out; the site expects 5 s.
  std::chrono::milliseconds backoff_base{60'000};
  std::chrono::milliseconds backoff_cap{3'600'000};
  std::chrono::milliseconds stable_after{600'000};  ///< Up this long, a session's back-off starts small again.
  std::chrono::milliseconds start_window{0};        ///< Spreads first attempts; agents already come in slots.
  std::chrono::milliseconds push_memory{86'400'000};
  std::chrono::milliseconds frame_timeout{60'000};   ///< A begun frame must end within it.
  std::chrono::milliseconds identity_check{20'000};  ///< How often each session's right to its identity is asked again (9.1).
  std::chrono::milliseconds tcp_retry{3'600'000};    ///< While on HTTP; plus up to a fifth.
  std::chrono::milliseconds http_broken{3'600'000};  ///< How long a 404 or 500 keeps us from a server's HTTP mode.
  std::chrono::milliseconds tick{1'000};             ///< Of the one timer wheel.
  std::uint32_t handshakes_per_second = 200;         ///< To each server (1.3 rule 8).
  std::uint32_t handshakes_per_second_all = 1'000;   ///< To all together: our own processor's share.
  /// To each server. Few enough that a slow one ends each within tls_timeout instead of all timing out together.
  std::uint32_t handshakes_in_flight_max = 200;
  std::uint32_t sessions_max = 60'000;
  std::uint32_t pending_pushes_max = 64;          ///< Unanswered, per session; above it the failure code.
  std::uint32_t pushes_remembered_max = 500'000;  ///< Against repeats; about 100 bytes each.
  std::uint32_t header_bytes_max = 4 * 1024;      ///< With the profile's own bound, the smaller counts.
  std::uint32_t payload_bytes_max = 1024 * 1024;

  /// Between two keep-alives at most, by profile.
  std::chrono::milliseconds keepalive_interval() const;
  std::vector<ConfigProblem> problems() const;
};

/// An agent's own servers, "host:port" each, in any order; shared by the agents that have the same. None: those of the settings.
/// With servers_from "location" alone.
using BgbServers = std::shared_ptr<const std::vector<std::string>>;

/// Who is told what the sessions bring. Calls arrive on the net thread, one at a time, and may call the pool.
class BgbListener {
 public:
  virtual ~BgbListener() = default;
  /// A push for this agent, once. Answer with SessionPool::respond() within BgbConfig::answer_timeout.
  virtual void on_push(const AgentId& agent, const BgbPush& push) = 0;
  virtual void on_online(const AgentId& agent) = 0;
  /// Only after on_online(). The pool comes back by itself unless close() was the reason (code bgb.closed).
  virtual void on_offline(const AgentId& agent, const Error& why) = 0;
};

/// Fetches an identity when a handshake needs it, so that no key lives in an idle session. Net thread; must not wait long. An
/// Error makes the session back off and shows in its view.
using IdentitySource = std::function<Result<BgbIdentity>(const AgentId&)>;

/// May this agent still hold a session under this SMSID? Asked of every session each BgbConfig::identity_check; "no" ends it, and
/// somebody else opens it again when the agent has an identity again. Net thread; must not wait.
using SessionRight = std::function<bool(const AgentId&, const SmsId&)>;

/// The way this machine would take to an address ("10.1.2.3") now, in any words that change when it does; empty: there is none. Net
/// thread; must not wait.
using RouteSource = std::function<std::string(const std::string& address)>;

/// One session as an operator sees it.
struct BgbSessionView {
  std::string state;            ///< "queued", "connecting", "securing", "signing_in", "online", "draining", "backoff".
  std::string server;           ///< The one it is at, or was at last; empty before the first attempt.
  std::string transport;        ///< "tcp" or "http".
  std::string message_version;  ///< What that server's last SignInConfirm said.
  bool holds_key = false;       ///< The agent's private key is in memory: while its handshake runs, and never after it.
  std::optional<WallTime> online_since;
  std::string last_error_code;
  std::string last_error_message;
  std::uint64_t attempts = 0, pushes = 0, duplicates = 0, answers = 0;
};

/// How many sessions are in which state.
struct BgbPoolView {
  std::size_t sessions = 0, online = 0, connecting = 0, waiting = 0;
};

/// The client's side of client notification ("BGB") for a whole fleet: one TLS session per agent, tens of thousands per process,
/// so that the site's console shows each agent online while it is connected to us.
///
/// Promise   A push is handed on at most once per client within BgbConfig::push_memory and answered once per copy, within
///           answer_timeout, with the failure code should nobody answer. A session never carries another agent's SMSID,
///           certificate or TLS ticket. A lost session comes back by itself, with jitter, within the handshake budgets of its
///           server and of the whole pool. A session whose agent lost the right to it ends within a minute.
/// Order     Pushes of one agent in the order received; none across agents.
/// Limits    sessions_max (open() above it is counted and logged, and the agent stays without a session, polling as ever),
///           servers_max (a server above it is counted, logged as bgb.servers_full and left out; a session is left without servers only
///           when the settings name none, and is then refused),
///           pending_pushes_max, pushes_remembered_max, the handshake budgets, handshakes_in_flight_max, frame bounds, 256 KiB of
///           unsent bytes per session.
/// Threads   open(), close(), respond() and the views: any thread. drain() and stop(): not the net thread, unless the io_context
///           has stopped. Everything else happens on `net`, on one strand.
/// Errors    In views, on_offline() and metrics: bgb.resolve, bgb.connect, bgb.connect_timeout, bgb.identity, bgb.tls,
///           bgb.tls_timeout, bgb.server_certificate, bgb.signin_timeout, bgb.version, bgb.disconnected, bgb.lost,
///           bgb.slow_server, bgb.frame_* (bgb.frame_stalled: a begun frame did not end), bgb.xml_* (retry, by itself) and
///           bgb.closed (halt); over HTTP also bgb.http_* and bgb.back_to_tcp;
///           bgb.moved: the agent has other servers now. start(): bgb.config, bgb.profile, bgb.tls_setup (reject).
/// Source    bgb-protocol; docs/adr/0011-bgb-behind-profiles.md
class SessionPool final : public Component {
 public:
  /// All references outlive the pool. Without `right` every session keeps its right until close(); without `routes` the kernel is asked.
  SessionPool(boost::asio::io_context& net, BgbConfig config, const Clock& clock, Metrics& metrics, IdentitySource identities,
              BgbListener& listener, SessionRight right = {}, RouteSource routes = {});
  ~SessionPool() override;
  SessionPool(const SessionPool&) = delete;
  SessionPool& operator=(const SessionPool&) = delete;

  std::string_view name() const override { return "bgb"; }
  /// Reads profiles and certificates. With `enabled` false it is a success and nothing ever connects.
  Result<void> start() override;
  /// Takes no more pushes, answers those in hand, signs everybody off. Back when all are gone or at `until`.
  void drain(SteadyTime until) override;
  void stop() override;

  /// Wants a session for this agent until close(). Again is fine. After close() it is a new session.
  /// Without `servers` a new session has those of the settings, an open one those it has.
  void open(const AgentId& agent, BgbServers servers = {});
  /// Other servers for an open session; nothing without one. A session whose server is among them stays. Any other answers the pushes in
  /// hand, signs off and comes back within backoff_base, at its turn.
  void change_servers(const AgentId& agent, BgbServers servers);
  void close(const AgentId& agent);
  /// The agent's answer to a push; one that comes too late, or for a push nobody had, is counted and dropped.
  void respond(const AgentId& agent, std::uint64_t push_id, std::uint64_t task_id, bool success);

  std::optional<BgbSessionView> view(const AgentId& agent) const;
  BgbPoolView view() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace greengate::adapters
