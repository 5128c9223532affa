#include "gateway/agents_config.h"
#include "gateway/receipts.h"
#include "gateway/session_table.h"
#include "gateway/slots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

namespace greengate::gateway {
namespace {

using namespace std::chrono_literals;
using adapters::RoutingId;

AgentId numbered(std::size_t i) {
  std::array<char, 17> id{};
  std::snprintf(id.data(), id.size(), "%016zx", i);
  return AgentId(id.data());
}

// Goal: no second of the window gets much more than its share. Method: ten thousand agents whose ids differ as little as ids can,
// counted by second; the spread must stay within six standard deviations of chance, and be the same again.
TEST(Slots, SpreadAFleetEvenlyThoughItsIdsAreNeighbours) {
  const Slots slots({100, 1s, 600s, 3'600s});
  constexpr std::size_t fleet = 10'000;
  EXPECT_EQ(slots.reconnect_window(fleet), 100s);
  std::vector<int> by_second(100), by_minute(60);
  for (std::size_t i = 0; i < fleet; ++i) {
    const auto wait = slots.reconnect(numbered(i), fleet);
    ASSERT_GE(wait, 0ms);
    ASSERT_LT(wait, 100s);
    EXPECT_EQ(wait, slots.reconnect(numbered(i), fleet));
    by_second[static_cast<std::size_t>(wait / 1s)] += 1;
    const auto report = slots.report(numbered(i), from_millis(0));
    ASSERT_GE(report, 0ms);
    ASSERT_LT(report, 3'600s);
    by_minute[static_cast<std::size_t>(report / 60s)] += 1;
  }
  const auto [least, most] = std::minmax_element(by_second.begin(), by_second.end());
  EXPECT_GT(*least, 100 - 60);
  EXPECT_LT(*most, 100 + 60);
  const auto [fewest, busiest] = std::minmax_element(by_minute.begin(), by_minute.end());
  EXPECT_GT(*fewest, 166 - 78);
  EXPECT_LT(*busiest, 166 + 78);
}

TEST(Slots, AreExactlyEvenWhenAllAreKnown) {
  const Slots slots({100, 1s, 600s, 3'600s});
  for (std::size_t rank = 0; rank < 1'000; ++rank)
    EXPECT_EQ(slots.reconnect(rank, 1'000), std::chrono::milliseconds(rank * 10));
}

TEST(Slots, KeepTheWindowWithinItsBounds) {
  const Slots slots({100, 2s, 600s, 3'600s});
  EXPECT_EQ(slots.reconnect_window(0), 2s);
  EXPECT_EQ(slots.reconnect_window(1'000'000), 600s);
}

TEST(Slots, LeaveAnAgentsReportMomentWhereItIsWheneverItConnects) {
  const Slots slots({100, 2s, 600s, 3'600s});
  const AgentId agent = numbered(77);
  const WallTime noon = from_millis(1'768'478'400'000);
  const WallTime moment = noon + slots.report(agent, noon);
  for (const auto later : {1s, 100s, 1'000s, 3'599s}) {
    const WallTime next = noon + later + slots.report(agent, noon + later);
    EXPECT_TRUE(next == moment || next == moment + 3'600s);
  }
  EXPECT_NE(slots.report(agent, noon), slots.report(numbered(78), noon));
}

TEST(SessionTable, LetsOneSpeakForAKeyAndTheOlderOneNotComeBack) {
  SessionTable table(10, 10, {});
  Session* older = table.open(RoutingId(1), "key", Standing::greeting, AgentId("a"), [](Session&) {});
  ASSERT_NE(older, nullptr);
  table.stand(*older, Standing::active, AgentId("a"));
  Session* told = nullptr;
  Session* newer =
      table.open(RoutingId(2), "key", Standing::greeting, AgentId("a"), [&](Session& it) { told = &it; });
  EXPECT_EQ(told, older);
  EXPECT_EQ(older->standing, Standing::replaced);
  EXPECT_EQ(table.find_key(AgentKey("key")), newer);
  EXPECT_EQ(table.find_agent(AgentId("a")), newer);
  EXPECT_EQ(table.find(RoutingId(1)), older);
  EXPECT_EQ(table.active(), 0u);
  table.close(*older);
  EXPECT_EQ(table.find_key(AgentKey("key")), newer);
  EXPECT_EQ(table.find(RoutingId(1)), nullptr);
}

TEST(SessionTable, BoundsAllAndTheUnknownApart) {
  SessionTable table(3, 1, {});
  const auto nobody = [](Session&) { FAIL(); };
  Session* unknown = table.open(RoutingId(1), "k1", Standing::unknown, AgentId(), nobody);
  ASSERT_NE(unknown, nullptr);
  EXPECT_EQ(table.open(RoutingId(2), "k2", Standing::unknown, AgentId(), nobody), nullptr);
  EXPECT_NE(table.open(RoutingId(2), "k2", Standing::greeting, AgentId("b"), nobody), nullptr);
  table.stand(*unknown, Standing::pending, AgentId("a"));
  EXPECT_EQ(table.unknown(), 0u);
  EXPECT_NE(table.open(RoutingId(3), "k3", Standing::unknown, AgentId(), nobody), nullptr);
  EXPECT_EQ(table.open(RoutingId(4), "k4", Standing::greeting, AgentId("c"), nobody), nullptr);
  EXPECT_EQ(table.size(), 3u);
}

TEST(SessionTable, ClosesTheSilentOnly) {
  SessionTable table(10, 10, {});
  for (std::uint32_t i = 1; i <= 4; ++i)
    table.open(RoutingId(i), "k" + std::to_string(i), Standing::unknown, AgentId(), [](Session&) {})
        ->heard_at = SteadyTime(std::chrono::seconds(i));
  std::size_t left = 0;
  table.close_silent(SteadyTime(3s), [&](Session&) { left += 1; });
  EXPECT_EQ(left, 2u);
  EXPECT_EQ(table.find(RoutingId(2)), nullptr);
  EXPECT_NE(table.find(RoutingId(3)), nullptr);
  EXPECT_EQ(table.unknown(), 2u);
}

TEST(Receipts, StretchOverAdjoiningSequencesThatShareTheirFate) {
  std::vector<v1::Receipt> all;
  const auto say = [&](std::uint64_t first, std::uint64_t last, v1::ReceiptStatus status,
                       std::string_view code = "") {
    add_receipt(all, {7, first, last, status, code, "", 0ms, 0});
  };
  say(1, 1, v1::RECEIPT_STATUS_STORED);
  say(2, 5, v1::RECEIPT_STATUS_STORED);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].last_sequence(), 5u);
  say(7, 7, v1::RECEIPT_STATUS_STORED);  // 6 is not among them
  EXPECT_EQ(all.size(), 2u);
  say(8, 8, v1::RECEIPT_STATUS_THROTTLED, "flow.rate");
  say(9, 9, v1::RECEIPT_STATUS_THROTTLED, "flow.credits");
  EXPECT_EQ(all.size(), 4u);
  add_receipt(all, {8, 10, 10, v1::RECEIPT_STATUS_THROTTLED, "flow.credits", "", 0ms, 0});
  EXPECT_EQ(all.size(), 5u);  // another incarnation
}

TEST(AgentsConfig, IsFineAsItComesAndNamesEveryBadKeyAtOnce) {
  EXPECT_TRUE(AgentsConfig().problems().empty());
  AgentsConfig bad;
  bad.bind = "0.0.0.0:7443";
  bad.in_flight_max = 5'000;
  bad.frame_bytes_max = 1 << 20;
  bad.ping_interval = 1ms;
  bad.reconnect_window_min = 20min;
  std::vector<std::string> keys;
  for (const auto& problem : bad.problems()) keys.push_back(problem.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"agents.bind", "agents.report_bytes_max",
                                            "agents.in_flight_max", "agents.ping_interval",
                                            "agents.reconnect_window_min"}));
}

TEST(AgentsConfig, ReadsEveryKeyFromTheFile) {
  ConfigReader reader = ConfigReader::from_text(
      "[agents]\nbind = \"tcp://*:9000\"\nframe_bytes_max = \"8MiB\"\nping_interval = \"20s\"\n"
      "reconnects_per_second = 50\nfull_state_interval = \"1h\"\n",
      "test.toml");
  AgentsConfig config;
  config.read(reader);
  EXPECT_EQ(config.bind, "tcp://*:9000");
  EXPECT_EQ(config.frame_bytes_max, 8 << 20);
  EXPECT_EQ(config.ping_interval, 20s);
  EXPECT_EQ(config.reconnects_per_second, 50u);
  EXPECT_EQ(config.full_state_interval, 1h);
  EXPECT_TRUE(reader.problems().empty());
}

}  // namespace
}  // namespace greengate::gateway
