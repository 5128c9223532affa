// The pool and the network: dead peers, source addresses, several servers and their budgets, TLS sessions and keys, begun frames.
#include "adapters/bgb/handshake_budget.h"
#include "adapters/bgb/server_order.h"
#include "adapters/bgb/tcp_options.h"
#include "tests/adapters/bgb/peer.h"
#include "tests/adapters/bgb/pool_stage.h"
#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace greengate::test {
namespace {

namespace bgb = adapters::bgb;

int port_of(const std::string& address) {
  return std::stoi(address.substr(address.rfind(':') + 1));
}

// Our own sockets that are connected to this port of this machine.
std::vector<int> sockets_to(int port) {
  std::vector<int> found;
  for (int fd = 3; fd < 1'024; ++fd) {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0 && peer.sin_family == AF_INET &&
        ntohs(peer.sin_port) == port)
      found.push_back(fd);
  }
  return found;
}

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(getsockopt(fd, level, name, &value, &size), 0) << name;
  return value;
}

// Goal: a server that vanished is found within 200 s, whatever the session was doing. Method: what the kernel was told; idle, it
// probes from 120 s on and gives up at 180 s; with something unacknowledged it gives up at 180 s.
TEST(BgbPoolNetwork, TellsTheKernelToFindADeadPeerWithin200Seconds) {
  Stage stage;
  stage.go_online();
  const auto sockets = sockets_to(port_of(stage.peer.address()));
  ASSERT_EQ(sockets.size(), 1u);
  const int fd = sockets[0];
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  const int idle = option(fd, IPPROTO_TCP, TCP_KEEPIDLE), between = option(fd, IPPROTO_TCP, TCP_KEEPINTVL),
            probes = option(fd, IPPROTO_TCP, TCP_KEEPCNT), user_timeout_ms = option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT);
  EXPECT_EQ(idle, 120);
  EXPECT_EQ(between, 20);
  EXPECT_EQ(probes, 3);
  EXPECT_EQ(user_timeout_ms, 180'000);
  EXPECT_LE(idle + probes * between, 200);
  EXPECT_GE(user_timeout_ms / 1'000, idle + probes * between) << "or one lost probe would cut the session";
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
}

TEST(BgbPoolNetwork, SpreadsConnectionsOverItsSourceAddressesWithoutTakingPortsEarly) {
  Stage stage({}, [](BgbConfig& config) { config.source_addresses = {"127.0.0.2", "::1", "127.0.0.3"}; });
  ASSERT_TRUE(stage.house.pool->start());
  for (int i = 0; i < 20; ++i) stage.house.pool->open(agent(i));
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == 20; }));
  std::map<std::string, int> from;
  for (const auto& sign_in : stage.peer.heard("BgbSignInMessage")) ++from[sign_in.from];
  EXPECT_EQ(from, (std::map<std::string, int>{{"127.0.0.2", 10}, {"127.0.0.3", 10}}))
      << "an address of another family takes nobody's turn";
  for (const int fd : sockets_to(port_of(stage.peer.address()))) EXPECT_EQ(option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT), 1);
}

