// Goal: every way a connection can begin and end is told, once, with the right code. Method: real
// sockets on loopback, port 0.
#include "adapters/agents/dealer_link.h"
#include "core/wakeup.h"
#include "tests/agent/strict_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace greengate::adapters {
namespace {

using namespace std::chrono_literals;
using test::StrictRouter;

DealerLinkConfig config_for(const std::string& gateway_key) {
  const CurvePair keys = make_curve_pair();
  DealerLinkConfig config;
  config.public_key = keys.public_key;
  config.secret_key = keys.secret_key;
  config.gateway_key = gateway_key;
  config.handshake_patience = 2s;
  return config;
}

/// The next event, waited for with a bound.
std::optional<LinkEvent> next(DealerLink& link, std::chrono::milliseconds patience = 15s) {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    if (auto event = link.next()) return event;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left <= 0ms) return std::nullopt;
    link.wait({}, left);
  }
}

std::string code_of_loss(DealerLink& link) {
  const auto event = next(link);
  if (!event) return "nothing came";
  return event->kind == LinkEvent::Kind::lost ? event->error.code : "something else came";
}

std::string ping(std::uint64_t nonce) {
  v1::Frame frame;
  frame.mutable_ping()->set_nonce(nonce);
  return frame.SerializeAsString();
}

TEST(DealerLink, ConnectsAndCarriesFramesBothWays) {
  StrictRouter router({});
  router.start();
  DealerLink link(config_for(router.public_key()));
  ASSERT_TRUE(link.open(router.endpoint()));
  auto event = next(link);
  ASSERT_TRUE(event);
  ASSERT_EQ(event->kind, LinkEvent::Kind::connected);
  ASSERT_TRUE(link.send(ping(42)));
  event = next(link);
  ASSERT_TRUE(event);
  ASSERT_EQ(event->kind, LinkEvent::Kind::frame);
  v1::Frame frame;
  ASSERT_TRUE(frame.ParseFromString(event->frame));
  EXPECT_EQ(frame.pong().nonce(), 42u);
}

TEST(DealerLink, ManyFramesAreNotForgottenByTheEdgeTriggeredDescriptor) {
  StrictRouter router({});
  router.start();
  DealerLink link(config_for(router.public_key()));
  ASSERT_TRUE(link.open(router.endpoint()));
  ASSERT_EQ(next(link)->kind, LinkEvent::Kind::connected);
  for (std::uint64_t nonce = 1; nonce <= 500; ++nonce) {
    ASSERT_TRUE(link.send(ping(nonce)));
    const auto event = next(link, 5s);
    ASSERT_TRUE(event) << "after " << nonce;
    ASSERT_EQ(event->kind, LinkEvent::Kind::frame);
  }
}

TEST(DealerLink, WrongGatewayKeyFailsTheHandshake) {
  StrictRouter router({});
  router.start();
  DealerLink link(config_for(make_curve_pair().public_key));
  ASSERT_TRUE(link.open(router.endpoint()));
  EXPECT_EQ(code_of_loss(link), "link.handshake");
  EXPECT_FALSE(link.is_open());
  EXPECT_FALSE(link.next());
}

TEST(DealerLink, KeyTheGatewayRefusesIsSaidToBeRefused) {
  auto config = config_for("");
  StrictRouter::Options options;
  options.revoked = {config.public_key};
  StrictRouter router(options);
  router.start();
  config.gateway_key = router.public_key();
  DealerLink link(config);
  ASSERT_TRUE(link.open(router.endpoint()));
  const auto event = next(link);
  ASSERT_TRUE(event);
  ASSERT_EQ(event->kind, LinkEvent::Kind::lost);
  EXPECT_STREQ(event->error.code, "link.auth_refused");
  EXPECT_EQ(event->error.remedy, Remedy::reject);
}

TEST(DealerLink, AbsentGatewayIsUnreachableAndThenReachedWhenItIsBack) {
  StrictRouter router({});
  router.start();
  router.stop();
  DealerLink link(config_for(router.public_key()));
  ASSERT_TRUE(link.open(router.endpoint()));
  EXPECT_EQ(code_of_loss(link), "link.unreachable");
  router.start();
  ASSERT_TRUE(link.open(router.endpoint()));
  ASSERT_EQ(next(link)->kind, LinkEvent::Kind::connected);
  router.stop();
  EXPECT_EQ(code_of_loss(link), "link.closed");
}

// libzmq lets go of a closed socket's names on a thread of its own, so what follows at once cannot have the same.
TEST(DealerLink, OpensAgainAtOnceSeveralTimes) {
  DealerLink link(config_for(make_curve_pair().public_key));
  for (int i = 0; i < 10; ++i) {
    const auto opened = link.open("tcp://127.0.0.1:1");
    ASSERT_TRUE(opened) << "time " << i << ": " << opened.error().message;
  }
}

