// HTTP mode through a proxy: what we say to it, whom TLS trusts behind it, and what each way a proxy fails comes to.
#include "tests/adapters/bgb/peer.h"
#include "tests/adapters/bgb/pool_stage.h"
#include "tests/adapters/bgb/site.h"
#include "tests/adapters/bgb/strict_proxy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace greengate::test {
namespace {

namespace json = boost::json;

constexpr const char* server_name = "mp.site.test";  // nobody but the proxy knows where that is

// A site that is reached over a proxy and not otherwise, and one agent.
class BgbThroughProxy : public testing::Test {
 protected:
  void begin(const std::string& scheme = "https", const std::function<void(BgbConfig&)>& change = [](BgbConfig&) {},
             const json::object& settings = {}) {
    json::object all{{"http", scheme}, {"server_name", server_name}};
    for (const auto& [key, value] : settings) all[key] = value;
    site.emplace(all);
    authority = std::string(server_name) + (scheme == "https" ? ":443" : ":80");
    proxy.knows(authority, site->http_port());
    BgbConfig config = quick_config(site->address(), site->certificate_file());
    config.http = "only";
    config.http_urls = {site->address() + "=" + scheme + "://" + server_name};
    config.http_proxy = proxy.url();
    config.server_check = "pki";  // pinned certificates have no name to be checked
    change(config);
    house.emplace(config);
    house->same_key_for_all = make_identity("agent", "", 30, true);
    house->ear.answer_with = true;
    const auto started = house->pool->start();
    ASSERT_TRUE(started) << started.error().message;
    house->pool->open(agent(1));
  }
  bool online() {
    return wait_until([&] { return house->state(agent(1)) == "online"; }, seconds(20));
  }
  void expect_push_answered() {
    const auto push = site->push_to_all();
    EXPECT_TRUE(wait_until([&] { return site->answered(push) == 1; }, seconds(20))) << house->last_error(agent(1));
  }
  void expect_no_complaints() {
    EXPECT_EQ(proxy.complaints(), std::vector<std::string>{});
    EXPECT_EQ(json::serialize(site->call("GET", "violations").at("by_code")), "{}");
  }
  // One attempt came to this, and the next one waits for the back-off.
  void expect_backed_off_with(const std::set<std::string>& codes) {
    EXPECT_TRUE(wait_until([&] { return house->state(agent(1)) == "backoff"; }, seconds(20))) << house->state(agent(1));
    const auto view = *house->pool->view(agent(1));
    EXPECT_TRUE(codes.contains(view.last_error_code)) << view.last_error_code << ": " << view.last_error_message;
    EXPECT_TRUE(std::all_of(view.last_error_message.begin(), view.last_error_message.end(), [](char c) { return c >= ' ' && c <= '~'; }))
        << "what a proxy says is not shown as it is: " << view.last_error_message;
    EXPECT_EQ(view.attempts, 1u);
    EXPECT_EQ(proxy.requests().size(), 1u);
    EXPECT_TRUE(wait_until([&] { return proxy.open_connections() == 0; })) << "the connection is closed";
    EXPECT_EQ(house->ear.online, 0);
    EXPECT_EQ(proxy.complaints(), std::vector<std::string>{});
  }
  static void patient(BgbConfig& config) {
    config.backoff_base = config.backoff_cap = std::chrono::minutes(10);
  }