TEST(BgbServerOrder, SpreadsAgentsEvenlyAndMovesOnlyThoseOfAServerThatLeaves) {
  std::vector<std::string> servers;
  for (int i = 0; i < 15; ++i) servers.push_back("mp" + std::to_string(i) + ".example.com:10123");
  std::vector<std::string> fewer = servers;
  fewer.erase(fewer.begin() + 4);
  std::map<std::size_t, int> homes, seconds_of_the_fifth;
  for (int i = 0; i < 15'000; ++i) {
    const auto order = bgb::server_order(agent(i), servers);
    ASSERT_EQ(std::set<std::size_t>(order.begin(), order.end()).size(), servers.size()) << "each server once";
    ++homes[order[0]];
    if (order[0] == 4) ++seconds_of_the_fifth[order[1]];
    const auto& now_at = fewer[bgb::server_order(agent(i), fewer)[0]];
    EXPECT_EQ(now_at, servers[order[0] == 4 ? order[1] : order[0]]) << "only who was at the fifth moves, to its second choice";
  }
  for (const auto& [server, agents] : homes) EXPECT_NEAR(agents, 1'000, 200) << servers[server];
  EXPECT_EQ(seconds_of_the_fifth.size(), 14u) << "its agents part, they do not all fall upon one other";

  std::vector<std::string> shuffled(servers.rbegin(), servers.rend());
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(servers[bgb::server_order(agent(i), servers)[0]], shuffled[bgb::server_order(agent(i), shuffled)[0]]);
}

// Three servers of one site; one of them goes.
TEST(BgbPoolNetwork, KeepsEachAgentAtItsServerAndMovesItWhenThatFails) {
  const auto identity = make_identity("mp");
  std::vector<std::unique_ptr<Peer>> peers;
  std::vector<std::string> servers;
  for (int i = 0; i < 3; ++i) {
    peers.push_back(std::make_unique<Peer>(identity));
    servers.push_back(peers.back()->address());
  }
  const PinFile pin(identity.certificate_pem);
  BgbConfig config = quick_config(servers[0], pin.path());
  config.servers = servers;
  House house(config);
  ASSERT_TRUE(house.pool->start());
  constexpr int many = 45;
  for (int i = 0; i < many; ++i) house.pool->open(agent(i));
  ASSERT_TRUE(wait_until([&] { return house.ear.online == many; }));
  std::map<std::string, int> at;
  for (int i = 0; i < many; ++i) {
    const auto view = house.pool->view(agent(i));
    EXPECT_EQ(view->server, servers[bgb::server_order(agent(i), servers)[0]]);
    ++at[view->server];
  }
  ASSERT_EQ(at.size(), 3u);

  peers[1].reset();
  const auto everybody_is_back = [&] {
    for (int i = 0; i < many; ++i) {
      const auto order = bgb::server_order(agent(i), servers);
      const auto view = house.pool->view(agent(i));
      if (view->state != "online" || view->server != servers[order[0] == 1 ? order[1] : order[0]]) return false;
    }
    return true;
  };
  EXPECT_TRUE(wait_until(everybody_is_back)) << "each at its second choice, and nobody else moved";
}

TEST(BgbHandshakeBudget, LetsNoSecondSeeMoreThanItsRateWhateverWasSavedUp) {
  for (const auto pace : {bgb::HandshakeBudget::Pace::smooth, bgb::HandshakeBudget::Pace::unsmoothed}) {
    ManualClock clock;
    bgb::HandshakeBudget budget(200, clock.steady(), pace);
    std::vector<SteadyTime> taken;
    for (int ms = 0; ms < 5'000; ++ms) {
      clock.advance(milliseconds(ms % 997 == 0 ? 450 : 1));  // now and then nobody looked for a while
      while (budget.take(clock.steady())) taken.push_back(clock.steady());
      const auto wait = budget.wait(clock.steady());
      ASSERT_GT(wait, milliseconds(0));
      ASSERT_LE(wait, milliseconds(1'011));
    }
    std::size_t from = 0;
    for (std::size_t to = 0; to < taken.size(); ++to) {
      while (taken[to] - taken[from] >= seconds(1)) ++from;
      ASSERT_LE(to - from + 1, 200u);
    }
    EXPECT_GE(taken.size(), 950u) << "and what may be spent is spent";
  }
}

// Goal: one slow server holds up only its own agents, and each has its own budget.
TEST(BgbPoolNetwork, ADeadServerDoesNotHoldUpAnothersAgents) {
  const auto identity = make_identity("mp");
  Peer::Behaviour silent;
  silent.accept_tls = false;
  Peer dead(identity, silent), alive(identity);
  const PinFile pin(identity.certificate_pem);
  BgbConfig config = quick_config(alive.address(), pin.path());
  config.servers = {dead.address(), alive.address()};
  config.handshakes_in_flight_max = 2;
  config.tls_timeout = std::chrono::minutes(10);
  House house(config);
  ASSERT_TRUE(house.pool->start());
  int at_home = 0;
  for (int i = 0; i < 40; ++i) {
    at_home += bgb::server_order(agent(i), config.servers)[0] == 1 ? 1 : 0;
    house.pool->open(agent(i));
  }
  ASSERT_GT(at_home, 10);
  EXPECT_TRUE(wait_until([&] { return house.ear.online == at_home; })) << house.ear.online << " of " << at_home;
  EXPECT_TRUE(wait_until([&] { return dead.accepted() == 2; }));
  EXPECT_EQ(house.pool->view().waiting, static_cast<std::size_t>(40 - at_home - 2));
}

// As in NeverExceedsItsHandshakeBudget: a loaded machine may delay what we see but never bring it forward.
TEST(BgbPoolNetwork, AllServersTogetherShareTheBudgetOfTheProcess) {
  const auto identity = make_identity("mp");
  Peer one(identity), other(identity);
  const PinFile pin(identity.certificate_pem);
  BgbConfig config = quick_config(one.address(), pin.path());
  config.servers = {one.address(), other.address()};
  config.handshakes_per_second_all = 50;
  House house(config);
  ASSERT_TRUE(house.pool->start());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 80; ++i) house.pool->open(agent(i));
  ASSERT_TRUE(wait_until([&] { return house.ear.online == 80; }));
  auto moments = one.handshakes();
  for (const auto moment : other.handshakes()) moments.push_back(moment);
  std::sort(moments.begin(), moments.end());
  ASSERT_EQ(moments.size(), 80u);
  for (int i = 5; i < 80; ++i)
    EXPECT_GE(moments[static_cast<std::size_t>(i)] - begin, milliseconds((i + 1 - 5) * 1'000 / 50 - 1)) << i;
}

// A client that does resume, to show that the server of the next test would.
bool server_resumes(const std::string& address, bool tls12) {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  if (tls12) SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
  const auto identity = make_identity("resuming");
  const auto* der = reinterpret_cast<const unsigned char*>(identity.certificate_der.data());
  X509* certificate = d2i_X509(nullptr, &der, static_cast<long>(identity.certificate_der.size()));
  der = reinterpret_cast<const unsigned char*>(identity.private_key_der.data());
  EVP_PKEY* key = d2i_AutoPrivateKey(nullptr, &der, static_cast<long>(identity.private_key_der.size()));
  SSL_CTX_use_certificate(context, certificate);
  SSL_CTX_use_PrivateKey(context, key);
  SSL_SESSION* kept = nullptr;
  bool reused = false;
  for (int round = 0; round < 2; ++round) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port_of(address)));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    SSL* ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    if (kept) SSL_set_session(ssl, kept);
    EXPECT_EQ(SSL_connect(ssl), 1);
    reused = SSL_session_reused(ssl) == 1;
    const std::string sign_in = frame_a(0, "<BgbSignInMessage TimeStamp=\"2026-01-15T10:00:00Z\"></BgbSignInMessage>");
    EXPECT_EQ(SSL_write(ssl, sign_in.data(), static_cast<int>(sign_in.size())), static_cast<int>(sign_in.size()));
    char confirmation[1'024];
    EXPECT_GT(SSL_read(ssl, confirmation, sizeof confirmation), 0);  // the tickets of TLS 1.3 come with it
    if (round == 0) kept = SSL_get1_session(ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
  }
  SSL_SESSION_free(kept);
  X509_free(certificate);
  EVP_PKEY_free(key);
  SSL_CTX_free(context);
  return reused;
}

// Goal: no agent ever signs in with another's TLS session, nor with an old one of its own. Method: a server that gives tickets
// and session ids and resumes whatever is offered; many agents that come again and again.
TEST(BgbPoolNetwork, NeverOffersATlsSessionToAServerThatWouldResumeIt) {
  for (const bool tls12 : {false, true}) {
    SCOPED_TRACE(tls12 ? "TLS 1.2" : "TLS 1.3");
    Peer::Behaviour behaviour;
    behaviour.tls12_only = tls12;
    Stage stage(behaviour);
    ASSERT_TRUE(server_resumes(stage.peer.address(), tls12)) << "the server must be one that resumes";
    const std::size_t offered = stage.peer.resumptions_offered(), resumed = stage.peer.resumed();
    ASSERT_EQ(resumed, 1u);

    ASSERT_TRUE(stage.house.pool->start());
    constexpr int many = 20, rounds = 3;
    for (int i = 0; i < many; ++i) stage.house.pool->open(agent(i));
    for (int round = 1; round <= rounds; ++round) {
      ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == many * round; }));
      if (round == rounds) break;
      for (const std::size_t session : stage.peer.signed_in()) stage.peer.cut(session);
    }
    EXPECT_EQ(stage.peer.handshakes().size(), 2u + many * rounds);
    EXPECT_EQ(stage.peer.resumptions_offered(), offered);
    EXPECT_EQ(stage.peer.resumed(), resumed);
  }
}

