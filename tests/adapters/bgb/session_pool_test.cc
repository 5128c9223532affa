#include "adapters/bgb/session_pool.h"

#include "adapters/bgb/profile.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/metrics.h"
#include "tests/adapters/bgb/peer.h"
#include "tests/adapters/bgb/pool_stage.h"

#include <gtest/gtest.h>

#include <boost/asio.hpp>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <mutex>
#include <set>
#include <thread>

namespace greengate::test {
namespace {

TEST(BgbSessionPool, SignsInHandsAPushOnceAndAnswersIt) {
  const auto identity = make_identity("mp");
  Peer peer(identity);
  PinFile pin(identity.certificate_pem);
  House house(quick_config(peer.address(), pin.path()));
  house.ear.answer_with = true;
  ASSERT_TRUE(house.pool->start());

  house.pool->open(agent(1));
  ASSERT_TRUE(wait_until([&] { return house.state(agent(1)) == "online"; }))
      << house.last_error(agent(1));
  EXPECT_EQ(house.ear.online, 1);
  const auto sign_in = peer.heard("BgbSignInMessage");
  ASSERT_EQ(sign_in.size(), 1u);
  EXPECT_EQ(sign_in[0].certificate_name, agent(1).raw());
  EXPECT_NE(sign_in[0].xml.find("<ClientID>" + sms_id_of(agent(1)).raw() + "</ClientID>"),
            std::string::npos);

  const std::size_t session = peer.signed_in().at(0);
  const std::string guid = "0C2E4A68-1B3D-4F57-8A9C-BDDFE1F30527";
  peer.push(session, policy_push(13, 14, guid));
  ASSERT_TRUE(wait_until([&] { return peer.heard("BgbResponseMessage").size() == 1; }));
  EXPECT_TRUE(answers(peer.heard("BgbResponseMessage")[0].xml, 13, 1))
      << peer.heard("BgbResponseMessage")[0].xml;
  ASSERT_EQ(house.ear.pushes().size(), 1u);
  EXPECT_EQ(house.ear.pushes()[0].second.task_id, 14u);
  EXPECT_EQ(house.ear.pushes()[0].second.task_guid, guid);
  EXPECT_EQ(house.ear.pushes()[0].second.task_type, 1u);

  peer.push(session, policy_push(13, 14, guid));
  ASSERT_TRUE(wait_until([&] { return peer.heard("BgbResponseMessage").size() == 2; }));
  EXPECT_TRUE(answers(peer.heard("BgbResponseMessage")[1].xml, 13, 1));
  EXPECT_EQ(house.ear.pushes().size(), 1u) << "a duplicate was handed on again";
  EXPECT_EQ(peer.complaints().size(), 0u);
}

TEST(BgbSessionPool, ComesBackAfterADisconnectAndAfterACut) {
  Stage stage;
  const std::size_t first = stage.go_online();
  stage.peer.disconnect(first);
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == 2; }));
  const std::size_t second = stage.peer.signed_in().back();
  EXPECT_NE(first, second);
  stage.peer.cut(second);
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == 3; }));
  EXPECT_EQ(stage.house.ear.offline(), (std::vector<std::string>{"bgb.disconnected", "bgb.lost"}));
  EXPECT_TRUE(stage.peer.complaints().empty()) << stage.peer.complaints().front();
}

TEST(BgbSessionPool, AnswersFailureWhenNobodyAnswersInTime) {
  Stage stage({}, [](BgbConfig& config) { config.answer_timeout = milliseconds(100); });
  const std::size_t session = stage.go_online();
  const auto pushed = std::chrono::steady_clock::now();
  stage.peer.push(session, policy_push(5, 6));
  ASSERT_TRUE(wait_until([&] { return stage.peer.heard("BgbResponseMessage").size() == 1; }));
  const auto answer = stage.peer.heard("BgbResponseMessage")[0];
  EXPECT_TRUE(answers(answer.xml, 5, 0)) << answer.xml;
  EXPECT_GE(answer.at - pushed, milliseconds(95));
  EXPECT_LT(answer.at - pushed, milliseconds(1'000));
}

TEST(BgbSessionPool, ReadsOneByteAtATimeAndManyFramesAtOnce) {
  Peer::Behaviour slow;
  slow.one_byte_writes = true;
  Stage stage(slow);
  stage.house.ear.answer_with = true;
  const std::size_t session = stage.go_online();
  std::string burst;
  for (int i = 1; i <= 5; ++i) burst += frame_a(3, policy_push(100u + i, 1));
  stage.peer.send_raw(session, burst);
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.pushes().size() == 5; }));

  Stage fast;
  fast.house.ear.answer_with = true;
  const std::size_t other = fast.go_online();
  burst.clear();
  for (int i = 1; i <= 60; ++i) burst += frame_a(3, policy_push(100u + i, 1));
  fast.peer.send_raw(other, burst);
  ASSERT_TRUE(wait_until([&] { return fast.peer.heard("BgbResponseMessage").size() == 60; }));
  for (std::size_t i = 0; i < 60; ++i)
    EXPECT_EQ(fast.house.ear.pushes()[i].second.push_id, 101 + i) << "in order";
}

