#include "workers/site_errands.h"

#include "tests/workers/site_fixture.h"

namespace greengate::test {
namespace {

using namespace workers;
using store::IdentityState;
using std::chrono::milliseconds;

std::string reply_xml(const char* type, int status, const std::string& sms_id) {
  return std::string("<ClientRegistrationResponse ResponseType=\"") + type + "\" TimeStamp=\"2026-01-15T10:20:31Z\" Status=\"" +
         std::to_string(status) + "\"" + (sms_id.empty() ? "" : " SMSID=\"" + sms_id + "\"") + " />";
}

adapters::Verdict replying(std::string xml) {
  adapters::Verdict verdict;
  verdict.kind = adapters::Verdict::Kind::reply;
  verdict.xml = std::move(xml);
  return verdict;
}

const std::string given = "GUID:5A1B7C3D-0000-4000-8000-00000000A001";

class SiteErrandsTest : public SiteFixture {
 protected:
  SiteErrandsTest() : keys_(1) {
    config_.workers = 1;
    config_.confirm_first = config_.confirm_cap = milliseconds(10);
    config_.failure_base = config_.failure_cap = milliseconds(10);
    config_.rejected_retry = milliseconds(10);
    EXPECT_TRUE(keys_.start());
  }
  void start() {
    errands_ = std::make_unique<SiteErrands>(config_, settings_, store_->devices(), store_->reports(), *identities_, keys_,
                                             *courier_, real_clock_, metrics_, [this](const AgentId& agent) {
                                               {
                                                 std::lock_guard lock(mutex_);
                                                 ready_.push_back(agent);
                                               }
                                               changed_.notify_all();
                                             });
    ASSERT_TRUE(errands_->start());
  }
  void TearDown() override {
    keys_.stop();
    courier_->stop();
    if (errands_) errands_->stop();
  }
  bool wait_ready() {
    std::unique_lock lock(mutex_);
    for (int i = 0; i < 1'000 && ready_.empty(); ++i) {
      changed_.wait_for(lock, milliseconds(10));
      clock_.advance(milliseconds(60));  // the courier's own rests are told by this clock
    }
    return !ready_.empty();
  }
  store::SiteIdentity site() { return store_->devices().find(agent_)->site; }

  SystemClock real_clock_;  // errands sleep; their waits here are ten milliseconds
  SiteErrandsConfig config_;
  KeyPool keys_;
  std::unique_ptr<SiteErrands> errands_;
  std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  std::vector<AgentId> ready_;
};

TEST_F(SiteErrandsTest, RegistersConfirmsWhilePendingAndTakesTheSitesSmsid) {
  std::atomic<int> asked{0};
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    const int n = ++asked;
    return replying(reply_xml(n == 1 ? "Registration" : "Confirmation", n < 4 ? 1 : 0, given));
  });
  start();
  ASSERT_TRUE(wait_ready());
  EXPECT_EQ(site().state, IdentityState::ready);
  EXPECT_EQ(site().sms_id.raw(), given);
  EXPECT_EQ(asked, 4);
}

TEST_F(SiteErrandsTest, HoldsTheAgentsReportsUntilTheSiteConfirmedIt) {
  std::atomic<bool> confirm{false};
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    return replying(reply_xml("Registration", confirm ? 0 : 1, given));
  });
  keep(agent_, 1, v1::KIND_DISCOVERY, discovery_body());
  start();
  ASSERT_TRUE(door_->wait_for(2));
  auto held = store_->reports().lease(store::LaneSet::all(), 10, 1 << 20, milliseconds(0));
  ASSERT_TRUE(held);
  EXPECT_FALSE(held->has_value());
  confirm = true;
  ASSERT_TRUE(wait_ready());
  auto released = store_->reports().lease(store::LaneSet::all(), 10, 1 << 20, milliseconds(1'000));
  ASSERT_TRUE(released);
  EXPECT_TRUE(released->has_value());
}

TEST_F(SiteErrandsTest, KeepsTheKeyOnDiskBeforeTheSiteHearsOfIt) {
  std::atomic<bool> sealed_before{false};
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    sealed_before = !store_->devices().find(agent_)->site.sealed.empty();
    return replying(reply_xml("Registration", 0, given));
  });
  start();
  ASSERT_TRUE(wait_ready());
  EXPECT_TRUE(sealed_before);
}

TEST_F(SiteErrandsTest, UsesTheSameKeyAndProposalAfterALostAnswer) {
  std::atomic<int> asked{0};
  std::vector<std::string> sealed;
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    sealed.push_back(store_->devices().find(agent_)->site.sealed);
    if (++asked == 1) return fail(Remedy::retry, "http.closed", "cut off while answering.");
    return replying(reply_xml("Registration", 0, given));
  });
  start();
  ASSERT_TRUE(wait_ready());
  ASSERT_EQ(sealed.size(), 2u);
  EXPECT_EQ(sealed[0], sealed[1]);
}

TEST_F(SiteErrandsTest, RegistersAgainWhenTheSiteCouldNotProcessIt) {
  std::atomic<int> asked{0};
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    return ++asked == 1 ? replying(reply_xml("Registration", 2, "")) : replying(reply_xml("Registration", 0, given));
  });
  start();
  EXPECT_TRUE(wait_ready());
}

TEST_F(SiteErrandsTest, RemembersARejectionAndAsksAgainOnlyLater) {
  std::atomic<int> asked{0};
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> {
    if (++asked == 1) return replying(reply_xml("Registration", 3, ""));
    EXPECT_EQ(store_->devices().find(agent_)->site.state, IdentityState::rejected);
    return replying(reply_xml("Registration", 0, given));
  });
  start();
  EXPECT_TRUE(wait_ready());
  EXPECT_EQ(asked, 2);
}

TEST_F(SiteErrandsTest, AsksNothingForAnAgentThatIsGone) {
  door_->answer_with([](const auto&) -> Result<adapters::Verdict> { return replying(reply_xml("Registration", 1, given)); });
  start();
  ASSERT_TRUE(door_->wait_for(1));
  ASSERT_TRUE(store_->devices().set_state(agent_, store::DeviceState::revoked));
  errands_->agent_gone(agent_);
  const std::size_t before = door_->sent().size();
  const AgentId other = enrol("web01");
  errands_->agent_active(other);
  ASSERT_TRUE(door_->wait_for(before + 1));
  ASSERT_TRUE(door_->wait_for(before + 2));
  EXPECT_EQ(store_->devices().find(agent_)->site.state, IdentityState::pending) << "nothing moved for the revoked one";
}

}  // namespace
}  // namespace greengate::test
