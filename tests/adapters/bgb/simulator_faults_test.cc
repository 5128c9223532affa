// Every TCP fault of the strict simulator (bgb-protocol 7.3) met by the pool. What must hold through all of them: no push is lost to a
// client that is online or comes back, each is handed on at most once, every one is answered, and nothing we say is refused.
#include "tests/adapters/bgb/peer.h"
#include "tests/adapters/bgb/pool_stage.h"
#include "tests/adapters/bgb/site.h"

#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <boost/json.hpp>

#include <map>
#include <optional>
#include <string>
#include <thread>

namespace greengate::test {
namespace {

namespace json = boost::json;

constexpr int fleet = 12;

// Does every task it knows; counts how often each push reached each agent.
class Fleet final : public adapters::BgbListener {
 public:
  void on_push(const AgentId& who, const BgbPush& push) override {
    {
      std::lock_guard lock(mutex_);
      ++handed_[{push.push_id, who.raw()}];
    }
    pool->respond(who, push.push_id, push.task_id, push.task_type == 1);
  }
  void on_online(const AgentId&) override { ++online; }
  void on_offline(const AgentId&, const Error& why) override {
    --online;
    std::lock_guard lock(mutex_);
    ++ended_[why.code];
  }
  std::map<std::string, int> ended() const {
    std::lock_guard lock(mutex_);
    return ended_;
  }
  int agents_handed(std::uint64_t push_id) const {
    std::lock_guard lock(mutex_);
    int agents = 0;
    for (const auto& [key, times] : handed_) agents += key.first == push_id ? 1 : 0;
    return agents;
  }
  int most_handed() const {
    std::lock_guard lock(mutex_);
    int most = 0;
    for (const auto& [key, times] : handed_) most = std::max(most, times);
    return most;
  }

  SessionPool* pool = nullptr;
  std::atomic<int> online = 0;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::uint64_t, std::string>, int> handed_;
  std::map<std::string, int> ended_;
};

class BgbAgainstSimulator : public testing::Test {
 protected:
  void begin(const json::object& settings = {}) {
    site.emplace(settings);
    BgbConfig config = quick_config(site->address(), site->certificate_file());
    config.frame_timeout = milliseconds(300);
    config.sign_in_timeout = milliseconds(400);
    for (int i = 0; i < fleet; ++i) identities.push_back(make_identity(agent(i).raw()));
    pool.emplace(
        net, config, clock, metrics,
        [this](const AgentId& who) -> Result<BgbIdentity> {
          for (int i = 0; i < fleet; ++i)
            if (agent(i).raw() == who.raw())
              return BgbIdentity{sms_id_of(who), identities[static_cast<std::size_t>(i)].certificate_der,
                                 identities[static_cast<std::size_t>(i)].private_key_der};
          return fail(Remedy::reject, "test.none", "No such agent.");
        },
        agents);
    agents.pool = &*pool;
    thread = std::thread([this] { net.run(); });
    ASSERT_TRUE(pool->start());
    for (int i = 0; i < fleet; ++i) pool->open(agent(i));
    ASSERT_TRUE(everybody_online());
  }
  ~BgbAgainstSimulator() override {
    if (pool) pool->stop();
    guard.reset();
    net.stop();
    if (thread.joinable()) thread.join();
  }
  bool everybody_online() {
    return wait_until([&] { return agents.online == fleet; }, seconds(30));
  }
  std::uint64_t push_to_all() { return site->push_to_all(); }
  std::int64_t answered(std::uint64_t push_id) { return site->answered(push_id); }
  void expect_all_answered_once(std::uint64_t push_id) {
    EXPECT_TRUE(wait_until([&] { return answered(push_id) == fleet; }, seconds(30)))
        << answered(push_id) << " answers; " << json::serialize(site->call("GET", "pushes/" + std::to_string(push_id)));
    EXPECT_EQ(agents.agents_handed(push_id), fleet) << "a push was lost";
    EXPECT_LE(agents.most_handed(), 1) << "a push was handed on twice";
  }
  // Warnings are about what a fault makes inevitable, such as a second session before the server saw the end of the first.
  void expect_nothing_refused() {
    const auto violations = site->call("GET", "violations");
    for (const auto& violation : violations.at("violations").as_array())
      EXPECT_EQ(violation.at("severity").as_string(), "warning") << json::serialize(violation);
  }
  std::int64_t applied() { return site->faults_applied(); }

