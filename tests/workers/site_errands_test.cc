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

TEST_F(SiteErrandsTest, FindsOutThatTheSiteLostAnAgentAndRegistersItAgain) {
  make_ready(agent_);
  const std::string known = site().sms_id.raw();
  config_.refusal_spacing = milliseconds(0);
  std::vector<std::string> asked;
  door_->answer_with([&](const adapters::OutgoingMessage&) -> Result<adapters::Verdict> {
    asked.push_back(site().last_code);
    if (asked.size() == 1) return replying(reply_xml("Confirmation", 2, ""));
    return replying(reply_xml("Registration", asked.size() == 2 ? 1 : 0, known));
  });
  start();
  for (int i = 0; i < 3; ++i) errands_->invoke_refused(agent_);
  ASSERT_TRUE(wait_ready());
  EXPECT_EQ(asked, (std::vector<std::string>{"identity.doubted", "identity.registering_again", ""}));
  EXPECT_EQ(site().sms_id.raw(), known);
}

TEST_F(SiteErrandsTest, ChangesAKeyWhenTheOperatorWantsAndTheSiteAgrees) {
  make_ready(agent_);
  const store::SiteIdentity before = site();
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> { return replying(reply_xml("Registration", 0, before.sms_id.raw())); });
  start();
  ASSERT_TRUE(errands_->rotate(agent_));
  ASSERT_TRUE(wait_ready());
  EXPECT_NE(site().sealed, before.sealed);
  EXPECT_EQ(site().sms_id, before.sms_id);
}

TEST_F(SiteErrandsTest, ChangesNoKeyOfAnAgentThatIsNotReady) {
  door_->answer_with([](const auto&) -> Result<adapters::Verdict> { return replying(reply_xml("Registration", 1, given)); });
  start();
  ASSERT_TRUE(door_->wait_for(1));
  const auto refused = errands_->rotate(agent_);
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().code, "identity.not_ready");
  const auto unknown = errands_->rotate(AgentId("0000000000000000"));
  ASSERT_FALSE(unknown);
  EXPECT_STREQ(unknown.error().code, "registry.unknown");
}

TEST_F(SiteErrandsTest, ShowsWhereAnAgentStandsAndWhatComesNext) {
  config_.rejected_retry = std::chrono::hours(1);
  door_->answer_with([](const auto&) -> Result<adapters::Verdict> { return replying(reply_xml("Registration", 3, "")); });
  start();
  ASSERT_TRUE(door_->wait_for(1));
  std::optional<IdentityView> view;
  for (int i = 0; i < 1'000 && (!view || view->state != LifeState::rejected); ++i) {
    std::this_thread::yield();
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, milliseconds(5));
    view = errands_->view(agent_);
  }
  ASSERT_TRUE(view);
  EXPECT_EQ(view->state, LifeState::rejected);
  EXPECT_EQ(view->next_step, "registration");
  EXPECT_EQ(view->last_code, "registration.rejected");
  EXPECT_TRUE(view->holds_reports);
  EXPECT_GT(view->next_at, real_clock_.wall() + std::chrono::minutes(50));
  EXPECT_FALSE(errands_->view(AgentId("0000000000000000")));
}

TEST_F(SiteErrandsTest, HearsOfRefusalsFromManyThreadsAtOnce) {
  make_ready(agent_);
  config_.refusal_spacing = milliseconds(0);
  door_->answer_with([&](const auto&) -> Result<adapters::Verdict> { return replying(reply_xml("Confirmation", 0, site().sms_id.raw())); });
  start();
  std::vector<std::thread> others;
  for (int i = 0; i < 4; ++i) {
    others.emplace_back([this] {
      for (int n = 0; n < 200; ++n) {
        const auto wait = errands_->invoke_refused(agent_);
        EXPECT_GT(wait, milliseconds(0));
        if (n % 7 == 0) errands_->invoke_answered(agent_);
        if (n % 11 == 0) errands_->reply_unexpected(agent_);
      }
    });
  }
  for (std::thread& other : others) other.join();
  bool home = false;
  for (int i = 0; i < 1'000 && !home; ++i) {
    const auto view = errands_->view(agent_);
    home = view && view->state == LifeState::ready && !view->holds_reports;
    std::unique_lock lock(mutex_);
    if (!home) changed_.wait_for(lock, milliseconds(10));
  }
  EXPECT_TRUE(home);
}

}  // namespace
}  // namespace greengate::test
