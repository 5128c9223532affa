#include "gateway/notify_admin.h"

#include "gateway/admin.h"
#include "gateway/push_answers.h"
#include "gateway/release_pacer.h"
#include "tests/gateway/admin_fixture.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <future>

namespace greengate::test {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using gateway::Admin;
using gateway::NotifyAdmin;
using gateway::Order;
using store::EntryState;

class NotifyAdminTest : public AdminFixture {
 protected:
  NotifyAdminTest() {
    notify_ = std::make_unique<NotifyAdmin>(store_->devices(), store_->mailbox(), clock_, [this](Order order) -> Result<store::Posted> {
      orders_.push_back(order);
      store::Action action;
      action.task = static_cast<std::uint32_t>(order.task);
      action.origin = order.by.empty() ? "operator" : order.by;
      action.origin_key = order.key;
      action.created_at = clock_.wall();
      action.expires_at = clock_.wall() + (order.time_to_live.count() > 0 ? order.time_to_live : 24h);
      return store_->mailbox().post(action, order.devices);
    });
    Admin::House house;
    house.notifications = notify_.get();
    house.connected = [](const AgentId&) { return true; };
    house.session = [](const AgentId&) { return std::string("online"); };
    house.state_changed = [](const AgentId&, store::DeviceState) {};
    house.details.emplace_back("notifications", [this](const AgentId& agent) { return notify_->last_of(agent); });
    open(std::move(house));
    db01_ = enrol("db01");
    web01_ = enrol("web01");
    web02_ = enrol("web02");
  }
  AgentId enrol(const std::string& host, bool active = true) {
    const AgentId enrolled = AdminFixture::enrol(host, host);
    if (active) {
      EXPECT_TRUE(store_->devices().set_state(enrolled, store::DeviceState::active));
    }
    return enrolled;
  }
  std::string refusal(unsigned status, const std::string& body) { return std::string(ask(status, "POST", "/v1/notifications", body).at("code").as_string()); }
  EntryState move(std::uint64_t entry, const AgentId& device, EntryState to, const std::string& code = "") {
    std::promise<EntryState> moved;
    store_->mailbox().move(entry, device, to, code, "why", [&](Result<store::Entry> result) { moved.set_value(result.value().state); });
    return moved.get_future().get();
  }

