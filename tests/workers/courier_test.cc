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
  void abandon() override {
    ++abandoned;
    if (hold) hold->count_down();
  }
  std::atomic<int> abandoned{0};
  std::latch* entered = nullptr;
  std::latch* hold = nullptr;

 private:
  std::string name_;
};

class CourierTest : public ::testing::Test {
 protected:
  CourierTest() {
    config_.in_flight_max_per_mp = 2;
    config_.rest = {milliseconds(1'000), milliseconds(1'000)};
    message_.endpoint = "MP_RelayEndpoint";
    build();
  }
  void build() {
    auto first = std::make_unique<FakeDoor>("mp01"), second = std::make_unique<FakeDoor>("mp02");
    first_ = first.get();
    second_ = second.get();
    courier_ = std::make_unique<Courier>(config_, doors(std::move(first), std::move(second)), clock_, metrics_, 1);
  }
  template <class... Door>
  static std::vector<std::unique_ptr<MpDoor>> doors(Door... door) {
    std::vector<std::unique_ptr<MpDoor>> all;
    (all.push_back(std::move(door)), ...);
    return all;
  }
  static Result<adapters::Verdict> down(milliseconds retry_after = {}) {
    return fail(Remedy::retry, "http.refused", "nobody listens.", retry_after);
  }
  static Result<adapters::Verdict> busy(milliseconds retry_after = {}) {
    return fail(Remedy::retry, "mp.unavailable", "503.", retry_after);
  }
  std::future<Result<adapters::Verdict>> send_aside() {
    return std::async(std::launch::async, [this] { return courier_->send(message_); });
  }
  CourierConfig config_;
  ManualClock clock_;
  Metrics metrics_;
  FakeDoor* first_ = nullptr;
  FakeDoor* second_ = nullptr;
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

TEST_F(CourierTest, PassesOverAFullManagementPointWithoutWaiting) {
  std::latch entered(2), hold(1);
  first_->entered = &entered;
  first_->hold = &hold;
  auto one = send_aside(), other = send_aside();
  entered.wait();
  EXPECT_TRUE(courier_->send(message_)) << "the third goes to the second point while two are under way with the first";
  EXPECT_EQ(second_->asked, 1);
  hold.count_down();
  EXPECT_TRUE(one.get());
  EXPECT_TRUE(other.get());
}

TEST_F(CourierTest, ABrokenComponentOfOnePointSendsThatTypeElsewhereAndTheOthersNot) {
  adapters::OutgoingMessage inventory;
  inventory.endpoint = "MP_HinvEndpoint";
  for (int i = 0; i < 3; ++i) {
    first_->answers.push_back(busy());
    EXPECT_TRUE(courier_->send(inventory));
  }
  EXPECT_EQ(first_->asked, 3);
  EXPECT_EQ(second_->asked, 3);
  EXPECT_TRUE(courier_->send(inventory));
  EXPECT_EQ(first_->asked, 3) << "inventory rests there now";
  EXPECT_TRUE(courier_->send(message_));
  EXPECT_EQ(first_->asked, 4) << "state does not";
  EXPECT_FALSE(courier_->health()[0].resting);
}

TEST_F(CourierTest, ChargesAMessageOnceHoweverManyPointsItTook) {
  first_->answers.push_back(down());
  EXPECT_TRUE(courier_->send(message_));
  EXPECT_EQ(courier_->budget().health()[static_cast<std::size_t>(workers::MessageType::state)].sent, 1u);
}

TEST_F(CourierTest, ChargesNothingForAMessageThatNobodyWasAskedToTake) {
  first_->answers.push_back(down());
  second_->answers.push_back(down());
  EXPECT_FALSE(courier_->send(message_));
  EXPECT_FALSE(courier_->send(message_));
  EXPECT_EQ(courier_->budget().health()[static_cast<std::size_t>(workers::MessageType::state)].sent, 1u);
}

TEST_F(CourierTest, SendsABatchBackWhenItsTypeHasBorrowedAllItMay) {
  config_.pacing.of(workers::MessageType::state) = "60/1min";
  config_.pacing.burst = 2;
  build();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(courier_->send(message_));
  const auto answer = courier_->send(message_);
  ASSERT_FALSE(answer);
  EXPECT_STREQ(answer.error().code, "pacing.budget");
  EXPECT_EQ(answer.error().remedy, Remedy::retry);
  EXPECT_EQ(answer.error().retry_after, milliseconds(1'000));
  EXPECT_EQ(first_->asked, 4);
  clock_.advance(milliseconds(1'000));
  EXPECT_TRUE(courier_->send(message_));
}

TEST_F(CourierTest, ARequestWaitsForItsBudgetOnlyWhenThatIsSoon) {
  config_.pacing.of(workers::MessageType::requests) = "1/1min";
  config_.pacing.burst = 1;
  build();
  message_.expects_reply = true;
  EXPECT_TRUE(courier_->send(message_));
  const auto answer = courier_->get("/SMS_MP/.sms_aut?MPLIST");
  ASSERT_FALSE(answer) << "a GET is a request too";
  EXPECT_STREQ(answer.error().code, "pacing.budget");
  EXPECT_EQ(answer.error().retry_after, milliseconds(60'000));
  clock_.advance(milliseconds(59'990));
  auto soon = send_aside();
  EXPECT_EQ(soon.wait_for(milliseconds(20)), std::future_status::timeout) << "ten milliseconds are worth waiting for";
  clock_.advance(milliseconds(10));
  EXPECT_TRUE(soon.get());
}

TEST_F(CourierTest, ANewListKeepsTheHealthOfPointsThatStayAndTheirExchanges) {
  first_->answers.push_back(down());
  EXPECT_TRUE(courier_->send(message_));
  std::latch entered(1), hold(1);
  second_->entered = &entered;
  second_->hold = &hold;
  auto under_way = send_aside();
  entered.wait();

  auto third = std::make_unique<FakeDoor>("mp03");
  FakeDoor* added = third.get();
  courier_->set_points(doors(std::move(third), std::make_unique<FakeDoor>("mp01")));
  const auto health = courier_->health();
  ASSERT_EQ(health.size(), 2u);
  EXPECT_EQ(health[0].name, "mp03");
  EXPECT_EQ(health[1].name, "mp01");
  EXPECT_TRUE(health[1].resting) << "a new list is no pardon";
  EXPECT_EQ(health[1].failed, 1u);
  EXPECT_TRUE(courier_->send(message_));
  EXPECT_EQ(added->asked, 1);
  hold.count_down();
  EXPECT_TRUE(under_way.get()) << "the door that was taken off the list lives as long as its exchange";
}

TEST_F(CourierTest, AnEmptyListIsNotTaken) {
  courier_->set_points({});
  EXPECT_EQ(courier_->health().size(), 2u);
}

TEST_F(CourierTest, TellsTheStateOfEveryTypeAtEveryPoint) {
  first_->answers.push_back(busy(milliseconds(30'000)));
  EXPECT_TRUE(courier_->send(message_));
  const auto state = courier_->health()[0].types[static_cast<std::size_t>(workers::MessageType::state)];
  EXPECT_STREQ(state.state, "open");
  EXPECT_EQ(state.rest_left, milliseconds(30'000));
  EXPECT_EQ(state.concurrency, 1u);
  EXPECT_STREQ(courier_->health()[0].state, "closed");
  const std::string shown = metrics_.render();
  EXPECT_NE(shown.find("greengate_courier_concurrency{type=\"state\"} 3\n"), std::string::npos) << shown;
  EXPECT_NE(shown.find("greengate_courier_type_rests_total{type=\"state\"} 1\n"), std::string::npos) << shown;
}

// The exchange hangs; only being abandoned ends it. The clock is the test's, so the deadline has passed when drain() begins.
TEST_F(CourierTest, AbandonsWhatIsStillUnderWayAtTheDrainDeadline) {
  std::latch entered(1), hold(1);
  first_->entered = &entered;
  first_->hold = &hold;
  auto hanging = send_aside();
  entered.wait();
  courier_->drain(clock_.steady());
  EXPECT_EQ(first_->abandoned, 1);
  EXPECT_EQ(second_->abandoned, 0) << "nothing was under way there";
  EXPECT_EQ(hanging.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  (void)hanging.get();
}

TEST_F(CourierTest, GivesExchangesUnderWayTheirTimeToEnd) {
  std::latch entered(1), hold(1);
  first_->entered = &entered;
  first_->hold = &hold;
  auto under_way = send_aside();
  entered.wait();
  auto drained = std::async(std::launch::async, [&] { courier_->drain(clock_.steady() + std::chrono::seconds(60)); });
  EXPECT_EQ(drained.wait_for(milliseconds(20)), std::future_status::timeout);
  hold.count_down();
  drained.get();
  EXPECT_TRUE(under_way.get());
  EXPECT_EQ(first_->abandoned, 0);
}

TEST_F(CourierTest, ComplainsAboutEverySettingAtOnce) {
  CourierConfig config;
  config.in_flight_max_per_mp = 0;
  config.failures_to_rest = 0;
  config.slow_factor = 1;
  config.slow_floor = milliseconds(0);
  config.rest.cap = milliseconds(1);
  config.pacing.of(workers::MessageType::state) = "often";
  std::vector<std::string> keys;
  for (const auto& problem : config.problems()) keys.push_back(problem.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"pacing.state", "delivery.in_flight_max_per_mp", "delivery.failures_to_rest",
                                            "delivery.slow_factor", "delivery.slow_floor", "delivery.rest_base"}));
}

TEST_F(CourierTest, LetsWaitingSendersGoWhenTheGatewayStops) {
  courier_->stop();
  const auto answer = courier_->send(message_);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().remedy, Remedy::halt);
}

}  // namespace
}  // namespace greengate::test
