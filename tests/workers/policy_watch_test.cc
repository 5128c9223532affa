// Goal: what the site's policy says of an agent is learned once, acted on once, and never asked for where it must not be. Method: a
// management point that answers by script, registry and queue in memory, and a clock of ours; each due request is run by hand.
#include "workers/policy_watch.h"

#include "adapters/mp/compression.h"
#include "adapters/mp/signing_key.h"
#include "adapters/mp/utf16.h"
#include "tests/support/fake_device_registry.h"
#include "tests/support/fake_report_queue.h"
#include "tests/workers/site_fixture.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <array>
#include <future>
#include <thread>

namespace greengate::test {
namespace {

using namespace workers;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

std::string digest(const std::string& bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> sum{};
  unsigned size = 0;
  EVP_Digest(bytes.data(), bytes.size(), sum.data(), &size, EVP_sha256(), nullptr);
  return adapters::upper_hex({reinterpret_cast<const char*>(sum.data()), size});
}

// One policy of the site's: its body, and how it is assigned.
struct SitePolicy {
  std::string id, version, body;
  int flags = 0;
  std::string hash = {};  // empty: the right one
  std::string location() const { return "/SMS_MP/.sms_pol?" + id + "." + version; }
  std::string assignment() const {
    return "<PolicyAssignment PolicyAssignmentID=\"" + id + "\"><Policy PolicyID=\"" + id + "\" PolicyVersion=\"" + version +
           "\" PolicyType=\"Machine\" PolicyCategory=\"InventoryActions\" PolicyFlags=\"" + std::to_string(flags) +
           "\"><PolicyLocation PolicyHashEx=\"SHA256:" + (hash.empty() ? digest(body) : hash) + "\"><![CDATA[http://<mp>" + location() +
           "]]></PolicyLocation></Policy></PolicyAssignment>";
  }
};

std::string wide(const std::string& text) { return "\xFF\xFE" + adapters::utf16_from_utf8(text) + std::string(2, '\0'); }

std::string action(int number, const std::string& report_type, const std::string& date = "20260110000000.000000+000") {
  return wide("<Policy><PolicyRule><PolicyAction><instance class=\"InventoryAction\"><property name=\"InventoryActionID\"><value>"
              "{00000000-0000-0000-0000-00000000000" + std::to_string(number) + "}</value></property><property name=\"ReportType\"><value>" +
              report_type + "</value></property><property name=\"InventoryActionLastUpdateTime\"><value>" + date +
              "</value></property></instance></PolicyAction></PolicyRule></Policy>");
}

std::string schedule(int number, int every) {
  return wide("<Policy><instance class=\"CCM_Scheduler_ScheduledMessage\"><property name=\"ScheduledMessageID\"><value>"
              "{00000000-0000-0000-0000-00000000000" + std::to_string(number) + "}</value></property><property name=\"Triggers\"><value>"
              "SimpleInterval;Minutes=" + std::to_string(every) + "</value></property></instance></Policy>");
}

class PolicyWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_sink([](std::string_view) {});
    settings_.site_code = "P01";
    folder_ = std::filesystem::temp_directory_path() /
              ("greengate-policy-" + std::to_string(getpid()) + "-" + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    auto sealer = store::Sealer::from_key_file((folder_ / "seal.key").string(), true);
    ASSERT_TRUE(sealer) << sealer.error().message;
    identities_ = std::make_unique<Identities>(settings_, devices_, *sealer, 16);
    auto door = std::make_unique<ScriptedDoor>();
    door_ = door.get();
    std::vector<std::unique_ptr<MpDoor>> doors;
    doors.push_back(std::move(door));
    CourierConfig courier;
    courier.rest = {milliseconds(50), milliseconds(50)};
    courier_ = std::make_unique<Courier>(courier, std::move(doors), clock_, metrics_, 1);
    door_->answer_with([this](const adapters::OutgoingMessage&) -> Result<adapters::Verdict> {
      ++requests_;
      adapters::Verdict verdict;
      if (refuses_) {
        verdict.kind = adapters::Verdict::Kind::refused;
        return verdict;
      }
      verdict.kind = adapters::Verdict::Kind::reply;
      verdict.xml = reply();
      return verdict;
    });
    door_->give([this](const std::string& target) -> Result<std::string> {
      for (const SitePolicy& policy : policies_)
        if (policy.location() == target) return policy.body;
      return fail(Remedy::reject, "mp.no_document", "It is not there.");
    });
    config_.first_window = milliseconds(0);
    agent_ = ready_agent("db01");
  }
  void TearDown() override {
    watch_.reset();
    courier_->stop();
    std::filesystem::remove_all(folder_);
    set_log_sink(nullptr);
  }

