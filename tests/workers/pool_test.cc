#include "workers/pool.h"

#include "tests/workers/site_fixture.h"
#include "workers/translator.h"

namespace greengate::test {
namespace {

using namespace workers;
using store::Outcome;

class PoolTest : public SiteFixture {
 protected:
  PoolTest() : translator_(settings_), inventories_({}, settings_, store_->baselines(), metrics_) {
    config_.workers = 2;
    config_.retry_base = std::chrono::milliseconds(10);
    config_.retry_cap = std::chrono::milliseconds(10);
  }
  void start() {
    pool_ = std::make_unique<Pool>(config_, store_->reports(), store_->devices(), *identities_, translator_, inventories_,
                                   *courier_, clock_, metrics_, [this](const ReportOutcome& outcome) {
                                     {
                                       std::lock_guard lock(mutex_);
                                       outcomes_.push_back(outcome);
                                     }
                                     changed_.notify_all();
                                   });
    ASSERT_TRUE(pool_->start());
  }
  void TearDown() override {
    courier_->stop();
    if (pool_) pool_->stop();
  }
  // Waits, at most ten seconds, for so many outcomes. The clock goes on meanwhile, as back-offs must end.
  std::vector<ReportOutcome> outcomes(std::size_t count) {
    std::unique_lock lock(mutex_);
    for (int i = 0; i < 1'000 && outcomes_.size() < count; ++i) {
      changed_.wait_for(lock, std::chrono::milliseconds(10));
      clock_.advance(std::chrono::milliseconds(10));
      store_->reports().wake_waiters();
    }
    EXPECT_GE(outcomes_.size(), count);
    return outcomes_;
  }

  PoolConfig config_;
  Translator translator_;
  InventoryPlanner inventories_;
  std::unique_ptr<Pool> pool_;
  std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  std::vector<ReportOutcome> outcomes_;
};

TEST_F(PoolTest, DeliversWhatWaitsAndTellsTheOutcome) {
  make_ready(agent_);
  keep(agent_, 1, v1::KIND_DISCOVERY, discovery_body());
  start();
  const auto told = outcomes(1);
  EXPECT_EQ(told[0].outcome, Outcome::delivered);
  EXPECT_EQ(told[0].name.sequence, 1u);
  ASSERT_EQ(door_->sent().size(), 1u);
  EXPECT_EQ(door_->sent()[0].endpoint, "MP_DdrEndpoint");
}

TEST_F(PoolTest, PutsWaitingStateMessagesIntoOneMessage) {
  make_ready(agent_);
  for (std::uint64_t i = 1; i <= 20; ++i) keep(agent_, i, v1::KIND_STATE_MESSAGES, state_body(2));
  start();
  EXPECT_EQ(outcomes(20).size(), 20u);
  EXPECT_EQ(door_->sent().size(), 1u);
  EXPECT_EQ(store_->devices().counter(agent_, "state_serial"), 40u);
}

TEST_F(PoolTest, BuriesWhatCannotBeTranslatedAndDeliversItsNeighbours) {
  make_ready(agent_);
  keep(agent_, 1, v1::KIND_DISCOVERY, "\xff\xff not protobuf");
  keep(agent_, 2, 4711, "unknown");
  keep(agent_, 3, v1::KIND_STATE_MESSAGES, state_body());
  start();
  std::map<std::uint64_t, ReportOutcome> by_sequence;
  for (const auto& outcome : outcomes(3)) by_sequence[outcome.name.sequence] = outcome;
  EXPECT_EQ(by_sequence[1].outcome, Outcome::buried);
  EXPECT_EQ(by_sequence[1].code, "report.malformed");
  EXPECT_EQ(by_sequence[2].code, "report.kind_unknown");
  EXPECT_EQ(by_sequence[3].outcome, Outcome::delivered);
}

TEST_F(PoolTest, SendsTheSameMessageAgainAfterALostAnswer) {
  make_ready(agent_);
  keep(agent_, 1, v1::KIND_STATE_MESSAGES, state_body());
  std::atomic<int> tries{0};
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    if (++tries <= 2) return fail(Remedy::retry, "http.closed", "cut off while answering.");
    return adapters::Verdict{};
  });
  start();
  EXPECT_EQ(outcomes(1)[0].outcome, Outcome::delivered);
  const auto sent = door_->sent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[0].message_id, sent[1].message_id);
  EXPECT_EQ(sent[1].message_id, sent[2].message_id);
  EXPECT_EQ(store_->devices().counter(agent_, "state_serial"), 1u) << "numbered once, not at every attempt";
}

