// Goal: each agent's session is at one of that agent's own servers, whatever joins or leaves, and nobody can make the pool know more servers
// than it may. Method: several strict servers on this machine, lists given and changed as a location answer would.
#include "adapters/bgb/server_order.h"
#include "tests/adapters/bgb/pool_stage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace greengate::test {
namespace {

namespace bgb = adapters::bgb;
using adapters::BgbServers;

BgbServers list(std::vector<std::string> names) { return std::make_shared<const std::vector<std::string>>(std::move(names)); }

class BgbPoolServers : public testing::Test {
 protected:
  BgbPoolServers() : identity_(make_identity("mp")), pin_(identity_.certificate_pem) {
    for (int i = 0; i < 3; ++i) peers_.push_back(std::make_unique<Peer>(identity_));
  }
  /// A house whose settings name `configured` of the servers.
  House& open(std::vector<int> configured, const std::function<void(BgbConfig&)>& change = [](BgbConfig&) {}) {
    BgbConfig config = quick_config(at(0), pin_.path());
    config.servers.clear();
    for (const int one : configured) config.servers.push_back(at(one));
    config.servers_from = "location";
    change(config);
    house_.emplace(config);
    EXPECT_TRUE(house_->pool->start());
    return *house_;
  }
  std::string at(int peer) const { return peers_.at(static_cast<std::size_t>(peer))->address(); }
  Peer& peer(int number) { return *peers_.at(static_cast<std::size_t>(number)); }
  bool is_at(const AgentId& who, const std::string& server) {
    return wait_until([&] {
      const auto view = house_->pool->view(who);
      return view && view->state == "online" && view->server == server;
    });
  }
  bool metric(const std::string& line) {
    return wait_until([&] { return house_->metrics.render().find(line) != std::string::npos; });
  }
  /// Everything asked of the pool before has happened.
  void settle() {
    house_->pool->open(agent(999), list({at(0)}));
    EXPECT_TRUE(is_at(agent(999), at(0)));
  }