  AgentId ready_agent(const std::string& host) {
    static const auto key = adapters::SigningKey::generate();
    const AgentId agent = devices_.put(AgentKey(host + std::string(40 - host.size(), 'k')), store::DeviceState::active).id;
    const auto certificate = key->self_signed_certificate(settings_.certificate, clock_.wall());
    store::SiteIdentity site;
    site.state = store::IdentityState::ready;
    site.sms_id = adapters::new_sms_id();
    site.sealed = *identities_->seal(agent, *key, *certificate);
    EXPECT_TRUE(devices_.set_site_identity(agent, site));
    connected_.insert(agent);
    return agent;
  }
  void open() {
    watch_ = std::make_unique<PolicyWatch>(config_, settings_, devices_, queue_, *identities_, *courier_, clock_, metrics_);
    watch_->connect({.answered = [this](const AgentId&) { ++answered_; },
                     .refused =
                         [this](const AgentId& agent) {
                           refused_.push_back(agent);
                           return milliseconds(minutes(5));
                         },
                     .unexpected = [this](const AgentId&) { ++unexpected_; },
                     .connected = [this](const AgentId& agent) { return connected_.contains(agent); },
                     .direct = [this](const AgentId& agent, const PolicyRhythm& rhythm) { directed_.emplace_back(agent, rhythm); }});
  }
  /// The agent's policy, asked for now.
  void ask(const AgentId& agent) {
    watch_->ask(agent, milliseconds(0));
    ASSERT_TRUE(watch_->run_due());
  }
  std::string reply() const {
    std::string xml = "<ReplyAssignments SchemaVersion=\"1.00\" ReplyType=\"" + reply_type_ + "\"><ServerCookie>" + cookie_ + "</ServerCookie>";
    for (const SitePolicy& policy : policies_) xml += policy.assignment();
    return xml + "</ReplyAssignments>";
  }
  std::string standing(const std::string& id) {
    const auto known = watch_->known(agent_);
    if (!known || !known->set) return "unknown";
    for (const AssignedPolicy& policy : known->set->policies)
      if (policy.id == id) return policy.standing;
    return "not assigned";
  }
  v1::ResyncRequest resync(std::size_t index) {
    v1::ResyncRequest request;
    EXPECT_TRUE(request.ParseFromString(queue_.own().at(index).body));
    return request;
  }