TEST(BgbSessionPool, HandsOnAPushThatCameBeforeTheConfirmation) {
  Peer::Behaviour eager;
  eager.before_confirm = policy_push(9, 9);
  Stage stage(eager);
  stage.house.ear.answer_with = true;
  stage.go_online();
  ASSERT_TRUE(wait_until([&] { return stage.peer.heard("BgbResponseMessage").size() == 1; }));
}

TEST(BgbSessionPool, ClosesOnABadFrameAndOnHostileXml) {
  Stage stage;
  std::size_t session = stage.go_online();
  stage.peer.send_raw(session, std::string("\xFF\xFF\xFF\xFF\x01\x00\x0C\x00\x03\x00\x00\x00", 12));
  ASSERT_TRUE(stage.sees_error("bgb.frame_oversize"));
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == 2; }));
  session = stage.peer.signed_in().back();
  stage.peer.push(session,
                  "<!DOCTYPE a [<!ENTITY b SYSTEM "
                  "\"file:///etc/passwd\">]><BgbRequestMessage>&b;</BgbRequestMessage>");
  ASSERT_TRUE(stage.sees_error("bgb.xml_forbidden"));
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == 3; }));
  session = stage.peer.signed_in().back();
  stage.peer.push(session, "<BgbRequestMessage><PushID>1</PushID>");
  ASSERT_TRUE(stage.sees_error("bgb.xml_malformed"));
  EXPECT_TRUE(wait_until([&] { return stage.peer.open_sessions() <= 1; }))
      << "closed connections are let go";
}

TEST(BgbSessionPool, GivesUpOnABlackHoleInBoundedTime) {
  Peer::Behaviour silent;
  silent.accept_tls = false;
  Stage stage(silent, [](BgbConfig& config) { config.tls_timeout = milliseconds(80); });
  ASSERT_TRUE(stage.house.pool->start());
  stage.house.pool->open(agent(1));
  EXPECT_TRUE(stage.sees_error("bgb.tls_timeout"));
  EXPECT_TRUE(wait_until([&] { return stage.peer.accepted() >= 2; }))
      << "and tries again after its back-off";
}

TEST(BgbSessionPool, GivesUpOnASilentSignInAndRaisesTheAlarmAtTheThird) {
  Peer::Behaviour silent;
  silent.confirm = false;
  Stage stage(silent, [](BgbConfig& config) { config.sign_in_timeout = milliseconds(50); });
  ASSERT_TRUE(stage.house.pool->start());
  stage.house.pool->open(agent(1));
  EXPECT_TRUE(stage.sees_error("bgb.signin_timeout"));
  EXPECT_TRUE(wait_until([&] {
    return stage.house.metrics.render().find(
               "greengate_bgb_alarms_total{alarm=\"signin_refused\"} 1") != std::string::npos;
  }));
  EXPECT_GE(stage.peer.heard("BgbSignInMessage").size(), 3u);
}

TEST(BgbSessionPool, SpeaksTheNextVersionAfterNegotiationNeeded) {
  std::ifstream file(std::string(GREENGATE_SOURCE_DIR) + "/deploy/bgb-profiles/A.json");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  text.replace(text.find("[[1, 0]]"), 8, "[[1, 0], [1, 1]]");
  const PinFile profile(text);
  Peer::Behaviour modern;
  modern.negotiate_first = true;
  Stage stage(modern, [&](BgbConfig& config) { config.profile = profile.path(); });
  stage.go_online();
  const auto sign_ins = stage.peer.heard("BgbSignInMessage");
  ASSERT_EQ(sign_ins.size(), 2u);
  EXPECT_EQ(sign_ins[0].minor, 0u);
  EXPECT_EQ(sign_ins[1].minor, 1u);
}

