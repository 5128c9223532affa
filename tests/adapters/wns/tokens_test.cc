// Goal: one token per app, asked for once, kept as long as it is good, and never a storm. Method: a clock that is moved by hand.
#include "adapters/wns/token_cache.h"
#include "tests/adapters/wns/lab.h"

namespace greengate::test {
namespace {

using namespace greengate::adapters;

struct Cache {
  Cache() { cache.secrets_changed(1, clock.steady()); }
  void fetch(const std::string& token, seconds life = seconds(86'400)) {
    cache.begin(clock.steady());
    cache.done(clock.steady(), Lab::grant(token, life));
  }
  void fail_with(Remedy remedy, const char* code, milliseconds retry_after = {}) {
    cache.begin(clock.steady());
    cache.done(clock.steady(), fail(remedy, code, "No.", retry_after));
  }
  std::string token() const {
    const auto in_use = cache.get(clock.steady());
    return in_use ? std::string(in_use->token->reveal()) : "none";
  }
  bool due() const { return cache.should_fetch(clock.steady()); }
  milliseconds due_in() const { return std::chrono::duration_cast<milliseconds>(cache.next_fetch(clock.steady()) - clock.steady()); }

  WnsSettings settings = lab_settings();
  JumpyClock clock;
  TokenCache cache{settings, 0, 7};
};

TEST(TokenCache, AsksOnceWhateverTheNumberOfThoseWhoWait) {
  Cache c;
  EXPECT_TRUE(c.due());
  c.cache.begin(c.clock.steady());
  EXPECT_FALSE(c.due());
  EXPECT_EQ(c.token(), "none");
  c.cache.done(c.clock.steady(), Lab::grant("one"));
  EXPECT_EQ(c.token(), "one");
  EXPECT_FALSE(c.due());
}

TEST(TokenCache, RefreshesBeforeTheEndAndKeepsSendingMeanwhile) {
  Cache c;
  c.fetch("one", seconds(600));
  c.clock.advance(seconds(539));
  EXPECT_FALSE(c.due());
  c.clock.advance(seconds(1));
  EXPECT_TRUE(c.due());
  EXPECT_EQ(c.token(), "one");
  c.fail_with(Remedy::retry, "wns.token_busy", seconds(20));
  EXPECT_EQ(c.token(), "one");
  c.clock.advance(seconds(20));
  EXPECT_TRUE(c.due());
  c.clock.advance(seconds(40));
  EXPECT_EQ(c.token(), "none");  // its life is over
  c.fetch("two");
  EXPECT_EQ(c.token(), "two");
}

TEST(TokenCache, IsNotMovedByTheWallClock) {
  Cache c;
  c.fetch("one", seconds(600));
  c.clock.jump_wall(hours(24));
  EXPECT_EQ(c.token(), "one");
  EXPECT_FALSE(c.due());
  c.clock.jump_wall(hours(-48));
  EXPECT_FALSE(c.due());
}

TEST(TokenCache, ReplacesARefusedTokenOnlyWhileItIsTheOneInUse) {
  Cache c;
  c.fetch("one");
  const auto first = c.cache.get(c.clock.steady())->generation;
  c.cache.rejected(first, c.clock.steady());
  EXPECT_EQ(c.token(), "none");
  EXPECT_TRUE(c.due());
  c.fetch("two");
  for (int late = 0; late < 100; ++late) c.cache.rejected(first, c.clock.steady());
  EXPECT_EQ(c.token(), "two");
  EXPECT_FALSE(c.due());
  EXPECT_FALSE(c.cache.suspect());
}

TEST(TokenCache, BecomesSuspectAfterTwoDifferentTokensWereRefusedAndProbesSeldom) {
  Cache c;
  c.fetch("one");
  c.cache.rejected(c.cache.get(c.clock.steady())->generation, c.clock.steady());
  c.fetch("two");
  const auto second = c.cache.get(c.clock.steady())->generation;
  c.cache.rejected(second, c.clock.steady());
  EXPECT_EQ(c.cache.state(c.clock.steady()), CredentialState::suspect);
  EXPECT_FALSE(c.due());
  EXPECT_EQ(c.due_in(), minutes(5));
  c.clock.advance(minutes(5));
  c.fetch("three");
  c.cache.probe_begun(c.clock.steady());
  c.cache.honoured(second);  // a late word about an old one proves nothing
  EXPECT_TRUE(c.cache.suspect());
  c.cache.honoured(c.cache.get(c.clock.steady())->generation);
  EXPECT_EQ(c.cache.state(c.clock.steady()), CredentialState::ok);
}

TEST(TokenCache, ForgivesTwoRefusalsFarApart) {
  Cache c;
  c.fetch("one");
  c.cache.rejected(c.cache.get(c.clock.steady())->generation, c.clock.steady());
  c.fetch("two");
  c.clock.advance(minutes(6));
  c.cache.rejected(c.cache.get(c.clock.steady())->generation, c.clock.steady());
  EXPECT_FALSE(c.cache.suspect());
}

TEST(TokenCache, WaitsAnHourWhenItsCredentialsAreRefused) {
  Cache c;
  c.fail_with(Remedy::reject, "wns.token_request");
  EXPECT_EQ(c.cache.state(c.clock.steady()), CredentialState::refused);
  EXPECT_EQ(c.due_in(), minutes(60));
  c.cache.secrets_changed(1, c.clock.steady());  // an operator replaced the file
  EXPECT_TRUE(c.due());
}

TEST(TokenCache, TriesItsOlderSecretWhenTheNewestIsRefused) {
  Cache c;
  c.cache.secrets_changed(2, c.clock.steady());
  EXPECT_EQ(c.cache.begin(c.clock.steady()), 0u);
  c.cache.done(c.clock.steady(), fail(Remedy::reject, "wns.token_client", "No."));
  ASSERT_TRUE(c.due());
  EXPECT_EQ(c.cache.begin(c.clock.steady()), 1u);
  c.cache.done(c.clock.steady(), Lab::grant("one", seconds(100)));
  EXPECT_EQ(c.token(), "one");
  c.clock.advance(seconds(90));
  EXPECT_EQ(c.cache.begin(c.clock.steady()), 0u);  // the newest first, each time
  c.cache.done(c.clock.steady(), fail(Remedy::reject, "wns.token_client", "No."));
  EXPECT_EQ(c.cache.begin(c.clock.steady()), 1u);
  c.cache.done(c.clock.steady(), fail(Remedy::reject, "wns.token_client", "No."));
  EXPECT_FALSE(c.due());
  EXPECT_EQ(c.due_in(), minutes(60));
}

TEST(TokenCache, BacksOffWithJitterUpToFiveMinutesAndObeysRetryAfter) {
  Cache c;
  milliseconds longest(0);
  for (int i = 0; i < 40; ++i) {
    c.fail_with(Remedy::retry, "http.timeout");
    const milliseconds wait = c.due_in();
    EXPECT_LE(wait, std::min<milliseconds>(seconds(1) * (std::int64_t{1} << std::min(i, 20)), minutes(5))) << i;
    longest = std::max(longest, wait);
    c.clock.advance(wait);
  }
  EXPECT_GT(longest, minutes(2));
  c.fail_with(Remedy::retry, "wns.token_busy", seconds(1'234));
  EXPECT_EQ(c.due_in(), seconds(1'234));
}

TEST(TokenCache, WipesATokenWhenTheLastRequestWithItIsOver) {
  Cache c;
  c.fetch("one");
  std::weak_ptr<const Secret> watched;
  {
    const auto in_use = c.cache.get(c.clock.steady());
    watched = in_use->token;
    c.cache.rejected(in_use->generation, c.clock.steady());
    EXPECT_FALSE(watched.expired());
  }
  EXPECT_TRUE(watched.expired());
}

}  // namespace
}  // namespace greengate::test
