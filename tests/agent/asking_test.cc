// Goal: whoever asks the site through the agent gets an answer or a reason. Method: the words in both directions; the protocol with
// frames put in by hand; the door with real sockets on a hand-moved clock.
#include "agent/ask.h"
#include "agent/conversation.h"
#include "agent/door.h"
#include "tests/agent/scratch.h"
#include "tests/support/manual_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <future>
#include <set>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::ManualClock;
using test::Scratch;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

v1::Ask policy_ask(std::uint64_t nonce = 0) {
  v1::Ask ask;
  ask.set_nonce(nonce);
  ask.mutable_policy()->set_refresh(true);
  return ask;
}

v1::Answer whole_answer() {
  v1::Answer answer;
  answer.set_at_ms(1'768'472'430'000);
  v1::AssignedPolicy& policy = *answer.add_policies();
  policy.set_policy_id("{0001}");
  policy.set_version("3.00");
  policy.set_category("InventoryAction");
  policy.set_flags(16);
  policy.set_standing("applied");
  v1::SiteLocation& location = *answer.add_locations();
  location.set_kind("content");
  location.set_url("https://dp.example.com/x");
  location.set_https(true);
  location.set_detail("\x1b[31mred \"quoted\"");
  return answer;
}

TEST(AskWords, AskComesThroughAsItWas) {
  v1::Ask ask = policy_ask();
  EXPECT_EQ(ask_from_json(ask_to_json(ask))->SerializeAsString(), ask.SerializeAsString());
  for (const char* what : {"management-points", "content", "update-server", "site"}) {
    v1::LocateAsk& locate = *ask.mutable_locate();
    locate.set_kind(locate_kind(what));
    locate.set_package_id(std::string(what) == "content" ? "P0100012" : "");
    locate.set_package_version(std::string(what) == "content" ? 3 : 0);
    const auto read = ask_from_json(ask_to_json(ask));
    ASSERT_TRUE(read) << what;
    EXPECT_EQ(read->SerializeAsString(), ask.SerializeAsString()) << what;
  }
}

TEST(AskWords, AnswerComesThroughAsItWas) {
  const v1::Answer answer = whole_answer();
  const auto read = answer_from_json(answer_to_json(answer));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->SerializeAsString(), answer.SerializeAsString());
  EXPECT_EQ(answer_to_json(answer).find('\n'), std::string::npos) << "one line";
}