// Each report a message of its own: the first is taken, the second finds nobody. What was settled stays so, and the rest is due again after
// the device's own short wait, long before the lease would have ended by itself.
TEST_F(PoolTest, PutsBackOnlyWhatIsStillOpenWhenABatchBreaksInTheMiddle) {
  make_ready(agent_);
  config_.coalescer.state_reports_max = 1;
  config_.workers = 1;
  for (std::uint64_t i = 1; i <= 3; ++i) keep(agent_, i, v1::KIND_STATE_MESSAGES, state_body());
  std::atomic<int> tries{0};
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    if (++tries == 2) return fail(Remedy::retry, "http.closed", "cut off while answering.");
    return adapters::Verdict{};
  });
  const auto began = clock_.steady();
  start();
  EXPECT_EQ(outcomes(3).size(), 3u);
  EXPECT_LT(clock_.steady() - began, std::chrono::seconds(60)) << "the lease had to run out";
  EXPECT_EQ(door_->sent().size(), 4u);
}

// The first message takes so long that the second could not end within the lease: it is handed back and sent under a new one.
TEST_F(PoolTest, BeginsNoMessageThatItsLeaseMightNotOutlive) {
  make_ready(agent_);
  config_.coalescer.state_reports_max = 1;
  config_.workers = 1;
  for (std::uint64_t i = 1; i <= 2; ++i) keep(agent_, i, v1::KIND_STATE_MESSAGES, state_body());
  std::atomic<int> sent{0};
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    if (++sent == 1) clock_.advance(std::chrono::seconds(70));  // of 120
    return adapters::Verdict{};
  });
  start();
  EXPECT_EQ(outcomes(2).size(), 2u);
  EXPECT_EQ(door_->sent().size(), 2u) << "nothing was sent twice";
}

TEST_F(PoolTest, BuriesWhatTheManagementPointWillNeverTakeWithItsReason) {
  make_ready(agent_);
  keep(agent_, 1, v1::KIND_STATE_MESSAGES, state_body());
  door_->answer_with([](const auto&) -> Result<adapters::Verdict> {
    return fail(Remedy::reject, "mp.bad_request", "413.");
  });
  start();
  const auto told = outcomes(1);
  EXPECT_EQ(told[0].outcome, Outcome::buried);
  EXPECT_EQ(told[0].code, "mp.bad_request");
  EXPECT_EQ(store_->reports().stats().buried, 1u);
}

TEST_F(PoolTest, WaitsForTheSiteToConfirmTheAgent) {
  keep(agent_, 1, v1::KIND_DISCOVERY, discovery_body());
  start();
  make_ready(agent_);
  EXPECT_EQ(outcomes(1)[0].outcome, Outcome::delivered);
}

TEST_F(PoolTest, BuriesTheReportsOfARevokedAgentAndSaysWhy) {
  make_ready(agent_);
  keep(agent_, 1, v1::KIND_DISCOVERY, discovery_body());
  ASSERT_TRUE(store_->devices().set_state(agent_, store::DeviceState::revoked));
  start();
  EXPECT_EQ(outcomes(1)[0].code, "agent.revoked");
  EXPECT_TRUE(door_->sent().empty());
}

