// Goal: an agent's way through registration follows mp-protocol 6.3, arrow by arrow, and never ends in a place it cannot leave.
// Method: the rules alone, with hands of a clock that the test moves.
#include "workers/identity_life.h"

#include "core/random.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace greengate::test {
namespace {

using namespace workers;
using namespace std::chrono_literals;
using adapters::RegistrationStatus;
using std::chrono::milliseconds;

constexpr auto yes = RegistrationStatus::done;
constexpr auto wait_for_it = RegistrationStatus::pending;
constexpr auto again = RegistrationStatus::again;
constexpr auto no = RegistrationStatus::rejected;

const Error unavailable{Remedy::retry, "mp.unavailable", "The management point answered 500.", {}};

class IdentityLifeTest : public ::testing::Test {
 protected:
  IdentityLifeTest() : now_{from_millis(1'768'469'400'000), SteadyTime(1h)}, life_(rules_, 7, LifeState::none, now_.wall, now_) {}

  void pass(milliseconds by) {
    now_.wall += by;
    now_.steady += by;
  }
  milliseconds until_due() const { return std::chrono::ceil<milliseconds>(life_.due() - now_.steady); }
  void be(LifeState state) { life_ = IdentityLife(rules_, 7, state, now_.wall, now_); }
  /// Ready, with a certificate good for a year.
  void be_ready() {
    be(LifeState::ready);
    life_.certificate_seen(now_.wall + 24h * 363, true, true, now_);
  }
  void be_renewing(bool new_key) {
    be_ready();
    if (new_key) {
      ASSERT_TRUE(life_.rotate(now_));
    } else {
      pass(24h * 363);
      life_.certificate_seen(now_.wall + 24h, true, true, now_);
    }
    ASSERT_EQ(life_.ask(), LifeAsk::prepare_next);
    life_.next_prepared(new_key, false, false, now_);
  }
  void expect(LifeState state, LifeAsk ask) const {
    EXPECT_STREQ(name_of(life_.state()), name_of(state));
    EXPECT_STREQ(name_of(life_.ask()), name_of(ask));
  }