  StrictProxy proxy;  // outlives who talks to it
  std::optional<Site> site;
  std::string authority;
  std::optional<House> house;
};

TEST_F(BgbThroughProxy, TunnelsToAServerWhoseCertificateIsCheckedByItsOwnName) {
  begin("https", [&](BgbConfig& config) { config.http_proxy = proxy.url("localhost"); });  // which is not in the certificate
  ASSERT_TRUE(online()) << house->last_error(agent(1));
  EXPECT_EQ(house->pool->view(agent(1))->transport, "http");
  expect_push_answered();
  const auto requests = proxy.requests();
  EXPECT_GE(requests.size(), 2u) << "one tunnel to wait in, one to answer in";
  for (const auto& request : requests) {
    EXPECT_EQ(request.method + " " + request.target, "CONNECT " + authority);
    EXPECT_EQ(request.headers, (std::vector<std::pair<std::string, std::string>>{{"host", authority}}));
  }
  expect_no_complaints();
}

TEST_F(BgbThroughProxy, ShowsTheProxyNeitherCertificateNorClientNorCookie) {
  begin();
  ASSERT_TRUE(online()) << house->last_error(agent(1));
  expect_push_answered();
  const std::string heard = proxy.overheard();
  ASSERT_GT(heard.size(), 1'000u);
  EXPECT_EQ(heard[0], '\x16') << "TLS from the first byte in the tunnel";
  const auto& certificate = house->same_key_for_all->certificate_der;
  EXPECT_EQ(heard.find(certificate.substr(certificate.size() / 2, 64)), std::string::npos);
  EXPECT_EQ(heard.find(sms_id_of(agent(1)).raw()), std::string::npos);
  EXPECT_EQ(heard.find(to_utf16le(sms_id_of(agent(1)).raw())), std::string::npos);
  EXPECT_EQ(heard.find("BgbSession"), std::string::npos);
}

// The certificate names "localhost", where the proxy is, and not the server.
TEST_F(BgbThroughProxy, ACertificateInTheProxysNameIsNotTheServers) {
  begin(
      "https",
      [&](BgbConfig& config) {
        patient(config);
        config.http_proxy = proxy.url("localhost");
      },
      {{"server_name", "localhost"}});
  EXPECT_TRUE(wait_until([&] { return house->last_error(agent(1)) == "bgb.server_certificate"; })) << house->last_error(agent(1));
  EXPECT_EQ(house->ear.online, 0);
}

TEST_F(BgbThroughProxy, ABracketedAddressIsAskedForInBrackets) {
  begin("https", [&](BgbConfig& config) {
    config.http_urls = {site->address() + "=https://[2001:db8::1]:8443"};
    patient(config);
  });
  expect_backed_off_with({"bgb.http_proxy"});  // 502: the proxy knows no such server
  EXPECT_EQ(proxy.requests()[0].target, "[2001:db8::1]:8443");
}

TEST_F(BgbThroughProxy, PlainHttpGoesInAbsoluteForm) {
  begin("http", [](BgbConfig&) {});
  ASSERT_TRUE(online()) << house->last_error(agent(1));
  expect_push_answered();
  std::set<std::string> targets;
  for (const auto& request : proxy.requests()) {
    EXPECT_EQ(request.method, "POST");
    targets.insert(request.target);
  }
  EXPECT_EQ(targets, (std::set<std::string>{"http://mp.site.test/bgb/handler.ashx?RequestType=LogIn",
                                            "http://mp.site.test/bgb/handler.ashx?RequestType=Continue"}));
  const auto& certificate = house->same_key_for_all->certificate_der;
  EXPECT_EQ(proxy.overheard().find(certificate.substr(certificate.size() / 2, 64)), std::string::npos);
  expect_no_complaints();
}

TEST_F(BgbThroughProxy, ARefusedTunnelIsAProxysFaultAndNobodysRefusal) {
  for (const char* status : {"407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway", "504 Gateway Timeout",
                             "301 Moved Permanently", "100 Continue"}) {
    SCOPED_TRACE(status);
    StrictProxy::Manner manner;
    manner.answer = "HTTP/1.1 " + std::string(status) + "\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
    proxy.behave(manner);
    const std::size_t before = proxy.requests().size();
    begin("https", patient);
    EXPECT_TRUE(wait_until([&] { return house->state(agent(1)) == "backoff"; }, seconds(20))) << house->state(agent(1));
    const auto view = *house->pool->view(agent(1));
    EXPECT_EQ(view.last_error_code, "bgb.http_proxy") << view.last_error_message;
    EXPECT_NE(view.last_error_message.find(std::string(status).substr(0, 3)), std::string::npos) << view.last_error_message;
    EXPECT_EQ(proxy.requests().size(), before + 1);
    house.reset();
  }
}

TEST_F(BgbThroughProxy, WhatAProxyAnswersInTheServersPlaceIsReadAsTheServersAnswer) {
  const std::map<std::string, std::string> codes{{"407 Proxy Authentication Required", "bgb.http_proxy"},
                                                 {"403 Forbidden", "bgb.http_refused"},
                                                 {"502 Bad Gateway", "bgb.http_cut"},
                                                 {"504 Gateway Timeout", "bgb.http_cut"}};
  for (const auto& [status, code] : codes) {
    SCOPED_TRACE(status);
    StrictProxy::Manner manner;
    manner.answer = "HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n\r\n";
    proxy.behave(manner);
    begin("http", patient);
    EXPECT_TRUE(wait_until([&] { return house->state(agent(1)) == "backoff"; }, seconds(20))) << house->state(agent(1));
    EXPECT_EQ(house->last_error(agent(1)), code);
    house.reset();
  }
}

TEST_F(BgbThroughProxy, WhatIsNoAnswerToATunnelIsRefused) {
  const std::string answers[] = {
      "HTTP/1.1 200 OK\r\n\r\nmore",                      // bytes nobody sent from behind the proxy
      "HTTP/1.1 2\r\n\r\n",
      "HTTP/1.1 2000 OK\r\n\r\n",
      "HTTP/1.1\r\nX: 200\r\n\r\n",
      "HTTP/2 200 OK\r\n\r\n",
      "SSH-2.0-proxy 200 \r\n\r\n",
      "HTTP/1.1 \x1b[2 OK\r\n\r\n",
      "HTTP/1.1 2\xff\xfe OK\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX: " + std::string(12'000, 'x') + "\r\n\r\n",  // above 8 KiB, with an end
  };
  for (const auto& answer : answers) {
    SCOPED_TRACE(answer.substr(0, 40));
    StrictProxy::Manner manner;
    manner.answer = answer;
    manner.hold_open = true;
    proxy.behave(manner);
    const std::size_t before = proxy.requests().size();
    begin("https", patient);
    EXPECT_TRUE(wait_until([&] { return house->state(agent(1)) == "backoff"; }, seconds(20))) << house->state(agent(1));
    const auto view = *house->pool->view(agent(1));
    EXPECT_EQ(view.last_error_code, "bgb.http_proxy") << view.last_error_message;
    EXPECT_TRUE(std::all_of(view.last_error_message.begin(), view.last_error_message.end(), [](char c) { return c >= ' ' && c <= '~'; }))
        << view.last_error_message;
    EXPECT_EQ(proxy.requests().size(), before + 1);
    EXPECT_TRUE(wait_until([&] { return proxy.open_connections() == 0; }));
    house.reset();
  }
}

TEST_F(BgbThroughProxy, AHeaderWithoutEndIsCutOffSoon) {
  StrictProxy::Manner manner;
  manner.answer = "HTTP/1.1 200 OK\r\n";
  manner.endless = "X-More: and more and more and more and more and more and more\r\n";
  proxy.behave(manner);
  begin("https", patient);
  expect_backed_off_with({"bgb.http_proxy"});
  house.reset();

  manner.answer = "HTTP/1.1 200 OK\r\n";
  proxy.behave(manner);
  begin("http", patient);
  EXPECT_TRUE(wait_until([&] { return house->state(agent(1)) == "backoff"; }, seconds(20))) << house->state(agent(1));
  EXPECT_EQ(house->last_error(agent(1)), "bgb.http_reply");
  EXPECT_TRUE(wait_until([&] { return proxy.open_connections() == 0; }));
}

TEST_F(BgbThroughProxy, AProxyThatClosesInTheMiddleOfItsAnswerIsToBlame) {
  for (const char* said : {"", "HTTP/1.1 200 Connection est"}) {
    SCOPED_TRACE(said);
    StrictProxy::Manner manner;
    manner.answer = said;
    proxy.behave(manner);
    begin("https", patient);
    EXPECT_TRUE(wait_until([&] { return house->state(agent(1)) == "backoff"; }, seconds(20))) << house->state(agent(1));
    EXPECT_EQ(house->last_error(agent(1)), "bgb.http_proxy");
    house.reset();
  }
  StrictProxy::Manner manner;
  manner.answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
  proxy.behave(manner);
  begin("http", patient);
  EXPECT_TRUE(wait_until([&] { return house->state(agent(1)) == "backoff"; }, seconds(20))) << house->state(agent(1));
  EXPECT_EQ(house->last_error(agent(1)), "bgb.lost");
}

TEST_F(BgbThroughProxy, ATricklingOrSilentProxyHasAsLongAsAServerToConnectTo) {
  for (const bool silent : {false, true}) {
    SCOPED_TRACE(silent ? "silent" : "trickling");
    StrictProxy::Manner manner;
    manner.silent = silent;
    manner.answer = "HTTP/1.1 200 OK\r\n";
    manner.endless = "X-More: and more\r\n";
    manner.trickle = true;
    proxy.behave(manner);
    begin("https", [](BgbConfig& config) {
      patient(config);
      config.connect_timeout = milliseconds(500);
    });
    EXPECT_TRUE(wait_until([&] { return house->state(agent(1)) == "backoff"; }, seconds(20))) << house->state(agent(1));
    EXPECT_EQ(house->last_error(agent(1)), "bgb.connect_timeout");
    EXPECT_TRUE(wait_until([&] { return proxy.open_connections() == 0; }));
    house.reset();
  }
}

TEST_F(BgbThroughProxy, ATricklingAnswerToASignInHasAsLongAsASignIn) {
  StrictProxy::Manner manner;
  manner.answer = "HTTP/1.1 200 OK\r\n";
  manner.endless = "X-More: and more\r\n";
  manner.trickle = true;
  proxy.behave(manner);
  begin("http", [](BgbConfig& config) {
    patient(config);
    config.sign_in_timeout = milliseconds(500);
  });
  expect_backed_off_with({"bgb.signin_timeout", "bgb.http_timeout"});  // both clocks run; either is first
}

TEST_F(BgbThroughProxy, ComesBackWhenTheProxyDoes) {
  StrictProxy::Manner manner;
  manner.answer = "HTTP/1.1 502 Bad Gateway\r\n\r\n";
  proxy.behave(manner);
  begin();
  ASSERT_TRUE(wait_until([&] { return house->pool->view(agent(1)) && house->pool->view(agent(1))->attempts >= 3; }));
  EXPECT_EQ(house->last_error(agent(1)), "bgb.http_proxy");
  EXPECT_NE(house->metrics.render().find("greengate_bgb_alarms_total{alarm=\"signin_refused\"} 0"), std::string::npos)
      << "no sign-in was refused, none was made";
  proxy.be_honest();
  ASSERT_TRUE(online()) << house->last_error(agent(1));
  expect_push_answered();
  expect_no_complaints();
}

TEST_F(BgbThroughProxy, ASessionOutlivesTheLossOfItsTunnel) {
  begin();
  ASSERT_TRUE(online()) << house->last_error(agent(1));
  const std::size_t before = proxy.requests().size();
  proxy.cut();
  ASSERT_TRUE(wait_until([&] { return proxy.requests().size() > before; }));
  expect_push_answered();
  EXPECT_EQ(house->ear.online, 1) << "it never went offline";
  expect_no_complaints();
}

// A proxy that fails only later takes the session with it, and gives it back.
TEST_F(BgbThroughProxy, ASessionWhoseProxyRefusesFurtherTunnelsEndsAndComesBack) {
  begin();
  ASSERT_TRUE(online()) << house->last_error(agent(1));
  StrictProxy::Manner manner;
  manner.answer = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
  proxy.behave(manner);
  proxy.cut();
  ASSERT_TRUE(wait_until([&] { return !house->ear.offline().empty(); }, seconds(20)));
  EXPECT_EQ(house->ear.offline()[0], "bgb.http_proxy");
  proxy.be_honest();
  ASSERT_TRUE(wait_until([&] { return house->ear.online == 2; }, seconds(20))) << house->last_error(agent(1));
  expect_push_answered();
}

// Each answer takes a connection of its own; a slow way must not have thousands of them begun at once.
TEST_F(BgbThroughProxy, FurtherConnectionsHaveTheirPlaceAmongTheHandshakesInFlight) {
  constexpr int fleet = 8, places = 2;
  begin("https", [](BgbConfig& config) { config.handshakes_in_flight_max = places; });
  for (int i = 2; i <= fleet; ++i) house->pool->open(agent(i));
  ASSERT_TRUE(wait_until([&] { return house->ear.online == fleet; }, seconds(20)));
  StrictProxy::Manner manner;
  manner.silent = true;
  proxy.behave(manner);
  const std::size_t before = proxy.requests().size();
  const auto push = site->push_to_all();
  ASSERT_TRUE(wait_until([&] { return house->ear.pushes().size() == fleet; }, seconds(20)));
  EXPECT_TRUE(wait_until([&] { return proxy.requests().size() == before + places; }));
  EXPECT_FALSE(wait_until([&] { return proxy.requests().size() > before + places; }, milliseconds(500)));
  proxy.be_honest();
  proxy.cut();
  EXPECT_TRUE(wait_until([&] { return site->answered(push) == fleet; }, seconds(30))) << site->answered(push);
}

TEST_F(BgbThroughProxy, TcpNeverGoesThroughIt) {
  begin("https", [&](BgbConfig& config) {
    config.http = "fallback";
    config.tcp_retry = milliseconds(500);
    site->call("POST", "restart", {{"side", "tcp"}, {"down_ms", 3'600'000}});
  });
  ASSERT_TRUE(online()) << house->last_error(agent(1));
  EXPECT_EQ(house->pool->view(agent(1))->transport, "http");
  site->call("POST", "restart", {{"side", "tcp"}, {"down_ms", 0}});
  ASSERT_TRUE(wait_until([&] { return house->pool->view(agent(1))->transport == "tcp" && house->state(agent(1)) == "online"; }, seconds(20)));
  const std::size_t tunnels = proxy.requests().size();
  const auto push = site->push_to_all();
  ASSERT_TRUE(wait_until([&] { return site->answered(push) == 1; }, seconds(20)));
  for (const auto& request : proxy.requests()) EXPECT_EQ(request.target, authority);
  EXPECT_EQ(proxy.requests().size(), tunnels) << "on TCP nothing is asked of the proxy";
}

}  // namespace
}  // namespace greengate::test