  std::filesystem::path folder_;
  ManualClock clock_;
  Metrics metrics_;
  adapters::MpSettings settings_;
  FakeDeviceRegistry devices_;
  FakeReportQueue queue_;
  std::unique_ptr<Identities> identities_;
  std::unique_ptr<Courier> courier_;
  ScriptedDoor* door_ = nullptr;
  PolicyConfig config_;
  std::unique_ptr<PolicyWatch> watch_;
  AgentId agent_;
  std::vector<SitePolicy> policies_;
  std::string reply_type_ = "Full", cookie_ = "c1";
  std::atomic<int> requests_{0};
  bool refuses_ = false;
  std::set<AgentId> connected_;
  int answered_ = 0, unexpected_ = 0;
  std::vector<AgentId> refused_;
  std::vector<std::pair<AgentId, PolicyRhythm>> directed_;
};

TEST_F(PolicyWatchTest, LearnsWhatIsAssignedAndKeepsTheCookie) {
  policies_ = {{"{AA}", "1.00", action(1, "Full")}, {"{BB}", "2.00", wide("<Policy/>")}};
  open();
  ask(agent_);
  EXPECT_EQ(standing("{AA}"), "applied");
  EXPECT_EQ(standing("{BB}"), "read: nothing for an agent of ours");
  EXPECT_EQ(watch_->last_update(agent_, v1::KIND_HARDWARE_INVENTORY), from_millis(1'768'003'200'000));
  EXPECT_EQ(watch_->last_update(agent_, v1::KIND_SOFTWARE_INVENTORY), std::nullopt);
  EXPECT_EQ(**devices_.fact(agent_, "policy.cookie"), "c1");
  EXPECT_TRUE(queue_.own().empty());
}

TEST_F(PolicyWatchTest, KeepsAResyncOncePerPolicyAndVersionOverRestartsToo) {
  policies_ = {{"{B1}", "7.00", action(1, "Resync")}, {"{B2}", "7.00", action(2, "resync")}};
  open();
  ask(agent_);
  ask(agent_);
  ASSERT_EQ(queue_.own().size(), 2u);
  EXPECT_EQ(resync(0).kind(), static_cast<std::uint32_t>(v1::KIND_HARDWARE_INVENTORY));
  EXPECT_EQ(resync(0).policy_id(), "{B1}");
  EXPECT_EQ(resync(0).policy_version(), "7.00");
  EXPECT_EQ(resync(1).kind(), static_cast<std::uint32_t>(v1::KIND_SOFTWARE_INVENTORY));
  EXPECT_EQ(queue_.own()[0].kind, static_cast<std::uint32_t>(v1::KIND_RESYNC));
  EXPECT_EQ(queue_.own()[0].lane, store::Lane::inventory);
  EXPECT_EQ(queue_.own()[0].name.agent, agent_);
  open();  // another process, the same disk
  ask(agent_);
  EXPECT_EQ(queue_.own().size(), 2u);
  policies_[0].version = "8.00";
  ask(agent_);
  ASSERT_EQ(queue_.own().size(), 3u);
  EXPECT_EQ(resync(2).policy_version(), "8.00");
}

TEST_F(PolicyWatchTest, NeverForgetsAResyncThatCouldNotBeKept) {
  policies_ = {{"{B1}", "7.00", action(1, "Resync")}};
  queue_.fail_with(Error{Remedy::retry, "queue.disk", "The disk is full.", {}});
  open();
  ask(agent_);
  EXPECT_TRUE(queue_.own().empty());
  queue_.fail_with(std::nullopt);
  clock_.advance(hours(1));
  ASSERT_TRUE(watch_->run_due()) << "it comes back by itself";
  EXPECT_EQ(queue_.own().size(), 1u);
}

TEST_F(PolicyWatchTest, NeverDownloadsTaskSequencesSecretsOrWhatNeedsAuthentication) {
  for (const int flags : {1, 2, 4, 3, 5, 7, 65, 0x84}) policies_.push_back({"{F" + std::to_string(flags) + "}", "1.00", action(1, "Resync"), flags});
  policies_.push_back({"{IN}", "1.00", action(1, "Full"), 8});
  settings_.internet_flag = 2;
  open();
  ask(agent_);
  EXPECT_TRUE(door_->got().empty());
  EXPECT_TRUE(queue_.own().empty());
  EXPECT_EQ(standing("{F1}"), "not fetched: task sequence");
  EXPECT_EQ(standing("{F2}"), "not fetched: needs authentication");
  EXPECT_EQ(standing("{F132}"), "not fetched: secret");
  EXPECT_EQ(standing("{IN}"), "not fetched: intranet only");
  settings_.internet_flag = 0;
  ask(agent_);
  EXPECT_EQ(standing("{IN}"), "applied");
}

TEST_F(PolicyWatchTest, DiscardsABodyThatDoesNotMatchAndDoesNotAskAgainAtOnce) {
  policies_ = {{"{AA}", "1.00", action(1, "Resync"), 0, "00"}};
  open();
  ask(agent_);
  ask(agent_);
  EXPECT_EQ(standing("{AA}"), "discarded: hash does not match");
  EXPECT_TRUE(queue_.own().empty());
  EXPECT_EQ(door_->got().size(), 1u);
  policies_[0].hash.clear();
  clock_.advance(config_.bad_body_retry);
  ask(agent_);
  EXPECT_EQ(standing("{AA}"), "applied");
}

TEST_F(PolicyWatchTest, UsesOnlyThePathOfALocation) {
  SitePolicy evil{"{AA}", "1.00", action(1, "Full")};
  policies_ = {evil};
  const std::string good = evil.assignment();
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    std::string xml = good;
    xml.replace(xml.find("http://<mp>"), 11, "http://169.254.169.254");
    adapters::Verdict verdict;
    verdict.kind = adapters::Verdict::Kind::reply;
    verdict.xml = "<ReplyAssignments>" + xml +
                  "<PolicyAssignment><Policy PolicyID=\"{X}\"><PolicyLocation>http://mp01.example.test/secret</PolicyLocation></Policy></PolicyAssignment>"
                  "</ReplyAssignments>";
    return verdict;
  });
  open();
  ask(agent_);
  EXPECT_EQ(door_->got(), std::vector<std::string>{evil.location()});
  EXPECT_EQ(standing("{AA}"), "applied");
  EXPECT_EQ(standing("{X}"), "not fetched: its location is none of a management point");
}

