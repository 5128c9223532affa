// Goal: every question of an agent gets one answer, from memory where that is enough, and no agent can make the gateway ask the site at will.
// Method: the real parts over a management point that answers by script; answers are collected where they would leave.
#include "gateway/enquiries.h"

#include "tests/support/fake_device_registry.h"
#include "tests/support/fake_report_queue.h"
#include "tests/workers/site_fixture.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <future>

namespace greengate::gateway {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using namespace workers;

class EnquiriesTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_sink([](std::string_view) {});
    settings_.site_code = "P01";
    folder_ = std::filesystem::temp_directory_path() /
              ("greengate-enquiries-" + std::to_string(getpid()) + "-" + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    identities_ = std::make_unique<Identities>(settings_, devices_, *store::Sealer::from_key_file((folder_ / "seal.key").string(), true), 16);
    auto door = std::make_unique<test::ScriptedDoor>();
    door_ = door.get();
    std::vector<std::unique_ptr<MpDoor>> doors;
    doors.push_back(std::move(door));
    courier_ = std::make_unique<Courier>(CourierConfig(), std::move(doors), clock_, metrics_, 1);
    door_->answer_with([this](const adapters::OutgoingMessage& message) -> Result<adapters::Verdict> {
      adapters::Verdict verdict;
      verdict.kind = adapters::Verdict::Kind::reply;
      verdict.xml = message.endpoint == "MP_PolicyManager" ? policy_reply_ : location_reply_;
      if (verdict.xml.empty()) verdict.kind = adapters::Verdict::Kind::refused;
      return verdict;
    });
    door_->give([](const std::string&) -> Result<std::string> { return fail(Remedy::reject, "mp.no_document", "It is not there."); });
    SiteMapConfig map;
    map.configured = {"http://mp01.example.test"};
    map_ = std::make_unique<SiteMap>(
        map, settings_,
        SiteMap::Ways{.get = [this](std::string_view target) { return courier_->get(target); },
                      .open = [](const std::string&) -> Result<std::unique_ptr<MpDoor>> { return std::make_unique<test::ScriptedDoor>(); },
                      .set_points = [](std::vector<std::unique_ptr<MpDoor>>) {}},
        clock_, metrics_, 0);
    policy_ = std::make_unique<PolicyWatch>(PolicyConfig(), settings_, devices_, queue_, *identities_, *courier_, clock_, metrics_);
    locator_ = std::make_unique<SiteLocator>(minutes(15), settings_, *identities_, *courier_, clock_, metrics_);
    enquiries_ = std::make_unique<Enquiries>(EnquiriesConfig(), devices_, *policy_, *map_, *locator_, clock_, metrics_);
    enquiries_->connect({.answer =
                             [this](const AgentId&, const v1::Answer& answer) {
                               std::lock_guard lock(mutex_);
                               answers_.push_back(answer);
                               changed_.notify_all();
                               return true;
                             },
                         .address = [](const AgentId&) { return std::string("192.0.2.10"); }});
    ASSERT_TRUE(enquiries_->start());
    agent_ = ready_agent("db01");
  }
  void TearDown() override {
    enquiries_->stop();
    policy_->stop();
    courier_->stop();
    std::filesystem::remove_all(folder_);
    set_log_sink(nullptr);
  }
  AgentId ready_agent(const std::string& host) {
    static const auto key = adapters::SigningKey::generate();
    const AgentId agent = devices_.put(AgentKey(host + std::string(40 - host.size(), 'k')), store::DeviceState::active).id;
    store::SiteIdentity site;
    site.state = store::IdentityState::ready;
    site.sms_id = adapters::new_sms_id();
    site.sealed = *identities_->seal(agent, *key, *key->self_signed_certificate({}, clock_.wall()));
    EXPECT_TRUE(devices_.set_site_identity(agent, site));
    return agent;
  }
  static v1::Ask policy_ask(bool refresh, std::uint64_t nonce = 1) {
    v1::Ask ask;
    ask.set_nonce(nonce);
    ask.mutable_policy()->set_refresh(refresh);
    return ask;
  }
  static v1::Ask locate_ask(v1::LocateKind kind, const std::string& package = "", bool refresh = false) {
    v1::Ask ask;
    ask.set_nonce(9);
    ask.mutable_locate()->set_kind(kind);
    ask.mutable_locate()->set_package_id(package);
    ask.mutable_locate()->set_refresh(refresh);
    return ask;
  }
  /// The answer number `index`, waited for.
  v1::Answer answer(std::size_t index) {
    std::unique_lock lock(mutex_);
    const bool there = changed_.wait_for(lock, std::chrono::seconds(10), [&] { return answers_.size() > index; });
    EXPECT_TRUE(there);
    return there ? answers_[index] : v1::Answer();
  }

