// From HTTP back to TCP: when its time has come, and at once when the way to the server changed (spec 1.3 rule 6). On a manual clock and
// with routes that are told.
#include "tests/adapters/bgb/pool_stage.h"
#include "tests/adapters/bgb/site.h"
#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace greengate::test {
namespace {

using std::chrono::minutes;

class BgbHttpReturn : public testing::Test {
 protected:
  // A fleet that came by HTTP because TCP was dead. Time stands still unless pass() moves it.
  void begin_in_http(int agents, std::uint32_t handshakes_per_second = 2'000) {
    fleet = agents;
    site.emplace();
    tcp(false);
    BgbConfig config = quick_config(site->address(), site->certificate_file());
    config.http = "fallback";
    config.http_urls = {site->address() + "=https://127.0.0.1:" + std::to_string(site->http_port())};
    config.handshakes_per_second = handshakes_per_second;
    house.emplace(config, &clock, [this](const std::string& address) {
      EXPECT_EQ(address, "127.0.0.1");
      std::lock_guard lock(mutex);
      ++looks;
      return way;
    });
    house->same_key_for_all = make_identity("agent", "", 30, true);
    house->ear.answer_with = true;
    ASSERT_TRUE(house->pool->start());
    for (int i = 0; i < fleet; ++i) house->pool->open(agent(i));
    ASSERT_TRUE(pass_until([&] { return online_by("http") == fleet; }, milliseconds(5))) << online_by("http") << " " << house->last_error(agent(0));
    // So that the way is known from which it will differ.
    ASSERT_TRUE(pass_until([&] { return looks_now() >= 2; }, milliseconds(100)));
  }
  void tcp(bool up) { site->call("POST", "restart", {{"side", "tcp"}, {"down_ms", up ? 0 : 3'600'000}}); }
  int online_by(const std::string& transport) const {
    int found = 0;
    for (int i = 0; i < fleet; ++i) {
      const auto view = house->pool->view(agent(i));
      found += view && view->state == "online" && view->transport == transport ? 1 : 0;
    }
    return found;
  }
  std::size_t looks_now() const {
    std::lock_guard lock(mutex);
    return looks;
  }
  void tell_way(const std::string& text) {
    std::lock_guard lock(mutex);
    way = text;
  }
  // Waits with the clock going `step` on at every look.
  bool pass_until(const std::function<bool()>& condition, milliseconds step = milliseconds(10)) {
    return wait_until(
        [&] {
          clock.advance(step);
          return condition();
        },
        seconds(60));
  }
  // The clock jumps, and the pool has seen it when it looked at its routes twice.
  void pass(milliseconds time) {
    clock.advance(time);
    const std::size_t before = looks_now();
    ASSERT_TRUE(pass_until([&] { return looks_now() >= before + 2; }, milliseconds(100)));
  }
  // Manual time since `begin`.
  milliseconds since(SteadyTime begin) const { return std::chrono::duration_cast<milliseconds>(clock.steady() - begin); }

