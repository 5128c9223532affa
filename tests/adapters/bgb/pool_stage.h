// A session pool on a stage: its listener, its identities, a server to talk to. For the tests of the pool.
#pragma once

#include "adapters/bgb/session_pool.h"
#include "core/clock.h"
#include "core/metrics.h"
#include "tests/adapters/bgb/peer.h"

#include <gtest/gtest.h>

#include <boost/asio.hpp>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

namespace greengate::test {

namespace asio = boost::asio;
using adapters::BgbConfig;
using adapters::BgbIdentity;
using adapters::BgbPush;
using adapters::SessionPool;
using std::chrono::milliseconds;
using std::chrono::seconds;

inline std::string policy_push(std::uint64_t push_id, std::uint64_t task_id, const std::string& guid = "", int type = 1) {
  return "<BgbRequestMessage TimeStamp=\"2026-01-15T10:00:00Z\"><PushID>" + std::to_string(push_id) + "</PushID><TaskID>" +
         std::to_string(task_id) + "</TaskID><TaskGUID>" + guid + "</TaskGUID><TaskType>" + std::to_string(type) +
         "</TaskType><TaskParam></TaskParam></BgbRequestMessage>";
}

inline bool answers(const std::string& xml, std::uint64_t push_id, int code) {
  return xml.find("<PushID>" + std::to_string(push_id) + "</PushID>") != std::string::npos &&
         xml.find("<ReturnCode>" + std::to_string(code) + "</ReturnCode>") != std::string::npos;
}

inline SmsId sms_id_of(const AgentId& agent) {
  return SmsId("GUID:00000000-0000-4000-8000-" + agent.raw().substr(4));
}

inline AgentId agent(int n) {
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
  SystemClock clock_;  // before the pool, which refers to both
  asio::io_context net_;

 public:
  /// Without `clock` it is the machine's; without `routes` they are.
  explicit House(BgbConfig config, const Clock* clock = nullptr, adapters::RouteSource routes = {}) : guard_(asio::make_work_guard(net_)) {
    pool.emplace(
        net_, std::move(config), clock != nullptr ? *clock : clock_, metrics,
        [this](const AgentId& who) -> Result<BgbIdentity> {
          ++identities_asked;
          if (no_identity) return fail(Remedy::retry, "test.none", "There is no identity yet.");
          const auto made = same_key_for_all ? *same_key_for_all : make_identity(who.raw());
          return BgbIdentity{sms_id_of(who), made.certificate_der, made.private_key_der};
        },
        ear, [this](const AgentId& who, const SmsId& as) { return !right || right(who, as); }, std::move(routes));
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
  std::function<bool(const AgentId&, const SmsId&)> right;  // set before start(); empty: everybody may
  std::optional<TestIdentity> same_key_for_all;  // set before start()
  std::atomic<bool> no_identity = false;
  std::atomic<int> identities_asked = 0;
  std::optional<SessionPool> pool;

 private:
  asio::executor_work_guard<asio::io_context::executor_type> guard_;
  std::thread thread_;
};

// The pin file of a peer, gone with the test.
class PinFile {
 public:
  explicit PinFile(const std::string& pem)
      : path_(std::filesystem::temp_directory_path() /
              ("greengate-bgb-pin-" + std::to_string(::getpid()) + "-" + std::to_string(counter++))) {
    std::ofstream(path_) << pem;
  }
  ~PinFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  static inline std::atomic<int> counter = 0;
  std::filesystem::path path_;
};

inline BgbConfig quick_config(const std::string& server, const std::string& pin) {
  BgbConfig config;
  config.enabled = true;
  config.servers = {server};
  config.certificate_file = pin;
  config.tick = milliseconds(10);
  config.backoff_base = milliseconds(50);
  config.backoff_cap = milliseconds(400);
  config.handshakes_per_second = 2'000;
  config.handshakes_in_flight_max = 32;  // one thread makes every identity of the test
  return config;
}

// One peer, its pin, one house: what most tests need.
struct Stage {
  explicit Stage(
      Peer::Behaviour behaviour = {}, const std::function<void(BgbConfig&)>& change = [](BgbConfig&) {})
      : identity(make_identity("mp")),
        peer(identity, std::move(behaviour)),
        pin(identity.certificate_pem),
        house(configure(change)) {}

  BgbConfig configure(const std::function<void(BgbConfig&)>& change) {
    BgbConfig config = quick_config(peer.address(), pin.path());
    change(config);
    return config;
  }
  std::size_t go_online() {
    EXPECT_TRUE(house.pool->start());
    house.pool->open(agent(1));
    EXPECT_TRUE(wait_until([&] { return house.state(agent(1)) == "online"; })) << house.last_error(agent(1));
    return peer.signed_in().empty() ? 0 : peer.signed_in().back();
  }
  bool sees_error(const std::string& code) {
    return wait_until([&] { return house.last_error(agent(1)) == code; });
  }

  TestIdentity identity;
  Peer peer;
  PinFile pin;
  House house;
};

}  // namespace greengate::test
