#include "adapters/agents/router_socket.h"

#include "core/wakeup.h"
#include "tests/support/raw_agent.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

namespace greengate::adapters {
namespace {

using namespace std::chrono_literals;
using test::RawAgent;

class RouterSocketTest : public testing::Test {
 protected:
  void open(Authenticator::Gate is_revoked = nullptr) {
    config_.bind = "tcp://127.0.0.1:0";
    config_.linger = 0ms;
    auto key = make_curve_key_pair();
    ASSERT_TRUE(key);
    config_.key = *key;
    auto opened = RouterSocket::open(config_, std::move(is_revoked));
    ASSERT_TRUE(opened) << opened.error().message;
    router_ = std::move(*opened);
  }
  bool receive(ReceivedFrame& frame, std::chrono::milliseconds patience = 10s) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!router_->receive(frame)) {
      if (std::chrono::steady_clock::now() > until) return false;
      router_->wait(wakeup_.fd(), true, 20ms);
    }
    return true;
  }
  std::unique_ptr<RawAgent> agent() {
    return std::make_unique<RawAgent>(router_->endpoint(), config_.key.public_key);
  }

  RouterConfig config_;
  Wakeup wakeup_;
  std::unique_ptr<RouterSocket> router_;
};

TEST_F(RouterSocketTest, TellsWhichKeyAFrameCameFromAndAnswersIt) {
  open();
  auto one = agent();
  auto two = agent();
  one->send_bytes("from one");
  two->send_bytes("from two");
  std::map<std::string, std::string> by_key;
  std::set<std::uint32_t> routes;
  for (int i = 0; i < 2; ++i) {
    ReceivedFrame frame;
    ASSERT_TRUE(receive(frame));
    EXPECT_TRUE(frame.well_formed);
    EXPECT_EQ(frame.remote, "127.0.0.1");
    by_key[std::string(frame.key)] = frame.bytes;
    routes.insert(frame.from.raw());
    v1::Frame answer;
    answer.mutable_pong()->set_nonce(frame.bytes == "from one" ? 1 : 2);
    EXPECT_EQ(router_->send(frame.from, answer.SerializeAsString()), Sent::sent);
  }
  EXPECT_EQ(by_key[one->keys().public_key], "from one");
  EXPECT_EQ(by_key[two->keys().public_key], "from two");
  EXPECT_EQ(routes.size(), 2u);
  EXPECT_EQ(one->receive().value().pong().nonce(), 1u);
  EXPECT_EQ(two->receive().value().pong().nonce(), 2u);
  EXPECT_EQ(router_->authenticator().allowed(), 2u);
}

TEST_F(RouterSocketTest, SaysThatAConnectionIsGoneOrDoesNotRead) {
  config_.send_frames_max = 4;
  open();
  EXPECT_EQ(router_->send(RoutingId(12345), "nobody there"), Sent::gone);

  auto one = std::make_unique<RawAgent>(router_->endpoint(), config_.key.public_key,
                                        RawAgent::Keys::fresh(), "", 1);
  one->send_bytes("hello");
  ReceivedFrame frame;
  ASSERT_TRUE(receive(frame));
  const RoutingId route = frame.from;
  // Never reads: what the kernel and both ends can hold is finite, then send() says so instead of waiting.
  const std::string large(1 << 20, 'x');
  Sent sent = Sent::sent;
  for (int i = 0; i < 1'000 && sent == Sent::sent; ++i) sent = router_->send(route, large);
  EXPECT_EQ(sent, Sent::full);

  one.reset();
  const auto until = std::chrono::steady_clock::now() + 10s;
  do {
    router_->receive(frame);  // an owner always does; libzmq notices the end of a connection on the way
    sent = router_->send(route, "still there?");
  } while (sent != Sent::gone && std::chrono::steady_clock::now() < until);
  EXPECT_EQ(sent, Sent::gone);
}

TEST_F(RouterSocketTest, RefusesARevokedKeyInTheHandshake) {
  const auto keys = RawAgent::Keys::fresh();
  open([key = keys.public_key](const AgentKey& asked) { return asked.raw() == key; });
  RawAgent revoked(router_->endpoint(), config_.key.public_key, keys);
  revoked.send_bytes("hello");
  auto other = agent();
  other->send_bytes("hello");
  ReceivedFrame frame;
  ASSERT_TRUE(receive(frame));
  EXPECT_EQ(frame.key, other->keys().public_key);
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (router_->authenticator().refused() == 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  EXPECT_GT(router_->authenticator().refused(), 0u);
  EXPECT_FALSE(receive(frame, 50ms));
}

TEST_F(RouterSocketTest, HearsNothingOfAPeerThatIsNotCurve) {
  open();
  void* context = zmq_ctx_new();
  void* plain = zmq_socket(context, ZMQ_DEALER);
  int linger = 0;
  zmq_setsockopt(plain, ZMQ_LINGER, &linger, sizeof linger);
  zmq_connect(plain, router_->endpoint().c_str());
  zmq_send(plain, "hello", 5, 0);
  ReceivedFrame frame;
  EXPECT_FALSE(receive(frame, 200ms));
  zmq_close(plain);
  zmq_ctx_term(context);
}

TEST_F(RouterSocketTest, MarksWhatIsNotOneWholeFrameFromAConnectionItNamed) {
  open();
  auto one = agent();
  one->send_bytes("part", true);
  one->send_bytes("part");
  ReceivedFrame frame;
  ASSERT_TRUE(receive(frame));
  EXPECT_FALSE(frame.well_formed);
  one->send_bytes("whole");
  ASSERT_TRUE(receive(frame));
  EXPECT_TRUE(frame.well_formed);
  EXPECT_EQ(frame.bytes, "whole");

  RawAgent named(router_->endpoint(), config_.key.public_key, RawAgent::Keys::fresh(), "myself");
  named.send_bytes("whole");
  ASSERT_TRUE(receive(frame));
  EXPECT_FALSE(frame.well_formed);
}

TEST_F(RouterSocketTest, IsWokenByItsDescriptorWithoutAnyFrame) {
  open();
  EXPECT_FALSE(router_->wait(wakeup_.fd(), true, 0ms));
  std::thread other([&] { wakeup_.wake(); });
  EXPECT_TRUE(router_->wait(wakeup_.fd(), true, 10s));
  other.join();
  wakeup_.clear();
  EXPECT_FALSE(router_->wait(wakeup_.fd(), true, 0ms));
}

TEST_F(RouterSocketTest, SaysWhereItCannotListen) {
  open();
  RouterConfig second = config_;
  second.bind = router_->endpoint();
  auto taken = RouterSocket::open(second, nullptr);
  ASSERT_FALSE(taken);
  EXPECT_STREQ(taken.error().code, "agents.bind");
  second.key.secret_key = "too short";
  auto keyless = RouterSocket::open(second, nullptr);
  ASSERT_FALSE(keyless);
  EXPECT_STREQ(keyless.error().code, "agents.socket");
}

}  // namespace
}  // namespace greengate::adapters
