// Goal: each agent's session is opened with the servers the site names for its subnet, the site is asked once for all of a subnet and never at
// will, and nothing that the site says or fails to say leaves an agent worse off. Method: a location answer by script and a clock of ours.
#include "gateway/notification_servers.h"

#include "tests/support/manual_clock.h"
#include "workers/learned_hosts.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace greengate::gateway {
namespace {

using adapters::BgbServers;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using Names = std::vector<std::string>;

class NotificationServersTest : public testing::Test {
 protected:
  void SetUp() override { set_log_sink([](std::string_view) {}); }
  void TearDown() override {
    servers_.reset();
    set_log_sink(nullptr);
  }
  NotificationServers& make(Names settings, std::uint32_t subnets_max = 4'096) {
    NotificationServersConfig config;
    config.settings = std::move(settings);
    config.servers_max = 8;
    config.subnets_max = subnets_max;
    servers_ = std::make_unique<NotificationServers>(config, clock_, metrics_, 7);
    servers_->connect({
        .locate = [this](const AgentId& agent, const std::string& address) -> Result<workers::Located> {
          if (while_asked_) while_asked_();
          asked_.push_back(agent.raw() + " " + address);
          const std::string subnet = workers::presumed_subnet(address);
          const auto found = answers_.find(subnet);
          if (found == answers_.end()) return fail(Remedy::retry, "mp.refused", "The site says nothing.");
          workers::Located located;
          for (const std::string& host : found->second) {
            adapters::Location place;
            place.server = host;
            place.https = https_;
            located.places.push_back(place);
          }
          return located;
        },
        .address = [this](const AgentId& agent) { return addresses_[agent.raw()]; },
        .allow = [hosts = workers::LearnedHosts({"https://mp01.example.test"}, {})](const std::string& host, bool https) { return hosts.allow(host, https); },
        .open = [this](const AgentId& agent, const BgbServers& names) { note("open", agent, names); },
        .change = [this](const AgentId& agent, const BgbServers& names) { note("change", agent, names); },
        .close = [this](const AgentId& agent) { diary_.push_back("close " + agent.raw()); },
    });
    return *servers_;
  }
  void note(const std::string& what, const AgentId& agent, const BgbServers& names) {
    std::string line = what + " " + agent.raw();
    if (names)
      for (const std::string& name : *names) line += " " + name;
    diary_.push_back(line);
    given_[agent.raw()] = names;
  }
  void come(const std::string& agent, const std::string& address) {
    addresses_[agent] = address;
    servers_->open(AgentId(agent));
  }
  std::size_t ask_all() {
    std::size_t asked = 0;
    while (servers_->ask_due()) ++asked;
    return asked;
  }
  Names taken() { return std::exchange(diary_, {}); }