TEST_F(PolicyWatchTest, FetchesABodyOnceForAllAgents) {
  policies_ = {{"{AA}", "1.00", action(1, "Full")}};
  open();
  std::vector<AgentId> all{agent_};
  for (int i = 0; i < 50; ++i) all.push_back(ready_agent("web" + std::to_string(i)));
  for (const AgentId& agent : all) ask(agent);
  EXPECT_EQ(door_->got().size(), 1u);
  EXPECT_EQ(watch_->known(all[0])->set, watch_->known(all[50])->set) << "equal lists are one object";
}

TEST_F(PolicyWatchTest, AsksForABodyOnceEvenWhenManyNeedItAtTheSameMoment) {
  policies_ = {{"{AA}", "1.00", action(1, "Full")}};
  std::promise<void> go;
  const auto gate = go.get_future().share();
  door_->give([&](const std::string&) -> Result<std::string> {
    gate.wait();
    return policies_[0].body;
  });
  PolicyBodies bodies(1 << 20, minutes(1), settings_, *courier_, clock_, metrics_);
  const auto assignment = adapters::parse_policy_reply(settings_, reply())->assignments.at(0);
  std::vector<std::thread> threads;
  std::atomic<int> applied{0};
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      if (bodies.of(assignment).text == "applied") ++applied;
    });
  go.set_value();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(applied, 8);
  EXPECT_EQ(door_->got().size(), 1u);
}

