#include "workers/pacer.h"

#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <deque>
#include <future>
#include <thread>

namespace greengate::test {
namespace {

using std::chrono::milliseconds;
using store::Lane;
using namespace workers;

class AnsweringDoor : public MpDoor {
 public:
  const std::string& name() const override { return name_; }
  Result<std::string> get(std::string_view) override { return std::string(); }
  Result<adapters::Verdict> send(const adapters::OutgoingMessage&) override {
    if (answers.empty()) return adapters::Verdict{};
    auto answer = answers.front();
    answers.pop_front();
    return answer;
  }
  std::deque<Result<adapters::Verdict>> answers;

 private:
  std::string name_ = "mp01";
};

class PacerTest : public ::testing::Test {
 protected:
  PacerTest() {
    config_.rest = {milliseconds(1'000), milliseconds(1'000)};
    build(8);
  }
  void build(std::uint32_t workers) {
    pacer_.reset();
    auto door = std::make_unique<AnsweringDoor>();
    door_ = door.get();
    std::vector<std::unique_ptr<MpDoor>> doors;
    doors.push_back(std::move(door));
    courier_ = std::make_unique<Courier>(config_, std::move(doors), clock_, metrics_, 1);
    pacer_ = std::make_unique<Pacer>(workers, *courier_);
  }
  void send(const char* endpoint, const char* code = nullptr, milliseconds retry_after = {}) {
    if (code) door_->answers.push_back(fail(Remedy::retry, code, "so told.", retry_after));
    adapters::OutgoingMessage message;
    message.endpoint = endpoint;
    EXPECT_EQ(courier_->send(message).has_value(), code == nullptr);
  }
  // As many workers as there are, each with the best ticket it can get, at work in the first of `wanted` that is open to it.
  std::vector<Pacer::Ticket> work(std::size_t workers, std::initializer_list<Lane> wanted) {
    std::vector<Pacer::Ticket> tickets;
    for (std::size_t i = 0; i < workers; ++i) {
      auto ticket = pacer_->reserve();
      for (const Lane lane : wanted) {
        if (!ticket.lanes().has(lane)) continue;
        ticket.keep_only(lane);
        tickets.push_back(std::move(ticket));
        break;
      }
    }
    return tickets;
  }
  CourierConfig config_;
  ManualClock clock_;
  Metrics metrics_;
  AnsweringDoor* door_ = nullptr;
  std::unique_ptr<Courier> courier_;
  std::unique_ptr<Pacer> pacer_;
};

bool has_all(const store::LaneSet& lanes) {
  bool all = true;
  for (const Lane lane : {Lane::control, Lane::state, Lane::discovery, Lane::inventory, Lane::files}) all = all && lanes.has(lane);
  return all;
}

TEST_F(PacerTest, OpensEveryLaneWhenThereIsRoom) { EXPECT_TRUE(has_all(pacer_->reserve().lanes())); }

TEST_F(PacerTest, ClosesALaneWhoseBudgetIsUsedUpUntilTheNextMessageMayGo) {
  config_.pacing.of(MessageType::hardware_inventory) = "240/1min";
  config_.pacing.burst = 1;
  build(8);
  send("MP_HinvEndpoint");
  const auto closed = pacer_->reserve();
  EXPECT_FALSE(closed.lanes().has(Lane::inventory));
  EXPECT_TRUE(closed.lanes().has(Lane::state));
  EXPECT_EQ(closed.look_again(), milliseconds(250));
}

TEST_F(PacerTest, OpensALaneAgainTheMomentItsBudgetHasAMessage) {
  config_.pacing.of(MessageType::hardware_inventory) = "240/1min";
  config_.pacing.burst = 1;
  build(8);
  send("MP_HinvEndpoint");
  clock_.advance(milliseconds(249));
  EXPECT_FALSE(pacer_->reserve().lanes().has(Lane::inventory));
  clock_.advance(milliseconds(1));
  EXPECT_TRUE(pacer_->reserve().lanes().has(Lane::inventory));
}

TEST_F(PacerTest, KeepsAQuarterOfTheWorkersForControlAndState) {
  for (const auto& [workers, bulk] : std::vector<std::pair<std::uint32_t, std::size_t>>{{1, 1}, {2, 1}, {3, 2}, {4, 3}, {5, 3}, {8, 6}}) {
    build(workers);
    const auto tickets = work(workers, {Lane::inventory, Lane::discovery, Lane::files});
    EXPECT_EQ(tickets.size(), bulk) << workers << " workers";
    if (workers == 1) continue;
    EXPECT_EQ(work(workers - bulk, {Lane::state}).size(), workers - bulk) << workers << " workers";
  }
}

TEST_F(PacerTest, AWorkerThatTookStateLeavesItsBulkSeatToOthers) {
  auto steady = work(2, {Lane::state});
  EXPECT_EQ(work(8, {Lane::inventory, Lane::discovery, Lane::files}).size(), 6u);
}

TEST_F(PacerTest, SendsNoMoreWorkersThanTheManagementPointTakesAtOnce) {
  EXPECT_EQ(work(8, {Lane::inventory}).size(), 4u);
  EXPECT_EQ(work(8, {Lane::state}).size(), 4u);
}

TEST_F(PacerTest, GivesBackWhatATicketHeldWhenItGoes) {
  {
    const auto tickets = work(8, {Lane::inventory});
    EXPECT_EQ(work(1, {Lane::inventory}).size(), 0u);
  }
  EXPECT_EQ(work(8, {Lane::inventory}).size(), 4u);
  EXPECT_TRUE(has_all(pacer_->reserve().lanes()));
}

TEST_F(PacerTest, WorkersTogetherSetNoMoreAsideThanTheBudgetHas) {
  config_.pacing.burst = 2;
  build(8);
  const auto tickets = work(8, {Lane::discovery});
  EXPECT_EQ(tickets.size(), 2u);
}

TEST_F(PacerTest, ClosesOnlyTheLaneWhoseTypesAllRest) {
  send("MP_DdrEndpoint", "mp.unavailable", milliseconds(30'000));
  const auto ticket = pacer_->reserve();
  EXPECT_FALSE(ticket.lanes().has(Lane::discovery));
  EXPECT_TRUE(ticket.lanes().has(Lane::state));
  send("MP_HinvEndpoint", "mp.unavailable", milliseconds(30'000));
  EXPECT_TRUE(pacer_->reserve().lanes().has(Lane::inventory)) << "software inventory still goes";
  send("MP_SinvEndpoint", "mp.unavailable", milliseconds(30'000));
  EXPECT_FALSE(pacer_->reserve().lanes().has(Lane::inventory));
}

TEST_F(PacerTest, OpensNothingWhileEveryPointRestsAndOneWorkerProbesAfterwards) {
  send("MP_RelayEndpoint", "http.connect");
  const auto resting = pacer_->reserve();
  EXPECT_TRUE(resting.lanes().empty());
  EXPECT_EQ(resting.look_again(), milliseconds(500));
  clock_.advance(milliseconds(900));
  EXPECT_EQ(pacer_->reserve().look_again(), milliseconds(100)) << "when the rest ends";
  clock_.advance(milliseconds(100));
  const auto probing = pacer_->reserve();
  EXPECT_TRUE(has_all(probing.lanes()));
  EXPECT_TRUE(pacer_->reserve().lanes().empty());
}

TEST_F(PacerTest, AWaitingWorkerIsWokenWhenAnotherGivesBack) {
  auto held = work(8, {Lane::state});
  auto waiting = std::async(std::launch::async, [&] {
    const auto began = std::chrono::steady_clock::now();
    bool open = false;
    while (!open && std::chrono::steady_clock::now() - began < std::chrono::seconds(10)) {
      const auto ticket = pacer_->reserve();
      open = ticket.lanes().has(Lane::state);
      if (!open) pacer_->wait(ticket);
    }
    return open;
  });
  EXPECT_EQ(waiting.wait_for(milliseconds(20)), std::future_status::timeout);
  held.pop_back();
  EXPECT_TRUE(waiting.get());
}

// Eight threads lease and send as fast as they can for ten simulated minutes at a budget of 60 a minute.
TEST_F(PacerTest, ManyWorkersStayWithinTheBudget) {
  config_.pacing.of(MessageType::discovery) = "60/1min";
  config_.pacing.burst = 5;
  build(8);
  std::atomic<bool> over{false};
  std::atomic<int> sent{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < 8; ++i) {
    workers.emplace_back([&] {
      adapters::OutgoingMessage message;
      message.endpoint = "MP_DdrEndpoint";
      while (!over) {
        auto ticket = pacer_->reserve();
        if (!ticket.lanes().has(Lane::discovery)) {
          std::this_thread::yield();
          continue;
        }
        ticket.keep_only(Lane::discovery);
        if (courier_->send(message)) ++sent;
      }
    });
  }
  for (int second = 0; second < 600; ++second) {
    // Time goes on when what may go has gone.
    const int may = second + 5;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (sent < may && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
    EXPECT_LE(sent, may);
    clock_.advance(milliseconds(1'000));
  }
  over = true;
  for (auto& worker : workers) worker.join();
  EXPECT_GE(sent, 604);
  EXPECT_LE(sent, 605);
}

}  // namespace
}  // namespace greengate::test
