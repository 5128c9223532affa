// Inventories through the pool and the real store: the baseline moves with the settlement, and a resync of our own goes the same way.
#include "tests/workers/inventory_builder.h"
#include "tests/workers/site_fixture.h"
#include "workers/pool.h"
#include "workers/resync.h"
#include "workers/translator.h"

namespace greengate::test {
namespace {

using namespace workers;
using store::Outcome;

constexpr std::uint32_t hardware = v1::KIND_HARDWARE_INVENTORY;

class InventoryPool : public SiteFixture {
 protected:
  InventoryPool() : translator_(settings_), inventories_({}, settings_, store_->baselines(), metrics_) {
    config_.workers = 2;
    config_.retry_base = config_.retry_cap = std::chrono::milliseconds(10);
    pool_ = std::make_unique<Pool>(config_, store_->reports(), store_->devices(), *identities_, translator_, inventories_, *courier_, clock_,
                                   metrics_, [](const ReportOutcome&) {});
  }
  void TearDown() override {
    courier_->stop();
    pool_->stop();
  }
  static std::string disk(const std::string& size) {
    InventoryBuilder b;
    return b.table("Disk", {"*ID", "Size"}).row({"a", size}).row({"b", "1"}).body();
  }
  // Waits, at most ten seconds, until so many reports are settled; newest first. Back-offs end as the clock goes on.
  std::vector<store::ReportTrace> settled(std::size_t count) {
    for (int i = 0; i < 1'000; ++i) {
      auto trace = store_->reports().trace(agent_, 100);
      std::size_t done = 0;
      for (const auto& one : *trace) done += one.outcome.has_value() ? 1 : 0;
      if (done >= count) return *trace;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      clock_.advance(std::chrono::milliseconds(10));
      store_->reports().wake_waiters();
    }
    ADD_FAILURE() << "not all reports were settled";
    return {};
  }
  std::optional<store::Baseline> baseline() { return *store_->baselines().find(agent_, hardware); }

  PoolConfig config_;
  Translator translator_;
  InventoryPlanner inventories_;
  std::unique_ptr<Pool> pool_;
};

TEST_F(InventoryPool, TheBaselineFollowsWhatTheSiteTook) {
  make_ready(agent_);
  ASSERT_TRUE(pool_->start());
  EXPECT_FALSE(baseline());
  keep(agent_, 1, hardware, disk("1"));
  EXPECT_EQ(settled(1).at(0).outcome, Outcome::delivered);
  ASSERT_TRUE(baseline());
  EXPECT_EQ(baseline()->major, 1u);
  EXPECT_EQ(baseline()->minor, 0u);

  keep(agent_, 2, hardware, disk("1"));
  EXPECT_EQ(settled(2).at(0).outcome, Outcome::superseded);
  EXPECT_EQ(settled(2).at(0).code, "inventory.unchanged");
  keep(agent_, 3, hardware, disk("2"));
  EXPECT_EQ(settled(3).at(0).outcome, Outcome::delivered);
  EXPECT_EQ(baseline()->minor, 1u);
  EXPECT_EQ(door_->sent().size(), 2u);
  EXPECT_EQ(store_->devices().counter(agent_, "inventory_major"), 1u);
  EXPECT_EQ(store_->devices().counter(agent_, "inventory_minor"), 1u);
}

TEST_F(InventoryPool, AMessageTheSiteRefusesMovesNoBaselineAndIsADeadLetter) {
  make_ready(agent_);
  ASSERT_TRUE(pool_->start());
  keep(agent_, 1, hardware, disk("1"));
  settled(1);
  door_->answer_with([](const auto&) -> Result<adapters::Verdict> { return fail(Remedy::reject, "mp.bad_request", "413."); });
  keep(agent_, 2, hardware, disk("2"));
  EXPECT_EQ(settled(2).at(0).outcome, Outcome::buried);
  EXPECT_EQ(baseline()->minor, 0u);
  door_->answer_with({});
  keep(agent_, 3, hardware, disk("3"));
  EXPECT_EQ(settled(3).at(0).outcome, Outcome::delivered);
  EXPECT_EQ(baseline()->major, 2u) << "whole again";
}

TEST_F(InventoryPool, AResyncIsAReportOfOurOwnAndIsAnsweredFromTheBaseline) {
  make_ready(agent_);
  ASSERT_TRUE(pool_->start());
  keep(agent_, 1, hardware, disk("1"));
  settled(1);
  ASSERT_TRUE(request_resync(store_->reports(), agent_, hardware, "P0100001", "2.00", clock_.wall()));
  const auto trace = settled(2);
  EXPECT_EQ(trace.at(0).kind, std::uint32_t{v1::KIND_RESYNC});
  EXPECT_EQ(trace.at(0).outcome, Outcome::delivered);
  ASSERT_EQ(door_->sent().size(), 2u);
  EXPECT_EQ(door_->sent()[1].message_id, trace.at(0).tracking);
  EXPECT_EQ(baseline()->major, 2u);
}

TEST_F(InventoryPool, AnAnswerThatWasLostIsFollowedByTheSameMessage) {
  make_ready(agent_);
  std::atomic<int> tries{0};
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    if (++tries == 1) return fail(Remedy::retry, "http.closed", "cut off while answering.");
    return adapters::Verdict{};
  });
  ASSERT_TRUE(pool_->start());
  keep(agent_, 1, hardware, disk("1"));
  EXPECT_EQ(settled(1).at(0).outcome, Outcome::delivered);
  const auto sent = door_->sent();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].message_id, sent[1].message_id);
  EXPECT_EQ(baseline()->major, 1u);
}

}  // namespace
}  // namespace greengate::test
