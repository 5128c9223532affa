#include "gateway/admin.h"

#include "gateway/class_shapes.h"
#include "gateway/enrolment_token.h"
#include "tests/gateway/admin_fixture.h"
#include "workers/baseline_form.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <future>

namespace greengate::test {
namespace {

namespace json = boost::json;
using gateway::Admin;

class AdminTest : public AdminFixture {
 protected:
  AdminTest() {
    Admin::House house;
    house.roles = {"ingest"};
    house.connected = [](const AgentId&) { return true; };
    house.session = [](const AgentId&) { return std::string("online"); };
    house.sessions_online = [] { return std::uint64_t{1}; };
    house.management_points = [] { return std::vector<workers::MpHealth>{}; };
    house.pushes = [] { return gateway::PushCounts{}; };
    house.state_changed = [this](const AgentId& agent, store::DeviceState) { changed_.push_back(agent.raw()); };
    house.rotate_key = [this](const AgentId& agent) -> Result<void> {
      rotated_.push_back(agent.raw());
      if (rotated_.size() == 1) return {};
      return fail(Remedy::reject, "identity.not_ready", "The agent is not ready at the site.");
    };
    house.agent_endpoint = [] { return std::string("tcp://127.0.0.1:7443"); };
    house.gateway_key = [] { return std::string("KEY"); };
    house.class_shape = [this](const std::string& name) { return gateway::class_shape(store_->devices(), store_->baselines(), name); };
    open(std::move(house));
  }
  static std::string code(const json::value& reply) { return std::string(reply.at("code").as_string()); }

  std::vector<std::string> changed_, rotated_;
};

TEST_F(AdminTest, CountsAgentsByTheirState) {
  const AgentId one = enrol("db01", "a");
  enrol("web01", "b");
  ask(200, "POST", "/v1/agents/" + one.raw() + "/approve");
  const auto status = ask(200, "GET", "/v1/status");
  EXPECT_EQ(status.at("agents").at("active").as_int64(), 1);
  EXPECT_EQ(status.at("agents").at("pending").as_int64(), 1);
  EXPECT_EQ(changed_, std::vector<std::string>{one.raw()});
}

TEST_F(AdminTest, FindsAnAgentByIdByItsBeginningAndByHostName) {
  const AgentId agent = enrol("db 01/x", "a");
  for (const std::string& name : {agent.raw(), agent.raw().substr(0, 6), std::string("db%2001%2Fx")}) {
    EXPECT_EQ(ask(200, "GET", "/v1/agents/" + name).at("id").as_string(), agent.raw());
  }
}

TEST_F(AdminTest, AsksWhichOneIsMeantWhenTwoHaveTheSameName) {
  enrol("db01", "a");
  enrol("db01", "b");
  EXPECT_EQ(code(ask(409, "GET", "/v1/agents/db01")), "admin.ambiguous");
}

TEST_F(AdminTest, NeverLetsARevokedAgentBackInByApproval) {
  const AgentId agent = enrol("db01", "a");
  ask(200, "POST", "/v1/agents/db01/revoke");
  EXPECT_EQ(code(ask(409, "POST", "/v1/agents/db01/approve")), "admin.revoked");
  EXPECT_EQ(changed_, std::vector<std::string>{agent.raw()});
}

TEST_F(AdminTest, MakesATokenThatLetsAnAgentInAndShowsItsSecretOnce) {
  const auto made = ask(200, "POST", "/v1/tokens", R"({"uses_max": 1, "life_s": 60, "note": "rack 4"})");
  const std::string secret(made.at("token").as_string());
  enrol("db01", "a", gateway::token_hash("  " + secret + "\n"));
  const auto listed = ask(200, "GET", "/v1/tokens").at("tokens").as_array().at(0);
  EXPECT_EQ(listed.at("state").as_string(), "spent");
  EXPECT_EQ(listed.at("note").as_string(), "rack 4");
  EXPECT_EQ(json::serialize(listed).find(secret), std::string::npos);
}

TEST_F(AdminTest, RefusesTokensOutOfBounds) {
  for (const char* body : {"{", "[]", R"({"uses_max": 0})", R"({"life_s": 99999999})", R"({"note": 5})", R"({"uses_max": "many"})"}) {
    EXPECT_EQ(code(ask(400, "POST", "/v1/tokens", body)), "admin.bad_request") << body;
  }
}

TEST_F(AdminTest, RevokesATokenAndKnowsNoOther) {
  const auto made = ask(200, "POST", "/v1/tokens");
  ask(200, "DELETE", "/v1/tokens/" + std::string(made.at("id").as_string()));
  EXPECT_EQ(ask(200, "GET", "/v1/tokens").at("tokens").as_array().at(0).at("state").as_string(), "revoked");
  EXPECT_GE(admin_->answer({"DELETE", "/v1/tokens/00000000", ""}).status, 400u);
}

TEST_F(AdminTest, TracesReportsWithTheirTimes) {
  const AgentId agent = enrol("db01", "a");
  store::NewReport report;
  report.name = {agent, 1, 1};
  report.kind = 2;
  report.body = "x";
  report.collected_at = clock_.wall();
  std::vector<store::NewReport> batch{report};
  std::promise<void> kept;
  store_->reports().keep(std::move(batch), [&](auto) { kept.set_value(); });
  kept.get_future().get();
  const auto reports = ask(200, "GET", "/v1/agents/db01/reports?count=5").at("reports").as_array();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].at("kind").as_string(), "hardware inventory");
  EXPECT_EQ(reports[0].at("state").as_string(), "waiting");
}

