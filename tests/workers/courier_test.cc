#include "workers/courier.h"

#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <future>
#include <latch>

namespace greengate::test {
namespace {

using std::chrono::milliseconds;
using workers::Courier;
using workers::CourierConfig;
using workers::MpDoor;

// A management point that answers what it is told to; nothing told: it takes the message.
class FakeDoor : public MpDoor {
 public:
  explicit FakeDoor(std::string name) : name_(std::move(name)) {}
  const std::string& name() const override { return name_; }
  Result<std::string> get(std::string_view) override { return std::string(); }
  Result<adapters::Verdict> send(const adapters::OutgoingMessage&) override {
    ++asked;
    if (entered) entered->count_down();
    if (hold) hold->wait();
    if (answers.empty()) return adapters::Verdict{};
    auto answer = answers.front();
    answers.pop_front();
    return answer;
  }
  std::deque<Result<adapters::Verdict>> answers;
  std::atomic<int> asked{0};
  std::latch* entered = nullptr;
  std::latch* hold = nullptr;

 private:
  std::string name_;
};

class CourierTest : public ::testing::Test {
 protected:
  CourierTest() {
    auto first = std::make_unique<FakeDoor>("mp01"), second = std::make_unique<FakeDoor>("mp02");
    first_ = first.get();
    second_ = second.get();
    std::vector<std::unique_ptr<MpDoor>> doors;
    doors.push_back(std::move(first));
    doors.push_back(std::move(second));
    CourierConfig config;
    config.in_flight_max_per_mp = 2;
    config.rest = {milliseconds(1'000), milliseconds(1'000)};
    courier_ = std::make_unique<Courier>(config, std::move(doors), clock_, metrics_, 1);
  }
  static Result<adapters::Verdict> down(milliseconds retry_after = {}) {
    return fail(Remedy::retry, "http.refused", "nobody listens.", retry_after);
  }
  ManualClock clock_;
  Metrics metrics_;
  FakeDoor* first_;
  FakeDoor* second_;
  std::unique_ptr<Courier> courier_;
  adapters::OutgoingMessage message_;
};

TEST_F(CourierTest, TakesTheFirstInTheListWhileItAnswers) {
  EXPECT_TRUE(courier_->send(message_));
  EXPECT_TRUE(courier_->send(message_));
  EXPECT_EQ(first_->asked, 2);
  EXPECT_EQ(second_->asked, 0);
}

TEST_F(CourierTest, TriesTheNextAtOnceAndLeavesTheFailedOneAlone) {
  first_->answers.push_back(down());
  EXPECT_TRUE(courier_->send(message_));
  EXPECT_TRUE(courier_->send(message_));
  EXPECT_EQ(first_->asked, 1);
  EXPECT_EQ(second_->asked, 2);
}

TEST_F(CourierTest, ComesBackToTheFirstAfterItsRest) {
  first_->answers.push_back(down());
  EXPECT_TRUE(courier_->send(message_));
  clock_.advance(milliseconds(1'001));
  EXPECT_TRUE(courier_->send(message_));
  EXPECT_EQ(first_->asked, 2);
}

TEST_F(CourierTest, RestsAtLeastAsLongAsThePeerAsked) {
  first_->answers.push_back(down(milliseconds(30'000)));
  EXPECT_TRUE(courier_->send(message_));
  clock_.advance(milliseconds(29'000));
  EXPECT_TRUE(courier_->send(message_));
  EXPECT_EQ(first_->asked, 1);
}

TEST_F(CourierTest, SaysWhenTheFirstOfAllRestingOnesMayBeTried) {
  first_->answers.push_back(down(milliseconds(30'000)));
  second_->answers.push_back(down());
  const auto answer = courier_->send(message_);
  ASSERT_FALSE(answer);
  EXPECT_STREQ(answer.error().code, "mp.none_available");
  EXPECT_EQ(answer.error().remedy, Remedy::retry);
  EXPECT_EQ(answer.error().retry_after, milliseconds(1'000));
  EXPECT_EQ(courier_->rest_left(), milliseconds(1'000));
}

TEST_F(CourierTest, DoesNotBlameTheManagementPointForABadMessage) {
  first_->answers.push_back(fail(Remedy::reject, "mp.too_long", "413."));
  const auto answer = courier_->send(message_);
  ASSERT_FALSE(answer);
  EXPECT_STREQ(answer.error().code, "mp.too_long");
  EXPECT_EQ(second_->asked, 0);
  EXPECT_TRUE(courier_->send(message_));
  EXPECT_EQ(first_->asked, 2);
}

TEST_F(CourierTest, NeverHasMoreThanItsBoundUnderWayWithOne) {
  std::latch entered(4), hold(1);
  for (FakeDoor* door : {first_, second_}) {
    door->entered = &entered;
    door->hold = &hold;
  }
  std::vector<std::future<bool>> senders;
  for (int i = 0; i < 4; ++i) {
    senders.push_back(std::async(std::launch::async, [&] { return courier_->send(message_).has_value(); }));
  }
  entered.wait();
  EXPECT_EQ(first_->asked, 2);
  EXPECT_EQ(second_->asked, 2);
  for (FakeDoor* door : {first_, second_}) door->entered = nullptr;
  auto fifth = std::async(std::launch::async, [&] { return courier_->send(message_).has_value(); });
  EXPECT_EQ(fifth.wait_for(milliseconds(20)), std::future_status::timeout) << "the fifth waits for a free place";
  hold.count_down();
  for (auto& sender : senders) EXPECT_TRUE(sender.get());
  EXPECT_TRUE(fifth.get());
}

TEST_F(CourierTest, LetsWaitingSendersGoWhenTheGatewayStops) {
  courier_->stop();
  const auto answer = courier_->send(message_);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().remedy, Remedy::halt);
}

}  // namespace
}  // namespace greengate::test