  ManualClock clock;
  mutable std::mutex mutex;
  std::string way = "dev 2 via 10.0.0.1 from 10.0.0.5";
  std::size_t looks = 0;
  int fleet = 0;
  std::optional<Site> site;
  std::optional<House> house;
};

TEST_F(BgbHttpReturn, TcpIsTriedAnHourAndUpToAFifthAfterTheFallBackAndNotBefore) {
  begin_in_http(6);
  tcp(true);
  pass(minutes(59));
  EXPECT_EQ(online_by("http"), fleet) << "its time has not come";
  std::set<int> returned;
  for (int minute = 59; minute <= 74; ++minute) {
    pass(minutes(1));
    if (online_by("http") < fleet) returned.insert(online_by("http"));
  }
  EXPECT_TRUE(pass_until([&] { return online_by("tcp") == fleet; })) << online_by("tcp");
  EXPECT_GT(returned.size(), 1u) << "spread over the fifth, not all in one minute";
  EXPECT_EQ(house->ear.online, 2 * fleet) << "each signed in once more, no storm";
}

TEST_F(BgbHttpReturn, ADeadTcpIsAskedAgainAnHourLater) {
  begin_in_http(2);
  pass(minutes(73));
  EXPECT_EQ(online_by("http"), fleet);
  EXPECT_EQ(house->ear.online, fleet) << "nobody left HTTP for a TCP that is not there";
  tcp(true);
  pass(minutes(46));
  EXPECT_EQ(online_by("http"), fleet) << "the hour begins anew";
  pass(minutes(27));
  EXPECT_TRUE(pass_until([&] { return online_by("tcp") == fleet; })) << online_by("tcp");
}

TEST_F(BgbHttpReturn, AnotherWayToTheServerBringsSessionsBackAtOnce) {
  begin_in_http(4);
  tcp(true);
  const auto begin = clock.steady();
  pass(minutes(5));
  EXPECT_EQ(online_by("http"), fleet) << "the same way as ever";
  tell_way("dev 2 via 10.0.0.254 from 10.0.0.5");  // another gateway, the same address of ours
  EXPECT_TRUE(pass_until([&] { return online_by("tcp") == fleet; })) << online_by("tcp");
  EXPECT_LT(since(begin), minutes(59)) << "before its hour";
  const auto push = site->push_to_all();
  EXPECT_TRUE(pass_until([&] { return site->answered(push) == fleet; }));
}

TEST_F(BgbHttpReturn, AWayWhereThereWasNoneIsAChangeAndALostOneIsNot) {
  way = "";
  begin_in_http(2);
  tcp(true);
  pass(minutes(1));
  tell_way("dev 2 from 10.0.0.5");
  EXPECT_TRUE(pass_until([&] { return online_by("tcp") == fleet; })) << online_by("tcp");
}

TEST_F(BgbHttpReturn, ALostWayBringsNobodyBackAndItsReturnDoes) {
  begin_in_http(2);
  tcp(true);
  tell_way("");
  pass(minutes(1));
  pass(minutes(1));
  EXPECT_EQ(online_by("http"), fleet);
  tell_way("dev 2 via 10.0.0.1 from 10.0.0.5");
  EXPECT_TRUE(pass_until([&] { return online_by("tcp") == fleet; })) << online_by("tcp");
}

// Goal: a fleet is never offline as a whole because its route changed. Method: a budget of one handshake a second; 10 sessions return
// over 20 s, and few are under way at any moment.
TEST_F(BgbHttpReturn, AFleetReturnsNoFasterThanItsHandshakesAllow) {
  begin_in_http(10, 1);
  tcp(true);
  tell_way("dev 3 from 10.1.0.7");
  const auto begin = clock.steady();
  int fewest = fleet;
  ASSERT_TRUE(pass_until([&] {
    fewest = std::min(fewest, online_by("tcp") + online_by("http"));
    return online_by("tcp") == fleet;
  }, milliseconds(4))) << online_by("tcp");
  EXPECT_GT(since(begin), seconds(9)) << "one a second at most";
  EXPECT_GE(fewest, fleet / 2) << "most are online at any moment";
}

// The old way often breaks under a session just when the new one is there.
TEST_F(BgbHttpReturn, ASessionThatLostItsConnectionWithTheOldWayComesBackTooAndSoon) {
  begin_in_http(8, 2);
  tcp(true);
  tell_way("dev 3 from 10.1.0.7");
  const std::size_t before = looks_now();
  ASSERT_TRUE(pass_until([&] { return looks_now() > before; }, milliseconds(200)));
  site->call("POST", "restart", {{"side", "http"}, {"down_ms", 0}});
  const auto begin = clock.steady();
  EXPECT_TRUE(pass_until([&] { return online_by("tcp") == fleet; })) << online_by("tcp");
  EXPECT_LT(since(begin), minutes(30));
}

TEST_F(BgbHttpReturn, AWayThatLeadsToADeadTcpCostsNoSession) {
  begin_in_http(8);
  tell_way("dev 3 from 10.1.0.7");
  pass(minutes(2));
  EXPECT_EQ(online_by("http"), fleet);
  EXPECT_EQ(house->ear.online, fleet);
  EXPECT_TRUE(house->ear.offline().empty());
}

}  // namespace
}  // namespace greengate::test