TEST_F(PoolTest, SupersedesAnOlderInventoryThatNobodySentYet) {
  make_ready(agent_);
  keep(agent_, 1, v1::KIND_DISCOVERY, discovery_body());
  keep(agent_, 2, v1::KIND_DISCOVERY, discovery_body());
  start();
  std::map<std::uint64_t, Outcome> by_sequence;
  for (const auto& outcome : outcomes(2)) by_sequence[outcome.name.sequence] = outcome.outcome;
  EXPECT_EQ(by_sequence[1], Outcome::superseded);
  EXPECT_EQ(by_sequence[2], Outcome::delivered);
  EXPECT_EQ(door_->sent().size(), 1u);
}

// Every inventory hangs at the management point until the test lets go; more devices wait with one than there are workers.
TEST_F(PoolTest, StateGoesOnWhileBulkHangs) {
  config_.workers = 4;
  std::promise<void> let_go;
  const auto gate = let_go.get_future().share();
  std::atomic<int> hanging{0};
  door_->answer_with([&](const adapters::OutgoingMessage& message) -> Result<adapters::Verdict> {
    if (adapters::message_type_of(message) == MessageType::state) return adapters::Verdict{};
    ++hanging;
    gate.wait();
    return adapters::Verdict{};
  });
  std::vector<AgentId> agents;
  for (int i = 0; i < 6; ++i) {
    agents.push_back(enrol("web0" + std::to_string(i)));
    make_ready(agents.back());
    keep(agents.back(), 1, v1::KIND_DISCOVERY, discovery_body(), store::Lane::discovery);
  }
  start();
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (hanging < 3 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  EXPECT_EQ(hanging, 3) << "a quarter of the workers is not for bulk";
  // Of a device whose discovery hangs, and of one whose has not begun.
  for (const AgentId& agent : agents) keep(agent, 2, v1::KIND_STATE_MESSAGES, state_body());
  const auto told = outcomes(6);
  for (const auto& outcome : told) EXPECT_EQ(outcome.name.sequence, 2u);
  EXPECT_EQ(hanging, 3);
  let_go.set_value();
  EXPECT_EQ(outcomes(12).size(), 12u);
}

// Not leased and put back: left alone, without an attempt, until its time comes.
TEST_F(PoolTest, LeavesWhatTheBudgetHasNoRoomForInTheQueue) {
  PacingConfig pacing;
  pacing.of(MessageType::discovery) = "1/1h";
  pacing.burst = 1;
  open_courier(pacing);
  const AgentId other = enrol("web01");
  for (const AgentId& agent : {agent_, other}) {
    make_ready(agent);
    keep(agent, 1, v1::KIND_DISCOVERY, discovery_body(), store::Lane::discovery);
    keep(agent, 2, v1::KIND_STATE_MESSAGES, state_body());
  }
  start();
  outcomes(3);
  std::size_t waiting = 0;
  for (const AgentId& agent : {agent_, other}) {
    const auto traces = store_->reports().trace(agent, 10);
    ASSERT_TRUE(traces);
    for (const auto& trace : *traces) {
      if (trace.outcome) continue;
      ++waiting;
      EXPECT_EQ(trace.kind, static_cast<std::uint32_t>(v1::KIND_DISCOVERY));
      EXPECT_EQ(trace.attempts, 0u);
      EXPECT_FALSE(trace.leased);
    }
  }
  EXPECT_EQ(waiting, 1u);
  clock_.advance(std::chrono::hours(1));
  EXPECT_EQ(outcomes(4).size(), 4u);
}

TEST_F(PoolTest, ComplainsAboutEverySettingAtOnce) {
  PoolConfig config;
  config.workers = 0;
  config.batch_reports_max = 0;
  config.retry_base = std::chrono::milliseconds(0);
  std::vector<std::string> keys;
  for (const auto& problem : config.problems()) keys.push_back(problem.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"delivery.workers", "delivery.batch_reports_max", "delivery.retry_base"}));
}

}  // namespace
}  // namespace greengate::test