TEST_F(PolicyWatchTest, BoundsWhatItRemembersOfBodies) {
  PolicyBodies bodies(4'096, minutes(1), settings_, *courier_, clock_, metrics_);
  for (int i = 0; i < 100; ++i) policies_.push_back({"{" + std::to_string(i) + "}", "1.00", action(1, "Full")});
  const auto all = adapters::parse_policy_reply(settings_, reply());
  for (const auto& assignment : all->assignments) EXPECT_EQ(bodies.of(assignment).text, "applied");
  EXPECT_LE(bodies.bytes(), 4'096u);
  EXPECT_GT(bodies.bytes(), 1'024u);
}

TEST_F(PolicyWatchTest, KeepsDatesAndRhythmWhenThereIsNoRoomForTheList) {
  config_.assignments_bytes_max = 64;
  policies_ = {{"{AA}", "1.00", action(1, "Full")}};
  open();
  ask(agent_);
  ASSERT_TRUE(watch_->known(agent_));
  EXPECT_EQ(watch_->known(agent_)->set, nullptr);
  EXPECT_TRUE(watch_->last_update(agent_, v1::KIND_HARDWARE_INVENTORY));
}

TEST_F(PolicyWatchTest, TellsAgentsTheSitesRhythmWithinBoundsWhenItChangesAndWhenTheyConnect) {
  policies_ = {{"{S1}", "1.00", schedule(1, 7 * 1440)}, {"{S2}", "1.00", schedule(2, 1)}, {"{S3}", "1.00", schedule(3, 720)}};
  open();
  ask(agent_);
  ask(agent_);
  ASSERT_EQ(directed_.size(), 1u) << "told once";
  EXPECT_EQ(directed_[0].second, (PolicyRhythm{hours(12), hours(7 * 24), hours(1)})) << "a minute is not obeyed";
  watch_->agent_connected(agent_);
  EXPECT_EQ(directed_.size(), 2u) << "Welcome tells the gateway's own rhythm, so it is told again";
  policies_[0] = {"{S1}", "2.00", schedule(1, 1440)};
  ask(agent_);
  ASSERT_EQ(directed_.size(), 3u);
  EXPECT_EQ(directed_[2].second.hardware, hours(24));
}

TEST_F(PolicyWatchTest, LeavesTheRhythmAloneWhenToldTo) {
  config_.apply_schedules = false;
  policies_ = {{"{S1}", "1.00", schedule(1, 720)}};
  open();
  ask(agent_);
  watch_->agent_connected(agent_);
  EXPECT_TRUE(directed_.empty());
}

TEST_F(PolicyWatchTest, LeavesOutClassesTheSiteDidNotAskForOnlyWhenToldTo) {
  policies_ = {{"{C}", "1.00",
                wide("<Policy><instance class=\"InventoryDataItem\"><property name=\"ItemClass\"><value>Win32_Service</value></property>"
                     "<property name=\"Namespace\"><value>\\\\.\\root\\cimv2</value></property><property name=\"InventoryActionID\"><value>"
                     "{00000000-0000-0000-0000-000000000001}</value></property></instance></Policy>")}};
  const auto left = [&] {
    v1::HardwareInventory inventory;
    for (const char* name : {"Win32_Service", "Win32_Process"}) inventory.add_classes()->set_name(name);
    watch_->keep_wanted(agent_, inventory);
    return inventory.classes_size();
  };
  open();
  ask(agent_);
  EXPECT_EQ(left(), 2);
  config_.apply_classes = true;
  open();
  EXPECT_EQ(left(), 2) << "what the site wants is not known yet";
  ask(agent_);
  EXPECT_EQ(left(), 1);
}

TEST_F(PolicyWatchTest, SaysThatItWasRefusedAndWaits) {
  refuses_ = true;
  open();
  ask(agent_);
  EXPECT_EQ(refused_, std::vector<AgentId>{agent_});
  clock_.advance(minutes(5) - milliseconds(1));
  EXPECT_FALSE(watch_->run_due()) << "as long as it was told to";
  clock_.advance(seconds(2));
  EXPECT_TRUE(watch_->run_due());
  EXPECT_EQ(refused_.size(), 2u);
  EXPECT_EQ(answered_, 0);
  refuses_ = false;
  ask(agent_);
  EXPECT_EQ(answered_, 1);
}

TEST_F(PolicyWatchTest, SaysWhenTheAnswerIsNoPolicy) {
  open();
  door_->answer_with([](const auto&) -> Result<adapters::Verdict> {
    adapters::Verdict verdict;
    verdict.kind = adapters::Verdict::Kind::reply;
    verdict.xml = "<RegistrationReset/>";
    return verdict;
  });
  ask(agent_);
  EXPECT_EQ(unexpected_, 1);
  EXPECT_EQ(answered_, 0);
  EXPECT_FALSE(watch_->known(agent_));
}

TEST_F(PolicyWatchTest, ComesBackForBodiesThatCouldNotBeHad) {
  policies_ = {{"{B1}", "7.00", action(1, "Resync")}};
  bool away = true;
  door_->give([&](const std::string&) -> Result<std::string> {
    if (away) return fail(Remedy::retry, "http.timeout", "Too slow.");
    return policies_[0].body;
  });
  open();
  ask(agent_);
  EXPECT_EQ(standing("{B1}"), "not fetched yet: mp.none_available");
  EXPECT_EQ((*devices_.fact(agent_, "policy.cookie")).value_or(""), "") << "an update would leave it out";
  away = false;
  clock_.advance(hours(1));
  ASSERT_TRUE(watch_->run_due());
  EXPECT_EQ(standing("{B1}"), "applied");
  EXPECT_EQ(queue_.own().size(), 1u);
}

TEST_F(PolicyWatchTest, AsksForEverythingWhenAnUpdateSaysThatSomethingChanged) {
  settings_.policy_request_type = "OnUpdate";
  policies_ = {{"{AA}", "1.00", action(1, "Full")}};
  open();
  ask(agent_);
  EXPECT_EQ(requests_, 1);
  const auto before = policies_;
  reply_type_ = "OnUpdate";
  policies_.clear();
  ask(agent_);
  EXPECT_EQ(requests_, 2);
  EXPECT_EQ(standing("{AA}"), "applied") << "an empty update changes nothing";
  policies_ = before;
  ask(agent_);
  EXPECT_EQ(requests_, 4);
}

TEST_F(PolicyWatchTest, DoesNotAskForAMachineThatHasBeenAwayForLong) {
  policies_ = {{"{AA}", "1.00", action(1, "Full")}};
  devices_.note_seen(agent_, clock_.wall(), "db01", "", "", "");
  open();
  connected_.clear();
  ask(agent_);
  EXPECT_EQ(requests_, 1) << "away for a moment";
  clock_.advance(config_.idle_after + hours(2));
  while (watch_->run_due()) {
  }
  EXPECT_EQ(requests_, 1);
  connected_.insert(agent_);
  watch_->agent_connected(agent_);
  clock_.advance(config_.interval);
  EXPECT_TRUE(watch_->run_due());
  EXPECT_EQ(requests_, 2);
}

TEST_F(PolicyWatchTest, TellsWhoeverAskedForARefresh) {
  policies_ = {{"{AA}", "1.00", action(1, "Full")}};
  open();
  std::vector<std::string> told;
  const auto listen = [&](Result<AgentPolicy> policy) { told.push_back(policy ? "known" : policy.error().code); };
  watch_->refresh(agent_, listen);
  watch_->refresh(agent_, listen);
  ASSERT_TRUE(watch_->run_due());
  EXPECT_EQ(told, (std::vector<std::string>{"known", "known"}));
  EXPECT_EQ(requests_, 1);
  const AgentId stranger = devices_.put(AgentKey(std::string(40, 's')), store::DeviceState::active).id;
  watch_->refresh(stranger, listen);
  ASSERT_TRUE(watch_->run_due());
  EXPECT_EQ(told.back(), "ask.not_ready");
  watch_->refresh(agent_, listen);
  watch_->drain({});
  EXPECT_EQ(told.back(), "mp.stopping");
  watch_->refresh(agent_, listen);
  EXPECT_EQ(told.back(), "mp.stopping");
}

TEST_F(PolicyWatchTest, PollsEveryReadyAgentOnItsOwnThreads) {
  config_.interval = milliseconds(100);
  policies_ = {{"{AA}", "1.00", action(1, "Full")}};
  const SystemClock clock;
  watch_ = std::make_unique<PolicyWatch>(config_, settings_, devices_, queue_, *identities_, *courier_, clock, metrics_);
  ASSERT_TRUE(watch_->start());
  EXPECT_TRUE(door_->wait_for(3));
  watch_->stop();
}

TEST(PolicyConfig, ComplainsAboutWhatCannotBe) {
  EXPECT_TRUE(PolicyConfig().problems().empty());
  PolicyConfig bad;
  bad.workers = 0;
  bad.interval = milliseconds(1);
  bad.failure_base = milliseconds(1);
  bad.bodies_bytes_max = 1;
  EXPECT_EQ(bad.problems().size(), 4u);
}

}  // namespace
}  // namespace greengate::test