// Goal: a private key is in memory for its handshake and no longer.
TEST(BgbPoolNetwork, HoldsAPrivateKeyOnlyWhileItsHandshakeRuns) {
  Peer::Behaviour silent;
  silent.accept_tls = false;
  Stage waiting(silent);
  ASSERT_TRUE(waiting.house.pool->start());
  waiting.house.pool->open(agent(1));
  EXPECT_TRUE(wait_until([&] { return waiting.house.pool->view(agent(1)) && waiting.house.pool->view(agent(1))->holds_key; }))
      << "in a handshake it needs it";
  EXPECT_EQ(waiting.house.state(agent(1)), "securing");

  for (const bool tls12 : {false, true}) {
    Peer::Behaviour behaviour;
    behaviour.tls12_only = tls12;
    Stage stage(behaviour);
    stage.house.ear.answer_with = true;
    const std::size_t session = stage.go_online();
    EXPECT_FALSE(stage.house.pool->view(agent(1))->holds_key);
    EXPECT_EQ(stage.peer.heard("BgbSignInMessage")[0].certificate_name, agent(1).raw()) << "it was used";
    if (!tls12) stage.peer.update_keys(session);  // which needs no private key
    stage.peer.push(session, policy_push(1, 1));
    ASSERT_TRUE(wait_until([&] { return stage.peer.heard("BgbResponseMessage").size() == 1; }));
    EXPECT_FALSE(stage.house.pool->view(agent(1))->holds_key);
    EXPECT_EQ(stage.house.identities_asked, 1) << "an identity is fetched for a handshake and for nothing else";
  }
}

