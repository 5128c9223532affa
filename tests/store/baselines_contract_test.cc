// What a baseline promises: it moves with the settlement that proves it, or not at all.
#include "tests/store/store_fixture.h"

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using store::BaselineMove;
using store::Outcome;

class Baselines : public StoreContract {
 protected:
  std::optional<store::Baseline> found(const char* agent, std::uint32_t kind) {
    auto baseline = baselines().find(AgentId(agent), kind);
    EXPECT_TRUE(baseline) << baseline.error().message;
    return baseline ? std::move(*baseline) : std::nullopt;
  }
  /// Keeps one report more of an agent and settles it with these moves.
  Result<void> move(const char* agent, const std::vector<BaselineMove>& moves) {
    keep_sequences(agent, queue().last_sequence(AgentId(agent), 1) + 1, queue().last_sequence(AgentId(agent), 1) + 1);
    const auto batch = lease();
    return queue().settle(batch->lease, all(*batch), moves);
  }
};
INSTANTIATE_TEST_SUITE_P(Stores, Baselines, testing::ValuesIn(store_kinds()), kind_name);

TEST_P(Baselines, AreThereOnceTheirSettlementIsAndOutliveARestart) {
  EXPECT_FALSE(found("a", 1)) << "nobody ever heard of the agent";
  const std::string body("\0state\xff", 7);
  const WallTime full_at = clock_.wall() - 1h;
  ASSERT_TRUE(move("a", {{1, 12, 3, full_at, body}, {0xffff'ffff, 1, 0, clock_.wall(), "other"}}));
  for (const bool restart : {false, true}) {
    if (restart) reopen();
    const auto baseline = found("a", 1);
    ASSERT_TRUE(baseline);
    EXPECT_EQ(baseline->kind, 1u);
    EXPECT_EQ(baseline->major, 12u);
    EXPECT_EQ(baseline->minor, 3u);
    EXPECT_EQ(baseline->full_at, full_at);
    EXPECT_EQ(baseline->moved_at, clock_.wall());
    EXPECT_EQ(baseline->body, body);
    EXPECT_EQ(baseline->bytes, 7u);
    EXPECT_EQ(found("a", 0xffff'ffff)->body, "other");
    EXPECT_FALSE(found("a", 2));
  }
}

TEST_P(Baselines, AreADevicesOwn) {
  ASSERT_TRUE(move("a", {{1, 1, 0, clock_.wall(), "of a"}}));
  ASSERT_TRUE(move("b", {{1, 5, 0, clock_.wall(), "of b"}, {2, 6, 0, clock_.wall(), "of b too"}}));
  EXPECT_EQ(found("a", 1)->body, "of a");
  EXPECT_FALSE(found("a", 2));
  EXPECT_EQ(found("b", 1)->body, "of b");
  const auto of_b = baselines().list(AgentId("b")).value();
  ASSERT_EQ(of_b.size(), 2u);
  EXPECT_EQ(of_b[0].kind, 1u);
  EXPECT_EQ(of_b[1].kind, 2u);
  EXPECT_EQ(of_b[1].major, 6u);
  EXPECT_EQ(of_b[1].bytes, 8u);
  EXPECT_EQ(of_b[1].body, "");
  EXPECT_EQ(baselines().list(AgentId("a")).value().size(), 1u);
  EXPECT_TRUE(baselines().list(AgentId("nobody")).value().empty());
}

TEST_P(Baselines, AreReplacedAndForgotten) {
  ASSERT_TRUE(move("a", {{1, 1, 0, clock_.wall(), "first"}, {2, 1, 0, clock_.wall(), "stays"}}));
  clock_.advance(1min);
  ASSERT_TRUE(move("a", {{1, 1, 1, clock_.wall() - 1min, std::string(300'000, 'x')}}));
  EXPECT_EQ(found("a", 1)->minor, 1u);
  EXPECT_EQ(found("a", 1)->body, std::string(300'000, 'x'));
  ASSERT_TRUE(move("a", {{1, 0, 0, {}, ""}}));
  EXPECT_FALSE(found("a", 1));
  EXPECT_EQ(found("a", 2)->body, "stays");
  ASSERT_TRUE(move("a", {{1, 0, 0, {}, ""}})) << "forgetting what is not there is no failure";
}

TEST_P(Baselines, DoNotMoveWhenTheLeaseIsLostOrAReportIsNotItsOwn) {
  keep_sequences("a", 1, 2);
  auto batch = lease(1);
  auto wrong = all(*batch);
  wrong.push_back({ItemId(batch->reports[0].id.raw() + 1), Outcome::delivered, ""});
  EXPECT_FALSE(queue().settle(batch->lease, wrong, {{1, 1, 0, clock_.wall(), "body"}}));
  EXPECT_FALSE(found("a", 1));
  clock_.advance(config_.lease_time);
  const auto lost = queue().settle(batch->lease, all(*batch), {{1, 1, 0, clock_.wall(), "body"}});
  ASSERT_FALSE(lost);
  EXPECT_STREQ(lost.error().code, "queue.lease_lost");
  EXPECT_FALSE(found("a", 1));
}

TEST_P(Baselines, MoveWithASettlementThatDeliversNothing) {
  keep_sequences("a", 1, 1);
  const auto batch = lease();
  ASSERT_TRUE(queue().settle(batch->lease, {}, {{1, 2, 0, clock_.wall(), "body"}}));
  EXPECT_EQ(found("a", 1)->major, 2u);
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch))) << "the lease goes on";
}

}  // namespace
}  // namespace greengate::test