  TestIdentity identity_;
  PinFile pin_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::optional<House> house_;
};

TEST_F(BgbPoolServers, AnAgentIsAtItsOwnServerAndOthersAtThoseOfTheSettings) {
  House& house = open({0});
  house.pool->open(agent(1), list({at(1)}));
  house.pool->open(agent(2));
  EXPECT_TRUE(is_at(agent(1), at(1)));
  EXPECT_TRUE(is_at(agent(2), at(0)));
  EXPECT_TRUE(metric("greengate_bgb_servers{from=\"location\"} 1"));
  EXPECT_TRUE(metric("greengate_bgb_servers{from=\"settings\"} 1"));
}

TEST_F(BgbPoolServers, AServerThatIsAddedTakesOnlyAgentsThatComeToIt) {
  House& house = open({});
  constexpr int many = 20;
  for (int i = 0; i < many; ++i) house.pool->open(agent(i), list({at(0)}));
  ASSERT_TRUE(wait_until([&] { return house.ear.online == many; }));
  for (int i = 0; i < many; ++i) house.pool->change_servers(agent(i), list({at(0), at(1)}));
  settle();
  EXPECT_EQ(peer(0).signed_in().size(), many + 1u) << "who is at a server of its new list stays there";
  EXPECT_EQ(peer(1).signed_in().size(), 0u);
  EXPECT_TRUE(house.ear.offline().empty());
  std::size_t at_home = 0;
  for (int i = 0; i < many; ++i) {
    house.pool->open(agent(many + i), list({at(1), at(0)}));
    at_home += bgb::server_order(agent(many + i), std::vector<std::string>{at(0), at(1)})[0] == 1 ? 1u : 0u;
  }
  EXPECT_TRUE(wait_until([&] { return peer(1).signed_in().size() == at_home; })) << "newcomers part by rendezvous";
  EXPECT_GT(at_home, 0u);
}

TEST_F(BgbPoolServers, AServerThatLeavesAListIsSignedOffByThoseOfThisListAlone) {
  House& house = open({});
  house.pool->open(agent(1), list({at(0), at(1)}));
  house.pool->open(agent(2), list({at(0)}));
  ASSERT_TRUE(wait_until([&] { return house.ear.online == 2; }));
  const std::string first = house.pool->view(agent(1))->server;
  const int left = first == at(0) ? 0 : 1, other = 1 - left;
  house.pool->change_servers(agent(1), list({at(other), at(2)}));
  ASSERT_TRUE(wait_until([&] { return house.ear.online == 3; }));
  EXPECT_NE(house.pool->view(agent(1))->server, first);
  EXPECT_EQ(house.ear.offline(), std::vector<std::string>{"bgb.moved"});
  EXPECT_TRUE(wait_until([&] { return peer(left).open_sessions() == (left == 0 ? 1u : 0u); })) << "it left in order";
  EXPECT_EQ(house.pool->view(agent(2))->server, at(0));
  EXPECT_EQ(house.state(agent(2)), "online");
  for (const auto& one : peers_) EXPECT_TRUE(one->complaints().empty());
}

TEST_F(BgbPoolServers, AnAnswerThatIsOwedGoesOutBeforeItsSessionMoves) {
  House& house = open({});
  house.pool->open(agent(1), list({at(0)}));
  ASSERT_TRUE(is_at(agent(1), at(0)));
  peer(0).push(peer(0).signed_in().back(), policy_push(5, 6));
  ASSERT_TRUE(wait_until([&] { return house.ear.pushes().size() == 1; }));
  house.pool->change_servers(agent(1), list({at(1)}));
  settle();
  EXPECT_EQ(house.state(agent(1)), "online");
  EXPECT_TRUE(house.ear.offline().empty()) << "a push is in hand";
  house.pool->respond(agent(1), 5, 6, true);
  EXPECT_TRUE(is_at(agent(1), at(1)));
  ASSERT_EQ(peer(0).heard("BgbResponseMessage").size(), 1u);
  EXPECT_TRUE(answers(peer(0).heard("BgbResponseMessage")[0].xml, 5, 1));
}

TEST_F(BgbPoolServers, WhoWaitsForItsTurnWaitsAtItsNewServer) {
  Peer::Behaviour silent;
  silent.accept_tls = false;
  Peer hole(identity_, silent);
  House& house = open({}, [](BgbConfig& config) {
    config.handshakes_in_flight_max = 1;
    config.tls_timeout = std::chrono::minutes(10);
  });
  house.pool->open(agent(1), list({hole.address()}));
  ASSERT_TRUE(wait_until([&] { return hole.accepted() == 1; }));
  house.pool->open(agent(2), list({hole.address()}));
  ASSERT_TRUE(wait_until([&] { return house.state(agent(2)) == "queued"; }));
  house.pool->change_servers(agent(2), list({at(1)}));
  EXPECT_TRUE(is_at(agent(2), at(1))) << "the queue before the dead server no longer holds it up";
  house.pool->change_servers(agent(1), list({at(1)}));
  EXPECT_TRUE(is_at(agent(1), at(1))) << "an attempt at a server that is not its own any more is given up";
  EXPECT_EQ(hole.accepted(), 1u);
}

// As in NeverExceedsItsHandshakeBudget: a loaded machine may delay what we see but never bring it forward.
TEST_F(BgbPoolServers, AServerOfALocationAnswerHasItsOwnBudget) {
  House& house = open({0}, [](BgbConfig& config) { config.handshakes_per_second = 20; });
  for (int i = 0; i < 40; ++i) house.pool->open(agent(i), list({at(1)}));
  house.pool->open(agent(100));
  EXPECT_TRUE(is_at(agent(100), at(0))) << "a crowd at one server is nothing to another";
  ASSERT_TRUE(wait_until([&] { return house.ear.online == 41; }, seconds(60)));
  const auto begun = peer(1).handshakes();
  ASSERT_EQ(begun.size(), 40u);
  for (std::size_t i = 20; i < begun.size(); ++i) EXPECT_GE(begun[i] - begun[i - 20], milliseconds(900)) << "handshake " << i;
}

TEST_F(BgbPoolServers, AMoveOfManyKeepsTheBudget) {
  House& house = open({}, [](BgbConfig& config) { config.backoff_base = milliseconds(1); });
  constexpr int many = 40;
  for (int i = 0; i < many; ++i) house.pool->open(agent(i), list({at(0)}));
  ASSERT_TRUE(wait_until([&] { return house.ear.online == many; }, seconds(60)));
  house_.reset();
  House& paced = open({}, [](BgbConfig& config) {
    config.backoff_base = milliseconds(1);
    config.handshakes_per_second = 20;
  });
  for (int i = 0; i < many; ++i) paced.pool->open(agent(i), list({at(i % 2 == 0 ? 0 : 2)}));
  ASSERT_TRUE(wait_until([&] { return paced.ear.online == many; }, seconds(60)));
  for (int i = 0; i < many; ++i) paced.pool->change_servers(agent(i), list({at(1)}));
  ASSERT_TRUE(wait_until([&] { return paced.ear.online == 2 * many; }, seconds(60)));
  const auto begun = peer(1).handshakes();
  ASSERT_EQ(begun.size(), static_cast<std::size_t>(many));
  for (std::size_t i = 20; i < begun.size(); ++i) EXPECT_GE(begun[i] - begun[i - 20], milliseconds(900)) << "handshake " << i;
}

TEST_F(BgbPoolServers, KnowsNoMoreServersThanItMayAndStillGivesTheAgentOneItKnows) {
  House& house = open({0}, [](BgbConfig& config) { config.servers_max = 2; });
  house.pool->open(agent(1), list({at(1)}));
  EXPECT_TRUE(is_at(agent(1), at(1)));
  house.pool->open(agent(2), list({at(1), at(2)}));
  EXPECT_TRUE(is_at(agent(2), at(1))) << "what is known of its list serves";
  house.pool->open(agent(3), list({at(2)}));
  EXPECT_TRUE(is_at(agent(3), at(0))) << "else what the settings name";
  EXPECT_TRUE(metric("greengate_bgb_servers_refused_total{code=\"bgb.servers_full\"} 2"));
  EXPECT_EQ(peer(2).accepted(), 0u);
}

TEST_F(BgbPoolServers, RefusesNamesThatAreNoServer) {
  House& house = open({0});
  house.pool->open(agent(1), list({"", "mp01", "mp01.example.test:0", "[::1:10123", at(1), at(1)}));
  EXPECT_TRUE(is_at(agent(1), at(1)));
  EXPECT_TRUE(metric("greengate_bgb_servers_refused_total{code=\"bgb.server_name\"} 4"));
}

TEST_F(BgbPoolServers, WithoutAnyServerThereIsNoSessionAndWithOneLaterThereIs) {
  House& house = open({});
  house.pool->open(agent(1));
  house.pool->change_servers(agent(1), list({at(0)}));
  EXPECT_TRUE(metric("greengate_bgb_sessions_without_server_total 1"));
  settle();
  EXPECT_EQ(house.state(agent(1)), "none") << "a change opens nothing";
  house.pool->open(agent(1), list({at(0)}));
  EXPECT_TRUE(is_at(agent(1), at(0)));
  house.pool->open(agent(1));
  settle();
  EXPECT_EQ(house.ear.online, 2) << "to open it again changes nothing";
}

TEST_F(BgbPoolServers, ForgetsAServerThatNoAgentHasAnyMore) {
  House& house = open({0}, [](BgbConfig& config) { config.servers_idle = milliseconds(50); });
  house.pool->open(agent(1), list({at(1)}));
  ASSERT_TRUE(is_at(agent(1), at(1)));
  house.pool->change_servers(agent(1), list({at(2)}));
  ASSERT_TRUE(is_at(agent(1), at(2)));
  EXPECT_TRUE(metric("greengate_bgb_servers{from=\"location\"} 1")) << "the one it left is gone";
  house.pool->close(agent(1));
  EXPECT_TRUE(metric("greengate_bgb_servers{from=\"location\"} 0"));
  EXPECT_TRUE(metric("greengate_bgb_servers{from=\"settings\"} 1")) << "what is configured is never dropped";
  house.pool->open(agent(1), list({at(1)}));
  EXPECT_TRUE(is_at(agent(1), at(1))) << "and it may come again";
}

// Every agent's servers change all the time, under sessions that come and go.
TEST_F(BgbPoolServers, SurvivesListsThatChangeFasterThanAnySessionOpens) {
  House& house = open({0}, [](BgbConfig& config) { config.servers_idle = milliseconds(10); });
  house.ear.answer_with = true;
  constexpr int many = 10;
  for (int turn = 0; turn < 60; ++turn) {
    for (int i = 0; i < many; ++i) {
      if (turn % 7 == 3 && i % 3 == 0)
        house.pool->close(agent(i));
      else
        house.pool->open(agent(i), list({at((turn + i) % 3), at((turn * i) % 3)}));
    }
    if (turn % 10 == 9) {
      ASSERT_TRUE(wait_until([&] { return house.pool->view().sessions > 0; }));
    }
  }
  for (int i = 0; i < many; ++i) house.pool->open(agent(i), list({at(2)}));
  for (int i = 0; i < many; ++i) EXPECT_TRUE(is_at(agent(i), at(2))) << house.last_error(agent(i));
  for (const auto& one : peers_) EXPECT_TRUE(one->complaints().empty());
}

TEST(BgbPoolServersBeforeStart, AWishOfBeforeTheStartIsKeptWithItsServers) {
  const auto identity = make_identity("mp");
  Peer one(identity), other(identity);
  const PinFile pin(identity.certificate_pem);
  BgbConfig config = quick_config(one.address(), pin.path());
  config.servers_from = "location";
  House house(config);
  house.pool->open(agent(1), list({other.address()}));
  house.pool->open(agent(2));
  ASSERT_TRUE(house.pool->start());
  ASSERT_TRUE(wait_until([&] { return house.ear.online == 2; }));
  EXPECT_EQ(house.pool->view(agent(1))->server, other.address());
  EXPECT_EQ(house.pool->view(agent(2))->server, one.address());
}

}  // namespace
}  // namespace greengate::test
