#include "gateway/fan_out.h"

#include "core/metrics.h"
#include "store/open_store.h"
#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <future>

namespace greengate::test {
namespace {

using gateway::FanOut;
using gateway::FanOutConfig;
using std::chrono::milliseconds;

class FanOutTest : public ::testing::Test {
 protected:
  FanOutTest() {
    folder_ = std::filesystem::temp_directory_path() /
              ("greengate-fan-out-" + std::to_string(getpid()) + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    store::StoreConfig config;
    config.directory = folder_.string();
    store_ = std::move(store::open_store(config, clock_, metrics_).value());
    EXPECT_TRUE(store_->start());
    fan_out_ = std::make_unique<FanOut>(config_, store_->devices(), clock_, metrics_);
    fan_out_->connect({
        .send = [this](const AgentId& agent, const v1::Notification& push) {
          if (!reachable_) return false;
          sent_.emplace_back(agent, push);
          return true;
        },
        .open_session = [this](const AgentId& agent) { diary_.push_back("open " + agent.raw()); },
        .close_session = [this](const AgentId& agent) { diary_.push_back("close " + agent.raw()); },
        .respond = [this](const AgentId& agent, std::uint64_t push, std::uint64_t task, bool success) {
          answers_.push_back(agent.raw() + " " + std::to_string(push) + "/" + std::to_string(task) + (success ? " yes" : " no"));
        },
        .ask_policy = [this](const AgentId& agent, milliseconds) { diary_.push_back("policy " + agent.raw()); },
    });
    agent_ = enrol("db01");
    a_ = agent_.raw();
  }
  ~FanOutTest() override {
    store_->stop();
    std::filesystem::remove_all(folder_);
  }
  AgentId enrol(const std::string& host) {
    store::EnrolRequest request;
    request.key = AgentKey(host + std::string(40 - host.size(), 'k'));
    request.host_name = host;
    std::promise<AgentId> id;
    store_->devices().enrol(request, [&](Result<store::Device> device) { id.set_value(device->id); });
    return id.get_future().get();
  }
  void make_ready(const AgentId& agent) {
    store::SiteIdentity site;
    site.state = store::IdentityState::ready;
    ASSERT_TRUE(store_->devices().set_site_identity(agent, site));
  }
  static adapters::BgbPush push(std::uint64_t id, std::uint32_t type) {
    adapters::BgbPush push;
    push.push_id = id;
    push.task_id = id + 1'000;
    push.task_type = type;
    return push;
  }
  static v1::TaskResult result(std::uint64_t id, v1::TaskOutcome outcome) {
    v1::TaskResult result;
    result.set_notification_id(id);
    result.set_outcome(outcome);
    return result;
  }

  std::filesystem::path folder_;
  ManualClock clock_;
  Metrics metrics_;
  FanOutConfig config_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<FanOut> fan_out_;
  AgentId agent_;
  std::string a_;
  bool reachable_ = true;
  std::vector<std::pair<AgentId, v1::Notification>> sent_;
  std::vector<std::string> diary_, answers_;
};

using Lines = std::vector<std::string>;

TEST_F(FanOutTest, OpensASessionOnceTheAgentIsConnectedAndTheSiteKnowsIt) {
  fan_out_->agent_connected(agent_);
  EXPECT_EQ(diary_, Lines{});
  make_ready(agent_);
  fan_out_->identity_ready(agent_);
  EXPECT_EQ(diary_, Lines{"open " + a_});
}

TEST_F(FanOutTest, OpensASessionAtOnceForAnAgentTheSiteKnewBefore) {
  make_ready(agent_);
  fan_out_->identity_ready(agent_);
  EXPECT_EQ(diary_, Lines{}) << "nobody is connected yet";
  fan_out_->agent_connected(agent_);
  fan_out_->agent_disconnected(agent_);
  EXPECT_EQ(diary_, (Lines{"open " + a_, "close " + a_}));
}

TEST_F(FanOutTest, HoldsASessionForEveryReadyAgentWhenSessionsAreAlways) {
  FanOutConfig always;
  always.sessions_always = true;
  FanOut fan_out(always, store_->devices(), clock_, metrics_);
  FanOut::Ways ways;
  ways.open_session = [this](const AgentId& agent) { diary_.push_back("open " + agent.raw()); };
  ways.close_session = [this](const AgentId& agent) { diary_.push_back("close " + agent.raw()); };
  fan_out.connect(std::move(ways));
  const AgentId waiting = enrol("db02"), revoked = enrol("db03");
  make_ready(agent_);
  make_ready(revoked);
  ASSERT_TRUE(store_->devices().set_state(agent_, store::DeviceState::active));
  ASSERT_TRUE(store_->devices().set_state(revoked, store::DeviceState::revoked));
  fan_out.open_standing_sessions();
  EXPECT_EQ(diary_, Lines{"open " + a_}) << "nobody who is not ready, nobody who was revoked";
  diary_.clear();
  fan_out.agent_connected(agent_);
  fan_out.agent_disconnected(agent_);
  EXPECT_EQ(diary_, Lines{"open " + a_}) << "again is fine, and it does not end with the agent's connection";
  diary_.clear();
  fan_out.identity_ready(waiting);
  EXPECT_EQ(diary_, Lines{"open " + waiting.raw()}) << "though it is away";
  fan_out.identity_gone(waiting);
  EXPECT_EQ(diary_.back(), "close " + waiting.raw()) << "a lost identity ends it all the same";
}

// Blocked at the site, registered anew, revoked here: whatever ends an identity ends the right to its session.
TEST_F(FanOutTest, LetsASessionStayOnlyUnderTheIdentityTheSiteKnows) {
  const SmsId known("GUID:00000000-0000-4000-8000-000000000001"), other("GUID:00000000-0000-4000-8000-000000000002");
  const auto put = [&](store::IdentityState state, const SmsId& sms_id) {
    store::SiteIdentity site;
    site.state = state;
    site.sms_id = sms_id;
    ASSERT_TRUE(store_->devices().set_site_identity(agent_, site));
  };
  ASSERT_TRUE(store_->devices().set_state(agent_, store::DeviceState::active));
  put(store::IdentityState::ready, known);
  EXPECT_TRUE(fan_out_->may_hold_session(agent_, known));
  EXPECT_FALSE(fan_out_->may_hold_session(agent_, other)) << "registered anew under another SMSID";
  put(store::IdentityState::pending, known);
  EXPECT_TRUE(fan_out_->may_hold_session(agent_, known)) << "a doubt is no verdict";
  put(store::IdentityState::rejected, known);
  EXPECT_FALSE(fan_out_->may_hold_session(agent_, known));
  put(store::IdentityState::none, known);
  EXPECT_FALSE(fan_out_->may_hold_session(agent_, known));
  put(store::IdentityState::ready, known);
  ASSERT_TRUE(store_->devices().set_state(agent_, store::DeviceState::revoked));
  EXPECT_FALSE(fan_out_->may_hold_session(agent_, known));
  EXPECT_FALSE(fan_out_->may_hold_session(AgentId("nobody"), known));
}

TEST_F(FanOutTest, OpensNoStandingSessionsByDefault) {
  make_ready(agent_);
  fan_out_->open_standing_sessions();
  EXPECT_EQ(diary_, Lines{});
}

TEST_F(FanOutTest, CarriesAPushToItsAgentAndItsWordBack) {
  fan_out_->on_push(agent_, push(13, 912));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].first, agent_);
  EXPECT_EQ(sent_[0].second.task(), v1::TASK_HARDWARE_INVENTORY);
  EXPECT_EQ(answers_, Lines{});
  fan_out_->task_result(agent_, result(sent_[0].second.notification_id(), v1::TASK_OUTCOME_ACCEPTED));
  EXPECT_EQ(answers_, Lines{a_ + " 13/1013 yes"});
}

TEST_F(FanOutTest, AsksTheSiteForPolicyAfterAnAcceptedPolicyPush) {
  fan_out_->on_push(agent_, push(1, 1));
  fan_out_->task_result(agent_, result(sent_.at(0).second.notification_id(), v1::TASK_OUTCOME_ACCEPTED));
  EXPECT_EQ(diary_, Lines{"policy " + a_});
}

TEST_F(FanOutTest, AnswersAnUnknownTaskTypeWithFailureAtOnce) {
  fan_out_->on_push(agent_, push(5, 4'711));
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 no"});
  EXPECT_TRUE(sent_.empty());
  EXPECT_EQ(fan_out_->counts().unknown, 1u);
}

TEST_F(FanOutTest, AnswersForAnAgentThatIsNotThere) {
  reachable_ = false;
  fan_out_->on_push(agent_, push(5, 1));
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 no"});
}

TEST_F(FanOutTest, AnswersForASilentAgentOnceAndIgnoresItsLateWord) {
  fan_out_->on_push(agent_, push(5, 1));
  clock_.advance(config_.answer_within - milliseconds(1));
  fan_out_->sweep();
  EXPECT_EQ(answers_, Lines{});
  clock_.advance(milliseconds(1));
  fan_out_->sweep();
  fan_out_->task_result(agent_, result(sent_.at(0).second.notification_id(), v1::TASK_OUTCOME_ACCEPTED));
  fan_out_->sweep();
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 no"});
}

TEST_F(FanOutTest, LetsNoAgentAnswerForAnother) {
  const AgentId other = enrol("web01");
  fan_out_->on_push(agent_, push(5, 1));
  fan_out_->task_result(other, result(sent_.at(0).second.notification_id(), v1::TASK_OUTCOME_FAILED));
  EXPECT_EQ(answers_, Lines{});
  fan_out_->task_result(agent_, result(sent_.at(0).second.notification_id(), v1::TASK_OUTCOME_ACCEPTED));
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 yes"});
}

TEST_F(FanOutTest, TakesNoMoreThanItsBoundOfWaitingPushes) {
  config_.waiting_max = 2;
  FanOut small(config_, store_->devices(), clock_, metrics_);
  small.connect({.send = [](const AgentId&, const v1::Notification&) { return true; },
                 .open_session = [](const AgentId&) {},
                 .close_session = [](const AgentId&) {},
                 .respond = [this](const AgentId&, std::uint64_t push, std::uint64_t, bool success) {
                   answers_.push_back(std::to_string(push) + (success ? " yes" : " no"));
                 },
                 .ask_policy = [](const AgentId&, milliseconds) {}});
  for (std::uint64_t i = 1; i <= 3; ++i) small.on_push(agent_, push(i, 1));
  EXPECT_EQ(answers_, Lines{"3 no"});
}

}  // namespace
}  // namespace greengate::test