TEST(BgbSessionPool, SendsKeepAlives) {
  Stage stage({}, [](BgbConfig& config) { config.keepalive = milliseconds(100); });
  stage.go_online();
  ASSERT_TRUE(wait_until([&] { return stage.peer.heard("BgbKeepAliveMessage").size() >= 3; }));
  EXPECT_EQ(stage.peer.heard("BgbKeepAliveMessage")[0].channel, 2u);
}

// Goal: only the site's own server is ever spoken to. Method: pins and CAs that do not match, in
// each mode.
TEST(BgbSessionPool, RefusesAWrongOrExpiredServerCertificate) {
  const auto somebody = make_identity("somebody else");
  const auto expired = make_identity("mp", "", -1);
  const auto named = make_identity("mp", "127.0.0.1");
  const auto misnamed = make_identity("mp", "192.0.2.1");
  struct Case {
    const TestIdentity& server;
    const TestIdentity& trusted;
    const char* check;
    bool fine;
  };
  const Case cases[] = {{somebody, named, "pin", false},         {expired, expired, "pin", false},
                        {misnamed, misnamed, "pin", true},       {named, named, "pki", true},
                        {misnamed, misnamed, "pki", false},      {somebody, named, "pki", false},
                        {somebody, named, "none-lab-only", true}};
  for (const auto& one : cases) {
    SCOPED_TRACE(std::string(one.check) + (one.fine ? " fine" : " refused"));
    Peer peer(one.server);
    const PinFile pin(one.trusted.certificate_pem);
    BgbConfig config = quick_config(peer.address(), pin.path());
    config.server_check = one.check;
    House house(config);
    ASSERT_TRUE(house.pool->start());
    house.pool->open(agent(1));
    if (one.fine) {
      EXPECT_TRUE(wait_until([&] { return house.state(agent(1)) == "online"; }))
          << house.last_error(agent(1));
    } else {
      EXPECT_TRUE(wait_until([&] {
        return house.last_error(agent(1)) == "bgb.server_certificate";
      })) << house.last_error(agent(1));
      EXPECT_TRUE(peer.heard().empty()) << "nothing was said to a stranger";
    }
  }
}

TEST(BgbSessionPool, ShowsWhyItCannotConnect) {
  Stage stage;
  ASSERT_TRUE(stage.house.pool->start());
  stage.house.no_identity = true;
  stage.house.pool->open(agent(1));
  EXPECT_TRUE(stage.sees_error("bgb.identity"));
  stage.house.no_identity = false;
  EXPECT_TRUE(wait_until([&] { return stage.house.state(agent(1)) == "online"; }))
      << "and comes back when it can";

  boost::asio::io_context unused;
  boost::asio::ip::tcp::acceptor nobody(unused, {boost::asio::ip::make_address("127.0.0.1"), 0});
  const std::string closed_port = "127.0.0.1:" + std::to_string(nobody.local_endpoint().port());
  nobody.close();
  House refused(quick_config(closed_port, stage.pin.path()));
  ASSERT_TRUE(refused.pool->start());
  refused.pool->open(agent(1));
  EXPECT_TRUE(wait_until([&] { return refused.last_error(agent(1)) == "bgb.connect"; }))
      << refused.last_error(agent(1));

  House nameless(quick_config("no..name:10123", stage.pin.path()));
  ASSERT_TRUE(nameless.pool->start());
  nameless.pool->open(agent(1));
  EXPECT_TRUE(wait_until([&] { return nameless.last_error(agent(1)) == "bgb.resolve"; }))
      << nameless.last_error(agent(1));
}

TEST(BgbSessionPool, RefusesAnIdentityWhoseKeyIsAnothers) {
  const auto identity = make_identity("mp");
  Peer peer(identity);
  const PinFile pin(identity.certificate_pem);
  asio::io_context net;
  auto guard = asio::make_work_guard(net);
  SystemClock clock;
  Metrics metrics;
  Ear ear;
  SessionPool pool(
      net, quick_config(peer.address(), pin.path()), clock, metrics,
      [](const AgentId& who) -> Result<BgbIdentity> {
        return BgbIdentity{sms_id_of(who), make_identity("a").certificate_der,
                           make_identity("b").private_key_der};
      },
      ear);
  std::thread thread([&] { net.run(); });
  EXPECT_TRUE(pool.start());
  pool.open(agent(1));
  EXPECT_TRUE(wait_until([&] {
    return pool.view(agent(1)) && pool.view(agent(1))->last_error_code == "bgb.identity";
  }));
  pool.stop();
  guard.reset();
  thread.join();
}

