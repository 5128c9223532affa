// One session on a stage: a clock and a diary of everything the session makes happen. For the tests of the state machine.
#pragma once

#include "adapters/bgb/session.h"
#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace greengate::test {

using adapters::BgbPush;
using adapters::bgb::Kind;
using adapters::bgb::Member;
using adapters::bgb::Message;
using adapters::bgb::PushMemoryInRam;
using adapters::bgb::Session;
using adapters::bgb::SessionActions;
using adapters::bgb::SessionAlarm;
using adapters::bgb::SessionNote;
using adapters::bgb::SessionRules;
using adapters::bgb::SessionState;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

// A session, a clock and a diary of everything the session makes happen.
class BgbSession : public testing::Test, protected SessionActions {
 protected:
  BgbSession() { make(); }

  void make() { session.emplace(rules, memory, 7); }

  // SessionActions
  void queue_attempt() override { diary.push_back("queue"); }
  bool advance_address() override { return ++address < addresses; }
  bool fall_back() override {
    if (!other_way) return false;
    other_way = false;
    diary.push_back("fall back");
    return true;
  }
  void send_sign_in() override { diary.push_back("sign_in v" + std::to_string(session->version_index())); }
  void send_keep_alive() override { diary.push_back("keep_alive"); }
  void send_response(std::uint64_t push_id, std::uint64_t task_id, bool success) override {
    diary.push_back("response " + std::to_string(push_id) + "/" + std::to_string(task_id) + (success ? " ok" : " failed"));
  }
  void close(bool orderly) override { diary.push_back(orderly ? "close" : "cut"); }
  void deliver(const BgbPush& push) override { diary.push_back("deliver " + std::to_string(push.push_id)); }
  void went_online() override { diary.push_back("online"); }
  void went_offline(const Error& why) override { diary.push_back(std::string("offline ") + why.code); }
  void note(SessionNote note) override { notes.push_back(note); }
  void alarm(SessionAlarm alarm) override {
    diary.push_back(alarm == SessionAlarm::sign_in_refused ? "alarm refused" : "alarm version");
  }

  SteadyTime now() const { return clock.steady(); }
  static Message message(Kind kind) {
    Message m;
    m.kind = kind;
    return m;
  }
  static Message request(std::uint64_t push_id, std::uint64_t task_id, std::string guid = "") {
    Message m = message(Kind::request);
    m.push_id = push_id;
    m.task_id = task_id;
    m.task_type = 1;
    m.task_guid = std::move(guid);
    for (const Member member : {Member::push_id, Member::task_id, Member::task_type}) m.present.add(member);
    return m;
  }
  void receive(Message m) { session->received(now(), std::move(m), *this); }
  void fail_with(const char* code) { session->failed(now(), Error{Remedy::retry, code, "x", {}}, true, *this); }
  void reach_signing_in() {
    if (session->state() == SessionState::off) session->open(now(), *this);
    if (session->state() == SessionState::backoff) {
      clock.advance(std::chrono::duration_cast<milliseconds>(*session->due() - now()) + milliseconds(1));
      session->tick(now(), *this);
    }
    session->attempt_started(now());
    session->connected(now(), SmsId("GUID:1"));
    session->secured(now(), *this);
    ASSERT_EQ(session->state(), SessionState::signing_in);
  }
  void reach_online() {
    reach_signing_in();
    receive(message(Kind::sign_in_confirm));
    ASSERT_EQ(session->state(), SessionState::online);
    diary.clear();
    notes.clear();
  }
  milliseconds until_due() const { return std::chrono::duration_cast<milliseconds>(*session->due() - now()); }
  std::size_t count(const std::string& line) const {
    return static_cast<std::size_t>(std::count(diary.begin(), diary.end(), line));
  }
  bool noted(SessionNote note) const { return std::find(notes.begin(), notes.end(), note) != notes.end(); }

  ManualClock clock;
  SessionRules rules;
  PushMemoryInRam memory{1'000, std::chrono::hours(24), clock};
  std::optional<Session> session;
  std::vector<std::string> diary;
  std::vector<SessionNote> notes;
  int address = 0, addresses = 1;
  bool other_way = false;
};

using Diary = std::vector<std::string>;

}  // namespace greengate::test
