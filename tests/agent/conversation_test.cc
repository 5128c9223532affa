// Goal: the protocol does the right thing at every turn. Method: a hand-moved clock, frames put in
// by hand, decisions read out.
#include "agent/conversation.h"
#include "tests/support/manual_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::ManualClock;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint64_t incarnation = 77;

Error lost(const char* code = "link.closed", Remedy remedy = Remedy::retry) {
  return {remedy, code, "It broke.", {}};
}

class ConversationTest : public ::testing::Test {
 protected:
  ConversationTest() {
    config_.endpoints = 2;
    config_.enrolled = true;
    config_.token = "t";
    config_.host_name = "box";
    config_.incarnation = incarnation;
    config_.reconnect = {1s, 60s};
  }

  Conversation& begin() {
    conversation_.emplace(config_, clock_);
    conversation_->given(100);
    conversation_->start();
    return *conversation_;
  }
  /// Connected, greeted and welcomed; the decisions so far are taken.
  Conversation& publishing() {
    begin().connected();
    conversation_->received(welcome());
    conversation_->take_decisions();
    return *conversation_;
  }

  v1::Frame welcome() {
    v1::Frame frame;
    v1::Welcome& welcome = *frame.mutable_welcome();
    welcome.set_protocol_version(1);
    welcome.set_agent_id("a1");
    welcome.set_last_stored_sequence(stored_);
    welcome.set_frame_bytes_max(frame_bytes_max_);
    welcome.set_in_flight_max(in_flight_max_);
    welcome.set_reconnect_slot_ms(7'000);
    welcome.set_ping_interval_s(60);
    return frame;
  }
  static v1::Frame receipt(v1::ReceiptStatus status, std::uint64_t first, std::uint64_t last,
                           std::uint32_t retry_after_ms = 0, std::uint64_t of = incarnation) {
    v1::Frame frame;
    v1::Receipt& made = *frame.mutable_receipts()->add_receipts();
    made.set_incarnation(of);
    made.set_first_sequence(first);
    made.set_last_sequence(last);
    made.set_status(status);
    made.set_code("why");
    made.set_retry_after_ms(retry_after_ms);
    made.set_at_ms(5);
    return frame;
  }
  static v1::Frame refused(const std::string& code, std::uint32_t retry_after_ms = 0) {
    v1::Frame frame;
    frame.mutable_refused()->set_code(code);
    frame.mutable_refused()->set_retry_after_ms(retry_after_ms);
    return frame;
  }
  static v1::Frame enrol_result(v1::EnrolState state, std::uint32_t retry_after_ms = 0) {
    v1::Frame frame;
    frame.mutable_enrol_result()->set_state(state);
    frame.mutable_enrol_result()->set_agent_id("a1");
    frame.mutable_enrol_result()->set_code("enrol.why");
    frame.mutable_enrol_result()->set_retry_after_ms(retry_after_ms);
    return frame;
  }

  /// An outbox that holds `held`: offers what is wanted until nothing more goes, and returns what
  /// went, as "5" or "8(2)" for skipped.
  std::vector<std::string> flush(const std::set<std::uint64_t>& held, std::size_t body_bytes = 10) {
    std::vector<std::string> sent;
    for (int round = 0; round < 100; ++round) {
      const auto wanted = conversation_->wanted();
      if (!wanted) break;
      std::vector<v1::Report> reports;
      for (auto at = held.upper_bound(wanted->after);
           at != held.end() && reports.size() < wanted->count_max; ++at) {
        v1::Report& report = reports.emplace_back();
        report.set_sequence(*at);
        report.set_body(std::string(body_bytes, 'x'));
      }
      if (reports.empty() || !conversation_->publish(std::move(reports))) break;
      for (const Decision& decision : conversation_->take_decisions()) {
        const auto* frame = std::get_if<SendFrame>(&decision);
        if (!frame || !frame->frame.has_publish()) {
          others_.push_back(decision);
          continue;
        }
        std::string in_frame;
        for (const v1::Report& report : frame->frame.publish().reports()) {
          in_frame += (in_frame.empty() ? "" : " ") + std::to_string(report.sequence());
          if (report.skipped()) in_frame += "(" + std::to_string(report.skipped()) + ")";
        }
        sent.push_back(in_frame);
      }
    }
    return sent;
  }

  template <class T>
  std::vector<T> taken() {
    std::vector<T> found;
    for (const Decision& decision : conversation_->take_decisions()) {
      if (const T* wanted = std::get_if<T>(&decision)) found.push_back(*wanted);
    }
    return found;
  }
  v1::Frame::KindCase sent_kind() {
    const auto frames = taken<SendFrame>();
    return frames.size() == 1 ? frames[0].frame.kind_case() : v1::Frame::KIND_NOT_SET;
  }
  /// How long until the next OpenLink, found by moving the clock; then it is taken.
  std::chrono::milliseconds until_open(std::chrono::milliseconds most) {
    for (auto passed = 0ms; passed <= most; passed += 100ms) {
      conversation_->tick();
      opened_ = taken<OpenLink>();
      if (!opened_.empty()) return passed;
      clock_.advance(100ms);
    }
    return -1ms;
  }

  ManualClock clock_;
  ConversationConfig config_;
  std::optional<Conversation> conversation_;
  std::uint64_t stored_ = 0;
  std::uint32_t frame_bytes_max_ = 1 << 20, in_flight_max_ = 8;
  std::vector<Decision> others_;
  std::vector<OpenLink> opened_;
};

// ---- enrolment ----

TEST_F(ConversationTest, UnknownKeyEnrolsThenGreetsThenPublishes) {
  config_.enrolled = false;
  begin();
  EXPECT_EQ(taken<OpenLink>().size(), 1u);
  conversation_->connected();
  const auto frames = taken<SendFrame>();
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].frame.enrol().token(), "t");
  EXPECT_EQ(frames[0].frame.enrol().protocol_version(), 1u);
  conversation_->received(enrol_result(v1::ENROL_STATE_ACTIVE));
  EXPECT_EQ(sent_kind(), v1::Frame::kHello);
  EXPECT_FALSE(conversation_->wanted());
  conversation_->received(welcome());
  EXPECT_TRUE(conversation_->wanted());
}

