#include "gateway/admin.h"
#include "gateway/diagnosis.h"
#include "gateway/replayer.h"

#include "tests/gateway/admin_fixture.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <future>

namespace greengate::test {
namespace {

namespace json = boost::json;
using gateway::Admin;
using std::chrono::milliseconds;
using std::chrono::seconds;

class DeadLettersTest : public AdminFixture {
 protected:
  DeadLettersTest() {
    replayer_ = std::make_unique<gateway::Replayer>(store_->reports(), 10, clock_, metrics_);
    Admin::House house;
    house.connected = [](const AgentId&) { return true; };
    house.session = [](const AgentId&) { return std::string("none"); };
    house.replayer = replayer_.get();
    house.message_of = [this](const store::LeasedReport& report) -> Result<std::string> {
      if (message_problem_) return tl::unexpected(*message_problem_);
      return "<Report><Bytes>" + std::to_string(report.body.size()) + "</Bytes></Report>";
    };
    house.details.emplace_back("slots", [](const AgentId&) { return json::value(json::object{{"next_ms", 5}}); });
    open(std::move(house));
    db01_ = enrol("db01", "a");
    web01_ = enrol("web01", "b");
  }
  void keep(const AgentId& agent, const std::string& body) {
    store::NewReport report;
    report.name = {agent, 1, ++sequences_[agent.raw()]};
    report.kind = v1::KIND_STATE_MESSAGES;
    report.body = body;
    report.collected_at = clock_.wall();
    std::promise<void> kept;
    store_->reports().keep({report}, [&](auto) { kept.set_value(); });
    kept.get_future().get();
  }
  /// Everything that waits becomes a dead letter with this reason; how many.
  std::size_t bury_all(const char* code) {
    std::size_t count = 0;
    while (auto batch = store_->reports().lease(store::LaneSet::all(), 100, 1 << 20, milliseconds(0)).value()) {
      std::vector<ItemId> ids;
      for (const auto& report : batch->reports) ids.push_back(report.id);
      count += ids.size();
      EXPECT_TRUE(store_->reports().bury(batch->lease, ids, Error{Remedy::reject, code, "for the test.", {}}));
    }
    return count;
  }
  static std::string state_body(const std::string& topic) {
    v1::StateMessages messages;
    messages.add_messages()->set_topic_id(topic);
    return messages.SerializeAsString();
  }
  json::array letters(const std::string& query = "") { return ask(200, "GET", "/v1/dead-letters" + query).at("dead_letters").as_array(); }