TEST(BgbPoolNetwork, GoesOnThroughTlsKeyUpdates) {
  Stage stage;
  stage.house.ear.answer_with = true;
  const std::size_t session = stage.go_online();
  for (std::uint64_t id = 1; id <= 5; ++id) {
    stage.peer.update_keys(session);
    stage.peer.push(session, policy_push(id, 1));
    ASSERT_TRUE(wait_until([&] { return stage.peer.heard("BgbResponseMessage").size() == id; }));
  }
  EXPECT_EQ(stage.house.ear.online, 1) << "on one session";
}

TEST(BgbPoolNetwork, EndsASessionWhoseFrameWasBegunAndNeverEnds) {
  Stage stage({}, [](BgbConfig& config) { config.frame_timeout = milliseconds(100); });
  stage.house.ear.answer_with = true;
  const std::size_t first = stage.go_online();
  const std::string frame = frame_a(3, policy_push(1, 1));
  stage.peer.send_raw(first, frame.substr(0, frame.size() / 2));
  ASSERT_TRUE(stage.sees_error("bgb.frame_stalled"));
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == 2; }));
  EXPECT_TRUE(stage.house.ear.pushes().empty());

  // A frame in two halves within its time is none of that, and an idle session between frames even less.
  const std::size_t second = stage.peer.signed_in().back();
  stage.peer.send_raw(second, frame.substr(0, 7));
  stage.peer.send_raw(second, frame.substr(7));
  ASSERT_TRUE(wait_until([&] { return stage.peer.heard("BgbResponseMessage").size() == 1; }));
  const auto answered = std::chrono::steady_clock::now();
  EXPECT_TRUE(wait_until([&] { return std::chrono::steady_clock::now() - answered > milliseconds(300); }));
  EXPECT_EQ(stage.house.state(agent(1)), "online");
  EXPECT_EQ(stage.house.ear.online, 2);
}

TEST(BgbPoolNetwork, EndsASessionWhoseAgentLostTheRightToIt) {
  Stage stage({}, [](BgbConfig& config) { config.identity_check = milliseconds(30); });
  std::atomic<bool> may = true;
  std::atomic<int> asked = 0;
  stage.house.right = [&](const AgentId& who, const SmsId& as) {
    ++asked;
    EXPECT_EQ(as.raw(), sms_id_of(who).raw());
    return may.load() || who.raw() != agent(1).raw();
  };
  stage.go_online();
  stage.house.pool->open(agent(2));
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == 2 && asked > 4; }));
  EXPECT_EQ(stage.peer.open_sessions(), 2u);
  may = false;
  EXPECT_TRUE(wait_until([&] { return !stage.house.pool->view(agent(1)) && stage.peer.open_sessions() == 1; }));
  EXPECT_EQ(stage.house.ear.offline(), std::vector<std::string>{"bgb.closed"});
  EXPECT_EQ(stage.house.state(agent(2)), "online") << "nobody else is touched";

  may = true;
  stage.house.pool->open(agent(1));
  EXPECT_TRUE(wait_until([&] { return stage.house.state(agent(1)) == "online"; })) << "and it may come again";
}

TEST(BgbPoolNetwork, ShowsTheMessageVersionTheServerConfirmed) {
  Stage stage;
  stage.go_online();
  EXPECT_EQ(stage.house.pool->view(agent(1))->message_version, "1.0");
}

TEST(BgbConfig, HasAKeepAliveProfileForSitesThatCallSilenceOffline) {
  BgbConfig config;
  EXPECT_EQ(config.keepalive_interval(), seconds(900));
  config.keepalive_profile = "strict-online";
  EXPECT_EQ(config.keepalive_interval(), seconds(240));
  config.keepalive = seconds(60);
  EXPECT_EQ(config.keepalive_interval(), seconds(60)) << "a shorter interval is strict enough";
}

TEST(BgbConfig, ComplainsAboutProfilesAndModesNobodyKnows) {
  const PinFile pin("");
  BgbConfig config = quick_config("127.0.0.1:1", pin.path());
  EXPECT_TRUE(config.problems().empty()) << config.problems()[0].message;
  config.sessions = "sometimes";
  config.keepalive_profile = "lax";
  config.identity_check = seconds(61);
  config.handshakes_per_second_all = 0;
  std::vector<std::string> keys;
  for (const auto& problem : config.problems()) keys.push_back(problem.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"bgb.sessions", "bgb.keepalive_profile", "bgb.identity_check",
                                            "bgb.handshakes_per_second_all"}));
}

}  // namespace
}  // namespace greengate::test