TEST(DealerLink, NeverReconnectsByItself) {
  StrictRouter router({});
  router.start();
  DealerLink link(config_for(router.public_key()));
  ASSERT_TRUE(link.open(router.endpoint()));
  ASSERT_EQ(next(link)->kind, LinkEvent::Kind::connected);
  router.stop();
  ASSERT_EQ(code_of_loss(link), "link.closed");
  router.start();
  EXPECT_FALSE(next(link, 500ms));
}

TEST(DealerLink, PeerThatSpeaksNoZeroMqFailsTheHandshakeInTime) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 4), 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  DealerLink link(config_for(make_curve_pair().public_key));
  ASSERT_TRUE(link.open("tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port))));
  EXPECT_EQ(code_of_loss(link), "link.handshake");
  close(listener);
}

TEST(DealerLink, SenselessAddressIsRefusedAtOnce) {
  DealerLink link(config_for(make_curve_pair().public_key));
  const auto opened = link.open("tcp:/nowhere");
  ASSERT_FALSE(opened);
  EXPECT_STREQ(opened.error().code, "link.address");
  EXPECT_EQ(opened.error().remedy, Remedy::reject);
}

TEST(DealerLink, SendingWithoutAConnectionIsRefused) {
  DealerLink link(config_for(make_curve_pair().public_key));
  EXPECT_STREQ(link.send("x").error().code, "link.closed");
}

TEST(DealerLink, SendingNeverBlocksAndSaysWhenItIsFull) {
  StrictRouter router({});
  router.start();
  auto config = config_for(router.public_key());
  config.frames_max = 4;
  DealerLink link(config);
  ASSERT_TRUE(link.open(router.endpoint()));
  ASSERT_EQ(next(link)->kind, LinkEvent::Kind::connected);
  // Faster than any peer reads: sooner or later the bound is met.
  const std::string large(1 << 20, 'x');
  std::string code;
  for (int i = 0; i < 2'000 && code.empty(); ++i) {
    if (auto sent = link.send(large); !sent) code = sent.error().code;
  }
  EXPECT_EQ(code, "link.busy");
}

TEST(DealerLink, FrameBeyondTheBoundEndsTheConnection) {
  StrictRouter::Options options;
  options.tokens = {""};
  StrictRouter router(options);
  router.start();
  auto config = config_for(router.public_key());
  config.receive_bytes_max = 10'000;
  DealerLink link(config);
  ASSERT_TRUE(link.open(router.endpoint()));
  ASSERT_EQ(next(link)->kind, LinkEvent::Kind::connected);
  v1::Frame enrol, hello, huge;
  enrol.mutable_enrol()->set_protocol_version(1);
  enrol.mutable_enrol()->set_host_name("h");
  hello.mutable_hello()->set_incarnation(1);
  hello.mutable_hello()->set_host_name("h");
  hello.mutable_hello()->set_operating_system("o");
  ASSERT_TRUE(link.send(enrol.SerializeAsString()));
  ASSERT_TRUE(link.send(hello.SerializeAsString()));
  ASSERT_EQ(next(link)->kind, LinkEvent::Kind::frame);
  ASSERT_EQ(next(link)->kind, LinkEvent::Kind::frame);
  huge.mutable_drain()->set_reason(std::string(20'000, 'x'));
  router.send(huge);
  EXPECT_EQ(code_of_loss(link), "link.closed");
}

TEST(DealerLink, WaitTellsWhichOtherDescriptorIsReadable) {
  DealerLink link(config_for(make_curve_pair().public_key));
  Wakeup one, two;
  two.wake();
  const int fds[] = {one.fd(), two.fd()};
  EXPECT_THAT(link.wait(fds, 1s), ::testing::ElementsAre(false, true));
  two.clear();
  EXPECT_THAT(link.wait(fds, 1ms), ::testing::ElementsAre(false, false));
}

// An agent has the door's callers to wait for, and its tasks' programs.
TEST(DealerLink, WaitTakesAsManyDescriptorsAsAnAgentCanHave) {
  DealerLink link(config_for(make_curve_pair().public_key));
  std::vector<Wakeup> others(32);
  std::vector<int> descriptors;
  for (const Wakeup& other : others) descriptors.push_back(other.fd());
  others.back().wake();
  EXPECT_TRUE(link.wait(descriptors, 15s).back());
}

TEST(CurveKeys, AreRecognised) {
  const CurvePair keys = make_curve_pair();
  EXPECT_TRUE(is_curve_key(keys.public_key));
  EXPECT_EQ(curve_public_of(keys.secret_key), keys.public_key);
  EXPECT_FALSE(is_curve_key(keys.public_key + "x"));
  EXPECT_FALSE(is_curve_key(std::string(40, '"')));
  EXPECT_FALSE(curve_public_of("short"));
}

}  // namespace
}  // namespace greengate::adapters
