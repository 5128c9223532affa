#include "workers/key_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>

namespace greengate::workers {
namespace {

const adapters::SigningKey& one_key() {
  static const adapters::SigningKey key = adapters::SigningKey::generate().value();
  return key;
}

TEST(KeyPool, WhoNeedsAKeyMakesItWhenNoneIsReady) {
  std::latch let_go(1);
  std::atomic<int> calls{0};
  KeyPool pool(4, [&](const std::atomic<bool>&) -> Result<adapters::SigningKey> {
    if (calls.fetch_add(1) == 0) let_go.wait();  // the pool's own thread, starved
    return one_key();
  });
  ASSERT_TRUE(pool.start());
  while (calls == 0) std::this_thread::yield();
  EXPECT_TRUE(pool.take());
  let_go.count_down();
}

TEST(KeyPool, HandsOutWhatWasMadeAhead) {
  std::promise<void> all_made;
  std::atomic<int> calls{0};
  std::atomic<bool> made_here{false};
  KeyPool pool(2, [&, here = std::this_thread::get_id()](const std::atomic<bool>&) -> Result<adapters::SigningKey> {
    if (std::this_thread::get_id() == here) made_here = true;
    if (calls.fetch_add(1) == 2) all_made.set_value();  // two lie ready, and it makes the third
    return one_key();
  });
  ASSERT_TRUE(pool.start());
  all_made.get_future().wait();
  EXPECT_TRUE(pool.take());
  EXPECT_FALSE(made_here);
}

TEST(KeyPool, AFailureIsToldAndTheNextTakerTriesAgain) {
  std::atomic<bool> broken{true};
  std::atomic<int> calls{0};
  KeyPool pool(1, [&](const std::atomic<bool>&) -> Result<adapters::SigningKey> {
    ++calls;
    if (broken) return fail(Remedy::retry, "key.generation", "no randomness.");
    return one_key();
  });
  ASSERT_TRUE(pool.start());
  while (calls == 0) std::this_thread::yield();
  const auto refused = pool.take();
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().code, "key.generation");
  broken = false;
  EXPECT_TRUE(pool.take());
}

TEST(KeyPool, GivesNothingOnceItStops) {
  KeyPool pool(1, [](const std::atomic<bool>&) { return Result<adapters::SigningKey>(one_key()); });
  ASSERT_TRUE(pool.start());
  pool.stop();
  const auto key = pool.take();
  ASSERT_FALSE(key);
  EXPECT_STREQ(key.error().code, "keys.stopping");
}

// Goal: a starved key maker does not hold up the gateway's end. Method: makers that go on until their key is unwanted.
TEST(KeyPool, AKeyInTheMakingIsGivenUpAtTheStop) {
  std::latch both_at_it(2);
  KeyPool pool(1, [&](const std::atomic<bool>& unwanted) -> Result<adapters::SigningKey> {
    both_at_it.count_down();
    while (!unwanted) std::this_thread::yield();
    return fail(Remedy::halt, "mp.key_unwanted", "nobody needs it.");
  });
  ASSERT_TRUE(pool.start());
  auto taker = std::async(std::launch::async, [&] { return pool.take(); });
  both_at_it.wait();
  pool.refuse();
  const auto key = taker.get();
  ASSERT_FALSE(key);
  EXPECT_STREQ(key.error().code, "keys.stopping");
  EXPECT_EQ(key.error().remedy, Remedy::halt);
  pool.stop();
}

}  // namespace
}  // namespace greengate::workers