TEST(BgbSessionPool, MovesToTheNextServerWhenOneIsGone) {
  const auto identity = make_identity("mp");
  Peer peer(identity);
  const PinFile pin(identity.certificate_pem);
  boost::asio::io_context unused;
  boost::asio::ip::tcp::acceptor nobody(unused, {boost::asio::ip::make_address("127.0.0.1"), 0});
  const std::string closed_port = "127.0.0.1:" + std::to_string(nobody.local_endpoint().port());
  nobody.close();
  BgbConfig config = quick_config(peer.address(), pin.path());
  config.servers = {closed_port, peer.address()};
  House house(config);
  ASSERT_TRUE(house.pool->start());
  for (int i = 0; i < 20; ++i) house.pool->open(agent(i));
  EXPECT_TRUE(wait_until([&] { return house.ear.online == 20; }));
  std::uint64_t attempts = 0;
  for (int i = 0; i < 20; ++i) attempts += house.pool->view(agent(i))->attempts;
  EXPECT_GT(attempts, 20u) << "some preferred the dead server";
  EXPECT_LT(attempts, 40u) << "and some did not";
}

TEST(BgbSessionPool, ClosesASessionAndForgetsIt) {
  Stage stage;
  stage.go_online();
  EXPECT_TRUE(stage.house.pool->view(agent(1))->online_since.has_value());
  stage.house.pool->close(agent(1));
  EXPECT_TRUE(wait_until(
      [&] { return stage.peer.open_sessions() == 0 && !stage.house.pool->view(agent(1)); }));
  EXPECT_EQ(stage.house.ear.offline(), std::vector<std::string>{"bgb.closed"});
  stage.house.pool->respond(agent(1), 1, 1, true);  // for an agent nobody knows: nothing happens
  stage.house.pool->open(agent(1));
  EXPECT_TRUE(wait_until([&] { return stage.house.ear.online == 2; }))
      << "a new session after close()";
}

TEST(BgbSessionPool, DrainsByAnsweringWhatIsInHandAndSigningEverybodyOff) {
  Stage stage({}, [](BgbConfig& config) { config.answer_timeout = milliseconds(200); });
  const std::size_t session = stage.go_online();
  for (int i = 2; i <= 10; ++i) stage.house.pool->open(agent(i));
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == 10; }));
  stage.peer.push(session, policy_push(1, 1));
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.pushes().size() == 1; }));
  stage.house.pool->drain(std::chrono::steady_clock::now() + seconds(5));
  EXPECT_EQ(stage.house.pool->view().sessions, 0u);
  EXPECT_TRUE(wait_until([&] { return stage.peer.open_sessions() == 0; }));
  ASSERT_TRUE(wait_until([&] { return stage.peer.heard("BgbResponseMessage").size() == 1; }));
  stage.house.pool->open(agent(1));
  stage.house.pool->stop();
  EXPECT_EQ(stage.house.pool->view().sessions, 0u) << "nothing new while draining";
  stage.house.pool->stop();
}

