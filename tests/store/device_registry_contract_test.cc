#include "tests/store/store_fixture.h"

#include <map>
#include <thread>

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using store::Device;
using store::DeviceState;
using store::EnrolRequest;
using store::IdentityState;
using store::Token;

class DeviceRegistry : public StoreContract {
 protected:
  Result<Device> enrol(const std::string& key, const std::string& token_hash = "",
                       const std::string& host = "host") {
    std::promise<Result<Device>> promise;
    auto answer = promise.get_future();
    registry().enrol({AgentKey(key), token_hash, host, host + ".example", "Debian 12", "agent 0.1"},
                     [&promise](Result<Device> device) { promise.set_value(std::move(device)); });
    return answer.get();
  }
  void expect_refused(const Result<Device>& result, const char* code) {
    ASSERT_FALSE(result) << code;
    EXPECT_STREQ(result.error().code, code);
    EXPECT_EQ(result.error().remedy, Remedy::reject);
  }
  Token token(const std::string& id, std::uint32_t uses_max = 1) {
    Token made;
    made.id = id;
    made.hash = id + std::string(32 - id.size(), '#');
    made.note = "for the lab";
    made.uses_max = uses_max;
    made.created_at = clock_.wall();
    made.expires_at = clock_.wall() + 1h;
    return made;
  }
};
INSTANTIATE_TEST_SUITE_P(Stores, DeviceRegistry, testing::ValuesIn(store_kinds()), kind_name);

TEST_P(DeviceRegistry, LetsAnUnknownKeyWaitForApproval) {
  const auto device = enrol("key");
  ASSERT_TRUE(device);
  EXPECT_EQ(device->state, DeviceState::pending);
  EXPECT_EQ(device->enrolled_by, "operator");
  EXPECT_EQ(device->enrolled_at, clock_.wall());
  EXPECT_EQ(device->id.raw().size(), 16u);
  EXPECT_EQ(device->id.raw().find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(registry().find_by_key(AgentKey("key"))->id, device->id);
  EXPECT_EQ(enrol("key")->id, device->id) << "asking again is the same device";
  EXPECT_EQ(registry().size(), 1u);
  ASSERT_TRUE(registry().set_state(device->id, DeviceState::active));
  EXPECT_EQ(enrol("key")->state, DeviceState::active);
}

TEST_P(DeviceRegistry, KeepsEverythingOverARestart) {
  auto offered = token("t1", 2);
  ASSERT_TRUE(registry().add_token(offered));
  const auto device = enrol("key", offered.hash);
  ASSERT_TRUE(device);
  EXPECT_EQ(device->state, DeviceState::active);
  EXPECT_EQ(device->enrolled_by, "token t1");
  store::SiteIdentity identity{IdentityState::ready, SmsId("GUID:1"), std::string("\0sealed", 7),
                               clock_.wall(), "mp.code"};
  ASSERT_TRUE(registry().set_site_identity(device->id, identity));
  clock_.advance(1min);
  registry().note_seen(device->id, clock_.wall(), "renamed", "renamed.example", "Debian 13",
                       "agent 0.2");
  reopen();
  const auto found = registry().find(device->id);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->key, AgentKey("key"));
  EXPECT_EQ(found->state, DeviceState::active);
  EXPECT_EQ(found->host_name, "renamed");
  EXPECT_EQ(found->fqdn, "renamed.example");
  EXPECT_EQ(found->operating_system, "Debian 13");
  EXPECT_EQ(found->agent_version, "agent 0.2");
  EXPECT_EQ(found->last_seen, clock_.wall());
  EXPECT_EQ(found->enrolled_at, clock_.wall() - 1min);
  EXPECT_EQ(found->site.state, IdentityState::ready);
  EXPECT_EQ(found->site.sms_id, SmsId("GUID:1"));
  EXPECT_EQ(found->site.sealed, identity.sealed);
  EXPECT_EQ(found->site.last_code, "mp.code");
  ASSERT_EQ(registry().tokens().size(), 1u);
  const Token kept = registry().tokens()[0];
  EXPECT_EQ(kept.hash, offered.hash);
  EXPECT_EQ(kept.note, "for the lab");
  EXPECT_EQ(kept.uses, 1u);
  EXPECT_EQ(kept.uses_max, 2u);
  EXPECT_EQ(kept.expires_at, offered.expires_at);
  EXPECT_EQ(registry().list().size(), 1u);
}