  LifeRules rules_;
  Moment now_;
  IdentityLife life_;
};

// none → registering → pending → ready

TEST_F(IdentityLifeTest, MakesAKeyBeforeItAsksForARecord) {
  expect(LifeState::none, LifeAsk::make_key);
  EXPECT_TRUE(life_.holds());
  life_.key_made(now_);
  expect(LifeState::registering, LifeAsk::registration);
  EXPECT_EQ(until_due(), 0ms);
  EXPECT_TRUE(life_.holds());
}

TEST_F(IdentityLifeTest, ConfirmsEveryThirtySecondsToFiveMinutesWhilePending) {
  be(LifeState::registering);
  EXPECT_STREQ(life_.answered(wait_for_it, true, now_).outcome, "registered");
  for (int i = 0; i < 20; ++i) {
    expect(LifeState::pending, LifeAsk::confirmation);
    EXPECT_GE(until_due(), 30s);
    EXPECT_LE(until_due(), 5min);
    EXPECT_TRUE(life_.holds());
    pass(until_due());
    EXPECT_STREQ(life_.answered(wait_for_it, true, now_).outcome, "still_pending");
  }
  const LifeTurn turn = life_.answered(yes, true, now_);
  EXPECT_TRUE(turn.became_ready);
  EXPECT_TRUE(turn.adopt);
  expect(LifeState::ready, LifeAsk::look);
  EXPECT_FALSE(life_.holds());
}

TEST_F(IdentityLifeTest, IsReadyAtOnceWhenTheSiteSaysSo) {
  be(LifeState::registering);
  const LifeTurn turn = life_.answered(yes, false, now_);
  EXPECT_TRUE(turn.became_ready);
  EXPECT_TRUE(turn.resync) << "another SMSID is a new record";
  expect(LifeState::ready, LifeAsk::look);
}

TEST_F(IdentityLifeTest, RegistersAgainAfterAMinuteOrMoreWhenItCouldNotBeProcessed) {
  be(LifeState::registering);
  life_.answered(again, true, now_);
  expect(LifeState::registering, LifeAsk::registration);
  EXPECT_GE(until_due(), 1min);
  EXPECT_LE(until_due(), 1h);
  EXPECT_STREQ(life_.last_code(), "registration.again");
}

TEST_F(IdentityLifeTest, RegistersAgainWhenAConfirmationCouldNotBeProcessed) {
  be(LifeState::pending);
  life_.answered(again, true, now_);
  expect(LifeState::reregistering, LifeAsk::registration);
  EXPECT_GE(until_due(), 1min);
}

TEST_F(IdentityLifeTest, AsksARejectedAgentsQuestionOnlyOncePerHour) {
  for (const LifeState from : {LifeState::registering, LifeState::pending, LifeState::reregistering, LifeState::rejected}) {
    be(from);
    EXPECT_STREQ(life_.answered(no, true, now_).outcome, "rejected");
    expect(LifeState::rejected, LifeAsk::registration);
    EXPECT_EQ(until_due(), 1h);
    EXPECT_TRUE(life_.holds());
    life_.refused(now_);
    EXPECT_EQ(until_due(), 1h);
  }
}

TEST_F(IdentityLifeTest, KeepsTheHourOverARestart) {
  const WallTime since = now_.wall;
  pass(40min);
  life_ = IdentityLife(rules_, 7, LifeState::rejected, since, now_);
  EXPECT_EQ(until_due(), 20min);
  pass(24h);
  life_ = IdentityLife(rules_, 7, LifeState::rejected, since, now_);
  EXPECT_EQ(until_due(), 0ms);
}

TEST_F(IdentityLifeTest, LeavesRejectionWhereverTheNextAnswerLeads) {
  be(LifeState::rejected);
  life_.answered(wait_for_it, true, now_);
  expect(LifeState::pending, LifeAsk::confirmation);
  be(LifeState::rejected);
  life_.answered(yes, true, now_);
  expect(LifeState::ready, LifeAsk::look);
  be(LifeState::rejected);
  life_.answered(again, true, now_);
  expect(LifeState::registering, LifeAsk::registration);
}

// Answers that are none

TEST_F(IdentityLifeTest, BacksOffFromFourSecondsToFiveMinutesWhenTheAnswerIsEmpty) {
  be(LifeState::registering);
  milliseconds longest{};
  for (int i = 0; i < 50; ++i) {
    EXPECT_STREQ(life_.refused(now_).outcome, "refused");
    EXPECT_GE(until_due(), 4s);
    EXPECT_LE(until_due(), 5min);
    longest = std::max(longest, until_due());
    pass(until_due());
  }
  EXPECT_GT(longest, 1min);
  expect(LifeState::registering, LifeAsk::registration);
}

TEST_F(IdentityLifeTest, RegistersAgainWhenConfirmationsAreAnsweredWithNothing) {
  for (const LifeState from : {LifeState::pending, LifeState::doubted}) {
    be(from);
    for (int i = 0; i < 2; ++i) {
      life_.refused(now_);
      EXPECT_EQ(life_.state(), from);
      pass(5min);
    }
    life_.refused(now_);
    expect(LifeState::reregistering, LifeAsk::registration);
  }
}

TEST_F(IdentityLifeTest, CountsRefusalsCloseTogetherAsOne) {
  be(LifeState::pending);
  for (int i = 0; i < 30; ++i) {
    life_.refused(now_);
    pass(10s);
  }
  expect(LifeState::pending, LifeAsk::confirmation);
}

TEST_F(IdentityLifeTest, BacksOffFromAMinuteToAnHourWhenThereIsNoAnswer) {
  be(LifeState::registering);
  for (int i = 0; i < 50; ++i) {
    life_.failed(unavailable, now_);
    EXPECT_GE(until_due(), 1min);
    EXPECT_LE(until_due(), 1h);
  }
  Error asks_for_two_hours = unavailable;
  asks_for_two_hours.retry_after = 2h;
  life_.failed(asks_for_two_hours, now_);
  EXPECT_EQ(until_due(), 2h);
}

TEST_F(IdentityLifeTest, ComesBackWhenTheFirstManagementPointMayBeTried) {
  be(LifeState::registering);
  life_.failed(Error{Remedy::retry, "mp.none_available", "none", 3s}, now_);
  EXPECT_GE(until_due(), 3s);
  EXPECT_LE(until_due(), 4s);
}

// ready → doubted → …

TEST_F(IdentityLifeTest, DoubtsAfterThreeRefusedInvokesAtLeastFiveMinutesApart) {
  be_ready();
  for (int i = 0; i < 2; ++i) {
    EXPECT_GE(life_.invoke_refused(now_), 4s);
    EXPECT_LE(life_.invoke_refused(now_), 5min);
    EXPECT_EQ(life_.refusals(), static_cast<std::uint32_t>(i + 1));
    expect(LifeState::ready, LifeAsk::look);
    pass(5min);
  }
  life_.invoke_refused(now_);
  expect(LifeState::doubted, LifeAsk::confirmation);
  EXPECT_EQ(until_due(), 0ms);
  EXPECT_TRUE(life_.holds()) << "what is posted now may be lost without a word";
}

TEST_F(IdentityLifeTest, ForgetsRefusalsWhenAnInvokeIsAnswered) {
  be_ready();
  for (int i = 0; i < 10; ++i) {
    life_.invoke_refused(now_);
    pass(5min);
    life_.invoke_refused(now_);
    pass(5min);
    life_.invoke_answered();
    EXPECT_EQ(life_.refusals(), 0u);
  }
  expect(LifeState::ready, LifeAsk::look);
}

TEST_F(IdentityLifeTest, AsksWhetherItIsKnownWhenAReplyIsUnexpectedButNotTooOften) {
  be_ready();
  life_.reply_unexpected(now_);
  expect(LifeState::doubted, LifeAsk::confirmation);
  LifeTurn turn = life_.answered(yes, true, now_);
  EXPECT_FALSE(turn.resync) << "a stranger's reply must not make an agent send everything again";
  life_.reply_unexpected(now_);
  expect(LifeState::ready, LifeAsk::look);
  pass(5min);
  life_.reply_unexpected(now_);
  expect(LifeState::doubted, LifeAsk::confirmation);
}

TEST_F(IdentityLifeTest, IsReadyAgainWhenTheSiteStillKnowsIt) {
  be(LifeState::doubted);
  const LifeTurn turn = life_.answered(yes, true, now_);
  EXPECT_TRUE(turn.became_ready);
  EXPECT_TRUE(turn.resync) << "posts may have been lost while it was refused";
  expect(LifeState::ready, LifeAsk::look);
}

TEST_F(IdentityLifeTest, RegistersAgainAtOnceWhenTheSiteDoesNotKnowItAnyMore) {
  for (const RegistrationStatus status : {again, no}) {
    be(LifeState::doubted);
    life_.answered(status, true, now_);
    expect(LifeState::reregistering, LifeAsk::registration);
    EXPECT_EQ(until_due(), 0ms);
  }
  EXPECT_TRUE(life_.answered(wait_for_it, true, now_).adopt);
  expect(LifeState::pending, LifeAsk::confirmation);
  EXPECT_TRUE(life_.answered(yes, true, now_).resync) << "the record is new";
}

TEST_F(IdentityLifeTest, WaitsAgainWhenTheSiteSaysPendingToADoubt) {
  be(LifeState::doubted);
  life_.answered(wait_for_it, true, now_);
  expect(LifeState::pending, LifeAsk::confirmation);
}

// ready → renewing → ready

TEST_F(IdentityLifeTest, LooksAtACertificateDailyAndRenewsItWithinAMonthOfItsEnd) {
  be_ready();
  EXPECT_EQ(until_due(), 24h);
  const WallTime ends = now_.wall + 24h * 363;
  for (int day = 0; day < 363; ++day) {
    const auto left = ends - now_.wall;
    life_.certificate_seen(ends, true, true, now_);
    if (life_.state() == LifeState::renewing) {
      EXPECT_LE(left, 24h * 30);
      EXPECT_GE(left, 24h * 26) << "spread, but not to the last day";
      expect(LifeState::renewing, LifeAsk::prepare_next);
      EXPECT_FALSE(life_.holds());
      EXPECT_FALSE(life_.wants_new_key());
      return;
    }
    EXPECT_LE(until_due(), 24h);
    pass(until_due());
  }
  FAIL() << "never renewed";
}

TEST_F(IdentityLifeTest, NeverRenewsWhenToldNotToOrWhenTheCertificateIsNotOurs) {
  be_ready();
  life_.certificate_seen(now_.wall + 1h, false, true, now_);
  expect(LifeState::ready, LifeAsk::look);
  rules_.renew_before = 0ms;
  life_.certificate_seen(now_.wall - 1h, true, true, now_);
  expect(LifeState::ready, LifeAsk::look);
}

TEST_F(IdentityLifeTest, RenewsWhenTheIdentityModeWantsAnotherKindOfKey) {
  be_ready();
  life_.certificate_seen(now_.wall + 24h * 363, true, false, now_);
  expect(LifeState::renewing, LifeAsk::prepare_next);
}

TEST_F(IdentityLifeTest, DoesNotRenewInARoundWhenCertificatesAreShorterThanTheRule) {
  be_renewing(false);
  life_.answered(yes, true, now_);
  for (int i = 0; i < 5; ++i) {
    life_.certificate_seen(now_.wall + 1h, true, true, now_);
    expect(LifeState::ready, LifeAsk::look);
    EXPECT_GT(until_due(), 0ms);
    pass(1h);
  }
}

TEST_F(IdentityLifeTest, RenewsWithTheSameKeyWhileReportsGoOn) {
  be_renewing(false);
  expect(LifeState::renewing, LifeAsk::next_registration);
  EXPECT_FALSE(life_.holds());
  life_.failed(unavailable, now_);
  EXPECT_FALSE(life_.holds()) << "whichever certificate the site has, the key is the same";
  life_.answered(wait_for_it, true, now_);
  expect(LifeState::renewing, LifeAsk::next_confirmation);
  EXPECT_GE(until_due(), 30s);
  const LifeTurn turn = life_.answered(yes, true, now_);
  EXPECT_TRUE(turn.swap);
  EXPECT_FALSE(turn.resync);
  expect(LifeState::ready, LifeAsk::look);
}

TEST_F(IdentityLifeTest, HoldsReportsWhileNobodyKnowsWhichKeyTheSiteHas) {
  be_renewing(true);
  EXPECT_FALSE(life_.holds());
  life_.failed(unavailable, now_);
  EXPECT_TRUE(life_.holds()) << "the lost answer may have been a yes";
  life_.answered(no, true, now_);
  EXPECT_FALSE(life_.holds()) << "a no ends the doubt";
  be_renewing(true);
  life_.failed(Error{Remedy::retry, "mp.none_available", "none", 1s}, now_);
  EXPECT_FALSE(life_.holds()) << "nothing was sent";
  life_.answered(wait_for_it, true, now_);
  EXPECT_TRUE(life_.holds()) << "registered under the same SMSID: which key counts is not known";
  be_renewing(true);
  life_.answered(wait_for_it, false, now_);
  EXPECT_FALSE(life_.holds()) << "a record of its own leaves the old one alone";
  life_.failed(unavailable, now_);
  EXPECT_FALSE(life_.holds());
}

TEST_F(IdentityLifeTest, WaitsUntilNothingSignedWithTheOldKeyIsUnderWay) {
  be_renewing(true);
  life_.must_drain(now_);
  expect(LifeState::renewing, LifeAsk::next_registration);
  EXPECT_TRUE(life_.holds());
  EXPECT_LE(until_due(), 1s);
  life_.refused(now_);
  EXPECT_FALSE(life_.holds());
}

TEST_F(IdentityLifeTest, KeepsTheOldIdentityWhenTheSiteWillNotRenew) {
  be_renewing(false);
  const LifeTurn turn = life_.answered(no, true, now_);
  EXPECT_FALSE(turn.swap);
  EXPECT_STREQ(turn.outcome, "renewal_rejected");
  expect(LifeState::renewing, LifeAsk::next_registration);
  EXPECT_EQ(until_due(), 24h);
  EXPECT_FALSE(life_.holds());
  EXPECT_FALSE(life_.proposes_fresh(now_.wall));
  life_.certificate_seen(now_.wall - 1s, true, true, now_);
  EXPECT_TRUE(life_.proposes_fresh(now_.wall)) << "an ended certificate is worth a new record";
}

TEST_F(IdentityLifeTest, DoesNotAskForARenewalEveryFiveMinutesForEver) {
  be_renewing(false);
  for (int i = 0; i < 3; ++i) {
    life_.refused(now_);
    pass(5min);
  }
  EXPECT_GT(until_due(), 23h);
}

TEST_F(IdentityLifeTest, TakesTheNewRecordOfARenewalWithAllThatFollows) {
  be_renewing(true);
  LifeTurn turn = life_.answered(wait_for_it, false, now_);
  EXPECT_TRUE(turn.keep_next);
  EXPECT_FALSE(turn.adopt) << "not before it is confirmed";
  turn = life_.answered(yes, false, now_);
  EXPECT_TRUE(turn.swap && turn.adopt && turn.resync);
}

TEST_F(IdentityLifeTest, AsksForTheOldKeyWhenANewOneUnderTheSameSmsidIsLostOrRefused) {
  for (const RegistrationStatus status : {again, no}) {
    be_renewing(true);
    life_.answered(wait_for_it, true, now_);
    const LifeTurn turn = life_.answered(status, true, now_);
    EXPECT_TRUE(turn.drop_next);
    expect(LifeState::doubted, LifeAsk::confirmation);
  }
}

TEST_F(IdentityLifeTest, RegistersTheNextAgainWhenItsOwnRecordIsLostOrRefused) {
  be_renewing(true);
  life_.answered(wait_for_it, false, now_);
  EXPECT_TRUE(life_.answered(again, true, now_).keep_next);
  expect(LifeState::renewing, LifeAsk::next_registration);
  life_.answered(wait_for_it, false, now_);
  EXPECT_TRUE(life_.answered(no, true, now_).keep_next);
  expect(LifeState::renewing, LifeAsk::next_registration);
  EXPECT_FALSE(life_.holds());
}

TEST_F(IdentityLifeTest, TriesTheNextKeyFirstWhenTheOldOneIsRefusedDuringARenewal) {
  be_renewing(true);
  life_.answered(no, true, now_);  // waits for a day
  for (int i = 0; i < 3; ++i) {
    life_.invoke_refused(now_);
    pass(5min);
  }
  expect(LifeState::renewing, LifeAsk::next_registration);
  EXPECT_LE(until_due(), 0ms);
  EXPECT_TRUE(life_.holds());
  life_.answered(no, true, now_);
  expect(LifeState::doubted, LifeAsk::confirmation);
}

TEST_F(IdentityLifeTest, TakesUpAnInterruptedRenewalWithoutTrustingEitherKey) {
  be(LifeState::renewing);
  expect(LifeState::renewing, LifeAsk::prepare_next);
  EXPECT_TRUE(life_.holds());
  life_.next_prepared(true, false, false, now_);
  expect(LifeState::renewing, LifeAsk::next_registration);
  EXPECT_TRUE(life_.holds());
  be(LifeState::renewing);
  life_.next_prepared(false, false, false, now_);
  EXPECT_FALSE(life_.holds()) << "the same key is good either way";
  be(LifeState::renewing);
  life_.next_prepared(true, true, false, now_);
  expect(LifeState::renewing, LifeAsk::next_confirmation);
  EXPECT_FALSE(life_.holds()) << "the old record is still there";
  be(LifeState::renewing);
  life_.next_prepared(true, true, true, now_);
  EXPECT_TRUE(life_.holds());
}

TEST_F(IdentityLifeTest, PreparesAgainWhenWhatWasPreparedIsLost) {
  be_renewing(true);
  life_.next_lost(now_);
  expect(LifeState::renewing, LifeAsk::prepare_next);
  EXPECT_GT(until_due(), 0ms);
}

TEST_F(IdentityLifeTest, RotatesOnlyAnAgentThatIsReady) {
  for (const LifeState state : {LifeState::none, LifeState::registering, LifeState::pending, LifeState::doubted,
                                LifeState::reregistering, LifeState::rejected}) {
    be(state);
    EXPECT_FALSE(life_.rotate(now_)) << name_of(state);
    EXPECT_EQ(life_.state(), state);
  }
  be_renewing(false);
  EXPECT_TRUE(life_.rotate(now_));
  expect(LifeState::renewing, LifeAsk::prepare_next);
  EXPECT_TRUE(life_.wants_new_key());
  be_renewing(true);
  life_.answered(wait_for_it, true, now_);
  EXPECT_TRUE(life_.rotate(now_));
  expect(LifeState::renewing, LifeAsk::next_confirmation);
}

// Everything at once

class Walker {
 public:
  explicit Walker(std::uint64_t seed) : dice_(seed), now_{from_millis(1'768'469'400'000), SteadyTime(1h)},
                                        life_(rules_, seed, LifeState::none, now_.wall, now_) {}

