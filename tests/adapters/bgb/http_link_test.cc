#include "adapters/bgb/http_link.h"

#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace greengate::test {
namespace {

using namespace adapters::bgb;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

using Diary = std::vector<std::string>;

// A link, a clock and a diary of everything it makes happen.
class BgbHttpLink : public testing::Test, protected HttpLinkActions {
 protected:
  BgbHttpLink() { make(); }
  void make() { link.emplace(rules, 7); }

  // HttpLinkActions
  void exchange(Lane lane, HttpPurpose purpose, const Message* message, std::uint32_t hold_seconds) override {
    std::string line = lane == Lane::receive ? "receive: " : "send: ";
    line += purpose == HttpPurpose::sign_in ? "sign in" : purpose == HttpPurpose::receive ? "wait" : std::string(kind_name(message->kind));
    if (purpose == HttpPurpose::send && message->kind == Kind::response) line += " " + std::to_string(message->push_id);
    if (hold_seconds > 0) line += " for " + std::to_string(hold_seconds);
    diary.push_back(line);
  }
  void hang_up(Lane lane) override { diary.push_back(lane == Lane::receive ? "receive: hang up" : "send: hang up"); }
  bool received(Message message) override {
    diary.push_back("received " + std::string(kind_name(message.kind)));
    if (answer_at_once && message.kind == Kind::request) say(Kind::response, message.push_id);
    return !leaves;
  }
  void ended(HttpEnd how, Error why) override {
    static constexpr const char* names[] = {"lost", "refused", "broken", "unavailable"};
    diary.push_back(std::string(names[static_cast<std::size_t>(how)]) + " " + why.code);
    end_wait = why.retry_after;
  }
  void note(HttpNote note) override { notes.push_back(note); }

  SteadyTime now() const { return clock.steady(); }
  static Message message(Kind kind, std::uint64_t push_id = 0) {
    Message m;
    m.kind = kind;
    m.push_id = push_id;
    return m;
  }
  void say(Kind kind, std::uint64_t push_id = 0) { link->send(now(), message(kind, push_id), *this); }
  void reply(Lane lane, HttpVerdict verdict, std::vector<Message> messages = {}, milliseconds retry_after = {}) {
    HttpMeaning meaning;
    meaning.verdict = verdict;
    meaning.messages = std::move(messages);
    meaning.error = Error{Remedy::retry, "x.code", "x", retry_after};
    link->replied(now(), lane, std::move(meaning), *this);
  }
  void cut(Lane lane = Lane::receive, bool sent = true) { link->failed(now(), lane, {Remedy::retry, "bgb.lost", "x", {}}, sent, *this); }
  // Moves the clock to the link's next appointment and keeps it; how long that took.
  milliseconds pass() {
    const auto due = link->due();
    EXPECT_TRUE(due);
    const auto wait = std::chrono::ceil<milliseconds>(*due - now());
    clock.advance(wait);
    link->tick(now(), *this);
    return wait;
  }
  void wait_signed_in() {
    say(Kind::sign_in);
    link->sent(now(), Lane::receive);
    reply(Lane::receive, HttpVerdict::messages, {message(Kind::sign_in_confirm)});
    link->sent(now(), Lane::receive);
    diary.clear();
    notes.clear();
  }
  bool noted(HttpNote note) const { return std::find(notes.begin(), notes.end(), note) != notes.end(); }