  std::unique_ptr<NotifyAdmin> notify_;
  AgentId db01_, web01_, web02_;
  std::vector<Order> orders_;
};

TEST_F(NotifyAdminTest, OrdersForNamedAgentsForAPatternAndForAll) {
  enrol("web03", false);
  const auto named = ask(200, "POST", "/v1/notifications", R"({"task": "full_scan", "agents": ["db01", ")" + web01_.raw() + R"("], "ttl_s": 3600, "by": "nightly"})");
  EXPECT_EQ(named.at("devices").as_int64(), 2);
  EXPECT_TRUE(named.at("fresh").as_bool());
  EXPECT_EQ(orders_.back().task, v1::TASK_FULL_SCAN);
  EXPECT_EQ(orders_.back().time_to_live, 1h);
  EXPECT_EQ(orders_.back().by, "nightly");
  EXPECT_EQ(orders_.back().devices, (std::vector{db01_, web01_}));
  EXPECT_EQ(ask(200, "POST", "/v1/notifications", R"({"task": "discovery", "groups": ["WEB*"]})").at("devices").as_int64(), 2) << "pending ones are not asked";
  EXPECT_EQ(ask(200, "POST", "/v1/notifications", R"({"task": "discovery", "all": true})").at("devices").as_int64(), 3);
  ask(200, "POST", "/v1/notifications", R"({"task": "restart", "agents": ["db01"], "parameters": {"grace_s": "300"}})");
  EXPECT_EQ(orders_.back().parameters.restart().grace_s(), 300u);
}

TEST_F(NotifyAdminTest, RefusesWhatItCannotUnderstandBeforeAnythingIsPosted) {
  const AgentId pending = enrol("new01", false);
  for (const char* body : {"", "[]", "{", R"({"task": "dance", "all": true})", R"({"all": true})", R"({"task": "discovery"})", R"({"task": "discovery", "all": false})",
                           R"({"task": "discovery", "all": true, "agents": ["db01"]})", R"({"task": "discovery", "agents": []})", R"({"task": "discovery", "agents": [7]})",
                           R"({"task": "discovery", "all": true, "ttl_s": 0})", R"({"task": "discovery", "all": true, "ttl_s": "1h"})",
                           R"({"task": "discovery", "all": true, "parameters": {"grace_s": 3}})", R"({"task": "restart", "all": true, "parameters": {"grace_s": -3}})",
                           R"({"task": "restart", "all": true, "parameters": {"when": 3}})", R"({"task": "run_script", "all": true})",
                           R"({"task": "discovery", "all": true, "agent": "db01"})", R"({"task": "discovery", "all": true, "by": "site"})"})
    EXPECT_EQ(refusal(400, body), "admin.bad_request") << body;
  EXPECT_EQ(refusal(404, R"({"task": "discovery", "agents": ["db01", "nobody"]})"), "admin.not_found");
  EXPECT_EQ(refusal(404, R"({"task": "discovery", "groups": ["mail*"]})"), "admin.not_found");
  EXPECT_EQ(refusal(409, R"({"task": "discovery", "agents": [")" + pending.raw() + R"("]})"), "admin.not_active");
  EXPECT_TRUE(orders_.empty());
}

TEST_F(NotifyAdminTest, WipesOnlyTheOneDeviceThatTheConfirmationNames) {
  for (const char* body : {R"({"task": "wipe", "agents": ["db01"]})", R"({"task": "wipe", "agents": ["db01"], "confirm": "yes"})",
                           R"({"task": "wipe", "agents": ["db01"], "confirm": "wipe-web01"})", R"({"task": "wipe", "agents": ["db01", "web01"], "confirm": "wipe-db01"})",
                           R"({"task": "wipe", "all": true, "confirm": "wipe-db01"})"})
    EXPECT_EQ(refusal(409, body), "admin.not_confirmed") << body;
  EXPECT_TRUE(orders_.empty());
  ask(200, "POST", "/v1/notifications", R"({"task": "wipe", "agents": ["db01"], "confirm": "wipe-db01"})");
  EXPECT_EQ(orders_.size(), 1u);
}

TEST_F(NotifyAdminTest, AProgramMayRepeatItsOrderUnderTheSameKey) {
  const std::string order = R"({"task": "quick_scan", "all": true, "by": "cron", "key": "2026-01-15"})";
  const auto first = ask(200, "POST", "/v1/notifications", order), again = ask(200, "POST", "/v1/notifications", order);
  EXPECT_EQ(first.at("devices").as_int64(), 3);
  EXPECT_FALSE(again.at("fresh").as_bool());
  EXPECT_EQ(again.at("id"), first.at("id"));
}

TEST_F(NotifyAdminTest, ShowsHowFarEachAgentIs) {
  const auto id = ask(200, "POST", "/v1/notifications", R"({"task": "quick_scan", "all": true})").at("id").as_int64();
  const std::string target = "/v1/notifications/" + std::to_string(id);
  const auto entries = ask(200, "GET", target).at("entries").as_array();
  ASSERT_EQ(entries.size(), 3u);
  const auto first = entries[0].at("notification").to_number<std::uint64_t>();
  move(first, AgentId(std::string(entries[0].at("agent").as_string())), EntryState::failed, "task.no_scanner");
  const auto shown = ask(200, "GET", target);
  EXPECT_EQ(shown.at("task").as_string(), "quick_scan");
  EXPECT_EQ(shown.at("devices").as_int64(), 3);
  EXPECT_EQ(shown.at("open").as_int64(), 2);
  EXPECT_EQ(shown.at("states").at("failed").as_int64(), 1);
  EXPECT_EQ(shown.at("entries").at(0).at("code").as_string(), "task.no_scanner");
  EXPECT_FALSE(shown.at("entries").at(0).at("host_name").as_string().empty());
  EXPECT_EQ(ask(200, "GET", target + "?count=1&after=" + std::to_string(first)).at("entries").as_array().size(), 1u);
  ask(404, "GET", "/v1/notifications/999");
  ask(404, "GET", "/v1/notifications/x");
  ask(405, "DELETE", target);
}

TEST_F(NotifyAdminTest, ListsNewestFirstTheSitesTooAndCancels) {
  store::Action push;
  push.task = static_cast<std::uint32_t>(v1::TASK_MACHINE_POLICY);
  push.origin = "site";
  push.origin_key = "13/1013";
  push.created_at = clock_.wall();
  push.expires_at = clock_.wall() + 24h;
  ASSERT_TRUE(store_->mailbox().post(push, std::vector{db01_}));
  const auto id = ask(200, "POST", "/v1/notifications", R"({"task": "restart", "all": true})").at("id").as_int64();
  const auto listed = ask(200, "GET", "/v1/notifications").at("notifications").as_array();
  ASSERT_EQ(listed.size(), 2u);
  EXPECT_EQ(listed[0].at("id").as_int64(), id);
  EXPECT_EQ(listed[1].at("origin").as_string(), "site");
  EXPECT_EQ(ask(200, "GET", "/v1/notifications?before=" + std::to_string(id)).at("notifications").as_array().size(), 1u);
  EXPECT_EQ(ask(200, "POST", "/v1/notifications/" + std::to_string(id) + "/cancel").at("cancelled").as_int64(), 3);
  EXPECT_EQ(ask(200, "GET", "/v1/notifications/" + std::to_string(id)).at("states").at("cancelled").as_int64(), 3);
  ask(404, "POST", "/v1/notifications/999/cancel");
}

TEST_F(NotifyAdminTest, ExplainShowsAnAgentsLastNotifications) {
  ask(200, "POST", "/v1/notifications", R"({"task": "restart", "agents": ["db01"], "by": "anna"})");
  const auto about = ask(200, "GET", "/v1/agents/db01/explain").at("notifications").as_array();
  ASSERT_EQ(about.size(), 1u);
  EXPECT_EQ(about[0].at("task").as_string(), "restart");
  EXPECT_EQ(about[0].at("origin").as_string(), "anna");
  EXPECT_EQ(about[0].at("state").as_string(), "waiting");
}

// ---- The parts of FanOut

TEST(PushAnswers, TakesEachPushOutOnce) {
  gateway::PushAnswers answers(2);
  const AgentId a("a"), b("b");
  const SteadyTime now{1h};
  EXPECT_TRUE(answers.begin({a, 1, 2}, now + 4s));
  EXPECT_FALSE(answers.begin({a, 1, 2}, now + 4s)) << "it waits already";
  EXPECT_TRUE(answers.begin({b, 1, 2}, now + 3s));
  EXPECT_FALSE(answers.begin({b, 2, 2}, now + 4s)) << "above its bound";
  EXPECT_TRUE(answers.bind({a, 1, 2}, 7));
  EXPECT_TRUE(answers.take(7, b).empty()) << "another's entry";
  EXPECT_EQ(answers.take(7, a).size(), 1u);
  EXPECT_TRUE(answers.take(7, a).empty());
  EXPECT_FALSE(answers.take({a, 1, 2}));
  EXPECT_FALSE(answers.bind({a, 1, 2}, 7)) << "it has been answered";
  EXPECT_TRUE(answers.take_late(now + 2s).empty());
  const auto late = answers.take_late(now + 3s);
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0].push.agent, b);
  EXPECT_EQ(answers.size(), 0u);
}

