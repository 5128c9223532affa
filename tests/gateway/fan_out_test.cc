#include "gateway/fan_out.h"

#include "core/log.h"
#include "core/metrics.h"
#include "store/open_store.h"
#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>

namespace greengate::test {
namespace {

using gateway::FanOut;
using gateway::FanOutConfig;
using gateway::Order;
using gateway::TaskTable;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using store::EntryState;

using Lines = std::vector<std::string>;
constexpr std::uint32_t kPolicy = 1, kFullScan = 2, kScript = 15, kInventory = 912;

/// A mailbox that can be told to be slow or broken; else the store's own.
class TestMailbox final : public store::Mailbox {
 public:
  explicit TestMailbox(store::Mailbox& real) : real_(real) {}
  const char* posting_fails = nullptr;
  bool holds_back = false;  ///< Answers to posts wait for let_go().
  std::vector<std::function<void()>> held_back;
  void let_go() {
    for (auto& answer : std::exchange(held_back, {})) answer();
  }

  void post(store::Action action, const AgentId& device, std::function<void(Result<store::Posted>)> done) override {
    if (posting_fails) return done(fail(Remedy::retry, posting_fails, "The disk is full."));
    std::promise<Result<store::Posted>> answer;  // in the test's own thread, so that what follows is in order
    real_.post(std::move(action), device, [&](Result<store::Posted> posted) { answer.set_value(std::move(posted)); });
    auto posted = answer.get_future().get();
    if (!holds_back) return done(std::move(posted));
    held_back.push_back([posted = std::move(posted), done = std::move(done)] { done(posted); });
  }
  Result<store::Posted> post(store::Action action, std::span<const AgentId> devices) override { return real_.post(std::move(action), devices); }
  Result<std::vector<std::pair<store::Entry, store::Action>>> open_entries(const AgentId& device, std::uint32_t count_max) override {
    return real_.open_entries(device, count_max);
  }
  Result<bool> has_open(const AgentId& device) override { return real_.has_open(device); }
  void move(std::uint64_t entry, const AgentId& device, EntryState to, std::string code, std::string message,
            std::function<void(Result<store::Entry>)> done) override {
    std::promise<Result<store::Entry>> answer;
    real_.move(entry, device, to, std::move(code), std::move(message), [&](Result<store::Entry> moved) { answer.set_value(std::move(moved)); });
    done(answer.get_future().get());
  }
  Result<std::uint64_t> cancel(std::uint64_t action) override { return real_.cancel(action); }
  Result<std::vector<store::ActionView>> actions(std::uint64_t before, std::uint32_t count_max) override { return real_.actions(before, count_max); }
  Result<std::optional<store::ActionView>> action(std::uint64_t id) override { return real_.action(id); }
  Result<std::vector<store::Entry>> entries(std::uint64_t action, std::uint64_t after, std::uint32_t count_max) override {
    return real_.entries(action, after, count_max);
  }
  Result<std::vector<std::pair<store::Entry, store::Action>>> history(const AgentId& device, std::uint32_t count_max) override {
    return real_.history(device, count_max);
  }