  std::filesystem::path folder_;
  test::ManualClock clock_;
  Metrics metrics_;
  adapters::MpSettings settings_;
  test::FakeDeviceRegistry devices_;
  test::FakeReportQueue queue_;
  std::unique_ptr<Identities> identities_;
  std::unique_ptr<Courier> courier_;
  test::ScriptedDoor* door_ = nullptr;
  std::unique_ptr<SiteMap> map_;
  std::unique_ptr<PolicyWatch> policy_;
  std::unique_ptr<SiteLocator> locator_;
  std::unique_ptr<Enquiries> enquiries_;
  AgentId agent_;
  std::string policy_reply_ =
      R"(<ReplyAssignments><PolicyAssignment><Policy PolicyID="{TS}" PolicyVersion="1.00" PolicyCategory="TaskSequence" PolicyFlags="1"/></PolicyAssignment></ReplyAssignments>)";
  std::string location_reply_ =
      R"(<SiteInfoReply><Site><SiteCode>P01</SiteCode><Version>5.00.9128.1000</Version></Site></SiteInfoReply>)";
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<v1::Answer> answers_;
};

TEST_F(EnquiriesTest, AsksForPolicyOnceAndAnswersFromMemoryThen) {
  enquiries_->asked(agent_, policy_ask(false, 7));
  EXPECT_TRUE(answers_.empty()) << "the ingest thread does not wait for the site";
  ASSERT_TRUE(policy_->run_due());
  ASSERT_EQ(answer(0).policies_size(), 1);
  EXPECT_EQ(answer(0).nonce(), 7u);
  EXPECT_EQ(answer(0).code(), "");
  EXPECT_EQ(answer(0).policies(0).policy_id(), "{TS}");
  EXPECT_EQ(answer(0).policies(0).flags(), 1u);
  EXPECT_EQ(answer(0).policies(0).standing(), "not fetched: task sequence");
  EXPECT_EQ(answer(0).at_ms(), to_millis(clock_.wall()));
  enquiries_->asked(agent_, policy_ask(false, 8));
  EXPECT_EQ(answer(1).nonce(), 8u);
  EXPECT_EQ(door_->sent().size(), 1u);
  enquiries_->asked(agent_, policy_ask(true, 9));
  ASSERT_TRUE(policy_->run_due());
  EXPECT_EQ(answer(2).nonce(), 9u);
  EXPECT_EQ(door_->sent().size(), 2u);
}

TEST_F(EnquiriesTest, AnswersOneQuestionOfAnAgentAtATime) {
  enquiries_->asked(agent_, policy_ask(true, 1));
  enquiries_->asked(agent_, policy_ask(true, 2));
  EXPECT_EQ(answer(0).code(), "ask.busy");
  EXPECT_EQ(answer(0).nonce(), 2u);
  EXPECT_GT(answer(0).retry_after_ms(), 0u);
  // Coming back is no way to ask more.
  enquiries_->agent_disconnected(agent_);
  enquiries_->asked(agent_, policy_ask(true, 3));
  EXPECT_EQ(answer(1).code(), "ask.busy");
  ASSERT_TRUE(policy_->run_due());
  EXPECT_EQ(answer(2).nonce(), 1u);
  EXPECT_EQ(answer(2).code(), "");
}

TEST_F(EnquiriesTest, HoldsAnAgentToItsRate) {
  enquiries_->asked(agent_, policy_ask(true));
  ASSERT_TRUE(policy_->run_due());
  for (int i = 0; i < 4; ++i) enquiries_->asked(agent_, policy_ask(false));
  enquiries_->asked(agent_, policy_ask(false));
  EXPECT_EQ(answer(4).code(), "");
  EXPECT_EQ(answer(5).code(), "ask.busy");
  clock_.advance(milliseconds(answer(5).retry_after_ms()));
  enquiries_->asked(agent_, policy_ask(false));
  EXPECT_EQ(answer(6).code(), "");
}

TEST_F(EnquiriesTest, SaysWhyItCannotAnswer) {
  const AgentId unknown = devices_.put(AgentKey(std::string(40, 'u')), store::DeviceState::active).id;
  enquiries_->asked(unknown, policy_ask(false));
  EXPECT_EQ(answer(0).code(), "ask.not_ready");
  enquiries_->asked(agent_, v1::Ask());
  EXPECT_EQ(answer(1).code(), "ask.malformed");
  enquiries_->asked(agent_, locate_ask(v1::LOCATE_KIND_CONTENT, "a b<c>"));
  EXPECT_EQ(answer(2).code(), "ask.malformed");
  enquiries_->asked(agent_, locate_ask(static_cast<v1::LocateKind>(77)));
  EXPECT_EQ(answer(3).code(), "ask.malformed");
  policy_reply_.clear();
  enquiries_->asked(agent_, policy_ask(false));
  ASSERT_TRUE(policy_->run_due());
  EXPECT_EQ(answer(4).code(), "mp.refused");
}