TEST(PushAnswers, OneWordMayAnswerARepeatUnderOtherNumbersToo) {
  gateway::PushAnswers answers(10);
  const AgentId a("a");
  EXPECT_TRUE(answers.begin({a, 1, 2}, SteadyTime{1h}));
  EXPECT_TRUE(answers.begin({a, 3, 2}, SteadyTime{1h}));
  EXPECT_TRUE(answers.bind({a, 1, 2}, 7));
  EXPECT_TRUE(answers.bind({a, 3, 2}, 7));
  EXPECT_EQ(answers.take(7, a).size(), 2u);
}

TEST(ReleasePacer, LetsAgentsInOrderAndWhoLeftAndCameBackAtTheEnd) {
  gateway::ReleasePacer pacer(100);
  const SteadyTime now{1h};
  for (const char* agent : {"a", "b", "c"}) pacer.arrived(AgentId(agent));
  pacer.arrived(AgentId("a"));
  pacer.left(AgentId("a"));
  pacer.arrived(AgentId("a"));
  pacer.left(AgentId("c"));
  EXPECT_EQ(pacer.next(now), AgentId("b"));
  EXPECT_EQ(pacer.next(now), AgentId("a"));
  EXPECT_EQ(pacer.next(now), std::nullopt);
  EXPECT_EQ(pacer.size(), 0u);
}

TEST(ReleasePacer, PaysForALargeMailboxAfterwards) {
  gateway::ReleasePacer pacer(10);
  const SteadyTime now{1h};
  pacer.arrived(AgentId("a"));
  pacer.arrived(AgentId("b"));
  EXPECT_TRUE(pacer.next(now));
  pacer.took(25);
  EXPECT_FALSE(pacer.next(now + 1s));
  EXPECT_FALSE(pacer.next(now + 1500ms));
  EXPECT_TRUE(pacer.next(now + 1700ms));
}

}  // namespace
}  // namespace greengate::test