  std::unique_ptr<gateway::Replayer> replayer_;
  std::map<std::string, std::uint64_t> sequences_;
  std::optional<Error> message_problem_;
  AgentId db01_, web01_;
};

TEST_F(DeadLettersTest, AreListedWithTheirCauseAndFoundByAgentCodeAndKind) {
  keep(db01_, state_body("one"));
  bury_all("mp.bad_request");
  keep(web01_, "not a report");
  bury_all("report.malformed");
  ASSERT_EQ(letters().size(), 2u);
  EXPECT_EQ(letters().at(0).at("host_name").as_string(), "db01");
  EXPECT_EQ(letters().at(0).at("code").as_string(), "mp.bad_request");
  EXPECT_FALSE(letters().at(0).at("advice").as_string().empty());
  EXPECT_EQ(letters("?agent=web01").size(), 1u);
  EXPECT_EQ(letters("?code=report.malformed").at(0).at("host_name").as_string(), "web01");
  EXPECT_EQ(letters("?kind=state-messages").size(), 2u);
  EXPECT_EQ(letters("?kind=discovery").size(), 0u);
  EXPECT_EQ(letters("?count=1").size(), 1u);
  EXPECT_EQ(ask(400, "GET", "/v1/dead-letters?kind=poems").at("code").as_string(), "admin.bad_request");
  EXPECT_EQ(ask(404, "GET", "/v1/dead-letters?agent=nobody").at("code").as_string(), "admin.not_found");
}

TEST_F(DeadLettersTest, ShowTheReportAsTextAndTheMessageItWouldBe) {
  keep(db01_, state_body("disk <full>"));
  bury_all("mp.bad_request");
  const std::string id = std::to_string(letters().at(0).at("id").to_number<std::uint64_t>());
  const auto shown = ask(200, "GET", "/v1/dead-letters/" + id + "?body=1");
  EXPECT_NE(shown.at("report").as_string().find("topic_id: \"disk <full>\""), std::string::npos);
  EXPECT_EQ(shown.at("message_xml").as_string(), "<Report><Bytes>15</Bytes></Report>");
  EXPECT_EQ(shown.at("body").as_string(), "Cg0aC2Rpc2sgPGZ1bGw+");
  message_problem_ = Error{Remedy::reject, "seal.broken", "the box does not open.", {}};
  EXPECT_EQ(ask(200, "GET", "/v1/dead-letters/" + id).at("message_problem").at("code").as_string(), "seal.broken");
}

TEST_F(DeadLettersTest, SayWhenABodyIsNotWhatItsKindSays) {
  keep(db01_, "\xff\xff\xff");
  bury_all("report.malformed");
  const std::string id = std::to_string(letters().at(0).at("id").to_number<std::uint64_t>());
  EXPECT_NE(ask(200, "GET", "/v1/dead-letters/" + id).at("report").as_string().find("not a state messages report"), std::string::npos);
}

TEST_F(DeadLettersTest, AreUnknownByAnyOtherNumber) {
  EXPECT_EQ(ask(404, "GET", "/v1/dead-letters/77").at("code").as_string(), "queue.no_letter");
  EXPECT_EQ(ask(400, "GET", "/v1/dead-letters/x").at("code").as_string(), "admin.bad_request");
  EXPECT_EQ(ask(405, "DELETE", "/v1/dead-letters").at("code").as_string(), "admin.method");
}

TEST_F(DeadLettersTest, GoBackAFewASecondAndEachOnceAnOrder) {
  for (int i = 0; i < 25; ++i) keep(db01_, state_body("topic " + std::to_string(i)));
  ASSERT_EQ(bury_all("mp.bad_request"), 25u);
  ask(200, "POST", "/v1/dead-letters/replay?code=mp.bad_request", R"({"rate_per_s": 10})");
  replayer_->tick();
  EXPECT_EQ(bury_all("mp.bad_request"), 1u) << "the first at once";
  clock_.advance(seconds(1));
  replayer_->tick();
  EXPECT_EQ(bury_all("mp.bad_request"), 10u) << "ten a second, and not the one that was buried again";
  EXPECT_EQ(ask(409, "POST", "/v1/dead-letters/replay", "{}").at("code").as_string(), "replay.busy");
  std::size_t again = 11;
  for (int i = 0; i < 10; ++i) {
    clock_.advance(milliseconds(500));
    replayer_->tick();
    again += bury_all("mp.bad_request");
  }
  EXPECT_EQ(again, 25u);
  const auto progress = ask(200, "GET", "/v1/dead-letters/replay");
  EXPECT_FALSE(progress.at("running").as_bool());
  EXPECT_EQ(progress.at("put_back").to_number<int>(), 25);
}

TEST_F(DeadLettersTest, AreReplayedByNumberAndForgottenWhenDiscarded) {
  keep(db01_, state_body("one"));
  keep(db01_, state_body("two"));
  bury_all("mp.bad_request");
  const auto first = letters().at(0).at("id").to_number<std::uint64_t>(), second = letters().at(1).at("id").to_number<std::uint64_t>();
  ask(200, "POST", "/v1/dead-letters/replay", "{\"ids\": [" + std::to_string(first) + "]}");
  replayer_->tick();
  EXPECT_EQ(letters().size(), 1u);
  EXPECT_EQ(ask(200, "POST", "/v1/dead-letters/discard", "{\"ids\": [" + std::to_string(second) + "]}").at("discarded").to_number<int>(), 1);
  EXPECT_TRUE(letters().empty());
  for (const char* body : {"{}", "[]", R"({"ids": []})", R"({"ids": ["x"]})", R"({"ids": [0]})"}) {
    EXPECT_EQ(ask(400, "POST", "/v1/dead-letters/discard", body).at("code").as_string(), "admin.bad_request") << body;
  }
  EXPECT_EQ(ask(409, "POST", "/v1/dead-letters/replay", "{}").at("code").as_string(), "replay.none");
  EXPECT_EQ(ask(400, "POST", "/v1/dead-letters/replay", R"({"rate_per_s": -1})").at("code").as_string(), "admin.bad_request");
}

TEST_F(DeadLettersTest, AreCountedInTheExplanationOfTheirAgentOnly) {
  keep(db01_, state_body("one"));
  bury_all("mp.bad_request");
  keep(db01_, state_body("two"));
  const auto about = ask(200, "GET", "/v1/agents/db01/explain");
  EXPECT_EQ(about.at("dead_letters").at("letters").to_number<int>(), 1);
  EXPECT_EQ(about.at("dead_letters").at("codes").at(0).at("code").as_string(), "mp.bad_request");
  ASSERT_EQ(about.at("waiting").as_array().size(), 1u);
  EXPECT_EQ(about.at("waiting").at(0).at("lane").as_string(), "state");
  ASSERT_EQ(about.at("last_reports").as_array().size(), 1u) << "the newest of each kind";
  EXPECT_EQ(about.at("last_reports").at(0).at("state").as_string(), "waiting");
  EXPECT_EQ(about.at("slots").at("next_ms").to_number<int>(), 5);
  EXPECT_EQ(ask(200, "GET", "/v1/agents/web01/explain").at("dead_letters").at("letters").to_number<int>(), 0);
}

TEST(Diagnosis, KnowsEachFamilyAndNeverSaysNothing) {
  EXPECT_STRNE(gateway::diagnose("files.hash").cause, gateway::diagnose("files.broken").cause);
  EXPECT_STREQ(gateway::diagnose("mp.inventory_class").cause, gateway::diagnose("mp.inventory_property").cause);
  for (const char* code : {"", "mp.", "something.new", "report.malformed"}) {
    EXPECT_GT(std::string_view(gateway::diagnose(code).cause).size(), 10u) << code;
    EXPECT_GT(std::string_view(gateway::diagnose(code).advice).size(), 10u) << code;
  }
}

}  // namespace
}  // namespace greengate::test