  asio::io_context net;
  asio::executor_work_guard<asio::io_context::executor_type> guard = asio::make_work_guard(net);
  SystemClock clock;
  Metrics metrics;
  std::vector<TestIdentity> identities;
  Fleet agents;
  std::optional<Site> site;
  std::optional<SessionPool> pool;
  std::thread thread;
};

TEST_F(BgbAgainstSimulator, LosesNoPushAndRepeatsNoneThroughFaultsOfAPush) {
  begin();
  const json::object faults[] = {
      {{"fault", "byte-per-write"}, {"count", 5}},
      {{"fault", "split-every-byte"}, {"count", fleet}},
      {{"fault", "many-frames-per-write"}, {"count", 2}, {"frames", 8}},
      {{"fault", "duplicate-push"}, {"count", 5}},
      {{"fault", "unknown-elements"}, {"count", 5}},
      {{"fault", "unknown-task-type"}, {"count", 5}},
      {{"fault", "missing-fields"}, {"count", 5}},
      {{"fault", "missing-fields"}, {"count", 5}, {"fields", {"TaskType"}}},
      {{"fault", "other-encoding"}, {"count", 3}, {"encoding", "utf-8"}},
      {{"fault", "other-encoding"}, {"count", 3}, {"encoding", "utf-8+bom"}},
      {{"fault", "other-encoding"}, {"count", 3}, {"encoding", "utf-16le+bom"}},
      {{"fault", "other-encoding"}, {"count", 3}, {"encoding", "utf-16le+nul"}},
      {{"fault", "close-mid-frame"}, {"count", 5}},
      {{"fault", "payload-size-zero"}, {"count", 5}},
      {{"fault", "payload-size-huge"}, {"count", 5}},
      {{"fault", "payload-size-larger"}, {"count", 5}},
      {{"fault", "wrong-header-size"}, {"count", 5}},
      {{"fault", "malformed-xml"}, {"count", 5}},
      {{"fault", "entity"}, {"count", 5}},
      {{"fault", "dtd"}, {"count", 5}},
      {{"fault", "black-hole"}, {"count", 5}, {"on", "push"}},
  };
  for (const auto& fault : faults) {
    SCOPED_TRACE(json::serialize(fault));
    site->call("POST", "faults", fault);
    const auto push = push_to_all();
    // A TaskType left out is answered with the failure code and never handed on.
    if (fault.contains("fields")) {
      EXPECT_TRUE(wait_until([&] { return answered(push) == fleet; }, seconds(30))) << answered(push);
      EXPECT_LE(agents.most_handed(), 1);
    } else {
      expect_all_answered_once(push);
    }
    EXPECT_GT(applied(), 0);
    site->call("DELETE", "faults");
    ASSERT_TRUE(everybody_online());
    // And the next push is none the worse for it.
    expect_all_answered_once(push_to_all());
  }
  expect_nothing_refused();
}

TEST_F(BgbAgainstSimulator, ComesBackThroughFaultsOfASignInAndGetsWhatWaited) {
  begin();
  const json::object faults[] = {
      {{"fault", "accept-close"}, {"count", 5}},
      {{"fault", "tls-close"}, {"count", 5}},
      {{"fault", "no-confirmation"}, {"count", 5}},
      {{"fault", "negotiation-needed"}, {"count", 5}},
      {{"fault", "disconnect"}, {"count", 5}},
      {{"fault", "push-before-confirmation"}, {"count", 5}},
      {{"fault", "black-hole"}, {"count", 5}},
      {{"fault", "black-hole"}, {"count", 5}, {"on", "accept"}},
      {{"fault", "close-mid-frame"}, {"count", 5}, {"on", "confirm"}},
      {{"fault", "byte-per-write"}, {"count", 5}, {"on", "confirm"}},
      {{"fault", "split-every-byte"}, {"count", fleet}, {"on", "confirm"}},
      {{"fault", "payload-size-huge"}, {"count", 5}, {"on", "confirm"}},
      {{"fault", "wrong-header-size"}, {"count", 5}, {"on", "confirm"}},
      {{"fault", "malformed-xml"}, {"count", 5}, {"on", "confirm"}},
      {{"fault", "dtd"}, {"count", 5}, {"on", "confirm"}},
  };
  for (const auto& fault : faults) {
    SCOPED_TRACE(json::serialize(fault));
    site->call("POST", "faults", fault);
    // Everybody is cut off, and a push comes while all are away.
    site->call("POST", "disconnect", {{"all", true}, {"how", "close"}});
    const auto push = push_to_all();
    expect_all_answered_once(push);
    EXPECT_GT(applied(), 0);
    site->call("DELETE", "faults");
    ASSERT_TRUE(everybody_online());
  }
  expect_nothing_refused();
}

TEST_F(BgbAgainstSimulator, AnswersEveryPushOnceThroughAMassDisconnectInTheMiddle) {
  begin();
  for (const char* how : {"close", "frame"}) {
    SCOPED_TRACE(how);
    std::vector<std::uint64_t> pushes;
    for (int i = 0; i < 5; ++i) pushes.push_back(push_to_all());
    site->call("POST", "disconnect", {{"all", true}, {"how", how}});
    for (int i = 0; i < 5; ++i) pushes.push_back(push_to_all());
    for (const auto push : pushes) expect_all_answered_once(push);
    ASSERT_TRUE(everybody_online());
  }
  expect_nothing_refused();
}

// The client refuses (9.2). The server takes that as the end of the connection; the push that went with its wish comes after the next
// sign-in, which nobody hurries.
TEST_F(BgbAgainstSimulator, RefusesToNegotiateTlsAnewAndLosesNoPushByIt) {
  begin({{"tls_max", "1.2"}});
  constexpr int wishes = 5;
  site->call("POST", "faults", {{"fault", "tls-renegotiation"}, {"count", wishes}});
  expect_all_answered_once(push_to_all());
  EXPECT_EQ(site->faults_applied(), wishes);
  EXPECT_EQ(agents.ended(), (std::map<std::string, int>{{"bgb.lost", wishes}})) << "each ended once, nobody else did";
  ASSERT_TRUE(everybody_online());
  std::uint64_t attempts = 0;
  for (int i = 0; i < fleet; ++i) attempts += pool->view(agent(i))->attempts;
  EXPECT_EQ(attempts, static_cast<std::uint64_t>(fleet + wishes)) << "one attempt more for each, no storm";
  expect_all_answered_once(push_to_all());
  expect_nothing_refused();
}

TEST_F(BgbAgainstSimulator, CaresNotAboutAServersClock) {
  begin();
  for (const std::int64_t day : {-86'400'000, 86'400'000}) {
    site->call("POST", "settings", {{"timestamp_offset_ms", day}});
    expect_all_answered_once(push_to_all());
  }
  expect_nothing_refused();
}

// The simulator's five layouts and encodings are not ours: what one writes the other must read.
TEST(BgbLayouts, AreTheSimulatorsToo) {
  const json::object layouts[] = {
      {{"profile", "A"}}, {{"profile", "B"}}, {{"profile", "C"}}, {{"profile", "A8"}}, {{"profile", "A16"}},
  };
  for (const auto& layout : layouts) {
    SCOPED_TRACE(json::serialize(layout));
    Site site(layout);
    BgbConfig config = quick_config(site.address(), site.certificate_file());
    config.profile = "Z";  // nobody's: this server's own is chosen
    config.server_profiles = {site.address() + "=" + std::string(layout.at("profile").as_string())};
    House house(config);
    house.ear.answer_with = true;
    ASSERT_TRUE(house.pool->start());
    house.pool->open(agent(1));
    ASSERT_TRUE(wait_until([&] { return house.ear.online == 1; })) << house.last_error(agent(1));
    const auto push = site.call("POST", "push", {{"clients", "all"}, {"task_type", 1}}).at("push_id").to_number<std::uint64_t>();
    EXPECT_TRUE(wait_until([&] {
      const auto pushes = site.call("GET", "pushes");
      for (const auto& one : pushes.at("pushes").as_array())
        if (one.at("push_id").to_number<std::uint64_t>() == push) return one.at("answered").to_number<std::int64_t>() == 1;
      return false;
    }));
    const auto violations = site.call("GET", "violations");
    EXPECT_TRUE(violations.at("violations").as_array().empty());
  }
}

}  // namespace
}  // namespace greengate::test