TEST_F(ConversationTest, PendingAsksAgainAfterTheGatewaysTimeAndNotBefore) {
  config_.enrolled = false;
  begin().connected();
  conversation_->received(enrol_result(v1::ENROL_STATE_PENDING, 30'000));
  conversation_->take_decisions();
  clock_.advance(29s);
  conversation_->tick();
  EXPECT_THAT(taken<SendFrame>(), IsEmpty());
  clock_.advance(1s);
  conversation_->tick();
  EXPECT_EQ(sent_kind(), v1::Frame::kEnrol);
}

TEST_F(ConversationTest, PendingNeverAsksMoreOftenThanOurOwnLeast) {
  config_.enrolled = false;
  begin().connected();
  conversation_->received(enrol_result(v1::ENROL_STATE_PENDING, 0));
  conversation_->take_decisions();
  clock_.advance(900ms);
  conversation_->tick();
  EXPECT_THAT(taken<SendFrame>(), IsEmpty());
}

TEST_F(ConversationTest, AnApprovalThatComesUnaskedIsTaken) {
  config_.enrolled = false;
  begin().connected();
  conversation_->received(enrol_result(v1::ENROL_STATE_PENDING, 3'600'000));
  conversation_->take_decisions();
  conversation_->received(enrol_result(v1::ENROL_STATE_ACTIVE));
  EXPECT_EQ(sent_kind(), v1::Frame::kHello);
}

TEST_F(ConversationTest, RefusedEnrolmentTriesAgainOnlyAfterAnHour) {
  config_.enrolled = false;
  begin().connected();
  conversation_->received(enrol_result(v1::ENROL_STATE_REFUSED, 0));
  EXPECT_EQ(taken<CloseLink>().size(), 1u);
  const auto waited = until_open(2h);
  EXPECT_GE(waited, 1h);
  EXPECT_LE(waited, 1h + 1s);
}

TEST_F(ConversationTest, RefusedEnrolmentWithATimeTriesAgainThen) {
  config_.enrolled = false;
  begin().connected();
  conversation_->received(enrol_result(v1::ENROL_STATE_REFUSED, 90'000));
  conversation_->take_decisions();
  const auto waited = until_open(10min);
  EXPECT_GE(waited, 90s);
  EXPECT_LE(waited, 91s);
}

TEST_F(ConversationTest, SenselessAnswerToEnrolIsNotTakenForAYes) {
  config_.enrolled = false;
  begin().connected();
  conversation_->received(enrol_result(v1::ENROL_STATE_UNSPECIFIED));
  EXPECT_EQ(taken<CloseLink>().size(), 1u);
}

TEST_F(ConversationTest, GatewayThatForgotUsIsAskedToEnrolAgain) {
  begin().connected();
  conversation_->take_decisions();
  conversation_->received(refused("agent.unknown"));
  EXPECT_EQ(sent_kind(), v1::Frame::kEnrol);
}

TEST_F(ConversationTest, PendingSaidToAHelloWaitsAndThenEnrols) {
  begin().connected();
  conversation_->take_decisions();
  conversation_->received(refused("agent.pending", 5'000));
  EXPECT_FALSE(conversation_->wanted());
  clock_.advance(5s);
  conversation_->take_decisions();
  conversation_->tick();
  EXPECT_EQ(sent_kind(), v1::Frame::kEnrol);
}

TEST_F(ConversationTest, RevokedStopsAndLooksAgainOnceAnHour) {
  publishing().received(refused("agent.revoked"));
  const auto changes = taken<StateChanged>();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].state, "revoked");
  EXPECT_FALSE(conversation_->wanted());
  const auto waited = until_open(2h);
  EXPECT_GE(waited, 1h);
  EXPECT_LE(waited, 1h + 1s);
}

TEST_F(ConversationTest, KeyRefusedByCurveLooksAgainOnceAnHour) {
  begin().connection_lost(lost("link.auth_refused", Remedy::reject));
  conversation_->take_decisions();
  EXPECT_GE(until_open(2h), 1h);
}

// ---- connections ----

TEST_F(ConversationTest, FailedConnectionTriesTheNextGatewayWithGrowingPauses) {
  begin();
  EXPECT_EQ(taken<OpenLink>()[0].endpoint, 0u);
  conversation_->connection_lost(lost("link.unreachable"));
  conversation_->take_decisions();
  const auto first = until_open(5min);
  EXPECT_GE(first, 1s);
  EXPECT_EQ(opened_[0].endpoint, 1u);
  conversation_->connection_lost(lost("link.unreachable"));
  conversation_->take_decisions();
  EXPECT_GE(until_open(5min), 1s);
  EXPECT_EQ(opened_[0].endpoint, 0u);
}

TEST_F(ConversationTest, ConnectionThatStoodComesBackToTheSameGatewayInItsSlot) {
  publishing();
  clock_.advance(31s);
  conversation_->connection_lost(lost());
  conversation_->take_decisions();
  const auto waited = until_open(5min);
  EXPECT_GE(waited, 7s);
  EXPECT_LE(waited, 7100ms);
  EXPECT_EQ(opened_[0].endpoint, 0u);
}

TEST_F(ConversationTest, DrainedConnectionComesBackInTheDrainsSlot) {
  publishing();
  clock_.advance(31s);
  v1::Frame drain;
  drain.mutable_drain()->set_reconnect_slot_ms(45'000);
  conversation_->received(drain);
  EXPECT_EQ(taken<CloseLink>().size(), 1u);
  const auto waited = until_open(5min);
  EXPECT_GE(waited, 45s);
  EXPECT_LE(waited, 45100ms);
}

TEST_F(ConversationTest, GatewayThatDropsUsAgainAndAgainIsNotHammered) {
  publishing();
  auto total = 0ms;
  for (int i = 0; i < 5; ++i) {
    v1::Frame drain;
    drain.mutable_drain();  // come back at once, it says
    conversation_->received(drain);
    conversation_->take_decisions();
    const auto waited = until_open(5min);
    ASSERT_GE(waited, 1s);
    total += waited;
    conversation_->connected();
    conversation_->received(welcome());
    conversation_->take_decisions();
  }
  EXPECT_GE(total, 5s);
}

TEST_F(ConversationTest, ConnectionThatNeverComesIsGivenUp) {
  begin();
  conversation_->take_decisions();
  clock_.advance(25s);
  conversation_->tick();
  EXPECT_EQ(taken<CloseLink>().size(), 1u);
}

TEST_F(ConversationTest, SilenceAfterHelloIsALostConnection) {
  begin().connected();
  conversation_->take_decisions();
  clock_.advance(30s);
  conversation_->tick();
  EXPECT_EQ(taken<CloseLink>().size(), 1u);
}

TEST_F(ConversationTest, PingsAfterSilenceAndLeavesADeadPeer) {
  publishing();
  clock_.advance(59s);
  conversation_->tick();
  EXPECT_THAT(taken<SendFrame>(), IsEmpty());
  clock_.advance(1s);
  EXPECT_LE(conversation_->next_due(), clock_.steady());
  conversation_->tick();
  EXPECT_EQ(sent_kind(), v1::Frame::kPing);
  clock_.advance(30s);
  conversation_->tick();
  EXPECT_EQ(taken<CloseLink>().size(), 1u);
}

TEST_F(ConversationTest, PongKeepsTheConnection) {
  publishing();
  clock_.advance(60s);
  conversation_->tick();
  v1::Frame pong;
  pong.mutable_pong()->set_nonce(1);
  conversation_->received(pong);
  clock_.advance(31s);
  conversation_->tick();
  EXPECT_THAT(taken<CloseLink>(), IsEmpty());
}

TEST_F(ConversationTest, FramesOfANewerGatewayAreIgnored) {
  publishing().received(v1::Frame());
  conversation_->received(receipt(static_cast<v1::ReceiptStatus>(99), 1, 1));
  EXPECT_THAT(conversation_->take_decisions(), IsEmpty());
}

TEST_F(ConversationTest, FramesAfterTheEndOfTheConnectionAreNotHeard) {
  publishing().connection_lost(lost());
  conversation_->take_decisions();
  conversation_->received(welcome());
  EXPECT_THAT(conversation_->take_decisions(), IsEmpty());
}

// ---- reports ----

TEST_F(ConversationTest, ManySmallReportsTravelTogetherUpToInFlightMax) {
  publishing();
  EXPECT_THAT(flush({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), ElementsAre("1 2 3 4 5 6 7 8"));
  conversation_->received(receipt(v1::RECEIPT_STATUS_STORED, 1, 3));
  const auto stored = taken<ReportsStored>();
  ASSERT_EQ(stored.size(), 1u);
  EXPECT_EQ(stored[0].last, 3u);
  EXPECT_THAT(flush({4, 5, 6, 7, 8, 9, 10}), ElementsAre("9 10"));
}

TEST_F(ConversationTest, FramesStayBelowTheGatewaysBound) {
  frame_bytes_max_ = 2'000;
  publishing();
  EXPECT_THAT(flush({1, 2, 3, 4}, 700), ElementsAre("1 2", "3 4"));
}

TEST_F(ConversationTest, ReportThatCannotFitIsToldAndSkipped) {
  frame_bytes_max_ = 2'000;
  publishing();
  flush({1}, 5'000);
  ASSERT_EQ(others_.size(), 100u);  // our outbox here never forgets; the agent's does
  const auto& settled = std::get<ReportsSettled>(others_[0]);
  EXPECT_EQ(settled.code, "report.too_large");
  EXPECT_EQ(settled.first, 1u);
  EXPECT_THAT(flush({2}), ElementsAre("2(1)"));
}

TEST_F(ConversationTest, WhatLeftTheOutboxIsSkippedAloud) {
  publishing();
  EXPECT_THAT(flush({3, 4, 7}), ElementsAre("3(2) 4 7(2)"));
}

TEST_F(ConversationTest, WelcomePrunesAndContinuesAfterWhatIsStored) {
  stored_ = 5;
  begin().connected();
  conversation_->received(welcome());
  const auto stored = taken<ReportsStored>();
  ASSERT_EQ(stored.size(), 1u);
  EXPECT_EQ(stored[0].first, 1u);
  EXPECT_EQ(stored[0].last, 5u);
  EXPECT_THAT(flush({6, 7}), ElementsAre("6 7"));
}

TEST_F(ConversationTest, UnreceiptedReportsGoAgainAfterAReconnect) {
  publishing();
  EXPECT_THAT(flush({1, 2, 3}), ElementsAre("1 2 3"));
  conversation_->connection_lost(lost());
  until_open(5min);
  conversation_->connected();
  stored_ = 1;
  conversation_->received(welcome());
  conversation_->take_decisions();
  EXPECT_THAT(flush({2, 3}), ElementsAre("2 3"));
}

TEST_F(ConversationTest, ResendGoesBackToExactlyWhatTheGatewayLacks) {
  publishing();
  flush({1, 2, 3, 4, 5});
  conversation_->received(receipt(v1::RECEIPT_STATUS_RESEND, 3, 5));
  EXPECT_THAT(flush({1, 2, 3, 4, 5}), ElementsAre("3 4 5"));
  // The same again, after the first of them has gone for good.
  conversation_->received(receipt(v1::RECEIPT_STATUS_RESEND, 3, 5));
  EXPECT_THAT(flush({4, 5}), ElementsAre("4(1) 5"));
}

TEST_F(ConversationTest, ThrottledReportsWaitAndKeepTheirSkipped) {
  publishing();
  EXPECT_THAT(flush({1, 2, 5, 6}), ElementsAre("1 2 5(2) 6"));
  conversation_->received(receipt(v1::RECEIPT_STATUS_STORED, 1, 2));
  conversation_->received(receipt(v1::RECEIPT_STATUS_THROTTLED, 5, 6, 4'000));
  EXPECT_FALSE(conversation_->wanted());
  EXPECT_EQ(conversation_->next_due(), clock_.steady() + 4s);
  clock_.advance(4s);
  EXPECT_THAT(flush({5, 6}), ElementsAre("5(2) 6"));
}

TEST_F(ConversationTest, StoredAfterAllIsNotSentAThirdTime) {
  publishing();
  flush({1, 2});
  conversation_->received(receipt(v1::RECEIPT_STATUS_RESEND, 1, 2));
  conversation_->received(receipt(v1::RECEIPT_STATUS_STORED, 1, 2));
  EXPECT_THAT(flush({3}), ElementsAre("3"));
}

TEST_F(ConversationTest, MissingReceiptsAreAskedForBySendingAgain) {
  publishing();
  flush({1, 2});
  clock_.advance(119s);
  conversation_->tick();
  EXPECT_THAT(flush({1, 2}), IsEmpty());
  clock_.advance(1s);
  conversation_->tick();
  EXPECT_THAT(flush({1, 2}), ElementsAre("1 2"));
}

struct Outcome {
  v1::ReceiptStatus status;
  const char* told;
};
class SettlingReceipts : public ConversationTest, public ::testing::WithParamInterface<Outcome> {};

TEST_P(SettlingReceipts, EndTheReportAndFreeItsPlace) {
  in_flight_max_ = 1;
  publishing();
  EXPECT_THAT(flush({1, 2}), ElementsAre("1"));
  conversation_->received(receipt(GetParam().status, 1, 1));
  const auto settled = taken<ReportsSettled>();
  ASSERT_EQ(settled.size(), 1u);
  EXPECT_EQ(settled[0].status, GetParam().told);
  EXPECT_EQ(settled[0].code, "why");
  EXPECT_THAT(flush({2}), ElementsAre("2"));
}

INSTANTIATE_TEST_SUITE_P(Every, SettlingReceipts,
                         ::testing::Values(Outcome{v1::RECEIPT_STATUS_DELIVERED, "delivered"},
                                           Outcome{v1::RECEIPT_STATUS_REJECTED, "rejected"},
                                           Outcome{v1::RECEIPT_STATUS_SUPERSEDED, "superseded"},
                                           Outcome{v1::RECEIPT_STATUS_EXPIRED, "expired"}),
                         [](const auto& chosen) { return std::string(chosen.param.told); });

TEST_F(ConversationTest, ReceiptsOfAnotherIncarnationAreNotOurs) {
  publishing();
  flush({1});
  conversation_->received(receipt(v1::RECEIPT_STATUS_STORED, 1, 1, 0, incarnation + 1));
  EXPECT_THAT(conversation_->take_decisions(), IsEmpty());
}

TEST_F(ConversationTest, ReceiptsForWhatWasNeverSentForgetNothing) {
  publishing();
  flush({1, 2});
  conversation_->received(receipt(v1::RECEIPT_STATUS_STORED, 1, ~0ull));
  const auto stored = taken<ReportsStored>();
  ASSERT_EQ(stored.size(), 1u);
  EXPECT_EQ(stored[0].last, 2u);
  conversation_->received(receipt(v1::RECEIPT_STATUS_STORED, 50, 60));
  EXPECT_THAT(taken<ReportsStored>(), IsEmpty());
}

TEST_F(ConversationTest, GatewayThatKnowsMoreThanWeEverMadeMeansAnOldCopy) {
  stored_ = 101;  // given: 100
  begin().connected();
  conversation_->take_decisions();
  conversation_->received(welcome());
  bool renew = false, forgot = false;
  for (const Decision& decision : conversation_->take_decisions()) {
    renew = renew || std::holds_alternative<RenewIncarnation>(decision);
    forgot = forgot || std::holds_alternative<ReportsStored>(decision);
  }
  EXPECT_TRUE(renew);
  EXPECT_FALSE(forgot);
  conversation_->renewed(78);
  until_open(5min);
  conversation_->connected();
  const auto frames = taken<SendFrame>();
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].frame.hello().incarnation(), 78u);
}

// ---- refusals ----

TEST_F(ConversationTest, RefusedFrameIsTakenApartUntilTheReportToBlameStandsAlone) {
  publishing();
  EXPECT_THAT(flush({1, 2}), ElementsAre("1 2"));
  conversation_->received(refused("frame.too_large"));
  EXPECT_THAT(taken<ReportsSettled>(), IsEmpty());
  EXPECT_THAT(flush({1, 2}), ElementsAre("1"));
  conversation_->received(receipt(v1::RECEIPT_STATUS_STORED, 1, 1));
  EXPECT_THAT(flush({2}), ElementsAre("2"));
  conversation_->take_decisions();
  conversation_->received(refused("frame.too_large"));
  const auto settled = taken<ReportsSettled>();
  ASSERT_EQ(settled.size(), 1u);
  EXPECT_EQ(settled[0].first, 2u);
  EXPECT_EQ(settled[0].status, "rejected");
  EXPECT_EQ(settled[0].code, "frame.too_large");
  EXPECT_THAT(flush({3}), ElementsAre("3(1)"));
}

TEST_F(ConversationTest, UnknownRefusalPausesAndOffersAgain) {
  publishing();
  flush({1});
  conversation_->received(refused("agent.rate", 9'000));
  EXPECT_FALSE(conversation_->wanted());
  clock_.advance(9s);
  EXPECT_THAT(flush({1}), ElementsAre("1"));
}

TEST_F(ConversationTest, GatewayThatForgotTheConnectionIsGreetedAgain) {
  publishing();
  flush({1, 2});
  conversation_->received(refused("agent.hello_first"));
  EXPECT_EQ(sent_kind(), v1::Frame::kHello);
  conversation_->received(welcome());
  conversation_->take_decisions();
  EXPECT_THAT(flush({1, 2}), ElementsAre("1 2"));
}

TEST_F(ConversationTest, MachineWhoseKeyAnotherOneHasStepsBack) {
  publishing().received(refused("agent.replaced"));
  const auto changes = taken<StateChanged>();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].state, "replaced");
  EXPECT_GE(until_open(10min), 5min);
}

TEST_F(ConversationTest, RefusedGreetingTriesTheOtherGateway) {
  begin().connected();
  conversation_->take_decisions();
  conversation_->received(refused("hello.version", 2'000));
  conversation_->take_decisions();
  EXPECT_GE(until_open(10min), 2s);
  EXPECT_EQ(opened_[0].endpoint, 1u);
}

// ---- pushes ----

v1::Frame push(std::uint64_t id, int task) {
  v1::Frame frame;
  frame.mutable_notification()->set_notification_id(id);
  frame.mutable_notification()->set_task(static_cast<v1::Task>(task));
  return frame;
}

TEST_F(ConversationTest, PushesArePassedOnAndAnswersSentOnceWelcomed) {
  v1::TaskResult result;
  result.set_notification_id(9);
  result.set_outcome(v1::TASK_OUTCOME_COMPLETED);
  begin().connected();
  conversation_->take_decisions();
  conversation_->received(push(9, v1::TASK_HARDWARE_INVENTORY));
  EXPECT_THAT(conversation_->take_decisions(), IsEmpty());
  EXPECT_FALSE(conversation_->tell(result));
  conversation_->received(welcome());
  conversation_->take_decisions();
  conversation_->received(push(9, v1::TASK_HARDWARE_INVENTORY));
  conversation_->received(push(9, v1::TASK_HARDWARE_INVENTORY));
  const auto asked = taken<TaskAsked>();
  ASSERT_EQ(asked.size(), 2u) << "whether it is a repeat, the desk knows";
  EXPECT_EQ(asked[0].asked.notification_id(), 9u);
  EXPECT_TRUE(conversation_->tell(result));
  const auto sent = taken<SendFrame>();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].frame.task_result().outcome(), v1::TASK_OUTCOME_COMPLETED);
  conversation_->connection_lost(lost());
  EXPECT_FALSE(conversation_->tell(result));
}

TEST_F(ConversationTest, DirectionsArePassedOnOnceWelcomed) {
  v1::Frame directions;
  directions.mutable_directions()->set_software_inventory_interval_s(3'600);
  begin().connected();
  conversation_->take_decisions();
  conversation_->received(directions);
  EXPECT_THAT(conversation_->take_decisions(), IsEmpty());
  conversation_->received(welcome());
  conversation_->take_decisions();
  conversation_->received(directions);
  const auto decisions = conversation_->take_decisions();
  ASSERT_EQ(decisions.size(), 1u);
  const auto* directed = std::get_if<Directed>(&decisions[0]);
  ASSERT_TRUE(directed);
  EXPECT_EQ(directed->directions.software_inventory_interval_s(), 3'600u);
}

TEST_F(ConversationTest, FullStateWantedIsPassedOn) {
  v1::Frame frame;
  frame.mutable_full_state_wanted()->set_reason("lost it");
  publishing().received(frame);
  ASSERT_EQ(taken<SendFullState>().size(), 1u);
  v1::Frame greeting = welcome();
  greeting.mutable_welcome()->set_full_state_wanted(true);
  begin().connected();
  conversation_->received(greeting);
  EXPECT_EQ(taken<SendFullState>().size(), 1u);
}

}  // namespace
}  // namespace greengate::agent