// A loaded machine may delay what we see but never bring it forward: so each handshake has an
// earliest moment.
TEST(BgbSessionPool, NeverExceedsItsHandshakeBudget) {
  Stage stage({}, [](BgbConfig& config) { config.handshakes_per_second = 50; });
  ASSERT_TRUE(stage.house.pool->start());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 80; ++i) stage.house.pool->open(agent(i));
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == 80; }));
  const auto moments = stage.peer.handshakes();
  ASSERT_EQ(moments.size(), 80u);
  constexpr int burst = 5;  // a tenth of a second's worth
  for (int i = burst; i < 80; ++i)
    EXPECT_GE(moments[static_cast<std::size_t>(i)] - begin,
              milliseconds((i + 1 - burst) * 1'000 / 50 - 1))
        << i;
}

TEST(BgbSessionPool, BoundsItsHandshakesInFlight) {
  Peer::Behaviour silent;
  silent.accept_tls = false;
  Stage stage(silent, [](BgbConfig& config) {
    config.handshakes_in_flight_max = 3;
    config.tls_timeout = seconds(30);
  });
  ASSERT_TRUE(stage.house.pool->start());
  for (int i = 0; i < 20; ++i) stage.house.pool->open(agent(i));
  ASSERT_TRUE(wait_until([&] { return stage.peer.accepted() == 3; }));
  EXPECT_TRUE(wait_until([&] { return stage.house.pool->view().waiting == 17; }));
  EXPECT_EQ(stage.house.pool->view().connecting, 3u);
  EXPECT_EQ(stage.peer.accepted(), 3u);
}

// Goal: no session ever speaks for another agent. Method: 500 at once, each certificate bears its
// agent's id.
TEST(BgbSessionPool, KeepsFiveHundredIdentitiesApart) {
  Stage stage;
  stage.house.ear.answer_with = true;
  ASSERT_TRUE(stage.house.pool->start());
  constexpr int many = 500;
  for (int i = 0; i < many; ++i) stage.house.pool->open(agent(i));
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == many; }, seconds(60)))
      << stage.house.ear.online;
  std::set<std::string> names;
  for (const auto& sign_in : stage.peer.heard("BgbSignInMessage")) {
    names.insert(sign_in.certificate_name);
    EXPECT_NE(sign_in.xml.find("<ClientID>" + sms_id_of(AgentId(sign_in.certificate_name)).raw() +
                               "</ClientID>"),
              std::string::npos);
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(many));

  for (const std::size_t session : stage.peer.signed_in())
    stage.peer.push(session, policy_push(1, 2, "0C2E4A68-1B3D-4F57-8A9C-BDDFE1F30527"));
  ASSERT_TRUE(wait_until([&] { return stage.peer.heard("BgbResponseMessage").size() == many; },
                         seconds(30)));
  EXPECT_EQ(stage.house.ear.pushes().size(), static_cast<std::size_t>(many))
      << "one push, one task, each client its own";
  EXPECT_TRUE(stage.peer.complaints().empty()) << stage.peer.complaints().front();
  EXPECT_EQ(stage.house.pool->view().online, static_cast<std::size_t>(many));
}

TEST(BgbSessionPool, RefusesSessionsAboveItsBound) {
  Stage stage({}, [](BgbConfig& config) { config.sessions_max = 2; });
  ASSERT_TRUE(stage.house.pool->start());
  for (int i = 0; i < 4; ++i) stage.house.pool->open(agent(i));
  ASSERT_TRUE(wait_until([&] { return stage.house.ear.online == 2; }));
  EXPECT_TRUE(wait_until([&] {
    return stage.house.metrics.render().find("greengate_bgb_sessions_refused_total 2") !=
           std::string::npos;
  }));
  EXPECT_EQ(stage.house.pool->view().sessions, 2u);
}

TEST(BgbSessionPool, DoesNothingWhenItIsNotEnabled) {
  House house{BgbConfig()};
  EXPECT_TRUE(house.pool->start());
  house.pool->open(agent(1));
  house.pool->drain(std::chrono::steady_clock::now() + seconds(5));
  EXPECT_FALSE(house.pool->view(agent(1)));
}

// Goal: nobody runs on a guess without being told. Method: two servers of different profiles; each value of each is said once.
TEST(BgbSessionPool, SaysAtStartEveryValueThatIsOnlyGuessed) {
  static std::mutex mutex;
  static std::vector<std::string> lines;
  lines.clear();
  set_log_sink([](std::string_view line) {
    std::lock_guard lock(mutex);
    lines.emplace_back(line);
  });
  const auto identity = make_identity("mp");
  const PinFile pin(identity.certificate_pem);
  BgbConfig config = quick_config("127.0.0.1:10123", pin.path());
  config.servers = {"127.0.0.1:10123", "127.0.0.2:10123", "127.0.0.3:10123"};
  config.server_profiles = {"127.0.0.2:10123=B"};
  {
    House house(config);
    EXPECT_TRUE(house.pool->start());
  }
  set_log_sink({});
  std::lock_guard lock(mutex);
  const auto said = [&](const std::string& text) {
    return std::count_if(lines.begin(), lines.end(), [&](const std::string& line) { return line.find(text) != std::string::npos; });
  };
  EXPECT_EQ(said("server=127.0.0.1:10123 profile=A"), 1);
  EXPECT_EQ(said("server=127.0.0.2:10123 profile=B"), 1);
  for (const char* name : {"A", "B"}) {
    const auto profile = adapters::bgb::built_in_profile(name);
    ASSERT_GT(profile->guesses.size(), 10u);
    for (const auto& [key, value] : profile->guesses)
      EXPECT_EQ(said(std::string("guessed\" profile=") + name + " key=" + key + " "), 1) << key;
  }
}