  test::ManualClock clock_;
  Metrics metrics_;
  std::map<std::string, Names> answers_;  // by subnet
  bool https_ = true;
  std::function<void()> while_asked_;
  std::map<std::string, std::string> addresses_;
  Names asked_, diary_;
  std::map<std::string, BgbServers> given_;
  std::unique_ptr<NotificationServers> servers_;
};

TEST_F(NotificationServersTest, AnAgentHasTheSettingsServersUntilItsAnswerIsThere) {
  make({"fixed.example.test:10123"});
  answers_["192.0.2.0"] = {"mp02.example.test", "mp03.example.test"};
  come("a", "192.0.2.10");
  EXPECT_EQ(taken(), Names{"open a"});
  EXPECT_FALSE(servers_->view(AgentId("a"))->by_location);
  EXPECT_EQ(ask_all(), 1u);
  EXPECT_EQ(taken(), Names{"change a mp02.example.test:10123 mp03.example.test:10123"});
  EXPECT_EQ(asked_, Names{"a 192.0.2.10"});
  EXPECT_TRUE(servers_->view(AgentId("a"))->by_location);
  come("b", "192.0.2.77");
  EXPECT_EQ(taken(), Names{"open b mp02.example.test:10123 mp03.example.test:10123"}) << "its subnet is known";
  EXPECT_EQ(ask_all(), 0u);
  servers_->close(AgentId("a"));
  EXPECT_EQ(taken(), Names{"close a"});
  EXPECT_FALSE(servers_->view(AgentId("a")));
}

TEST_F(NotificationServersTest, WithoutServersInTheSettingsAnAgentWaitsForItsAnswer) {
  make({});
  come("a", "192.0.2.10");
  EXPECT_EQ(taken(), Names{});
  EXPECT_EQ(ask_all(), 1u);
  EXPECT_EQ(taken(), Names{}) << "the question failed";
  EXPECT_TRUE(servers_->view(AgentId("a"))->waits);
  EXPECT_EQ(servers_->view(AgentId("a"))->last_failure, "mp.refused");
  answers_["192.0.2.0"] = {"mp02.example.test"};
  EXPECT_EQ(ask_all(), 0u) << "not at once again";
  clock_.advance(minutes(2));
  EXPECT_EQ(ask_all(), 1u);
  EXPECT_EQ(taken(), Names{"open a mp02.example.test:10123"});
  EXPECT_FALSE(servers_->view(AgentId("a"))->waits);
}

TEST_F(NotificationServersTest, ManyAgentsOfASubnetAskOnceAndShareOneList) {
  make({"fixed.example.test:10123"});
  answers_["192.0.2.0"] = answers_["198.51.100.0"] = {"mp02.example.test"};
  for (int i = 0; i < 500; ++i) come("a" + std::to_string(i), "192.0.2." + std::to_string(i % 256));
  EXPECT_EQ(ask_all(), 1u);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(given_["a" + std::to_string(i)], given_["a0"]);
  come("b", "198.51.100.1");
  EXPECT_EQ(ask_all(), 1u);
  EXPECT_EQ(given_["b"], given_["a0"]) << "the same list is the same, whichever subnet it is of";
}

TEST_F(NotificationServersTest, AsksNobodyTwiceAtATimeThoughTheSiteIsSlow) {
  make({"fixed.example.test:10123"});
  answers_["192.0.2.0"] = {"mp02.example.test"};
  std::size_t inside = 0;
  while_asked_ = [&] {
    while_asked_ = nullptr;
    come("b", "192.0.2.11");
    servers_->close(AgentId("a"));
    inside = ask_all();
  };
  come("a", "192.0.2.10");
  EXPECT_EQ(ask_all(), 1u);
  EXPECT_EQ(inside, 0u);
  EXPECT_EQ(taken(), (Names{"open a", "open b", "close a", "change b mp02.example.test:10123"})) << "who left meanwhile hears nothing";
}

TEST_F(NotificationServersTest, AsksAgainSpreadWhenAnswersHaveRunOut) {
  make({"fixed.example.test:10123"});
  constexpr int many = 100;
  for (int i = 0; i < many; ++i) {
    answers_["10.0." + std::to_string(i) + ".0"] = {"mp02.example.test"};
    come("a" + std::to_string(i), "10.0." + std::to_string(i) + ".1");
  }
  EXPECT_EQ(ask_all(), static_cast<std::size_t>(many));
  taken();
  clock_.advance(minutes(15) - milliseconds(1));
  EXPECT_EQ(ask_all(), 0u) << "what is remembered serves";
  std::size_t asked = 0, most = 0;
  for (int second = 0; second < 181; ++second) {
    clock_.advance(seconds(1));
    const std::size_t now = ask_all();
    asked += now;
    most = std::max(most, now);
  }
  EXPECT_EQ(asked, static_cast<std::size_t>(many));
  EXPECT_LE(most, 8u) << "over a fifth of the time";
  EXPECT_EQ(taken(), Names{}) << "nothing changed, so nobody is disturbed";
  answers_["10.0.7.0"] = {"mp03.example.test"};
  clock_.advance(minutes(20));
  ask_all();
  EXPECT_EQ(taken(), Names{"change a7 mp03.example.test:10123"});
}

TEST_F(NotificationServersTest, AFailedQuestionOrAnEmptyAnswerChangesNothing) {
  make({"fixed.example.test:10123"});
  answers_["192.0.2.0"] = {"mp02.example.test"};
  come("a", "192.0.2.10");
  ask_all();
  taken();
  answers_["192.0.2.0"] = {};
  clock_.advance(minutes(20));
  EXPECT_EQ(ask_all(), 1u);
  EXPECT_EQ(servers_->view(AgentId("a"))->last_failure, "notify.no_server");
  answers_.clear();
  clock_.advance(minutes(20));
  EXPECT_EQ(ask_all(), 1u);
  EXPECT_EQ(servers_->view(AgentId("a"))->last_failure, "mp.refused");
  EXPECT_EQ(taken(), Names{});
  EXPECT_TRUE(servers_->view(AgentId("a"))->by_location);
  come("b", "192.0.2.11");
  EXPECT_EQ(taken(), Names{"open b mp02.example.test:10123"}) << "the newest good answer serves on";
}

TEST_F(NotificationServersTest, BacksOffWhileTheSiteIsNotHeardAndLetsAnotherAgentAsk) {
  make({"fixed.example.test:10123"});
  for (int i = 0; i < 20; ++i) come("a" + std::to_string(i), "192.0.2.1");
  std::size_t asked = 0;
  for (int minute = 0; minute < 120; ++minute) {
    asked += ask_all();
    clock_.advance(minutes(1));
  }
  EXPECT_GE(asked, 6u);
  EXPECT_LE(asked, 40u) << "in two hours";
  EXPECT_GT(std::set<std::string>(asked_.begin(), asked_.end()).size(), 2u) << "one agent without identity does not keep its subnet from hearing";
}

TEST_F(NotificationServersTest, UsesNoHostThatTheSiteMayNotNameUnlessASettingDoes) {
  make({"127.0.0.2:20123", "MP09.other.test:30123"});
  answers_["192.0.2.0"] = {"127.0.0.1",       "::1",          "169.254.169.254", "localhost", "mp02.evil.test", "mp02.example.test.evil.test",
                           "xexample.test",   "x.local",      "2130706433",      "0x7f.1",    "mp01",           "127.0.0.2",
                           "mp09.other.test", "mp02.example.test"};
  come("a", "192.0.2.10");
  ask_all();
  taken();
  ASSERT_TRUE(given_["a"]);
  EXPECT_EQ(*given_["a"], (Names{"127.0.0.2:20123", "MP09.other.test:30123", "mp02.example.test:10123"}));
  EXPECT_NE(metrics_.render().find("greengate_notification_servers_refused_total 11"), std::string::npos) << metrics_.render();
}

TEST_F(NotificationServersTest, IsNotLedBackToAServerWithoutHttpsWhereAllHaveIt) {
  make({"fixed.example.test:10123"});
  https_ = false;
  answers_["192.0.2.0"] = {"mp02.example.test"};
  come("a", "192.0.2.10");
  ask_all();
  EXPECT_EQ(taken(), Names{"open a"});
}

TEST_F(NotificationServersTest, TakesNoMoreOfOneAnswerThanThePoolWould) {
  make({});
  for (int i = 10; i < 60; ++i) answers_["192.0.2.0"].push_back("mp" + std::to_string(i) + ".example.test");
  come("a", "192.0.2.10");
  ask_all();
  EXPECT_EQ(given_["a"]->size(), 8u);
}

TEST_F(NotificationServersTest, AnAgentWhoseAddressIsNotKnownHasTheSiteWideAnswerUntilItComes) {
  make({"fixed.example.test:10123"});
  answers_[""] = {"mp02.example.test"};
  answers_["192.0.2.0"] = {"mp03.example.test"};
  come("a", "");
  ask_all();
  EXPECT_EQ(asked_, Names{"a "});
  EXPECT_EQ(taken(), (Names{"open a", "change a mp02.example.test:10123"}));
  come("a", "192.0.2.10");
  EXPECT_EQ(taken(), Names{"open a"}) << "it keeps what it has";
  ask_all();
  EXPECT_EQ(taken(), Names{"change a mp03.example.test:10123"});
  come("a", "");
  EXPECT_EQ(taken(), Names{"open a mp03.example.test:10123"}) << "it is taken to be where it was last";
}

TEST_F(NotificationServersTest, AgentsOfMoreSubnetsThanThereIsRoomForHaveTheSiteWideAnswer) {
  make({"fixed.example.test:10123"}, 3);
  answers_[""] = {"mp02.example.test"};
  for (int i = 0; i < 10; ++i) come("a" + std::to_string(i), "10.0." + std::to_string(i) + ".1");
  answers_["10.0.0.0"] = {"mp03.example.test"};
  ask_all();
  EXPECT_LE(asked_.size(), 4u);
  EXPECT_EQ(*given_["a0"], Names{"mp03.example.test:10123"});
  EXPECT_EQ(*given_["a9"], Names{"mp02.example.test:10123"});
  for (int i = 0; i < 10; ++i) servers_->close(AgentId("a" + std::to_string(i)));
  answers_["10.0.99.0"] = {"mp04.example.test"};
  come("b", "10.0.99.1");
  ask_all();
  EXPECT_EQ(*given_["b"], Names{"mp04.example.test:10123"}) << "a subnet without agents makes room";
}

TEST_F(NotificationServersTest, ItsOwnThreadsAskAndEnd) {
  std::mutex mutex;
  std::condition_variable heard;
  bool there = false;
  NotificationServersConfig config;
  const SystemClock clock;
  NotificationServers servers(config, clock, metrics_, 7);
  servers.connect({.locate = [](const AgentId&, const std::string&) -> Result<workers::Located> {
                     workers::Located located;
                     located.places.emplace_back().server = "mp02.example.test";
                     return located;
                   },
                   .address = [](const AgentId&) { return std::string("192.0.2.1"); },
                   .allow = [](const std::string&, bool) { return true; },
                   .open =
                       [&](const AgentId&, const BgbServers& names) {
                         std::lock_guard lock(mutex);
                         there = names != nullptr;
                         heard.notify_all();
                       },
                   .change = [](const AgentId&, const BgbServers&) {},
                   .close = [](const AgentId&) {}});
  ASSERT_TRUE(servers.start());
  servers.open(AgentId("a"));
  {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(heard.wait_for(lock, seconds(10), [&] { return there; }));
  }
  servers.stop();
}

}  // namespace
}  // namespace greengate::gateway