TEST_F(AdminTest, DescribesAnInventoryClassAsTheSiteHasIt) {
  const AgentId agent = enrol("db01", "a");
  ask(200, "POST", "/v1/agents/db01/approve");
  v1::HardwareInventory inventory;
  v1::InventoryClass& one = *inventory.add_classes();
  one.set_name("Contoso_Thing");
  one.add_properties("Id");
  one.add_properties("Size");
  one.add_properties("Seen");
  one.add_key_properties(0);
  one.add_instances()->add_values()->set_text("a");
  v1::InventoryInstance& second = *one.add_instances();
  second.add_values()->set_text("b");
  second.add_values()->set_unsigned_integer(5);
  store::NewReport report;
  report.name = {agent, 1, 1};
  report.kind = v1::KIND_HARDWARE_INVENTORY;
  report.lane = store::Lane::inventory;
  report.body = "x";
  std::promise<void> kept;
  store_->reports().keep({report}, [&](auto) { kept.set_value(); });
  kept.get_future().get();
  auto batch = store_->reports().lease(store::LaneSet::all(), 1, 1 << 20, std::chrono::milliseconds(0)).value();
  ASSERT_TRUE(batch);
  store::BaselineMove move;
  move.kind = v1::KIND_HARDWARE_INVENTORY;
  move.major = 1;
  move.body = workers::write_baseline({1, 1, "GUID:X", {}}, inventory.SerializeAsString());
  ASSERT_TRUE(store_->reports().settle(batch->lease, {{batch->reports[0].id, store::Outcome::delivered, "m"}}, {move}));
  const auto shape = ask(200, "GET", "/v1/classes/Contoso_Thing");
  EXPECT_EQ(json::serialize(shape.at("keys")), R"(["Id"])");
  EXPECT_EQ(json::serialize(shape.at("properties")), R"({"Id":"string","Size":"unsigned","Seen":"string"})");
  EXPECT_EQ(code(ask(404, "GET", "/v1/classes/Other")), "admin.not_found");
}

TEST_F(AdminTest, SaysWhatCannotBeAsked) {
  EXPECT_EQ(code(ask(404, "GET", "/")), "admin.not_found");
  EXPECT_EQ(code(ask(404, "GET", "/v1/agents/nobody")), "admin.not_found");
  EXPECT_EQ(code(ask(405, "DELETE", "/v1/status")), "admin.method");
}

TEST(EnrolmentToken, SecretsAreLongReadableAndNeverTheSame) {
  const auto one = gateway::make_token(), other = gateway::make_token();
  EXPECT_NE(one.secret, other.secret);
  EXPECT_EQ(one.secret.size(), 3u + 32u);
  EXPECT_EQ(one.secret.find_first_not_of("-abcdefghjkmnpqrstuvwxyz023456789"), std::string::npos);
  EXPECT_EQ(one.hash, gateway::token_hash(one.secret));
}

TEST_F(AdminTest, ChangesAnAgentsKeyOrSaysWhyNot) {
  const AgentId agent = enrol("db01", "a");
  EXPECT_EQ(ask(200, "POST", "/v1/agents/db01/rotate-key").at("id").as_string(), agent.raw());
  EXPECT_EQ(ask(409, "POST", "/v1/agents/db01/rotate-key").at("code").as_string(), "identity.not_ready");
  EXPECT_EQ(rotated_, (std::vector<std::string>{agent.raw(), agent.raw()}));
  ask(405, "GET", "/v1/agents/db01/rotate-key");
}

}  // namespace
}  // namespace greengate::test