TEST(AskWords, RefuseWhatIsNoQuestion) {
  for (const char* line : {"", "x", "[]", "{}", R"({"ask": 1})", R"({"ask": "everything"})", R"({"ask": "locate"})", R"({"ask": "locate", "what": "gold"})",
                           R"({"ask": "locate", "what": "content"})", R"({"ask": "locate", "what": "content", "id": "a b"})",
                           R"({"ask": "locate", "what": "content", "id": "<x>"})"}) {
    const auto read = ask_from_json(line);
    ASSERT_FALSE(read) << line;
    EXPECT_STREQ(read.error().code, "ask.malformed");
  }
  EXPECT_FALSE(ask_from_json(std::string(3'000, '[')));
}

TEST(AskWords, TablesHoldNothingATerminalObeys) {
  const std::string text = answer_text(whole_answer());
  EXPECT_THAT(text, HasSubstr("{0001}  3.00"));
  EXPECT_THAT(text, HasSubstr("2026-01-15T10:20:30Z"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_THAT(answer_text({}), HasSubstr("names none"));
}

class AskingTest : public ::testing::Test {
 protected:
  AskingTest() : conversation_(config(), clock_) {
    conversation_.given(100);
    conversation_.start();
  }
  static ConversationConfig config() {
    ConversationConfig made;
    made.enrolled = true;
    made.host_name = "box";
    made.incarnation = 7;
    return made;
  }
  void welcome() {
    conversation_.connected();
    v1::Frame frame;
    frame.mutable_welcome()->set_in_flight_max(8);
    conversation_.received(frame);
    conversation_.take_decisions();
  }
  static v1::Frame answer(std::uint64_t nonce) {
    v1::Frame frame;
    *frame.mutable_answer() = whole_answer();
    frame.mutable_answer()->set_nonce(nonce);
    return frame;
  }
  template <class T>
  std::vector<T> decisions() {
    std::vector<T> found;
    for (const Decision& one : conversation_.take_decisions()) {
      if (const T* match = std::get_if<T>(&one)) found.push_back(*match);
    }
    return found;
  }
  ManualClock clock_;
  Conversation conversation_;
};

TEST_F(AskingTest, AnAskGoesOutAndItsAnswerComesBackOnce) {
  EXPECT_FALSE(conversation_.ask(policy_ask(5))) << "nobody to ask";
  welcome();
  ASSERT_TRUE(conversation_.ask(policy_ask(5)));
  const auto sent = decisions<SendFrame>();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].frame.ask().nonce(), 5u);
  conversation_.received(answer(6));
  EXPECT_THAT(decisions<Answered>(), IsEmpty()) << "not ours";
  conversation_.received(answer(5));
  conversation_.received(answer(5));
  const auto answered = decisions<Answered>();
  ASSERT_THAT(answered, SizeIs(1));
  EXPECT_EQ(answered[0].answer.policies(0).policy_id(), "{0001}");
}

TEST_F(AskingTest, QuestionsGoOneAfterTheOther) {
  welcome();
  for (std::uint64_t nonce = 1; nonce <= 16; ++nonce) ASSERT_TRUE(conversation_.ask(policy_ask(nonce)));
  EXPECT_FALSE(conversation_.ask(policy_ask(17)));
  const auto asked = [&] {
    std::vector<std::uint64_t> nonces;
    for (const SendFrame& sent : decisions<SendFrame>()) {
      if (sent.frame.has_ask()) nonces.push_back(sent.frame.ask().nonce());
    }
    return nonces;
  };
  EXPECT_THAT(asked(), ::testing::ElementsAre(1u));
  conversation_.received(answer(2));
  EXPECT_THAT(asked(), IsEmpty());
  conversation_.received(answer(1));
  EXPECT_THAT(asked(), ::testing::ElementsAre(2u));
  clock_.advance(61s);  // the gateway keeps silent about the second
  EXPECT_LE(conversation_.next_due(), clock_.steady());
  conversation_.tick();
  EXPECT_THAT(asked(), ::testing::ElementsAre(3u));
}

TEST_F(AskingTest, AnAskEndsWithItsConnection) {
  welcome();
  ASSERT_TRUE(conversation_.ask(policy_ask(5)));
  conversation_.connection_lost({Remedy::retry, "link.closed", "gone", {}});
  EXPECT_THAT(decisions<AsksLost>(), SizeIs(1));
  EXPECT_FALSE(conversation_.ask(policy_ask(6)));
}

TEST_F(AskingTest, AGatewayThatIsOlderThanAskBlamesNoReport) {
  welcome();
  v1::Report report;
  report.set_sequence(1);
  report.set_body("x");
  ASSERT_TRUE(conversation_.publish({report}));
  ASSERT_TRUE(conversation_.ask(policy_ask(5)));
  conversation_.take_decisions();
  v1::Frame refused;
  refused.mutable_refused()->set_code("frame.kind_unexpected");
  conversation_.received(refused);
  std::vector<std::string> codes;
  for (const Decision& one : conversation_.take_decisions()) {
    EXPECT_EQ(std::get_if<ReportsSettled>(&one), nullptr);
    if (const Answered* answered = std::get_if<Answered>(&one)) codes.push_back(answered->answer.code());
  }
  EXPECT_THAT(codes, ::testing::ElementsAre("ask.unsupported"));
}

TEST_F(AskingTest, DirectionsReachTheSchedule) {
  v1::Frame frame;
  frame.mutable_directions()->set_heartbeat_interval_s(3'600);
  conversation_.received(frame);
  EXPECT_THAT(decisions<Directed>(), IsEmpty()) << "before Welcome they mean nothing";
  welcome();
  conversation_.received(frame);
  EXPECT_THAT(decisions<Directed>(), SizeIs(1));
}

class DoorTest : public ::testing::Test {
 protected:
  DoorTest() {
    auto opened = Door::open(path_, clock_);
    EXPECT_TRUE(opened);
    door_ = std::move(*opened);
  }
  ~DoorTest() override {
    for (const int fd : open_) close(fd);
  }
  int call(const std::string& text = "") {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path_.c_str());
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    if (!text.empty()) send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    open_.push_back(fd);
    return fd;
  }
  std::string heard(int fd) {
    std::string text(1 << 20, '\0');
    const ssize_t got = read(fd, text.data(), text.size());
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  std::string code_heard(int fd) {
    const auto answer = answer_from_json(heard(fd));
    return answer ? answer->code() : "none";
  }
  Scratch scratch_;
  std::string path_ = scratch_.file("agent.sock");
  ManualClock clock_;
  std::unique_ptr<Door> door_;
  std::vector<int> open_;
};

const std::string policy_line = "{\"ask\": \"policy\"}\n";

TEST_F(DoorTest, AQuestionComesInAndItsAnswerGoesOut) {
  const int fd = call("{\"ask\": ");
  EXPECT_THAT(door_->poll(), IsEmpty());
  send(fd, "\"policy\"}\n", 10, MSG_NOSIGNAL);
  const auto questions = door_->poll();
  ASSERT_THAT(questions, SizeIs(1));
  EXPECT_NE(questions[0].nonce(), 0u);
  EXPECT_TRUE(questions[0].has_policy());
  door_->answer(questions[0].nonce(), whole_answer());
  door_->poll();
  const auto answer = answer_from_json(heard(fd));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->locations(0).url(), "https://dp.example.com/x");
  EXPECT_THAT(door_->descriptors(), SizeIs(1)) << "only the listener is left";
}

TEST_F(DoorTest, IsForItsUserOnlyAndReplacesWhatIsLeftOver) {
  struct stat facts {};
  ASSERT_EQ(stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
  door_.reset();
  EXPECT_NE(access(path_.c_str(), F_OK), 0);
  std::ofstream(path_) << "left over";
  EXPECT_TRUE(Door::open(path_, clock_));
  const auto long_path = Door::open("/tmp/" + std::string(200, 'x'), clock_);
  ASSERT_FALSE(long_path);
  EXPECT_STREQ(long_path.error().code, "door.path");
  const auto nowhere = Door::open("/no/such/folder/sock", clock_);
  ASSERT_FALSE(nowhere);
  EXPECT_STREQ(nowhere.error().code, "door.socket");
}

TEST_F(DoorTest, SaysWhatIsWrong) {
  const int nonsense = call("nonsense\n"), large = call(std::string(10'000, ' ')), waiting = call(policy_line), silent = call();
  for (int times = 0; times < 4; ++times) door_->poll();
  EXPECT_EQ(code_heard(nonsense), "ask.malformed");
  EXPECT_EQ(code_heard(large), "ask.malformed");
  clock_.advance(6s);
  door_->poll();
  EXPECT_EQ(heard(silent), "") << "sent away";
  EXPECT_THAT(door_->descriptors(), SizeIs(2));
  clock_.advance(60s);
  door_->poll();
  EXPECT_EQ(code_heard(waiting), "ask.timeout");
}

TEST_F(DoorTest, TellsAllWhoWaitWhenTheLinkIsLost) {
  const int one = call(policy_line), other = call(policy_line);
  const auto questions = door_->poll();
  ASSERT_THAT(questions, SizeIs(2));
  EXPECT_NE(questions[0].nonce(), questions[1].nonce());
  door_->answer_all("ask.disconnected", "gone");
  door_->poll();
  EXPECT_EQ(code_heard(one), "ask.disconnected");
  EXPECT_EQ(code_heard(other), "ask.disconnected");
}

TEST_F(DoorTest, ManyCallersAndThoseWhoLeaveDoNoHarm) {
  std::vector<int> callers;
  std::size_t questions = 0;
  for (int i = 0; i < 40; ++i) {
    callers.push_back(call(policy_line));
    questions += door_->poll().size();
  }
  EXPECT_EQ(questions, 16u);
  EXPECT_EQ(code_heard(callers.back()), "door.busy");
  for (const int fd : open_) close(fd);
  open_.clear();
  door_->poll();
  EXPECT_THAT(door_->descriptors(), SizeIs(1));
}

TEST_F(DoorTest, ALargeAnswerReachesASlowCallerWhole) {
  const int fd = call(policy_line);
  const auto questions = door_->poll();
  ASSERT_THAT(questions, SizeIs(1));
  v1::Answer answer;
  for (int i = 0; i < 8'000; ++i) answer.add_policies()->set_policy_id(std::string(100, 'x'));
  door_->answer(questions[0].nonce(), answer);
  std::string text;
  for (int times = 0; times < 10'000 && (text.empty() || text.back() != '\n'); ++times) {
    door_->poll();
    text += heard(fd);
  }
  const auto read = answer_from_json(text);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->policies_size(), 8'000);
}

TEST_F(DoorTest, TheCommandsHalfAsksThroughIt) {
  auto asked = std::async(std::launch::async, [&] { return ask_agent(path_, policy_ask(), 20s); });
  while (asked.wait_for(1ms) != std::future_status::ready) {
    for (const v1::Ask& question : door_->poll()) door_->answer(question.nonce(), whole_answer());
  }
  const auto answer = asked.get();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->policies(0).standing(), "applied");
}

TEST(AskAgent, SaysWhenNobodyIsThere) {
  const Scratch scratch;
  const auto absent = ask_agent(scratch.file("agent.sock"), policy_ask(), 1s);
  ASSERT_FALSE(absent);
  EXPECT_STREQ(absent.error().code, "agent.not_running");
  const ManualClock clock;
  const auto door = Door::open(scratch.file("agent.sock"), clock);
  ASSERT_TRUE(door);
  const auto silent = ask_agent(scratch.file("agent.sock"), policy_ask(), 50ms);
  ASSERT_FALSE(silent);
  EXPECT_STREQ(silent.error().code, "agent.no_answer");
}

}  // namespace
}  // namespace greengate::agent