TEST(BgbSessionPool, SaysAtStartWhatIsWrong) {
  const auto code = [](BgbConfig config) {
    House house(std::move(config));
    const auto started = house.pool->start();
    return started ? std::string("started") : std::string(started.error().code);
  };
  const auto identity = make_identity("mp");
  const PinFile pin(identity.certificate_pem), empty("");
  BgbConfig config = quick_config("127.0.0.1:10123", pin.path());
  EXPECT_EQ(code(config), "started");
  config.profile = "Z";
  EXPECT_EQ(code(config), "bgb.profile");
  config = quick_config("127.0.0.1:10123", empty.path());
  EXPECT_EQ(code(config), "bgb.tls_setup");
  config = quick_config("mp01", pin.path());
  EXPECT_EQ(code(config), "bgb.config");
}

TEST(BgbSessionPool, CutsAServerThatTakesNothing) {
  Peer::Behaviour deaf;
  deaf.deaf_after_sign_in = true;
  Stage stage(deaf);
  const std::size_t session = stage.go_online();
  std::string burst;  // each is answered at once, far beyond what the kernel and our bound hold
  for (std::uint64_t i = 1; i <= 40'000; ++i) burst += frame_a(3, policy_push(i, i));
  stage.peer.send_raw(session, burst);
  EXPECT_TRUE(wait_until([&] { return !stage.house.ear.offline().empty(); }, seconds(60)));
  EXPECT_EQ(stage.house.ear.offline().at(0), "bgb.slow_server");
}

TEST(BgbSessionPool, SaysThatAServerSpeaksNoTls) {
  Peer::Behaviour plain;
  plain.plain_text = true;
  Stage stage(plain);
  ASSERT_TRUE(stage.house.pool->start());
  stage.house.pool->open(agent(1));
  EXPECT_TRUE(stage.sees_error("bgb.tls")) << stage.house.last_error(agent(1));
}

TEST(BgbConfig, ComplainsAboutEveryKeyAtOnce) {
  BgbConfig config;
  EXPECT_TRUE(config.problems().empty()) << "not enabled, nothing to complain about";
  config.enabled = true;
  config.servers = {"mp01.example.com:10123",
                    "[2001:db8::1]:10123",
                    "2001:db8::1:10123",
                    "mp01:0",
                    "mp01:99999",
                    ":1"};
  config.server_profiles = {"mp01.example.com:10123=B", "other:1=B", "x"};
  config.source_addresses = {"192.0.2.1", "here"};
  config.keepalive = milliseconds(1);
  config.backoff_cap = milliseconds(1);
  config.handshakes_per_second = 0;
  config.client_version = "";
  std::vector<std::string> keys;
  for (const auto& problem : config.problems()) keys.push_back(problem.key);
  EXPECT_EQ(keys, (std::vector<std::string>{
                      "bgb.servers", "bgb.servers", "bgb.servers", "bgb.servers",
                      "bgb.server_profiles", "bgb.server_profiles", "bgb.certificate_file",
                      "bgb.source_addresses", "bgb.client_version", "bgb.keepalive",
                      "bgb.backoff_cap", "bgb.handshakes_per_second"}));
}

TEST(BgbConfig, NamesNoServerOnlyWhereTheSiteDoes) {
  BgbConfig config;
  config.enabled = true;
  config.server_check = "none-lab-only";
  const auto keys = [&] {
    std::vector<std::string> found;
    for (const auto& problem : config.problems()) found.push_back(problem.key);
    return found;
  };
  EXPECT_EQ(keys(), std::vector<std::string>{"bgb.servers"});
  config.servers_from = "location";
  config.server_profiles = {"mp02.example.com:10123=B"};
  config.http_urls = {"mp02.example.com:10123=https://mp02.example.com"};
  EXPECT_EQ(keys(), std::vector<std::string>{}) << "what only an answer will name may have its profile";
  config.server_profiles = {"mp02=B"};
  config.servers_from = "dns";
  config.servers = {"mp01.example.com:10123", "mp02.example.com:10123"};
  config.servers_max = 1;
  config.port = 0;
  config.servers_idle = milliseconds(0);
  EXPECT_EQ(keys(), (std::vector<std::string>{"bgb.servers_from", "bgb.servers", "bgb.server_profiles", "bgb.servers_idle", "bgb.port"}));
}

}  // namespace
}  // namespace greengate::test