 private:
  store::Mailbox& real_;
};

class FanOutTest : public ::testing::Test {
 protected:
  FanOutTest() {
    folder_ = std::filesystem::temp_directory_path() /
              ("greengate-fan-out-" + std::to_string(getpid()) + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    open();
    agent_ = enrol("db01");
    a_ = agent_.raw();
    fan_out_->agent_connected(agent_);
  }
  ~FanOutTest() override {
    store_->stop();
    std::filesystem::remove_all(folder_);
  }
  void open() {
    store::StoreConfig config;
    config.directory = folder_.string();
    store_ = std::move(store::open_store(config, clock_, metrics_).value());
    EXPECT_TRUE(store_->start());
    mailbox_ = std::make_unique<TestMailbox>(store_->mailbox());
    fan_out_ = std::make_unique<FanOut>(config_, TaskTable::read("").value(), store_->devices(), *mailbox_, clock_, metrics_);
    FanOut::Ways ways{
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
        .ask_policy = [this](const AgentId& agent, milliseconds) { policy_.push_back(agent.raw()); },
        .parameters = {},
        .wake = [this](const AgentId& agent, v1::Task task, WallTime start, WallTime, bool urgent) {
          wake_starts_.push_back(start);
          woken_.push_back(agent.raw() + " " + std::string(gateway::task_name(task)) + (urgent ? " urgent" : ""));
        },
    };
    fan_out_->connect(std::move(ways));
  }
  /// A gateway that ends and begins again; nobody is connected then.
  void restart() {
    fan_out_.reset();
    store_.reset();
    sent_.clear();
    answers_.clear();
    open();
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
  static adapters::BgbPush push(std::uint64_t id, std::uint32_t type, std::string guid = "") {
    adapters::BgbPush push;
    push.push_id = id;
    push.task_id = id + 1'000;
    push.task_type = type;
    push.task_guid = std::move(guid);
    return push;
  }
  static v1::TaskResult result(std::uint64_t id, v1::TaskOutcome outcome, const std::string& code = "") {
    v1::TaskResult result;
    result.set_notification_id(id);
    result.set_outcome(outcome);
    result.set_code(code);
    return result;
  }
  void says(v1::TaskOutcome outcome, const std::string& code = "") { fan_out_->task_result(agent_, result(last_sent(), outcome, code)); }
  std::uint64_t last_sent() const { return sent_.empty() ? 0 : sent_.back().second.notification_id(); }
  Result<store::Posted> order(v1::Task task, std::vector<AgentId> devices) {
    Order order;
    order.task = task;
    order.devices = std::move(devices);
    return fan_out_->order(std::move(order));
  }
  /// The newest entry's state and code, of agent_.
  std::string last_entry() {
    const auto history = store_->mailbox().history(agent_, 1).value();
    if (history.empty()) return "none";
    const store::Entry& entry = history[0].first;
    return store::entry_state_name(entry.state) + (entry.code.empty() ? "" : " " + entry.code);
  }
  void release() {
    clock_.advance(milliseconds(100));
    fan_out_->release();
  }

  std::filesystem::path folder_;
  ManualClock clock_;
  Metrics metrics_;
  FanOutConfig config_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<TestMailbox> mailbox_;
  std::unique_ptr<FanOut> fan_out_;
  AgentId agent_;
  std::string a_;
  bool reachable_ = true;
  std::vector<std::pair<AgentId, v1::Notification>> sent_;
  std::vector<std::string> diary_, answers_, policy_, woken_;
  std::vector<WallTime> wake_starts_;
};

// ---- Sessions

TEST_F(FanOutTest, OpensASessionOnceTheAgentIsConnectedAndTheSiteKnowsIt) {
  EXPECT_EQ(diary_, Lines{});
  make_ready(agent_);
  fan_out_->identity_ready(agent_);
  EXPECT_EQ(diary_, Lines{"open " + a_});
}

TEST_F(FanOutTest, OpensASessionAtOnceForAnAgentTheSiteKnewBefore) {
  const AgentId other = enrol("web01");
  make_ready(other);
  fan_out_->identity_ready(other);
  EXPECT_EQ(diary_, Lines{}) << "it is not connected yet";
  fan_out_->agent_connected(other);
  fan_out_->agent_disconnected(other);
  EXPECT_EQ(diary_, (Lines{"open " + other.raw(), "close " + other.raw()}));
}

TEST_F(FanOutTest, HoldsASessionForEveryReadyAgentWhenSessionsAreAlways) {
  FanOutConfig always;
  always.sessions_always = true;
  FanOut fan_out(always, TaskTable::read("").value(), store_->devices(), *mailbox_, clock_, metrics_);
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

// ---- A push to an agent that is there

TEST_F(FanOutTest, CarriesAPushToItsAgentAndItsWordBack) {
  fan_out_->on_push(agent_, push(13, kInventory));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].first, agent_);
  EXPECT_EQ(sent_[0].second.task(), v1::TASK_HARDWARE_INVENTORY);
  EXPECT_EQ(sent_[0].second.expires_at_ms(), to_millis(clock_.wall() + config_.time_to_live));
  EXPECT_EQ(answers_, Lines{});
  EXPECT_EQ(last_entry(), "handed");
  says(v1::TASK_OUTCOME_ACCEPTED);
  EXPECT_EQ(answers_, Lines{a_ + " 13/1013 yes"});
  EXPECT_EQ(last_entry(), "accepted");
  says(v1::TASK_OUTCOME_COMPLETED);
  EXPECT_EQ(last_entry(), "done");
  EXPECT_EQ(answers_.size(), 1u) << "the end is the operator's to see, not the site's";
}

TEST_F(FanOutTest, ToldTheSiteYesAndKeepsWhyItWasNotBroughtToItsEnd) {
  fan_out_->on_push(agent_, push(13, kFullScan));
  says(v1::TASK_OUTCOME_ACCEPTED);
  says(v1::TASK_OUTCOME_NOT_COMPLETED, "task.interrupted");
  EXPECT_EQ(answers_, Lines{a_ + " 13/1013 yes"});
  EXPECT_EQ(last_entry(), "failed task.interrupted");
}

TEST_F(FanOutTest, AnswersWithFailureWhatTheAgentRefuses) {
  fan_out_->on_push(agent_, push(13, kFullScan));
  says(v1::TASK_OUTCOME_FAILED, "task.no_scanner");
  EXPECT_EQ(answers_, Lines{a_ + " 13/1013 no"});
  EXPECT_EQ(last_entry(), "failed task.no_scanner");
  fan_out_->on_push(agent_, push(14, kFullScan));
  says(v1::TASK_OUTCOME_UNKNOWN_TASK);
  EXPECT_EQ(last_entry(), "failed task.unknown");
}

TEST_F(FanOutTest, TakesAnEndForAnAcceptanceThatWasLost) {
  fan_out_->on_push(agent_, push(13, kFullScan));
  says(v1::TASK_OUTCOME_NOT_COMPLETED, "task.interrupted");
  EXPECT_EQ(answers_, Lines{a_ + " 13/1013 yes"});
  fan_out_->on_push(agent_, push(13, kFullScan));
  EXPECT_EQ(answers_, (Lines{a_ + " 13/1013 yes", a_ + " 13/1013 yes"}));
}

TEST_F(FanOutTest, AsksTheSiteForPolicyOnceAfterAnAcceptedPolicyPush) {
  fan_out_->on_push(agent_, push(1, kPolicy));
  says(v1::TASK_OUTCOME_ACCEPTED);
  says(v1::TASK_OUTCOME_ACCEPTED);
  says(v1::TASK_OUTCOME_COMPLETED);
  EXPECT_EQ(policy_, Lines{a_});
}

TEST_F(FanOutTest, AnswersAnUnknownTaskTypeWithFailureAtOnce) {
  fan_out_->on_push(agent_, push(5, 4'711));
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 no"});
  EXPECT_TRUE(sent_.empty());
  EXPECT_EQ(fan_out_->counts().unknown, 1u);
  EXPECT_EQ(last_entry(), "none");
}

TEST_F(FanOutTest, RefusesScriptsWhereNobodyReadsThem) {
  fan_out_->on_push(agent_, push(5, kScript));
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 no"});
  EXPECT_TRUE(sent_.empty());
}

TEST_F(FanOutTest, CarriesWhatAPushSaysBeyondItsTaskAndLetsItExpireSooner) {
  FanOut::Ways ways{.send = [this](const AgentId& agent, const v1::Notification& one) {
                      sent_.emplace_back(agent, one);
                      return true;
                    },
                    .open_session = [](const AgentId&) {},
                    .close_session = [](const AgentId&) {},
                    .respond = [this](const AgentId&, std::uint64_t, std::uint64_t, bool success) { answers_.push_back(success ? "yes" : "no"); },
                    .ask_policy = [](const AgentId&, milliseconds) {},
                    .parameters = [](const AgentId&, v1::Task, const adapters::BgbPush& one) -> Result<std::string> {
                      if (one.push_id != 5) return fail(Remedy::reject, "notify.script_refused", "No.");
                      v1::Notification notification;
                      notification.mutable_run_script()->set_script_guid("GUID");
                      return notification.SerializeAsString();
                    }};
  fan_out_->connect(std::move(ways));
  fan_out_->on_push(agent_, push(5, kScript));
  fan_out_->on_push(agent_, push(6, kScript));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].second.run_script().script_guid(), "GUID");
  EXPECT_EQ(sent_[0].second.expires_at_ms(), to_millis(clock_.wall() + hours(1)));
  EXPECT_EQ(answers_, Lines{"no"});
}

TEST_F(FanOutTest, NoPushEverWipes) {
  const auto path = folder_ / "tasks.toml";
  std::ofstream(path) << "[[task]]\ntype = 77\ntask = \"wipe\"\nbasis = \"captured\"\n";
  EXPECT_FALSE(TaskTable::read(path.string())) << "the table refuses it; FanOut would too";
}

TEST_F(FanOutTest, AnswersForASilentAgentOnceAndKeepsItsLateWord) {
  fan_out_->on_push(agent_, push(5, kPolicy));
  clock_.advance(config_.answer_within - milliseconds(1));
  fan_out_->sweep();
  EXPECT_EQ(answers_, Lines{});
  clock_.advance(milliseconds(1));
  fan_out_->sweep();
  says(v1::TASK_OUTCOME_ACCEPTED);
  fan_out_->sweep();
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 no"});
  EXPECT_EQ(last_entry(), "accepted push.unanswered");
}

TEST_F(FanOutTest, LetsNoAgentAnswerForAnother) {
  const AgentId other = enrol("web01");
  fan_out_->on_push(agent_, push(5, kPolicy));
  fan_out_->task_result(other, result(last_sent(), v1::TASK_OUTCOME_FAILED));
  EXPECT_EQ(answers_, Lines{});
  EXPECT_EQ(last_entry(), "handed");
  says(v1::TASK_OUTCOME_ACCEPTED);
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 yes"});
}

TEST_F(FanOutTest, LogsNoMoreOfAnAgentsWordThanACodeHas) {
  static std::atomic<std::size_t> longest{0};
  set_log_sink([](std::string_view line) { longest = std::max(longest.load(), line.size()); });
  fan_out_->on_push(agent_, push(5, kPolicy));
  says(v1::TASK_OUTCOME_FAILED, std::string(60'000, 'x'));
  set_log_sink(nullptr);
  EXPECT_GT(longest, 0u);
  EXPECT_LT(longest, 1'000u);
  EXPECT_EQ(last_entry(), "failed " + std::string(64, 'x'));
}

TEST_F(FanOutTest, TakesNoMoreThanItsBoundOfWaitingPushes) {
  config_.waiting_max = 2;
  restart();
  fan_out_->agent_connected(agent_);
  for (std::uint64_t i = 1; i <= 3; ++i) fan_out_->on_push(agent_, push(i, kPolicy));
  EXPECT_EQ(answers_, Lines{a_ + " 3/1003 no"});
}

// ---- Whatever the disk does, the site has its answer

TEST_F(FanOutTest, AnswersWithFailureWhatCannotBeKept) {
  mailbox_->posting_fails = "mailbox.disk";
  fan_out_->on_push(agent_, push(5, kPolicy));
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 no"});
  EXPECT_TRUE(sent_.empty()) << "what is not kept is not asked for";
}

TEST_F(FanOutTest, AnswersInTimeWhenTheDiskIsSlow) {
  mailbox_->holds_back = true;
  fan_out_->on_push(agent_, push(5, kPolicy));
  clock_.advance(config_.answer_within);
  fan_out_->sweep();
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 no"});
  mailbox_->let_go();
  EXPECT_EQ(sent_.size(), 1u) << "kept it is, so it is done";
  says(v1::TASK_OUTCOME_ACCEPTED);
  EXPECT_EQ(answers_.size(), 1u);
  EXPECT_EQ(last_entry(), "accepted push.unanswered");
}

// ---- Repeats

TEST_F(FanOutTest, AnswersARepeatAsBeforeAlsoAfterARestart) {
  fan_out_->on_push(agent_, push(1, kInventory));
  says(v1::TASK_OUTCOME_ACCEPTED);
  fan_out_->on_push(agent_, push(2, kFullScan));
  says(v1::TASK_OUTCOME_FAILED, "task.no_scanner");
  fan_out_->on_push(agent_, push(3, kFullScan));
  says(v1::TASK_OUTCOME_ACCEPTED);
  says(v1::TASK_OUTCOME_NOT_COMPLETED, "task.interrupted");
  fan_out_->on_push(agent_, push(4, kPolicy));
  clock_.advance(config_.answer_within);
  fan_out_->sweep();  // 4: no
  says(v1::TASK_OUTCOME_ACCEPTED);
  says(v1::TASK_OUTCOME_NOT_COMPLETED, "task.interrupted");
  const Lines before = answers_;
  EXPECT_EQ(before, (Lines{a_ + " 1/1001 yes", a_ + " 2/1002 no", a_ + " 3/1003 yes", a_ + " 4/1004 no"}));
  restart();
  fan_out_->agent_connected(agent_);
  clock_.advance(hours(23));
  for (const std::uint64_t id : {1u, 2u, 3u, 4u}) fan_out_->on_push(agent_, push(id, id == 1 ? kInventory : id == 4 ? kPolicy : kFullScan));
  EXPECT_EQ(answers_, before);
  EXPECT_TRUE(sent_.empty()) << "nothing is done twice";
}

TEST_F(FanOutTest, KnowsARepeatByItsGuidWhateverNumbersItHas) {
  fan_out_->on_push(agent_, push(1, kInventory, "6F9619FF-8B86-D011-B42D-00C04FC964FF"));
  says(v1::TASK_OUTCOME_ACCEPTED);
  restart();
  fan_out_->agent_connected(agent_);
  fan_out_->on_push(agent_, push(2, kInventory, "6F9619FF-8B86-D011-B42D-00C04FC964FF"));
  EXPECT_EQ(answers_, Lines{a_ + " 2/1002 yes"});
  EXPECT_TRUE(sent_.empty());
  fan_out_->on_push(agent_, push(1, kInventory, "00000000-8B86-D011-B42D-00C04FC964FF"));
  EXPECT_EQ(sent_.size(), 1u) << "the same numbers from a site that counts anew are another push";
}

TEST_F(FanOutTest, SendsWhatWasNeverAnsweredAgainUnderTheSameIdAfterARestart) {
  fan_out_->on_push(agent_, push(1, kInventory));
  const auto id = last_sent();
  restart();
  fan_out_->on_push(agent_, push(1, kInventory));  // the site asks again before the agent is back
  EXPECT_TRUE(sent_.empty());
  fan_out_->agent_connected(agent_);
  release();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(last_sent(), id);
  says(v1::TASK_OUTCOME_ACCEPTED);
  EXPECT_EQ(answers_, Lines{a_ + " 1/1001 yes"});
}

TEST_F(FanOutTest, DoesNotSendTwiceWhatTheAgentHasInHand) {
  fan_out_->on_push(agent_, push(1, kInventory));
  release();
  fan_out_->on_push(agent_, push(1, kInventory));
  EXPECT_EQ(sent_.size(), 1u);
}

// ---- Agents that are away

TEST_F(FanOutTest, KeepsAPushForAnAgentThatLeftAndHandsItOutAtItsReturn) {
  fan_out_->agent_disconnected(agent_);
  fan_out_->on_push(agent_, push(5, kPolicy));
  EXPECT_EQ(woken_, Lines{a_ + " machine_policy"});
  clock_.advance(config_.answer_within);
  fan_out_->sweep();
  EXPECT_EQ(answers_, Lines{a_ + " 5/1005 no"});
  restart();
  fan_out_->agent_connected(agent_);
  release();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].second.task(), v1::TASK_MACHINE_POLICY);
  says(v1::TASK_OUTCOME_ACCEPTED);
  EXPECT_EQ(policy_, Lines{a_});
}

TEST_F(FanOutTest, TenTimesTheSameButtonIsOnceWorkForAnAgentThatWasAway) {
  fan_out_->agent_disconnected(agent_);
  for (std::uint64_t i = 1; i <= 10; ++i) fan_out_->on_push(agent_, push(i, kPolicy));
  fan_out_->on_push(agent_, push(11, kInventory));
  fan_out_->agent_connected(agent_);
  release();
  EXPECT_EQ(sent_.size(), 2u);
}

TEST_F(FanOutTest, WhatExpiredOrWasCancelledIsNotHandedOut) {
  fan_out_->agent_disconnected(agent_);
  fan_out_->on_push(agent_, push(1, kInventory));
  const auto posted = order(v1::TASK_FULL_SCAN, {agent_});
  ASSERT_TRUE(posted);
  EXPECT_EQ(woken_.back(), a_ + " full_scan urgent");
  EXPECT_EQ(store_->mailbox().cancel(posted->action).value(), 1u);
  clock_.advance(config_.time_to_live);
  fan_out_->agent_connected(agent_);
  release();
  EXPECT_TRUE(sent_.empty());
}

TEST_F(FanOutTest, AFleetThatReturnsAtOnceIsPutToWorkAtItsRate) {
  config_.release_per_second = 10;
  restart();
  std::vector<AgentId> fleet;
  for (int i = 0; i < 30; ++i) fleet.push_back(enrol("host" + std::to_string(i)));
  ASSERT_TRUE(order(v1::TASK_QUICK_SCAN, fleet));
  for (const AgentId& one : fleet) fan_out_->agent_connected(one);
  fan_out_->release();
  EXPECT_EQ(sent_.size(), 10u) << "a second's worth at once";
  for (int tenth = 0; tenth < 10; ++tenth) release();
  EXPECT_EQ(sent_.size(), 20u);
  for (int tenth = 0; tenth < 20; ++tenth) release();
  EXPECT_EQ(sent_.size(), 30u);
}

TEST_F(FanOutTest, HandsNothingToAnAgentThatLeftBeforeItsTurn) {
  config_.release_per_second = 1;
  restart();
  ASSERT_TRUE(order(v1::TASK_QUICK_SCAN, {agent_}));
  fan_out_->agent_connected(agent_);
  fan_out_->agent_disconnected(agent_);
  release();
  EXPECT_TRUE(sent_.empty());
  fan_out_->agent_connected(agent_);
  release();
  EXPECT_EQ(sent_.size(), 1u);
}

TEST_F(FanOutTest, TriesAgainWhatCouldNotBeSentThoughTheAgentIsConnected) {
  reachable_ = false;
  fan_out_->on_push(agent_, push(1, kInventory));
  release();
  EXPECT_TRUE(sent_.empty());
  EXPECT_EQ(last_entry(), "waiting");
  reachable_ = true;
  release();
  EXPECT_EQ(sent_.size(), 1u);
  EXPECT_TRUE(woken_.empty()) << "it is awake";
}

// ---- Orders

TEST_F(FanOutTest, AnOperatorsOrderIsDoneLikeAPushAndAnswersNobodyElse) {
  const auto posted = order(v1::TASK_RESTART, {agent_});
  ASSERT_TRUE(posted);
  release();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].second.task(), v1::TASK_RESTART);
  says(v1::TASK_OUTCOME_ACCEPTED);
  says(v1::TASK_OUTCOME_COMPLETED);
  EXPECT_EQ(last_entry(), "done");
  EXPECT_EQ(answers_, Lines{});
  EXPECT_EQ(fan_out_->counts().accepted, 0u);
}

TEST_F(FanOutTest, ADeviceThatComesToFetchTakesWhatWaits) {
  const AgentId phone = enrol("phone");
  ASSERT_TRUE(order(v1::TASK_QUICK_SCAN, {phone}));
  ASSERT_TRUE(order(v1::TASK_MACHINE_POLICY, {phone}));
  EXPECT_EQ(woken_, (Lines{phone.raw() + " quick_scan urgent", phone.raw() + " machine_policy"}));
  clock_.advance(seconds(1));  // two devices make a small wave
  const auto taken = fan_out_->collect(phone, 10);
  ASSERT_EQ(taken.size(), 2u);
  EXPECT_EQ(taken[0].task(), v1::TASK_QUICK_SCAN) << "the urgent one first";
  fan_out_->task_result(phone, result(taken[0].notification_id(), v1::TASK_OUTCOME_COMPLETED));
  const auto again = fan_out_->collect(phone, 10);
  ASSERT_EQ(again.size(), 1u) << "what was handed over and not answered comes again";
  EXPECT_EQ(again[0].notification_id(), taken[1].notification_id());
  EXPECT_EQ(store_->mailbox().history(phone, 10).value().at(1).first.state, EntryState::done);
}

TEST_F(FanOutTest, WorkForTheSiteIsSpreadByTheSizeOfTheFleet) {
  gateway::WaveConfig wave;
  EXPECT_EQ(wave.window(1), milliseconds(60));
  EXPECT_EQ(wave.window(1'000), seconds(60));
  EXPECT_EQ(wave.window(3'000), seconds(180));
  EXPECT_EQ(wave.window(1'000'000), seconds(300));
  EXPECT_LT(wave.delay(3'000), seconds(180));
  wave.window_max = milliseconds(0);
  EXPECT_EQ(wave.delay(5'000), milliseconds(0));
  EXPECT_TRUE(gateway::makes_a_wave(v1::TASK_MACHINE_POLICY));
  EXPECT_FALSE(gateway::makes_a_wave(v1::TASK_RESTART)) << "somebody waits for it";
  config_.wave.window_per_1000 = hours(4);
  config_.wave.window_max = hours(4);
  restart();
  fan_out_->agent_connected(agent_);
  std::uint32_t longest = 0;
  for (std::uint64_t i = 1; i <= 20; ++i) {
    fan_out_->on_push(agent_, push(i, kInventory));
    longest = std::max(longest, sent_.back().second.start_after_ms());
  }
  EXPECT_GT(longest, 0u);
  EXPECT_LT(longest, 14'400u) << "one device of a window for a thousand";
  fan_out_->on_push(agent_, push(30, kFullScan));
  EXPECT_EQ(sent_.back().second.start_after_ms(), 0u);
}

TEST_F(FanOutTest, AnAgentsPartOfAWaveBeginsBeforeHalfOfItsLifeIsOver) {
  config_.wave.window_per_1000 = hours(4);  // 14 s for one device
  config_.wave.window_max = hours(4);
  config_.time_to_live = seconds(2);
  restart();
  fan_out_->agent_connected(agent_);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    fan_out_->on_push(agent_, push(i, kInventory));
    EXPECT_LE(sent_.back().second.start_after_ms(), 1'000u);
  }
}

TEST_F(FanOutTest, ADevicesPartOfAWaveBeginsAtItsOwnMomentAndAlwaysAtTheSameOne) {
  gateway::WaveConfig wave;
  const WallTime created = clock_.wall(), expires = created + hours(24);
  std::array<int, 6> tenths{};
  for (int i = 0; i < 6'000; ++i) {
    const AgentId device("device-" + std::to_string(i));
    const WallTime start = wave.start(17, device, created, expires, 1'000);
    ASSERT_GE(start, created);
    ASSERT_LT(start, created + seconds(60));
    EXPECT_EQ(start, wave.start(17, device, created, expires, 1'000));
    ++tenths[static_cast<std::size_t>((start - created) / seconds(10))];
  }
  for (const int count : tenths) EXPECT_NEAR(count, 1'000, 150);
  const AgentId one("device-1");
  EXPECT_NE(wave.start(17, one, created, expires, 1'000), wave.start(18, one, created, expires, 1'000)) << "nobody is always the last";
  for (std::uint64_t action = 1; action < 200; ++action) {
    EXPECT_LE(wave.start(action, one, created, created + seconds(10), 1'000), created + seconds(5)) << "half of its life is left";
  }
  EXPECT_EQ(wave.start(1, one, created, created - seconds(1), 1'000), created);
  wave.window_max = milliseconds(0);
  EXPECT_EQ(wave.start(1, one, created, expires, 1'000), created);
}

TEST_F(FanOutTest, ADeviceThatComesBeforeItsTimeGetsNothingOfAWaveYet) {
  config_.wave.window_per_1000 = config_.wave.window_max = hours(4);
  restart();
  const AgentId phone = enrol("phone");
  std::uint64_t entry = 0;
  do {  // until it has a start that can be looked at before it comes
    wake_starts_.clear();
    entry = order(v1::TASK_DISCOVERY, {phone})->entry;
    ASSERT_EQ(wake_starts_.size(), 1u);
  } while (wake_starts_[0] - clock_.wall() < seconds(1));
  const WallTime start = wake_starts_[0];
  ASSERT_TRUE(order(v1::TASK_QUICK_SCAN, {phone}));
  EXPECT_EQ(wake_starts_.back(), clock_.wall()) << "somebody waits for a scan";

  auto taken = fan_out_->collect(phone, 1);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].task(), v1::TASK_QUICK_SCAN) << "what is not due does not stand in the way of what is";
  fan_out_->task_result(phone, result(taken[0].notification_id(), v1::TASK_OUTCOME_COMPLETED));
  EXPECT_EQ(wake_starts_.back(), start) << "it is to be woken again when it is due";
  EXPECT_EQ(store_->mailbox().open_entries(phone, 10)->at(0).first.state, EntryState::waiting);

  restart();
  wake_starts_.clear();
  fan_out_->remind(phone);
  EXPECT_EQ(wake_starts_, std::vector<WallTime>{start}) << "what was to wake it ended with the process before";
  clock_.advance(std::chrono::duration_cast<milliseconds>(start - clock_.wall()) - milliseconds(1));
  EXPECT_TRUE(fan_out_->collect(phone, 10).empty()) << "the same moment after a restart";
  clock_.advance(milliseconds(1));
  taken = fan_out_->collect(phone, 10);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].notification_id(), entry);
  EXPECT_EQ(taken[0].start_after_ms(), 0u) << "it was waited for here";
}

TEST_F(FanOutTest, WorkOfAWaveExpiresWhetherItWasDueOrNot) {
  config_.wave.window_per_1000 = config_.wave.window_max = hours(4);
  restart();
  const AgentId phone = enrol("phone");
  Order short_lived;
  short_lived.task = v1::TASK_DISCOVERY;
  short_lived.devices = {phone};
  short_lived.time_to_live = seconds(4);
  ASSERT_TRUE(fan_out_->order(std::move(short_lived)));
  EXPECT_LE(wake_starts_.back(), clock_.wall() + seconds(2));
  clock_.advance(seconds(4));
  EXPECT_TRUE(fan_out_->collect(phone, 10).empty());
}

TEST_F(FanOutTest, AClockThatWasSetBackKeepsNobodyWaitingLongerThanAWave) {
  const AgentId phone = enrol("phone");
  ASSERT_TRUE(order(v1::TASK_DISCOVERY, {phone}));
  clock_.advance(-hours(5));
  EXPECT_EQ(fan_out_->collect(phone, 10).size(), 1u);
}

}  // namespace
}  // namespace greengate::test