TEST_P(DeviceRegistry, SpendsATokenOncePerNewDevice) {
  const auto offered = token("t1", 2);
  ASSERT_TRUE(registry().add_token(offered));
  ASSERT_TRUE(enrol("k1", offered.hash));
  ASSERT_TRUE(enrol("k1", offered.hash)) << "a known key spends nothing";
  EXPECT_EQ(registry().tokens()[0].uses, 1u);
  ASSERT_TRUE(enrol("k2", offered.hash));
  expect_refused(enrol("k3", offered.hash), "enrol.token_spent");
  EXPECT_EQ(registry().size(), 2u);
}

TEST_P(DeviceRegistry, NeverLetsMoreInThanATokenAllowsHoweverManyAskAtOnce) {
  const auto offered = token("t1", 5);
  ASSERT_TRUE(registry().add_token(offered));
  std::atomic<int> in = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 20; ++i) {
    threads.emplace_back([&, i] {
      if (enrol("k" + std::to_string(i), offered.hash)) ++in;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(in, 5);
  EXPECT_EQ(registry().size(), 5u);
  EXPECT_EQ(registry().tokens()[0].uses, 5u);
}

TEST_P(DeviceRegistry, SaysWhyATokenDoesNotLetIn) {
  expect_refused(enrol("k", std::string(32, 'z')), "enrol.token_unknown");
  const auto expired = token("t1"), revoked = token("t2");
  ASSERT_TRUE(registry().add_token(expired));
  ASSERT_TRUE(registry().add_token(revoked));
  ASSERT_TRUE(registry().revoke_token("t2"));
  expect_refused(enrol("k", revoked.hash), "enrol.token_revoked");
  clock_.advance(1h);
  expect_refused(enrol("k", expired.hash), "enrol.token_expired");
  EXPECT_EQ(registry().size(), 0u);
}

TEST_P(DeviceRegistry, ActivatesAPendingDeviceThatBringsAGoodToken) {
  const auto device = enrol("key");
  EXPECT_EQ(enrol("key", std::string(32, 'z'))->state, DeviceState::pending)
      << "a bad one changes nothing";
  const auto offered = token("t1");
  ASSERT_TRUE(registry().add_token(offered));
  const auto active = enrol("key", offered.hash);
  ASSERT_TRUE(active);
  EXPECT_EQ(active->id, device->id);
  EXPECT_EQ(active->state, DeviceState::active);
  EXPECT_EQ(registry().tokens()[0].uses, 1u);
}

TEST_P(DeviceRegistry, KeepsARevokedKeyOutUntilAnOperatorChangesThat) {
  const auto device = enrol("key");
  ASSERT_TRUE(registry().set_state(device->id, DeviceState::revoked));
  const auto offered = token("t1");
  ASSERT_TRUE(registry().add_token(offered));
  expect_refused(enrol("key", offered.hash), "enrol.revoked");
  reopen();
  expect_refused(enrol("key"), "enrol.revoked");
  EXPECT_EQ(registry().set_state(device->id, DeviceState::active)->state, DeviceState::active);
  EXPECT_TRUE(enrol("key"));
}

TEST_P(DeviceRegistry, BoundsPendingDevicesAllDevicesAndTokens) {
  config_.pending_max = 1;
  config_.devices_max = 2;
  config_.tokens_max = 1;
  reopen();
  const auto first = enrol("k1");
  ASSERT_TRUE(first);
  expect_refused(enrol("k2"), "enrol.pending_full");
  ASSERT_TRUE(registry().set_state(first->id, DeviceState::active));
  ASSERT_TRUE(enrol("k2"));
  const auto offered = token("t1");
  ASSERT_TRUE(registry().add_token(offered));
  expect_refused(enrol("k3", offered.hash), "enrol.devices_full");
  EXPECT_EQ(registry().tokens()[0].uses, 0u);
  auto full = registry().add_token(token("t2"));
  ASSERT_FALSE(full);
  EXPECT_STREQ(full.error().code, "registry.tokens_full");
  auto again = registry().add_token(offered);
  ASSERT_FALSE(again);
  EXPECT_STREQ(again.error().code, "registry.token_exists");
  ASSERT_TRUE(registry().revoke_token("t1"));
  ASSERT_TRUE(registry().add_token(token("t2"))) << "a token that has ended makes room";
  ASSERT_EQ(registry().tokens().size(), 1u);
  EXPECT_EQ(registry().tokens()[0].id, "t2");
}

TEST_P(DeviceRegistry, SaysWhenItDoesNotKnowADeviceOrToken) {
  const auto state = registry().set_state(AgentId("nobody"), DeviceState::active);
  expect_refused(state, "registry.unknown");
  for (const auto& refused :
       {registry().set_site_identity(AgentId("nobody"), {}), registry().revoke_token("none")}) {
    ASSERT_FALSE(refused);
    EXPECT_STREQ(refused.error().code, "registry.unknown");
  }
  EXPECT_FALSE(registry().find(AgentId("nobody")));
  EXPECT_FALSE(registry().find_by_key(AgentKey("nobody")));
  EXPECT_EQ(registry().counter(AgentId("nobody"), "serial"), 0u);
}

TEST_P(DeviceRegistry, KeepsADevicesFactsOverARestartUntilTheyAreForgotten) {
  const auto device = enrol("k1"), other = enrol("k2");
  EXPECT_EQ(registry().fact(device->id, "resync.hardware").value(), std::nullopt);
  const std::string value("\0cookie\xff", 8);
  ASSERT_TRUE(registry().set_fact(device->id, "resync.hardware", "an older one"));
  ASSERT_TRUE(registry().set_fact(device->id, "resync.hardware", value));
  ASSERT_TRUE(registry().set_fact(device->id, "policy.cookie", "c"));
  EXPECT_EQ(registry().fact(device->id, "resync.hardware").value(), value);
  EXPECT_EQ(registry().fact(other->id, "resync.hardware").value(), std::nullopt);
  reopen();
  EXPECT_EQ(registry().fact(device->id, "resync.hardware").value(), value);
  ASSERT_TRUE(registry().set_fact(device->id, "resync.hardware", ""));
  EXPECT_EQ(registry().fact(device->id, "resync.hardware").value(), std::nullopt);
  EXPECT_EQ(registry().fact(device->id, "policy.cookie").value(), "c");
}

TEST_P(DeviceRegistry, BoundsADevicesFacts) {
  const auto device = enrol("k1"), other = enrol("k2");
  const auto refused = [](const Result<void>& result, const char* code) {
    ASSERT_FALSE(result);
    EXPECT_STREQ(result.error().code, code);
    EXPECT_EQ(result.error().remedy, Remedy::reject);
  };
  refused(registry().set_fact(AgentId("nobody"), "name", "value"), "registry.unknown");
  refused(registry().set_fact(device->id, std::string(257, 'n'), "value"), "registry.fact_too_large");
  refused(registry().set_fact(device->id, "name", std::string((64 << 10) + 1, 'x')), "registry.fact_too_large");
  EXPECT_EQ(registry().fact(device->id, "name").value(), std::nullopt);
  for (int i = 0; i < 64; ++i)
    ASSERT_TRUE(registry().set_fact(device->id, "name" + std::to_string(i), std::string(64 << 10, 'x')));
  refused(registry().set_fact(device->id, "one more", "value"), "registry.fact_too_large");
  ASSERT_TRUE(registry().set_fact(device->id, "name0", "changed")) << "a name there already needs no room";
  ASSERT_TRUE(registry().set_fact(other->id, "name", "value")) << "each device has its own bound";
  ASSERT_TRUE(registry().set_fact(device->id, "name1", ""));
  ASSERT_TRUE(registry().set_fact(device->id, "one more", "value"));
}

TEST_P(DeviceRegistry, ShowsEachDeviceOnce) {
  std::map<std::string, std::string> expected, seen;
  for (int i = 0; i < 300; ++i) {
    const auto device = enrol("k" + std::to_string(i), "", "host" + std::to_string(i));
    ASSERT_TRUE(device);
    expected[device->id.raw()] = device->host_name;
  }
  registry().for_each([&seen](const Device& device) { EXPECT_TRUE(seen.emplace(device.id.raw(), device.host_name).second); });
  EXPECT_EQ(seen, expected);
}

TEST_P(DeviceRegistry, CutsLongTextsAtACharacter) {
  const auto device = enrol("key", "", std::string(255, 'x') + "\xc3\xa4 and more");
  EXPECT_EQ(device->host_name, std::string(255, 'x'));
}

TEST_P(DeviceRegistry, AnswersStoppingAfterTheEnd) {
  store_->stop();
  const auto late = enrol("key");
  ASSERT_FALSE(late);
  EXPECT_STREQ(late.error().code, "registry.stopping");
  EXPECT_EQ(late.error().remedy, Remedy::halt);
}

}  // namespace
}  // namespace greengate::test
