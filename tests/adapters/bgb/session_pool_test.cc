#include "adapters/bgb/session_pool.h"

#include "core/clock.h"
#include "core/metrics.h"
#include "tests/adapters/bgb/peer.h"

#include <gtest/gtest.h>

#include <boost/asio.hpp>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

namespace greengate::test {
namespace {

namespace asio = boost::asio;
using adapters::BgbConfig;
using adapters::BgbIdentity;
using adapters::BgbPush;
using adapters::SessionPool;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::string policy_push(std::uint64_t push_id, std::uint64_t task_id, const std::string& guid = "",
                        int type = 1) {
  return "<BgbRequestMessage TimeStamp=\"2026-01-15T10:00:00Z\"><PushID>" +
         std::to_string(push_id) + "</PushID><TaskID>" + std::to_string(task_id) +
         "</TaskID><TaskGUID>" + guid + "</TaskGUID><TaskType>" + std::to_string(type) +
         "</TaskType><TaskParam></TaskParam></BgbRequestMessage>";
}

bool answers(const std::string& xml, std::uint64_t push_id, int code) {
  return xml.find("<PushID>" + std::to_string(push_id) + "</PushID>") != std::string::npos &&
         xml.find("<ReturnCode>" + std::to_string(code) + "</ReturnCode>") != std::string::npos;
}

SmsId sms_id_of(const AgentId& agent) {
  return SmsId("GUID:00000000-0000-4000-8000-" + agent.raw().substr(4));
}

AgentId agent(int n) {
  char text[17];
  std::snprintf(text, sizeof text, "0000%012X", static_cast<unsigned>(n));
  return AgentId(text);
}

// Keeps what the pool tells it; answers pushes when told to.
class Ear final : public adapters::BgbListener {
 public:
  void on_push(const AgentId& who, const BgbPush& push) override {
    {
      std::lock_guard lock(mutex_);
      pushes_.emplace_back(who, push);
    }
    if (answer_with) pool->respond(who, push.push_id, push.task_id, *answer_with);
  }
  void on_online(const AgentId&) override { ++online; }
  void on_offline(const AgentId&, const Error& why) override {
    std::lock_guard lock(mutex_);
    offline_.push_back(why.code);
  }
  std::vector<std::pair<AgentId, BgbPush>> pushes() const {
    std::lock_guard lock(mutex_);
    return pushes_;
  }
  std::vector<std::string> offline() const {
    std::lock_guard lock(mutex_);
    return offline_;
  }

  SessionPool* pool = nullptr;
  std::optional<bool> answer_with;
  std::atomic<int> online = 0;

 private:
  mutable std::mutex mutex_;
  std::vector<std::pair<AgentId, BgbPush>> pushes_;
  std::vector<std::string> offline_;
};

// A pool with its net thread and one identity per agent, whose certificate bears the agent's id.
class House {
 public:
  explicit House(BgbConfig config) : guard_(asio::make_work_guard(net_)) {
    pool.emplace(
        net_, std::move(config), clock_, metrics,
        [this](const AgentId& who) -> Result<BgbIdentity> {
          ++identities_asked;
          if (no_identity) return fail(Remedy::retry, "test.none", "There is no identity yet.");
          const auto made = make_identity(who.raw());
          return BgbIdentity{sms_id_of(who), made.certificate_der, made.private_key_der};
        },
        ear);
    ear.pool = &*pool;
    thread_ = std::thread([this] { net_.run(); });
  }
  ~House() {
    pool->stop();
    guard_.reset();
    net_.stop();
    thread_.join();
  }

  std::string state(const AgentId& who) const {
    const auto view = pool->view(who);
    return view ? view->state : "none";
  }
  std::string last_error(const AgentId& who) const {
    const auto view = pool->view(who);
    return view ? view->last_error_code : "none";
  }

  Metrics metrics;
  Ear ear;
  std::atomic<bool> no_identity = false;
  std::atomic<int> identities_asked = 0;
  std::optional<SessionPool> pool;

 private:
  SystemClock clock_;
  asio::io_context net_;
  asio::executor_work_guard<asio::io_context::executor_type> guard_;
  std::thread thread_;
};

// The pin file of a peer, gone with the test.
class PinFile {
 public:
  explicit PinFile(const std::string& pem)
      : path_(
            std::filesystem::temp_directory_path() /
            ("greengate-bgb-pin-" + std::to_string(::getpid()) + "-" + std::to_string(counter++))) {
    std::ofstream(path_) << pem;
  }
  ~PinFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  static inline std::atomic<int> counter = 0;
  std::filesystem::path path_;
};

BgbConfig quick_config(const std::string& server, const std::string& pin) {
  BgbConfig config;
  config.enabled = true;
  config.servers = {server};
  config.certificate_file = pin;
  config.tick = milliseconds(10);
  config.backoff_base = milliseconds(50);
  config.backoff_cap = milliseconds(400);
  config.handshakes_per_second = 2'000;
  return config;
}

TEST(BgbSessionPool, SignsInHandsAPushOnceAndAnswersIt) {
  const auto identity = make_identity("mp");
  Peer peer(identity);
  PinFile pin(identity.certificate_pem);
  House house(quick_config(peer.address(), pin.path()));
  house.ear.answer_with = true;
  ASSERT_TRUE(house.pool->start());

  house.pool->open(agent(1));
  ASSERT_TRUE(wait_until([&] { return house.state(agent(1)) == "online"; }))
      << house.last_error(agent(1));
  EXPECT_EQ(house.ear.online, 1);
  const auto sign_in = peer.heard("BgbSignInMessage");
  ASSERT_EQ(sign_in.size(), 1u);
  EXPECT_EQ(sign_in[0].certificate_name, agent(1).raw());
  EXPECT_NE(sign_in[0].xml.find("<ClientID>" + sms_id_of(agent(1)).raw() + "</ClientID>"),
            std::string::npos);

  const std::size_t session = peer.signed_in().at(0);
  const std::string guid = "0C2E4A68-1B3D-4F57-8A9C-BDDFE1F30527";
  peer.push(session, policy_push(13, 14, guid));
  ASSERT_TRUE(wait_until([&] { return peer.heard("BgbResponseMessage").size() == 1; }));
  EXPECT_TRUE(answers(peer.heard("BgbResponseMessage")[0].xml, 13, 1))
      << peer.heard("BgbResponseMessage")[0].xml;
  ASSERT_EQ(house.ear.pushes().size(), 1u);
  EXPECT_EQ(house.ear.pushes()[0].second.task_id, 14u);
  EXPECT_EQ(house.ear.pushes()[0].second.task_guid, guid);
  EXPECT_EQ(house.ear.pushes()[0].second.task_type, 1u);

  peer.push(session, policy_push(13, 14, guid));
  ASSERT_TRUE(wait_until([&] { return peer.heard("BgbResponseMessage").size() == 2; }));
  EXPECT_TRUE(answers(peer.heard("BgbResponseMessage")[1].xml, 13, 1));
  EXPECT_EQ(house.ear.pushes().size(), 1u) << "a duplicate was handed on again";
  EXPECT_EQ(peer.complaints().size(), 0u);
}

}  // namespace
}  // namespace greengate::test
