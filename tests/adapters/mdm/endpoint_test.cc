#include "adapters/mdm/dm_endpoint.h"
#include "tests/adapters/mdm/scripted_device.h"
#include "tests/support/manual_clock.h"

#include <thread>

namespace greengate::test {
namespace {

using namespace adapters;
using std::chrono::minutes;
using std::chrono::seconds;

class Endpoint : public testing::Test {
 protected:
  Endpoint() { config_.visit.provider = "FABRIKAM"; }
  DmEndpoint& endpoint() {
    if (!endpoint_) {
      endpoint_ = std::make_unique<DmEndpoint>(
          config_,
          [](const DmPeer& peer) -> Result<DmDevice> {
            if (peer.fingerprint == "disk") return fail(Remedy::retry, "registry.disk", "The disk is away.");
            if (peer.fingerprint.starts_with("stranger")) return fail(Remedy::reject, "mdm.unknown_certificate", "Nobody.");
            DmDevice device;
            device.agent = AgentId(peer.fingerprint);
            device.device_id = peer.fingerprint == "a" ? device_id : "ID-" + peer.fingerprint;
            device.enrolment = "0A";
            return device;
          },
          host_, clock_, metrics_);
    }
    return *endpoint_;
  }
  static DmPeer peer(const std::string& fingerprint) {
    DmPeer made;
    made.fingerprint = fingerprint;
    return made;
  }
  std::string code(const std::string& fingerprint, const std::string& body) {
    const DmReply reply = endpoint().handle(peer(fingerprint), body);
    return std::to_string(reply.status) + (reply.code.empty() ? "" : " " + reply.code);
  }
  std::string package1(const std::string& id = device_id, const std::string& session = "11") {
    device_.id = id;
    device_.session = session;
    return write_syncml(device_.package1());
  }