TEST_F(EnquiriesTest, SaysThatNoManagementPointCanBeReached) {
  door_->answer_with([](const auto&) -> Result<adapters::Verdict> { return fail(Remedy::retry, "http.connect", "Nobody is there."); });
  enquiries_->asked(agent_, locate_ask(v1::LOCATE_KIND_SITE));
  EXPECT_EQ(answer(0).code(), "mp.none_available");
  EXPECT_GT(answer(0).retry_after_ms(), 0u);
}

TEST_F(EnquiriesTest, RemembersLocationsForAWhile) {
  for (int i = 0; i < 2; ++i) {
    enquiries_->asked(agent_, locate_ask(v1::LOCATE_KIND_SITE));
    ASSERT_EQ(answer(static_cast<std::size_t>(i)).locations_size(), 1);
    EXPECT_EQ(answer(static_cast<std::size_t>(i)).locations(0).version(), "5.00.9128.1000");
    EXPECT_EQ(answer(static_cast<std::size_t>(i)).locations(0).kind(), "site");
  }
  EXPECT_EQ(door_->sent().size(), 1u);
  enquiries_->asked(agent_, locate_ask(v1::LOCATE_KIND_SITE, "", true));
  EXPECT_EQ(answer(2).code(), "");
  EXPECT_EQ(door_->sent().size(), 2u);
  clock_.advance(minutes(16));
  enquiries_->asked(agent_, locate_ask(v1::LOCATE_KIND_SITE));
  EXPECT_EQ(answer(3).code(), "");
  EXPECT_EQ(door_->sent().size(), 3u);
}

TEST_F(EnquiriesTest, AsksForContentByPackageAndWhereTheAgentIs) {
  location_reply_ =
      R"(<ContentLocationReply><Sites><Site><MPSite SiteCode="P01"/><LocationRecords><LocationRecord><URL Name="http://dp01.example.test/P0100012"/></LocationRecord></LocationRecords></Site></Sites></ContentLocationReply>)";
  enquiries_->asked(agent_, locate_ask(v1::LOCATE_KIND_CONTENT, "P0100012"));
  ASSERT_EQ(answer(0).locations_size(), 1);
  EXPECT_EQ(answer(0).locations(0).url(), "http://dp01.example.test/P0100012");
  EXPECT_EQ(answer(0).locations(0).kind(), "content");
  EXPECT_EQ(door_->sent().back().endpoint, "MP_LocationManager");
  enquiries_->asked(agent_, locate_ask(v1::LOCATE_KIND_CONTENT, "P0100013"));
  EXPECT_EQ(answer(1).code(), "");
  EXPECT_EQ(door_->sent().size(), 2u) << "another package, another answer";
}

TEST_F(EnquiriesTest, NamesTheManagementPointsInUse) {
  enquiries_->asked(agent_, locate_ask(v1::LOCATE_KIND_MANAGEMENT_POINTS));
  ASSERT_EQ(answer(0).locations_size(), 1);
  EXPECT_EQ(answer(0).locations(0).url(), "http://mp01.example.test");
  EXPECT_EQ(answer(0).locations(0).detail(), "configured");
  EXPECT_TRUE(door_->got().empty());
  enquiries_->asked(agent_, locate_ask(v1::LOCATE_KIND_MANAGEMENT_POINTS, "", true));
  EXPECT_EQ(answer(1).code(), "mp.no_document");
}

TEST_F(EnquiriesTest, FitsWhatAnAgentTakes) {
  policy_reply_ = "<ReplyAssignments>";
  for (int i = 0; i < 9'000; ++i)
    policy_reply_ += "<PolicyAssignment><Policy PolicyID=\"{" + std::string(100, 'x') + std::to_string(i) + "}\" PolicyFlags=\"1\"/></PolicyAssignment>";
  policy_reply_ += "</ReplyAssignments>";
  enquiries_->asked(agent_, policy_ask(false));
  ASSERT_TRUE(policy_->run_due());
  const v1::Answer said = answer(0);
  EXPECT_LE(said.ByteSizeLong(), 513u * 1024);
  EXPECT_GT(said.policies_size(), 1'000);
  EXPECT_NE(said.message().find("of 9000"), std::string::npos);
}

TEST_F(EnquiriesTest, LeavesNoQuestionOpenWhenTheHouseCloses) {
  enquiries_->asked(agent_, policy_ask(true));
  enquiries_->drain({});
  policy_->drain({});
  EXPECT_EQ(answer(0).code(), "mp.stopping");
  enquiries_->asked(agent_, locate_ask(v1::LOCATE_KIND_SITE));
  EXPECT_EQ(answer(1).code(), "ask.busy");
}

TEST(PresumedSubnet, IsTheUsualOneOfEitherFamily) {
  EXPECT_EQ(presumed_subnet("192.0.2.10"), "192.0.2.0");
  EXPECT_EQ(presumed_subnet("2001:db8::1"), "2001:db8::");
  EXPECT_EQ(presumed_subnet("no address"), "");
  EXPECT_EQ(presumed_subnet(""), "");
}

}  // namespace
}  // namespace greengate::gateway
