#include "adapters/bgb/session.h"

#include "adapters/bgb/handshake_budget.h"
#include "adapters/bgb/timer_wheel.h"
#include "tests/adapters/bgb/session_stage.h"
#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace greengate::test {
namespace {

using namespace adapters::bgb;

TEST_F(BgbSession, SignsInAndGoesOnlineWithTheConfirmation) {
  session->open(now(), *this);
  EXPECT_EQ(session->state(), SessionState::queued);
  session->attempt_started(now());
  EXPECT_EQ(session->state(), SessionState::connecting);
  session->connected(now(), SmsId("GUID:1"));
  EXPECT_EQ(session->state(), SessionState::securing);
  session->secured(now(), *this);
  receive(message(Kind::sign_in_confirm));
  EXPECT_EQ(session->state(), SessionState::online);
  EXPECT_EQ(diary, (Diary{"queue", "sign_in v0", "online"}));
}

TEST_F(BgbSession, IsOnlineAtOnceWhenNoConfirmationIsRequired) {
  rules.confirm_required = false;
  make();
  session->open(now(), *this);
  session->attempt_started(now());
  session->connected(now(), SmsId("GUID:1"));
  session->secured(now(), *this);
  EXPECT_EQ(session->state(), SessionState::online);
}

TEST_F(BgbSession, SpreadsItsStartOverTheWindow) {
  rules.start_window = seconds(30);
  make();
  session->open(now(), *this);
  EXPECT_EQ(session->state(), SessionState::backoff);
  EXPECT_LE(until_due(), seconds(30));
  clock.advance(seconds(30));
  session->tick(now(), *this);
  EXPECT_EQ(diary, Diary{"queue"});
}

// Each state's own patience, and the code it ends with.
TEST_F(BgbSession, WaitsNoLongerThanItsRulesInEveryState) {
  session->open(now(), *this);
  session->attempt_started(now());
  EXPECT_EQ(until_due(), rules.connect_timeout);
  clock.advance(rules.connect_timeout);
  session->tick(now(), *this);
  EXPECT_EQ(session->state(), SessionState::backoff);
  EXPECT_STREQ(session->last_error()->code, "bgb.connect_timeout");

  clock.advance(until_due());
  session->tick(now(), *this);
  session->attempt_started(now());
  session->connected(now(), SmsId("GUID:1"));
  EXPECT_EQ(until_due(), rules.tls_timeout);
  clock.advance(rules.tls_timeout);
  session->tick(now(), *this);
  EXPECT_STREQ(session->last_error()->code, "bgb.tls_timeout");

  reach_signing_in();
  EXPECT_EQ(until_due(), rules.sign_in_timeout);
  clock.advance(rules.sign_in_timeout);
  session->tick(now(), *this);
  EXPECT_STREQ(session->last_error()->code, "bgb.signin_timeout");
  EXPECT_EQ(session->state(), SessionState::backoff);
}

TEST_F(BgbSession, TriesEachAddressAndThenTheNextServer) {
  addresses = 3;
  session->open(now(), *this);
  for (int i = 0; i < 2; ++i) {
    session->attempt_started(now());
    fail_with("bgb.connect");
    EXPECT_EQ(session->state(), SessionState::queued);
    EXPECT_EQ(session->server_turn(), 0u);
  }
  session->attempt_started(now());
  fail_with("bgb.connect");
  EXPECT_EQ(session->state(), SessionState::backoff);
  EXPECT_EQ(session->server_turn(), 1u);
  EXPECT_EQ(count("queue"), 3u);
}

TEST_F(BgbSession, BacksOffBetweenBaseAndCapAndStartsSmallAfterAStableTime) {
  for (int i = 0; i < 12; ++i) {
    reach_signing_in();
    fail_with("bgb.lost");
    EXPECT_GE(until_due(), seconds(60));
    EXPECT_LE(until_due(), seconds(3'600));
  }
  reach_online();
  clock.advance(minutes(10));
  fail_with("bgb.lost");
  EXPECT_LE(until_due(), seconds(180)) << "after ten minutes up the back-off starts small";
  EXPECT_EQ(session->server_turn(), 0u);
  EXPECT_EQ(count("offline bgb.lost"), 1u);
}

TEST_F(BgbSession, RaisesAnAlarmAtTheThirdRefusalInARow) {
  const auto refuse = [&](int how) {
    reach_signing_in();
    if (how == 0) fail_with("bgb.lost");
    if (how == 1) receive(message(Kind::disconnect));
    if (how == 2) {
      clock.advance(rules.sign_in_timeout);
      session->tick(now(), *this);
    }
  };
  refuse(0);
  refuse(1);
  EXPECT_EQ(count("alarm refused"), 0u);
  refuse(2);
  EXPECT_EQ(count("alarm refused"), 1u);
  reach_online();
  fail_with("bgb.lost");
  refuse(0);
  refuse(0);
  EXPECT_EQ(count("alarm refused"), 0u) << "a success in between starts the count anew";
}

TEST_F(BgbSession, LeavesAServerThatIsNotItsOwnInOrderAndComesBackSoon) {
  const auto moved = [&] { session->relocate(now(), Error{Remedy::retry, "bgb.moved", "x", {}}, *this); };
  moved();
  EXPECT_EQ(session->state(), SessionState::off) << "nobody wants it";
  reach_signing_in();
  fail_with("bgb.lost");
  fail_with("bgb.lost");
  EXPECT_EQ(session->server_turn(), 1u);
  reach_online();
  moved();
  EXPECT_EQ(diary, (Diary{"close", "offline bgb.moved"}));
  EXPECT_EQ(session->state(), SessionState::backoff);
  EXPECT_LE(until_due(), seconds(60)) << "anywhere in the base";
  EXPECT_EQ(session->server_turn(), 0u) << "its first choice among the new ones";
  for (int i = 0; i < 10; ++i) {
    reach_signing_in();
    fail_with("bgb.lost");
  }
  session->relocate(now(), Error{Remedy::retry, "bgb.moved", "x", {}}, *this);
  EXPECT_LE(until_due(), seconds(60)) << "a long wait was for the old ones";
  EXPECT_STREQ(session->last_error()->code, "bgb.lost");
}

TEST_F(BgbSession, TakesDisconnectAsAnOrderlyRequest) {
  reach_online();
  receive(message(Kind::disconnect));
  EXPECT_EQ(diary, (Diary{"close", "offline bgb.disconnected"}));
  EXPECT_GE(until_due(), seconds(60));
  EXPECT_LE(until_due(), seconds(180));
}

TEST_F(BgbSession, TriesTheNextVersionOnceThenWaitsLongAndSaysSo) {
  rules.version_count = 3;
  make();
  reach_signing_in();
  receive(message(Kind::negotiation_needed));
  EXPECT_EQ(session->state(), SessionState::queued) << "at once, through the handshake budget";
  EXPECT_EQ(session->version_index(), 1u);
  EXPECT_EQ(session->server_turn(), 0u);
  session->attempt_started(now());
  session->connected(now(), SmsId("GUID:1"));
  session->secured(now(), *this);
  receive(message(Kind::negotiation_needed));
  EXPECT_EQ(session->state(), SessionState::backoff);
  EXPECT_EQ(count("alarm version"), 1u);
  EXPECT_STREQ(session->last_error()->code, "bgb.version");
  EXPECT_GE(until_due(), rules.backoff.cap * 9 / 10);
  EXPECT_EQ(count("sign_in v1"), 1u);
}

TEST_F(BgbSession, SendsKeepAlivesWithinTheIntervalAndRestartsItWithAnythingSent) {
  reach_online();
  EXPECT_LE(until_due(), rules.keepalive);
  clock.advance(until_due());
  session->tick(now(), *this);
  EXPECT_EQ(count("keep_alive"), 1u);
  EXPECT_GE(until_due(), rules.keepalive * 9 / 10);
  EXPECT_LE(until_due(), rules.keepalive);

  clock.advance(until_due() - seconds(1));
  receive(request(1, 1));
  session->respond(now(), 1, 1, true, *this);
  EXPECT_GE(until_due(), rules.keepalive * 9 / 10) << "an answer restarts the interval";
  clock.advance(seconds(2));
  session->tick(now(), *this);
  EXPECT_EQ(count("keep_alive"), 1u);
}

TEST_F(BgbSession, SpreadsTheFirstKeepAliveOfAFleetEvenly) {
  std::vector<int> buckets(10);
  for (std::uint64_t seed = 0; seed < 1'000; ++seed) {
    session.emplace(rules, memory, seed * 0x9E3779B97F4A7C15ull);
    reach_online();
    ++buckets[std::min<std::size_t>(9,
                                    static_cast<std::size_t>(until_due() * 10 / rules.keepalive))];
  }
  for (const int sessions : buckets) {
    EXPECT_GT(sessions, 50);
    EXPECT_LT(sessions, 200);
  }
}

TEST_F(BgbSession, HandsEachPushOnOnceAndAnswersEveryCopyAlike) {
  reach_online();
  receive(request(13, 14));
  EXPECT_EQ(diary, Diary{"deliver 13"});
  receive(request(13, 14));  // still in hand: one answer is owed per copy
  session->respond(now(), 13, 14, true, *this);
  EXPECT_EQ(diary, (Diary{"deliver 13", "response 13/14 ok", "response 13/14 ok"}));
  receive(request(13, 14));
  EXPECT_EQ(count("response 13/14 ok"), 3u);
  EXPECT_EQ(count("deliver 13"), 1u);

  clock.advance(std::chrono::hours(24) + seconds(1));
  receive(request(13, 14));
  EXPECT_EQ(count("deliver 13"), 2u) << "after a day the push is forgotten";
}

TEST_F(BgbSession, KnowsAPushByItsGuidWhenItHasOne) {
  reach_online();
  receive(request(13, 14, "aaaa"));
  session->respond(now(), 13, 14, true, *this);
  receive(request(20, 21, "{AAAA}"));
  EXPECT_EQ(count("deliver 20"), 0u) << "the same operation under new ids";
  EXPECT_EQ(count("response 20/21 ok"), 1u);
  receive(request(13, 14, "BBBB"));
  EXPECT_EQ(count("deliver 13"), 2u)
      << "another operation under old ids: the site counts from 1 again";
}

TEST_F(BgbSession, AnswersWithTheFailureCodeWhenNobodyDoesInTime) {
  reach_online();
  receive(request(1, 1));
  ASSERT_EQ(session->answer_due(), now() + rules.answer_timeout);
  clock.advance(rules.answer_timeout - milliseconds(1));
  session->tick(now(), *this);
  EXPECT_EQ(count("response 1/1 failed"), 0u);
  clock.advance(milliseconds(1));
  session->tick(now(), *this);
  EXPECT_EQ(count("response 1/1 failed"), 1u);
  EXPECT_TRUE(noted(SessionNote::push_unanswered));
  session->respond(now(), 1, 1, true, *this);
  EXPECT_TRUE(noted(SessionNote::answer_late));
  EXPECT_EQ(count("response 1/1 ok"), 0u);
  receive(request(1, 1));
  EXPECT_EQ(count("response 1/1 failed"), 2u) << "a duplicate gets the same code";
}

TEST_F(BgbSession, AnswersAPushOfALostConnectionOnlyWhenItIsPushedAgain) {
  reach_online();
  receive(request(1, 1));
  receive(request(2, 2));
  fail_with("bgb.lost");
  session->respond(now(), 1, 1, true, *this);
  EXPECT_EQ(count("response 1/1 ok"), 0u) << "there is no connection";
  reach_online();
  EXPECT_TRUE(diary.empty());
  receive(request(1, 1));
  EXPECT_EQ(diary, Diary{"response 1/1 ok"});
  receive(request(2, 2));
  EXPECT_EQ(count("deliver 2"), 0u) << "it was handed on before";
  session->respond(now(), 2, 2, false, *this);
  EXPECT_EQ(count("response 2/2 failed"), 1u);
}

TEST_F(BgbSession, KeepsPushesThatComeBeforeTheConfirmation) {
  reach_signing_in();
  receive(request(1, 1));
  EXPECT_EQ(count("deliver 1"), 0u);
  receive(message(Kind::sign_in_confirm));
  EXPECT_EQ(diary, (Diary{"queue", "sign_in v0", "online", "deliver 1"}));
}

TEST_F(BgbSession, AnswersFailureAboveItsBoundOfPushesInHand) {
  rules.pending_pushes_max = 3;
  make();
  reach_online();
  for (std::uint64_t i = 1; i <= 5; ++i) receive(request(i, i));
  EXPECT_EQ(count("deliver 3"), 1u);
  EXPECT_EQ(count("deliver 4"), 0u);
  EXPECT_EQ(count("response 4/4 failed"), 1u);
  EXPECT_EQ(count("response 5/5 failed"), 1u);
  EXPECT_EQ(session->pending(), 3u);
}

TEST_F(BgbSession, StaysConnectedWhenAPushIsIncompleteOrAMessageUnexpected) {
  reach_online();
  Message no_type = request(5, 6);
  no_type.present = {};
  no_type.present.add(Member::push_id);
  receive(no_type);
  EXPECT_TRUE(diary.empty()) << "without ids there is nothing to answer with";
  no_type.present.add(Member::task_id);
  receive(no_type);
  EXPECT_EQ(diary, Diary{"response 5/6 failed"});
  EXPECT_EQ(std::count(notes.begin(), notes.end(), SessionNote::push_incomplete), 2);
  for (const Kind kind : {Kind::sign_in, Kind::keep_alive, Kind::response, Kind::unknown})
    receive(message(kind));
  EXPECT_EQ(std::count(notes.begin(), notes.end(), SessionNote::unexpected_message), 4);
  receive(message(Kind::sign_in_confirm));
  EXPECT_TRUE(noted(SessionNote::confirm_again));
  EXPECT_EQ(session->state(), SessionState::online);
}

TEST_F(BgbSession, AnswersWhatIsInHandBeforeItLeaves) {
  reach_online();
  receive(request(1, 1));
  session->shut(now(), *this);
  EXPECT_EQ(session->state(), SessionState::draining);
  receive(request(2, 2));
  EXPECT_EQ(count("deliver 2"), 0u);
  session->respond(now(), 1, 1, true, *this);
  EXPECT_EQ(diary, (Diary{"deliver 1", "response 1/1 ok", "close", "offline bgb.closed"}));
  EXPECT_EQ(session->state(), SessionState::off);
  EXPECT_FALSE(session->due());
}

TEST_F(BgbSession, LeavesWithinTheAnswerTimeoutAtTheLatest) {
  reach_online();
  receive(request(1, 1));
  session->shut(now(), *this);
  clock.advance(rules.answer_timeout);
  session->tick(now(), *this);
  EXPECT_EQ(session->state(), SessionState::off);
  EXPECT_EQ(count("response 1/1 failed"), 1u);
}

TEST_F(BgbSession, ComesBackWhenWantedAgainWhileLeaving) {
  reach_online();
  receive(request(1, 1));
  session->shut(now(), *this);
  session->open(now(), *this);
  session->respond(now(), 1, 1, true, *this);
  EXPECT_EQ(session->state(), SessionState::queued);
  EXPECT_EQ(diary.back(), "queue");
}

TEST_F(BgbSession, CanBeShutInEveryState) {
  for (const int steps : {0, 1, 2, 3, 4, 5}) {
    make();
    if (steps > 0) session->open(now(), *this);
    if (steps > 1) session->attempt_started(now());
    if (steps > 2) session->connected(now(), SmsId("GUID:1"));
    if (steps > 3) session->secured(now(), *this);
    if (steps > 4) fail_with("bgb.lost");
    session->shut(now(), *this);
    EXPECT_EQ(session->state(), SessionState::off) << steps;
    EXPECT_FALSE(session->due()) << steps;
  }
}

TEST(BgbPushMemory, ForgetsTheOldestAtItsBoundAndCountsIt) {
  ManualClock clock;
  PushMemoryInRam memory(2, std::chrono::hours(24), clock);
  const auto key = [](std::uint64_t id) {
    return push_key(SmsId("GUID:1"), BgbPush{id, id, "", 1, ""});
  };
  for (std::uint64_t id = 1; id <= 3; ++id) memory.remember(key(id), PushFate::succeeded);
  EXPECT_FALSE(memory.find(key(1)));
  EXPECT_EQ(memory.find(key(3)), PushFate::succeeded);
  EXPECT_EQ(memory.size(), 2u);
  EXPECT_EQ(memory.forgotten(), 1u);
}

TEST(BgbPushMemory, KeepsOneClientsPushesApartFromAnothers) {
  const BgbPush push{1, 2, "G", 1, ""};
  EXPECT_FALSE(push_key(SmsId("GUID:1"), push) == push_key(SmsId("GUID:2"), push));
}

TEST(BgbTimerWheel, FiresNeverEarlyAndAtMostATickLate) {
  ManualClock clock;
  TimerWheel wheel(seconds(1), clock.steady());
  std::vector<WheelTimer> timers(6);
  const milliseconds waits[] = {milliseconds(1), milliseconds(999), milliseconds(1'500),
                                seconds(60),     seconds(4'095),    seconds(9'000)};
  const auto start = clock.steady();
  for (std::size_t i = 0; i < timers.size(); ++i) wheel.arm(timers[i], start + waits[i]);
  std::vector<milliseconds> fired(timers.size(), milliseconds(-1));
  for (int tick = 0; tick < 9'100; ++tick) {
    clock.advance(seconds(1));
    for (const WheelTimer* timer : wheel.advance(clock.steady()))
      fired[static_cast<std::size_t>(timer - timers.data())] =
          std::chrono::duration_cast<milliseconds>(clock.steady() - start);
  }
  for (std::size_t i = 0; i < timers.size(); ++i) {
    EXPECT_GE(fired[i], waits[i]);
    EXPECT_LE(fired[i], waits[i] + seconds(1));
  }
}

TEST(BgbTimerWheel, ForgetsDisarmedTimersAndSurvivesALongPause) {
  ManualClock clock;
  TimerWheel wheel(seconds(1), clock.steady());
  WheelTimer one, other, moved;
  wheel.arm(one, clock.steady() + seconds(5));
  wheel.arm(other, clock.steady() + seconds(5'000));
  wheel.arm(moved, clock.steady() + seconds(5));
  wheel.arm(moved, clock.steady() + seconds(200'000));
  wheel.disarm(one);
  clock.advance(seconds(100'000));
  const auto due = wheel.advance(clock.steady());
  EXPECT_EQ(due, std::vector<WheelTimer*>{&other});
  EXPECT_FALSE(one.armed);
  EXPECT_TRUE(moved.armed);
}

TEST(BgbHandshakeBudget, GivesNoMoreThanItsRatePlusATenthOfASecond) {
  ManualClock clock;
  HandshakeBudget budget(200, clock.steady());
  int taken = 0;
  for (int ms = 0; ms < 3'000; ++ms) {
    while (budget.take(clock.steady())) ++taken;
    EXPECT_GT(budget.wait(clock.steady()), milliseconds(0));
    clock.advance(milliseconds(1));
  }
  EXPECT_LE(taken, 620);
  EXPECT_GE(taken, 580);
}

TEST_F(BgbSession, TakesAnotherWayAtOnceWhenEveryAddressFailed) {
  addresses = 2;
  other_way = true;
  session->open(now(), *this);
  session->attempt_started(now());
  fail_with("bgb.connect");
  EXPECT_EQ(session->state(), SessionState::queued) << "the other address first";
  session->attempt_started(now());
  fail_with("bgb.connect");
  EXPECT_EQ(session->state(), SessionState::queued);
  EXPECT_EQ(diary.back(), "queue");
  EXPECT_EQ(count("fall back"), 1u);
  session->attempt_started(now());
  fail_with("bgb.connect");
  EXPECT_EQ(session->state(), SessionState::backoff) << "both ways failed";
  EXPECT_EQ(session->server_turn(), 1u) << "and the next server is asked";
}

TEST_F(BgbSession, AnIdentityThatIsMissingIsMissingOnEveryWay) {
  other_way = true;
  session->open(now(), *this);
  session->attempt_started(now());
  session->failed(now(), Error{Remedy::retry, "bgb.identity", "x", {}}, false, *this);
  EXPECT_EQ(session->state(), SessionState::backoff);
  EXPECT_EQ(count("fall back"), 0u);
}

TEST_F(BgbSession, AServerThatCannotHaveUsNowRefusedNobody) {
  for (int i = 0; i < 6; ++i) {
    reach_signing_in();
    session->unavailable(now(), Error{Remedy::retry, "bgb.http_busy", "x", minutes(90)}, *this);
    ASSERT_EQ(session->state(), SessionState::backoff);
    EXPECT_GE(until_due(), minutes(90)) << "the server's own wish";
  }
  EXPECT_EQ(count("alarm refused"), 0u);
}

TEST_F(BgbSession, ABetterWayIsTakenWithoutABackoff) {
  reach_online();
  session->reconnect(now(), Error{Remedy::retry, "bgb.back_to_tcp", "x", {}}, *this);
  EXPECT_EQ(session->state(), SessionState::queued);
  EXPECT_EQ(diary, (Diary{"close", "offline bgb.back_to_tcp", "queue"}));
  EXPECT_EQ(session->server_turn(), 0u);
  session->reconnect(now(), Error{Remedy::retry, "bgb.back_to_tcp", "x", {}}, *this);
  EXPECT_EQ(session->state(), SessionState::queued) << "only a session that is online has something to leave";
}

}  // namespace
}  // namespace greengate::test