  std::uint64_t roll(std::uint64_t sides) { return dice_() % sides; }

  /// Whatever a site, a disk, an operator and time can do.
  void stumble() {
    now_.wall += milliseconds(roll(100'000));
    now_.steady += milliseconds(roll(100'000));
    switch (roll(8)) {
      case 0: life_.invoke_refused(now_); break;
      case 1: life_.invoke_answered(); break;
      case 2: life_.reply_unexpected(now_); break;
      case 3: life_.rotate(now_); break;
      case 4: crash(); break;
      default: step([this] { return roll(7); }); break;
    }
  }
  /// One step when it is due; `fate` chooses the answer.
  void step(const std::function<std::uint64_t()>& fate) {
    const auto wait = std::max(life_.due() - now_.steady, SteadyTime::duration(0));
    now_.steady += wait;
    now_.wall += std::chrono::duration_cast<WallTime::duration>(wait);
    switch (life_.ask()) {
      case LifeAsk::make_key: fate() == 6 ? life_.failed(unavailable, now_) : life_.key_made(now_); return;
      case LifeAsk::look: life_.certificate_seen(now_.wall + milliseconds(roll(8'000'000'000)), roll(9) != 0, roll(9) != 0, now_); return;
      case LifeAsk::prepare_next:
        if (const auto chance = fate(); chance >= 5) return life_.failed(unavailable, now_);
        life_.next_prepared(roll(2) == 0, roll(4) == 0, roll(2) == 0, now_);
        return;
      case LifeAsk::next_registration:
        if (roll(5) == 0 && fate() >= 5) return life_.must_drain(now_);
        break;
      default: break;
    }
    const auto chance = fate();
    if (chance < 4) {
      const LifeTurn turn = life_.answered(static_cast<RegistrationStatus>(chance), roll(2) == 0, now_);
      EXPECT_EQ(turn.became_ready, life_.state() == LifeState::ready);
      EXPECT_TRUE(!turn.swap || turn.became_ready) << "a key is swapped only for one the site confirmed";
    } else if (chance == 4) {
      life_.refused(now_);
    } else if (chance == 5) {
      life_.failed(Error{Remedy::retry, "mp.none_available", "none", 1s}, now_);
    } else {
      life_.failed(unavailable, now_);
    }
  }
  void crash() { life_ = IdentityLife(rules_, roll(1'000), life_.state(), life_.since(), now_); }

  const IdentityLife& life() const { return life_; }
  milliseconds until_due() const { return std::chrono::ceil<milliseconds>(life_.due() - now_.steady); }

 private:
  std::mt19937_64 dice_;
  LifeRules rules_;
  Moment now_;
  IdentityLife life_;
};

TEST(IdentityLifeWalks, NeverReachAPlaceFromWhichAWillingSiteCannotBringThemHome) {
  const std::uint64_t seed = random_u64();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::size_t visited[life_states] = {};
  for (std::uint64_t walk = 0; walk < 300; ++walk) {
    Walker walker(seed + walk);
    for (int i = 0; i < 200; ++i) {
      walker.stumble();
      ++visited[static_cast<std::size_t>(walker.life().state())];
      ASSERT_LE(walker.until_due(), 24h) << "walk " << walk << " in " << name_of(walker.life().state());
    }
    // From here on the site answers every question with yes.
    int steps = 0;
    for (; steps < 12 && walker.life().state() != LifeState::ready; ++steps) walker.step([] { return std::uint64_t{0}; });
    ASSERT_EQ(walker.life().state(), LifeState::ready) << "walk " << walk << " is stuck in " << name_of(walker.life().state());
    ASSERT_FALSE(walker.life().holds());
  }
  for (std::size_t i = 0; i < life_states; ++i) EXPECT_GT(visited[i], 0u) << name_of(static_cast<LifeState>(i));
}

}  // namespace
}  // namespace greengate::test
