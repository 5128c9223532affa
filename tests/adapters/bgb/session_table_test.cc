// The client's state machine as the table of bgb-protocol 2.5 has it: every row, and every state met with every event.
#include "tests/adapters/bgb/session_stage.h"

#include <functional>
#include <iterator>
#include <string>
#include <vector>

namespace greengate::test {
namespace {

using adapters::bgb::state_name;

class BgbSessionTable : public BgbSession {
 protected:
  // A session of a profile with `versions` version pairs, in this state.
  void put(SessionState state, std::uint32_t versions = 1) {
    rules.version_count = versions;
    make();
    clock.advance(std::chrono::hours(25));  // no push of the row before is remembered
    address = 0;
    if (state != SessionState::off) session->open(now(), *this);
    const auto past = [&](SessionState step) { return static_cast<int>(state) >= static_cast<int>(step); };
    const bool failed = state == SessionState::backoff;
    if (past(SessionState::connecting)) session->attempt_started(now());
    if (past(SessionState::securing) && !failed) session->connected(now(), SmsId("GUID:1"));
    if (past(SessionState::signing_in) && !failed) session->secured(now(), *this);
    if (past(SessionState::online) && !failed) receive(message(Kind::sign_in_confirm));
    if (state == SessionState::draining) {
      receive(request(1, 1));
      session->shut(now(), *this);
    }
    if (failed) fail_with("bgb.connect");
    ASSERT_EQ(session->state(), state) << state_name(state);
    diary.clear();
    notes.clear();
  }
  void wait_until_due() {
    if (const auto due = session->due()) clock.advance(std::chrono::ceil<milliseconds>(*due - now()));
    session->tick(now(), *this);
  }
};

constexpr SessionState off = SessionState::off, queued = SessionState::queued, connecting = SessionState::connecting,
                       securing = SessionState::securing, signing_in = SessionState::signing_in, online = SessionState::online,
                       draining = SessionState::draining, backoff = SessionState::backoff;

// One row of the specification's table: in `state`, `event`; then these things happen, in this order, and this state follows.
struct Row {
  const char* says;
  SessionState state;
  std::function<void()> event;
  std::vector<std::string> happens;
  SessionState next;
};

TEST_F(BgbSessionTable, DoesWhatEveryRowOfTheSpecificationSays) {
  const auto hear = [this](Kind kind) { return [this, kind] { receive(message(kind)); }; };
  const auto hear_push = [this] { receive(request(7, 8)); };
  const auto break_with = [this](const char* code) { return [this, code] { fail_with(code); }; };
  const auto time_passes = [this] { wait_until_due(); };
  const Row rows[] = {
      {"Off, enabled: waits for its turn", off, [this] { session->open(now(), *this); }, {"queue"}, queued},
      {"a turn: Connecting", queued, [this] { session->attempt_started(now()); }, {}, connecting},
      {"TCP is there: TLS", connecting, [this] { session->connected(now(), SmsId("GUID:1")); }, {}, securing},
      {"TLS is there: SignIn", securing, [this] { session->secured(now(), *this); }, {"sign_in v0"}, signing_in},
      {"TCP failed, no other address", connecting, break_with("bgb.connect"), {"cut"}, backoff},
      {"TCP failed, another address",
       connecting,
       [this] {
         addresses = 2;
         fail_with("bgb.connect");
       },
       {"cut", "queue"},
       queued},
      {"TLS failed, another address",
       securing,
       [this] {
         addresses = 2;
         fail_with("bgb.tls");
       },
       {"cut", "queue"},
       queued},
      {"20 s without TCP", connecting, time_passes, {"cut"}, backoff},
      {"30 s without TLS", securing, time_passes, {"cut"}, backoff},
      {"SignInConfirm: Online", signing_in, hear(Kind::sign_in_confirm), {"online"}, online},
      {"NegotiationNeeded, no other version: long back-off, alarm",
       signing_in,
       hear(Kind::negotiation_needed),
       {"close", "alarm version"},
       backoff},
      {"an early Request is kept", signing_in, hear_push, {}, signing_in},
      {"an early Request is handled once Online",
       signing_in,
       [this] {
         receive(request(7, 8));
         receive(message(Kind::sign_in_confirm));
       },
       {"online", "deliver 7"},
       online},
      {"closed while signing in", signing_in, break_with("bgb.lost"), {"cut"}, backoff},
      {"Disconnect while signing in", signing_in, hear(Kind::disconnect), {"cut"}, backoff},
      {"60 s without a confirmation", signing_in, time_passes, {"cut"}, backoff},
      {"Online, a Request", online, hear_push, {"deliver 7"}, online},
      {"Online, keep-alive timer", online, time_passes, {"keep_alive"}, online},
      {"Online, SignInConfirm again: counted only", online, hear(Kind::sign_in_confirm), {}, online},
      {"Online, Disconnect: an orderly request", online, hear(Kind::disconnect), {"close", "offline bgb.disconnected"}, backoff},
      {"Online, framing error", online, break_with("bgb.frame_header"), {"cut", "offline bgb.frame_header"}, backoff},
      {"Online, oversize", online, break_with("bgb.frame_oversize"), {"cut", "offline bgb.frame_oversize"}, backoff},
      {"Online, bad XML", online, break_with("bgb.xml_malformed"), {"cut", "offline bgb.xml_malformed"}, backoff},
      {"Online, disabled, nothing owed", online, [this] { session->shut(now(), *this); }, {"close", "offline bgb.closed"}, off},
      {"Online, disabled, an answer owed",
       online,
       [this] {
         receive(request(7, 8));
         session->shut(now(), *this);
       },
       {"deliver 7"},
       draining},
      {"draining, the answer: leaves",
       draining,
       [this] { session->respond(now(), 1, 1, true, *this); },
       {"response 1/1 ok", "close", "offline bgb.closed"},
       off},
      {"draining, no answer in time: the failure code, leaves",
       draining,
       time_passes,
       {"response 1/1 failed", "close", "offline bgb.closed"},
       off},
      {"Backoff, timer", backoff, time_passes, {"queue"}, queued},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.says);
    addresses = 1;
    put(row.state);
    row.event();
    EXPECT_EQ(diary, row.happens);
    EXPECT_EQ(session->state(), row.next) << state_name(session->state());
  }
}

// The two rows about versions, for a profile that has more than one.
TEST_F(BgbSessionTable, TriesTheNextVersionFromEachStateThatMayHearOfIt) {
  for (const SessionState state : {signing_in, online}) {
    put(state, 2);
    receive(message(Kind::negotiation_needed));
    EXPECT_EQ(session->state(), queued) << state_name(state);
    EXPECT_EQ(session->version_index(), 1u);
    EXPECT_EQ(diary.front(), "close");
    EXPECT_EQ(diary.back(), "queue");
  }
}

// Each state with each event, also those that cannot come: never a crash, never a state nobody expected.
TEST_F(BgbSessionTable, HasAnAnswerForEveryEventInEveryState) {
  struct Event {
    const char* name;
    std::function<void()> happens;
    SessionState next[8];  // by the state before: off, queued, connecting, securing, signing_in, online, draining, backoff
  };
  const auto hear = [this](Kind kind) { return [this, kind] { receive(message(kind)); }; };
  const Event events[] = {
      {"open",
       [this] { session->open(now(), *this); },
       {queued, queued, connecting, securing, signing_in, online, draining, backoff}},
      {"shut", [this] { session->shut(now(), *this); }, {off, off, off, off, off, off, draining, off}},
      {"attempt started",
       [this] { session->attempt_started(now()); },
       {off, connecting, connecting, securing, signing_in, online, draining, backoff}},
      {"connected",
       [this] { session->connected(now(), SmsId("GUID:2")); },
       {off, queued, securing, securing, signing_in, online, draining, backoff}},
      {"secured",
       [this] { session->secured(now(), *this); },
       {off, queued, connecting, signing_in, signing_in, online, draining, backoff}},
      {"confirm", hear(Kind::sign_in_confirm), {off, queued, connecting, securing, online, online, draining, backoff}},
      {"request", [this] { receive(request(9, 9)); }, {off, queued, connecting, securing, signing_in, online, draining, backoff}},
      {"disconnect", hear(Kind::disconnect), {off, queued, connecting, securing, backoff, backoff, off, backoff}},
      {"negotiation needed", hear(Kind::negotiation_needed), {off, queued, connecting, securing, backoff, backoff, off, backoff}},
      {"a message of the client's own",
       hear(Kind::keep_alive),
       {off, queued, connecting, securing, signing_in, online, draining, backoff}},
      {"an unknown message", hear(Kind::unknown), {off, queued, connecting, securing, signing_in, online, draining, backoff}},
      {"failed", [this] { fail_with("bgb.lost"); }, {off, backoff, backoff, backoff, backoff, backoff, off, backoff}},
      {"an answer nobody asked for",
       [this] { session->respond(now(), 99, 99, true, *this); },
       {off, queued, connecting, securing, signing_in, online, draining, backoff}},
      {"its time is up", [this] { wait_until_due(); }, {off, queued, backoff, backoff, backoff, online, off, queued}},
  };
  for (const Event& event : events)
    for (int before = 0; before < 8; ++before) {
      SCOPED_TRACE(std::string(event.name) + " while " + std::string(state_name(static_cast<SessionState>(before))));
      addresses = 1;
      put(static_cast<SessionState>(before));
      event.happens();
      EXPECT_EQ(session->state(), event.next[before]) << state_name(session->state());
      const bool rests = session->state() == off || session->state() == queued;
      EXPECT_EQ(session->due().has_value(), !rests) << "every state but these two ends by itself";
      // Whoever leaves a state that has a connection closes it; whoever keeps such a state keeps the connection.
      const auto connected = [](SessionState s) { return s != off && s != queued && s != backoff; };
      if (connected(static_cast<SessionState>(before))) {
        EXPECT_EQ(count("cut") + count("close") > 0, !connected(session->state()));
      }
      EXPECT_EQ(count("offline bgb.lost") + count("offline bgb.closed") + count("offline bgb.disconnected") +
                    count("offline bgb.version"),
                (before == 5 || before == 6) && session->state() != online && session->state() != draining ? 1u : 0u)
          << "offline is said once, and only after online";
    }
}

}  // namespace
}  // namespace greengate::test