  ManualClock clock;
  HttpRules rules;
  std::optional<HttpLink> link;
  Diary diary;
  std::vector<HttpNote> notes;
  milliseconds end_wait{};
  bool leaves = false, answer_at_once = false;
};

TEST_F(BgbHttpLink, SignsInAndThenWaitsOnTheSameConnection) {
  say(Kind::sign_in);
  reply(Lane::receive, HttpVerdict::messages, {message(Kind::sign_in_confirm)});
  EXPECT_EQ(diary, (Diary{"receive: sign in", "received sign_in_confirm", "receive: wait"}));
}

TEST_F(BgbHttpLink, AConfirmationMayComeWithTheFirstWait) {
  say(Kind::sign_in);
  reply(Lane::receive, HttpVerdict::empty);
  EXPECT_EQ(diary, (Diary{"receive: sign in", "receive: wait"}));
}

TEST_F(BgbHttpLink, AsksAgainAtOnceAfterMessages) {
  wait_signed_in();
  reply(Lane::receive, HttpVerdict::messages, {message(Kind::request, 1), message(Kind::request, 2)});
  EXPECT_EQ(diary, (Diary{"received request", "received request", "receive: wait"}));
}

TEST_F(BgbHttpLink, PausesAtRandomAfterAnEmptyReply) {
  wait_signed_in();
  std::vector<milliseconds> pauses;
  for (int i = 0; i < 200; ++i) {
    clock.advance(minutes(5));
    reply(Lane::receive, HttpVerdict::empty);
    EXPECT_TRUE(diary.empty()) << "not at once";
    pauses.push_back(pass());
    EXPECT_EQ(diary, (Diary{"receive: wait"}));
    diary.clear();
  }
  const auto [shortest, longest] = std::minmax_element(pauses.begin(), pauses.end());
  EXPECT_GE(*shortest, milliseconds(200));
  EXPECT_LE(*longest, milliseconds(2'000));
  EXPECT_LT(*shortest, milliseconds(400));
  EXPECT_GT(*longest, milliseconds(1'800));
}

TEST_F(BgbHttpLink, SaysOneThingAfterTheOtherOnASecondConnectionAndClosesIt) {
  wait_signed_in();
  say(Kind::response, 1);
  say(Kind::response, 2);
  say(Kind::keep_alive);
  EXPECT_EQ(diary, (Diary{"send: response 1"}));
  reply(Lane::send, HttpVerdict::empty);
  reply(Lane::send, HttpVerdict::empty);
  EXPECT_FALSE(link->quiet());
  reply(Lane::send, HttpVerdict::empty);
  EXPECT_TRUE(link->quiet());
  EXPECT_EQ(diary, (Diary{"send: response 1", "send: response 2", "send: keep_alive", "send: hang up"}));
}

TEST_F(BgbHttpLink, APushInTheAnswerToWhatWasSaidCountsLikeAnyOther) {
  answer_at_once = true;
  wait_signed_in();
  say(Kind::keep_alive);
  reply(Lane::send, HttpVerdict::messages, {message(Kind::request, 9)});
  EXPECT_EQ(diary, (Diary{"send: keep_alive", "received request", "send: response 9"})) << "said once";
  reply(Lane::send, HttpVerdict::empty);
  EXPECT_EQ(diary.back(), "send: hang up");
}

TEST_F(BgbHttpLink, RefusalBreakageAndAProxyEndItEachInItsWay) {
  const std::pair<HttpVerdict, const char*> ends[] = {{HttpVerdict::refused, "refused x.code"},
                                                      {HttpVerdict::broken, "broken x.code"},
                                                      {HttpVerdict::proxy, "unavailable x.code"},
                                                      {HttpVerdict::strange, "lost x.code"}};
  for (const auto& [verdict, said] : ends) {
    make();
    say(Kind::sign_in);
    diary.clear();
    reply(Lane::receive, verdict);
    EXPECT_EQ(diary, (Diary{said}));
    EXPECT_TRUE(link->over());
    EXPECT_FALSE(link->due());

    make();
    wait_signed_in();
    reply(Lane::receive, verdict);
    EXPECT_EQ(diary, (Diary{said}));
    say(Kind::keep_alive);
    EXPECT_EQ(diary.size(), 1u) << "nothing goes out any more";
  }
}

TEST_F(BgbHttpLink, ABusyServerIsGivenTheTimeItAsksFor) {
  wait_signed_in();
  reply(Lane::receive, HttpVerdict::busy, {}, seconds(90));
  EXPECT_TRUE(diary.empty());
  EXPECT_EQ(pass(), seconds(90));
  EXPECT_EQ(diary, (Diary{"receive: wait"}));
  reply(Lane::receive, HttpVerdict::busy);
  EXPECT_EQ(pass(), seconds(60)) << "it named no time";
  reply(Lane::receive, HttpVerdict::busy, {}, seconds(5));
  EXPECT_EQ(diary.back(), "unavailable x.code") << "three in a row";
  EXPECT_EQ(end_wait, seconds(5));
}

TEST_F(BgbHttpLink, AReplyInBetweenForgivesABusyServer) {
  wait_signed_in();
  for (int i = 0; i < 5; ++i) {
    reply(Lane::receive, HttpVerdict::busy, {}, seconds(1));
    pass();
    reply(Lane::receive, HttpVerdict::messages, {message(Kind::request, 1)});
  }
  EXPECT_FALSE(link->over());
}

TEST_F(BgbHttpLink, ABusySignInBacksOffForTheTimeAskedFor) {
  say(Kind::sign_in);
  reply(Lane::receive, HttpVerdict::busy, {}, seconds(300));
  EXPECT_EQ(diary.back(), "unavailable x.code");
  EXPECT_EQ(end_wait, seconds(300));
}

TEST_F(BgbHttpLink, ABusyServerIsToldTheSameAgain) {
  wait_signed_in();
  say(Kind::response, 4);
  reply(Lane::send, HttpVerdict::busy, {}, seconds(2));
  EXPECT_EQ(pass(), seconds(2));
  EXPECT_EQ(diary, (Diary{"send: response 4", "send: response 4"}));
}

TEST_F(BgbHttpLink, TwoCutsBelowAMinuteAreAMiddleboxAndHalveTheHint) {
  rules.can_ask_hold = true;
  make();
  EXPECT_EQ(link->hold_seconds(), 300u);
  wait_signed_in();
  for (const std::uint32_t expected : {150u, 75u, 37u, 18u, 15u, 15u}) {
    for (int i = 0; i < 2; ++i) {
      clock.advance(seconds(30));
      cut();
      pass();
      link->sent(now(), Lane::receive);
    }
    EXPECT_TRUE(noted(HttpNote::middlebox));
    EXPECT_EQ(link->hold_seconds(), expected);
    EXPECT_EQ(diary.back(), "receive: wait for " + std::to_string(expected));
  }
  EXPECT_FALSE(link->over());
}

TEST_F(BgbHttpLink, WithoutAHintAMiddleboxIsAcceptedAndCounted) {
  wait_signed_in();
  for (int i = 0; i < 4; ++i) {
    clock.advance(seconds(30));
    cut();
    pass();
    link->sent(now(), Lane::receive);
  }
  EXPECT_EQ(std::count(notes.begin(), notes.end(), HttpNote::middlebox), 2);
  EXPECT_EQ(diary, (Diary{"receive: wait", "receive: wait", "receive: wait", "receive: wait"}));
}

TEST_F(BgbHttpLink, OneShortCutOrALongOneIsNoMiddlebox) {
  wait_signed_in();
  for (const seconds held : {seconds(30), seconds(100), seconds(30), seconds(230), seconds(59), seconds(60)}) {
    clock.advance(held);
    cut();
    pass();
    link->sent(now(), Lane::receive);
  }
  EXPECT_FALSE(noted(HttpNote::middlebox));
  EXPECT_FALSE(link->over());
}

TEST_F(BgbHttpLink, AGatewayTimeoutOnTheWayIsACutToo) {
  wait_signed_in();
  for (int i = 0; i < 2; ++i) {
    clock.advance(seconds(30));
    reply(Lane::receive, HttpVerdict::cut);
    pass();
    link->sent(now(), Lane::receive);
  }
  EXPECT_TRUE(noted(HttpNote::middlebox));
}

TEST_F(BgbHttpLink, AServerThatCutsEveryWaitAtOnceIsLost) {
  wait_signed_in();
  for (int i = 0; i < 4; ++i) {
    cut();
    pass();
    link->sent(now(), Lane::receive);
    EXPECT_FALSE(link->over());
  }
  cut();
  EXPECT_EQ(diary.back(), "lost bgb.lost");
}

TEST_F(BgbHttpLink, AWaitThatNobodyEndsIsGivenUpAndAskedAgain) {
  wait_signed_in();
  EXPECT_EQ(pass(), seconds(330)) << "the hold and its margin";
  EXPECT_EQ(diary, (Diary{"receive: hang up"}));
  pass();
  EXPECT_EQ(diary.back(), "receive: wait");
  EXPECT_FALSE(noted(HttpNote::middlebox));
}

TEST_F(BgbHttpLink, WhatWasSaidAndNotAnsweredEndsTheSession) {
  wait_signed_in();
  say(Kind::response, 1);
  link->sent(now(), Lane::send);
  EXPECT_EQ(pass(), seconds(30));
  EXPECT_EQ(diary, (Diary{"send: response 1", "send: hang up", "lost bgb.http_timeout"}));
  make();
  wait_signed_in();
  say(Kind::response, 1);
  cut(Lane::send);
  EXPECT_EQ(diary.back(), "lost bgb.lost");
}

TEST_F(BgbHttpLink, AConnectionThatFailsBeforeAnythingWasSentIsTriedAgain) {
  wait_signed_in();
  say(Kind::response, 1);
  cut(Lane::send, false);
  pass();
  cut(Lane::send, false);
  pass();
  EXPECT_EQ(diary, (Diary{"send: response 1", "send: response 1", "send: response 1"}));
  cut(Lane::send, false);
  EXPECT_EQ(diary.back(), "lost bgb.lost");
}

TEST_F(BgbHttpLink, ASignInThatIsCutIsLostAtOnce) {
  say(Kind::sign_in);
  cut();
  EXPECT_EQ(diary, (Diary{"receive: sign in", "lost bgb.lost"}));
}

TEST_F(BgbHttpLink, LeavingStopsWaitingButSaysWhatIsLeft) {
  wait_signed_in();
  say(Kind::response, 1);
  say(Kind::response, 2);
  link->leave(*this);
  reply(Lane::receive, HttpVerdict::messages, {message(Kind::request, 7)});
  reply(Lane::send, HttpVerdict::empty);
  reply(Lane::send, HttpVerdict::empty);
  EXPECT_EQ(diary, (Diary{"send: response 1", "receive: hang up", "send: response 2", "send: hang up"}));
}

TEST_F(BgbHttpLink, NothingFollowsAMessageThatEndedTheSession) {
  wait_signed_in();
  leaves = true;
  reply(Lane::receive, HttpVerdict::messages, {message(Kind::disconnect), message(Kind::request, 1)});
  EXPECT_EQ(diary, (Diary{"received disconnect"}));
}

TEST_F(BgbHttpLink, WhatWaitsToBeSaidIsBounded) {
  rules.sends_max = 3;
  make();
  wait_signed_in();
  for (std::uint64_t i = 1; i <= 3; ++i) say(Kind::response, i);
  EXPECT_FALSE(link->over());
  say(Kind::response, 4);
  EXPECT_EQ(diary.back(), "lost bgb.slow_server");
}

}  // namespace
}  // namespace greengate::test