  ManualClock clock_;
  Metrics metrics_;
  DmEndpointConfig config_;
  FakeHost host_;
  ScriptedDevice device_;
  std::unique_ptr<DmEndpoint> endpoint_;
};

TEST_F(Endpoint, who_is_not_enrolled_is_refused_before_its_message_is_looked_at) {
  EXPECT_EQ(code("", package1()), "401 mdm.no_certificate");
  EXPECT_EQ(code("stranger", "not even XML"), "403 mdm.unknown_certificate");
  EXPECT_EQ(code("disk", package1()), "503 registry.disk");
  EXPECT_EQ(code("a", "not even XML"), "400 mdm.syncml");
  EXPECT_EQ(code("a", std::string(300 * 1024, ' ')), "413 mdm.too_large");
  EXPECT_EQ(host_.opened, 0);
  EXPECT_EQ(endpoint().open(), 0u);
}

TEST_F(Endpoint, a_full_house_reads_nobodys_message_but_of_those_inside) {
  config_.sessions_max = 1;
  const DmReply inside = endpoint().handle(peer("a"), package1());
  EXPECT_EQ(inside.status, 200u);
  EXPECT_EQ(code("b", "not even XML"), "429 mdm.full");
  EXPECT_EQ(code("stranger", "not even XML"), "403 mdm.unknown_certificate") << "a stranger is not asked to come back";
  EXPECT_EQ(code("a", "not even XML"), "400 mdm.syncml");
  EXPECT_EQ(code("a", package1()), "200") << "the same message again";
}

TEST_F(Endpoint, a_certificate_speaks_for_its_own_device_alone) {
  EXPECT_EQ(code("b", package1()), "403 mdm.other_device");
  EXPECT_EQ(code("a", package1("0f1e2d3c4b5a69788796a5b4c3d2e1f0")), "200");  // the same, in another spelling
  // Nor may another device speak in this session.
  EXPECT_EQ(code("b", write_syncml(read_whole(mdm_sample("03-client-pfn-ok.xml")))), "403 mdm.other_device");
}

TEST_F(Endpoint, a_session_is_walked_to_its_end) {
  DmReply reply = endpoint().handle(peer("a"), package1());
  EXPECT_EQ(endpoint().open(), 1u);
  while (auto next = device_.next(reply.body)) {
    reply = endpoint().handle(peer("a"), write_syncml(*next));
    ASSERT_EQ(reply.status, 200u) << reply.code;
  }
  EXPECT_EQ(endpoint().open(), 0u);
  EXPECT_EQ(host_.opened, 1);
  EXPECT_EQ(host_.closed, 1);
  EXPECT_EQ(host_.memory.last_end, "done");
}

TEST_F(Endpoint, a_message_that_comes_again_gets_its_answer_again) {
  host_.put(1, v1::TASK_UPDATE_SIGNATURES);
  const std::string first = package1();
  const DmReply reply = endpoint().handle(peer("a"), first);
  EXPECT_EQ(endpoint().handle(peer("a"), first).body, reply.body);
  EXPECT_EQ(host_.opened, 1);
  const std::string second = write_syncml(*device_.next(reply.body));
  const DmReply end = endpoint().handle(peer("a"), second);
  EXPECT_EQ(endpoint().open(), 0u);
  EXPECT_EQ(endpoint().handle(peer("a"), second).body, end.body);  // though the session is over
  EXPECT_EQ(host_.told(), (std::vector<std::string>{"1 ACCEPTED", "1 COMPLETED"}));
  EXPECT_EQ(endpoint().handle(peer("a"), first).status, 200u);     // an equal package 1 begins anew now
  EXPECT_EQ(host_.opened, 2);
}

TEST_F(Endpoint, messages_out_of_turn_end_the_session) {
  EXPECT_EQ(code("a", write_syncml(read_whole(mdm_sample("03-client-pfn-ok.xml")))), "400 mdm.no_session");
  EXPECT_EQ(code("a", package1()), "200");
  DmMessage skip = read_whole(mdm_sample("03-client-pfn-ok.xml"));
  skip.header.message_id = 5;
  EXPECT_EQ(code("a", write_syncml(skip)), "400 mdm.sequence");
  EXPECT_EQ(endpoint().open(), 0u);
  EXPECT_EQ(host_.memory.last_end, "refused");
}

TEST_F(Endpoint, a_new_session_takes_the_place_of_the_old_one) {
  EXPECT_EQ(code("a", package1(device_id, "11")), "200");
  EXPECT_EQ(code("a", package1(device_id, "12")), "200");
  EXPECT_EQ(endpoint().open(), 1u);
  EXPECT_EQ(host_.closed, 1);
}

TEST_F(Endpoint, a_silent_session_is_closed_and_an_idle_device_costs_nothing) {
  EXPECT_EQ(code("a", package1()), "200");
  clock_.advance(minutes(4));
  endpoint().sweep();
  EXPECT_EQ(endpoint().open(), 1u);
  clock_.advance(minutes(1));
  endpoint().sweep();
  EXPECT_EQ(endpoint().open(), 0u);
  EXPECT_EQ(host_.memory.last_end, "silent");
  EXPECT_EQ(code("a", package1()), "200");  // the same bytes, and a session of its own
  EXPECT_EQ(host_.opened, 2);
}

TEST_F(Endpoint, too_many_are_told_when_to_come_back) {
  config_.sessions_max = 2;
  for (const char* name : {"b", "c"}) EXPECT_EQ(code(name, package1(std::string("ID-") + name)), "200");
  const DmReply full = endpoint().handle(peer("d"), package1("ID-d"));
  EXPECT_EQ(full.status, 429u);
  EXPECT_EQ(full.code, "mdm.full");
  EXPECT_GE(full.retry_after, seconds(60));
  EXPECT_LE(full.retry_after, seconds(120));
  // Those who are in go on.
  device_.id = "ID-c";
  EXPECT_EQ(code("c", package1("ID-c", "12")), "200");
  clock_.advance(minutes(5));
  endpoint().sweep();
  EXPECT_EQ(code("d", package1("ID-d")), "200");
}

TEST_F(Endpoint, a_stampede_is_let_in_at_its_rate) {
  config_.sessions_per_second = 5;
  int let_in = 0;
  for (int i = 0; i < 50; ++i) let_in += code("n" + std::to_string(i), package1("ID-n" + std::to_string(i))) == "200";
  EXPECT_EQ(let_in, 5);
  clock_.advance(seconds(1));
  for (int i = 50; i < 100; ++i) let_in += code("n" + std::to_string(i), package1("ID-n" + std::to_string(i))) == "200";
  EXPECT_EQ(let_in, 10);
}

TEST_F(Endpoint, one_device_cannot_open_session_after_session) {
  for (int i = 0; i < 6; ++i) EXPECT_EQ(code("a", package1(device_id, std::to_string(20 + i))), "200");
  const DmReply often = endpoint().handle(peer("a"), package1(device_id, "30"));
  EXPECT_EQ(often.code, "mdm.too_often");
  EXPECT_GE(often.retry_after, seconds(1));
  clock_.advance(minutes(1));
  EXPECT_EQ(code("a", package1(device_id, "31")), "200");
}

TEST_F(Endpoint, a_device_that_is_no_longer_ours_loses_its_session) {
  EXPECT_EQ(code("a", package1()), "200");
  endpoint().forget(AgentId("a"));
  EXPECT_EQ(endpoint().open(), 0u);
  EXPECT_EQ(host_.closed, 1);
}

TEST_F(Endpoint, the_same_message_from_many_threads_opens_one_session) {
  const std::string first = package1();
  endpoint();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0, busy = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const DmReply reply = endpoint().handle(peer("a"), first);
      (reply.status == 200 ? good : busy) += reply.status == 200 || reply.code == "mdm.busy";
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good + busy, 8);
  EXPECT_GE(good, 1);
  EXPECT_EQ(host_.opened, 1);
}

}  // namespace
}  // namespace greengate::test
