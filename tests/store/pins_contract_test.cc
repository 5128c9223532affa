// Reports that are one message: pinned before the first attempt, they come back as that message.
#include "tests/store/store_fixture.h"

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using Sequences = std::vector<std::uint64_t>;

const Error busy{Remedy::retry, "http.status", "The management point answered 503.", {}};

class Pins : public StoreContract {};
INSTANTIATE_TEST_SUITE_P(Stores, Pins, testing::ValuesIn(store_kinds()), kind_name);

TEST_P(Pins, BringAGroupBackWholeUnmixedWithItsNoteAndCounters) {
  ASSERT_TRUE(registry().size() == 0);
  keep_sequences("a", 1, 5);
  auto batch = lease(4);
  ASSERT_TRUE(queue().pin(batch->lease, {{{batch->reports[0].id, batch->reports[2].id}, "message 17"}},
                          {{"state.serial", 41}}));
  ASSERT_TRUE(
      queue().pin(batch->lease, {{{batch->reports[1].id}, "message 18"}}, {{"state.serial", 42}}));
  EXPECT_EQ(registry().counter(AgentId("a"), "state.serial"), 42u);
  for (const bool restart : {false, true}) {
    if (restart) {
      reopen();
      EXPECT_EQ(registry().counter(AgentId("a"), "state.serial"), 42u);
    } else {
      clock_.advance(config_.lease_time);
    }
    batch = lease(1, 1);
    EXPECT_EQ(sequences(batch), (Sequences{1, 3})) << "whole, whatever the bounds";
    EXPECT_EQ(batch->reports[0].note, "message 17");
    EXPECT_EQ(batch->reports[1].note, "message 17");
    EXPECT_NE(batch->reports[0].group, 0u);
    EXPECT_EQ(batch->reports[0].group, batch->reports[1].group);
  }
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  batch = lease();
  EXPECT_EQ(sequences(batch), Sequences{2});
  EXPECT_EQ(batch->reports[0].note, "message 18");
  ASSERT_TRUE(queue().postpone(batch->lease, ids(*batch), 0ms, busy));
  batch = lease();
  EXPECT_EQ(sequences(batch), Sequences{2});
  EXPECT_EQ(batch->reports[0].note, "message 18");
  EXPECT_EQ(batch->reports[0].attempt, 2u);
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  EXPECT_EQ(sequences(lease()), (Sequences{4, 5}));
}

TEST_P(Pins, AreSeveralMessagesAtOnceAllOrNothing) {
  keep_sequences("a", 1, 6);
  auto batch = lease();
  const auto& reports = batch->reports;
  ASSERT_TRUE(queue().pin(batch->lease,
                          {{{reports[3].id, reports[0].id}, "one"}, {{reports[1].id}, "two"}, {{reports[4].id, reports[2].id}, "three"}},
                          {{"serial", 7}, {"state.serial", 9}}));
  EXPECT_EQ(registry().counter(AgentId("a"), "serial"), 7u);
  EXPECT_EQ(registry().counter(AgentId("a"), "state.serial"), 9u);

  for (const auto& wrong : std::vector<std::vector<store::Pin>>{
           {{{reports[5].id}, "a fourth"}, {{ItemId(reports[5].id.raw() + 1)}, "not in this lease"}},
           {{{reports[5].id}, "a fourth"}, {{reports[5].id}, "twice"}}}) {
    const auto refused = queue().pin(batch->lease, wrong, {{"serial", 8}});
    ASSERT_FALSE(refused);
    EXPECT_STREQ(refused.error().code, "queue.lease_lost");
  }
  EXPECT_EQ(registry().counter(AgentId("a"), "serial"), 7u);
  ASSERT_TRUE(queue().settle(batch->lease, {{reports[1].id}}));
  queue().hand_back(batch->lease);

  const std::vector<std::pair<Sequences, std::string>> expected = {{{1, 4}, "one"}, {{3, 5}, "three"}, {{6}, ""}};
  EXPECT_EQ(sequences(lease(1)), expected[0].first);
  reopen();
  for (const auto& [numbers, note] : expected) {
    auto message = lease(1);
    EXPECT_EQ(sequences(message), numbers);
    for (const auto& leased : message->reports) EXPECT_EQ(leased.note, note);
    ASSERT_TRUE(queue().postpone(message->lease, ids(*message), 0ms, busy));
    message = lease(1);
    EXPECT_EQ(sequences(message), numbers) << "a message that is not settled keeps its place";
    ASSERT_TRUE(queue().settle(message->lease, all(*message)));
  }
  EXPECT_EQ(queue().stats().waiting, 0u);
  EXPECT_EQ(registry().counter(AgentId("a"), "state.serial"), 9u);
}

TEST_P(Pins, MoveNoCounterForALostLease) {
  keep_sequences("a", 1, 1);
  const auto batch = lease();
  queue().hand_back(batch->lease);
  EXPECT_FALSE(queue().pin(batch->lease, {{ids(*batch), "note"}}, {{"state.serial", 1}}));
  EXPECT_EQ(registry().counter(AgentId("a"), "state.serial"), 0u);
  EXPECT_EQ(lease()->reports[0].group, 0u);
}

}  // namespace
}  // namespace greengate::test
