// Goal: what the outbox took is there after anything, within its bounds. Method: real files,
// reopened; a child that is killed.
#include "agent/outbox.h"
#include "tests/agent/scratch.h"
#include "tests/support/manual_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace greengate::agent {
namespace {

using test::ManualClock;
using test::Scratch;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t a_time = 1'700'000'000'000;

class OutboxTest : public ::testing::Test {
 protected:
  std::unique_ptr<Outbox> open() {
    config_.path = scratch_.file("outbox.sqlite");
    auto opened = Outbox::open(config_, clock_);
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? std::move(*opened) : nullptr;
  }
  static std::uint64_t put(Outbox& outbox, v1::Lane lane, v1::Kind kind, std::size_t bytes = 10,
                           std::uint32_t ttl_s = 0) {
    auto given = outbox.put(lane, kind, std::string(bytes, 'x'), a_time, ttl_s);
    EXPECT_TRUE(given) << given.error().message;
    return given.value_or(0);
  }
  static std::uint64_t put_state(Outbox& outbox, std::size_t bytes = 10) {
    return put(outbox, v1::LANE_STATE, v1::KIND_STATE_MESSAGES, bytes);
  }
  static std::uint64_t put_inventory(Outbox& outbox, std::size_t bytes) {
    return put(outbox, v1::LANE_INVENTORY, v1::KIND_HARDWARE_INVENTORY, bytes);
  }
  static std::uint64_t put_discovery(Outbox& outbox, std::size_t bytes) {
    return put(outbox, v1::LANE_DISCOVERY, v1::KIND_DISCOVERY, bytes);
  }
  static std::vector<std::uint64_t> waiting(Outbox& outbox) {
    std::vector<std::uint64_t> sequences;
    auto reports = outbox.next(0, 10'000, 1 << 30);
    EXPECT_TRUE(reports);
    for (const v1::Report& report : *reports) sequences.push_back(report.sequence());
    return sequences;
  }

  ManualClock clock_;
  Scratch scratch_;
  OutboxConfig config_;
};

TEST_F(OutboxTest, NoteChangesTogetherWithItsReportOrNotAtAll) {
  const auto note_of = [](std::uint64_t sequence) {
    return OutboxNote{"n", "at " + std::to_string(sequence)};
  };
  config_.bytes_max = 10'000;
  {
    auto outbox = open();
    put_state(*outbox);
    EXPECT_EQ(outbox->note("n"), "");
    ASSERT_TRUE(outbox->put(v1::LANE_FILES, v1::KIND_FILE_CHUNK, "x", a_time, 0, note_of));
    EXPECT_EQ(outbox->note("n"), "at 2");
    EXPECT_FALSE(outbox->put(v1::LANE_FILES, v1::KIND_FILE_CHUNK, std::string(20'000, 'x'), a_time,
                             0, note_of));
  }
  auto outbox = open();
  EXPECT_EQ(outbox->note("n"), "at 2");
  ASSERT_TRUE(outbox->keep_note({"n", ""}));
  EXPECT_EQ(outbox->note("n"), "");
  EXPECT_EQ(outbox->last_sequence(), 2u) << "a note is no other part's memory";
}

// Killed at any moment, note and report tell the same story.
TEST_F(OutboxTest, KilledProcessLeavesNoteAndReportsInStep) {
  open();
  for (int round = 0; round < 5; ++round) {
    std::array<int, 2> ends{};
    ASSERT_EQ(pipe(ends.data()), 0);
    const pid_t child = fork();
    if (child == 0) {
      auto outbox = Outbox::open(config_, clock_);
      for (char one = 1;; ++one) {
        const auto kept = (*outbox)->put(
            v1::LANE_FILES, v1::KIND_FILE_CHUNK, "x", a_time, 0,
            [](std::uint64_t sequence) { return OutboxNote{"n", std::to_string(sequence)}; });
        if (!kept || write(ends[1], &one, 1) != 1) _exit(1);
      }
    }
    close(ends[1]);
    char seen = 0;
    for (int i = 0; i < 3; ++i) ASSERT_EQ(read(ends[0], &seen, 1), 1);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    close(ends[0]);
    auto outbox = open();
    EXPECT_EQ(outbox->note("n"), std::to_string(outbox->last_sequence()));
    EXPECT_EQ(waiting(*outbox).back(), outbox->last_sequence());
  }
}

TEST_F(OutboxTest, TellsWhatBecameOfEachReport) {
  auto outbox = open();
  for (int i = 0; i < 6; ++i) put_state(*outbox);
  ASSERT_TRUE(outbox->stored(1, 1, 1));
  ASSERT_TRUE(outbox->settled(2, 2, "delivered", "", "", 1));
  ASSERT_TRUE(outbox->settled(3, 3, "rejected", "", "", 1));
  ASSERT_TRUE(outbox->settled(4, 4, "dropped", "", "", 1));
  ASSERT_TRUE(outbox->settled(5, 5, "expired", "", "", 1));
  EXPECT_EQ(outbox->fate(1), Fate::kept);
  EXPECT_EQ(outbox->fate(2), Fate::kept);
  EXPECT_EQ(outbox->fate(3), Fate::rejected);
  EXPECT_EQ(outbox->fate(4), Fate::lost);
  EXPECT_EQ(outbox->fate(5), Fate::lost);
  EXPECT_EQ(outbox->fate(6), Fate::waiting);
  EXPECT_EQ(outbox->fate(7), Fate::lost);
}

TEST_F(OutboxTest, WhenFullSupersededSoftwareInventoriesGoBeforeAnythingIsLost) {
  config_.bytes_max = 3'800;
  auto outbox = open();
  put(*outbox, v1::LANE_FILES, v1::KIND_FILE_CHUNK, 500);
  put(*outbox, v1::LANE_INVENTORY, v1::KIND_SOFTWARE_INVENTORY, 1'500);
  put(*outbox, v1::LANE_INVENTORY, v1::KIND_SOFTWARE_INVENTORY, 1'500);
  EXPECT_THAT(waiting(*outbox), ElementsAre(1u, 3u));
  EXPECT_EQ(outbox->number(Fact::dropped_total), 0);
}

TEST_F(OutboxTest, KeepsReportsOverAReopening) {
  std::uint64_t incarnation = 0;
  {
    auto outbox = open();
    incarnation = outbox->incarnation();
    EXPECT_NE(incarnation, 0u);
    EXPECT_EQ(put_state(*outbox), 1u);
    EXPECT_EQ(
        outbox->put(v1::LANE_DISCOVERY, v1::KIND_DISCOVERY, std::string("a\0b", 3), a_time, 60)
            .value(),
        2u);
  }
  clock_.advance(std::chrono::milliseconds(0));
  auto outbox = open();
  EXPECT_EQ(outbox->incarnation(), incarnation);
  EXPECT_EQ(outbox->last_sequence(), 2u);
  EXPECT_EQ(put_state(*outbox), 3u);
}

TEST_F(OutboxTest, GivesReportsBackAsTheyCame) {
  auto outbox = open();
  const std::int64_t now = to_millis(clock_.wall());
  ASSERT_TRUE(outbox->put(v1::LANE_DISCOVERY, v1::KIND_DISCOVERY, std::string("a\0b", 3), now, 60));
  const auto reports = outbox->next(0, 10, 1'000);
  ASSERT_TRUE(reports);
  ASSERT_EQ(reports->size(), 1u);
  const v1::Report& report = reports->front();
  EXPECT_EQ(report.sequence(), 1u);
  EXPECT_EQ(report.lane(), v1::LANE_DISCOVERY);
  EXPECT_EQ(report.kind(), v1::KIND_DISCOVERY);
  EXPECT_EQ(report.collected_at_ms(), now);
  EXPECT_EQ(report.ttl_s(), 60u);
  EXPECT_EQ(report.body(), std::string("a\0b", 3));
}

TEST_F(OutboxTest, FilesArePrivate) {
  auto outbox = open();
  put_state(*outbox);
  struct stat facts {};
  ASSERT_EQ(stat(config_.path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
}

TEST_F(OutboxTest, HandsOutNoMoreThanAskedButAlwaysOne) {
  auto outbox = open();
  for (int i = 0; i < 5; ++i) put_state(*outbox, 1'000);
  EXPECT_EQ(outbox->next(0, 2, 1 << 20)->size(), 2u);
  EXPECT_EQ(outbox->next(0, 5, 3'500)->size(), 3u);
  EXPECT_EQ(outbox->next(0, 5, 1)->size(), 1u);
  EXPECT_EQ(outbox->next(3, 5, 1 << 20)->front().sequence(), 4u);
}

TEST_F(OutboxTest, StoredReportsLeaveAndAreRememberedWithTheirTimes) {
  auto outbox = open();
  put_state(*outbox);
  put_state(*outbox);
  outbox->note_sent(1, 11);
  ASSERT_TRUE(outbox->stored(1, 1, 22));
  EXPECT_THAT(waiting(*outbox), ElementsAre(2));
  ASSERT_TRUE(outbox->settled(1, 1, "delivered", "", "", 33));
  const auto history = outbox->history(10);
  ASSERT_EQ(history.size(), 2u);
  EXPECT_EQ(history[0].status, "waiting");
  EXPECT_EQ(history[1].sequence, 1u);
  EXPECT_EQ(history[1].status, "delivered");
  EXPECT_EQ(history[1].bytes, 10);
  EXPECT_EQ(history[1].collected_at_ms, a_time);
  EXPECT_EQ(history[1].sent_at_ms, 11);
  EXPECT_EQ(history[1].stored_at_ms, 22);
  EXPECT_EQ(history[1].settled_at_ms, 33);
}

TEST_F(OutboxTest, RejectedReportsLeaveEvenWhenNeverStored) {
  auto outbox = open();
  put_state(*outbox);
  ASSERT_TRUE(outbox->settled(1, 1, "rejected", "report.too_large", "Too large.", 33));
  EXPECT_THAT(waiting(*outbox), IsEmpty());
  EXPECT_EQ(outbox->history(1)[0].code, "report.too_large");
}

TEST_F(OutboxTest, HistoryIsBounded) {
  config_.history_max = 3;
  auto outbox = open();
  for (int i = 0; i < 10; ++i) put_state(*outbox);
  ASSERT_TRUE(outbox->stored(1, 10, 1));
  EXPECT_EQ(outbox->history(100).size(), 3u);
  EXPECT_EQ(outbox->history(100)[0].sequence, 10u);
}

TEST_F(OutboxTest, TextFromOutsideIsCutInHistory) {
  auto outbox = open();
  put_state(*outbox);
  ASSERT_TRUE(
      outbox->settled(1, 1, "rejected", std::string(100'000, 'c'), std::string(100'000, 'm'), 33));
  EXPECT_EQ(outbox->history(1)[0].message.size(), 500u);
}

TEST_F(OutboxTest, FullOutboxLosesSupersededInventoryFirstAndStateLast) {
  config_.bytes_max = 10'000;
  auto outbox = open();
  EXPECT_EQ(put_inventory(*outbox, 1'500), 1u);
  EXPECT_EQ(put_discovery(*outbox, 1'500), 2u);
  EXPECT_EQ(put_state(*outbox, 1'500), 3u);
  EXPECT_EQ(put_inventory(*outbox, 1'500), 4u);
  EXPECT_EQ(put_discovery(*outbox, 1'500), 5u);
  EXPECT_EQ(put_state(*outbox, 1'500), 6u);  // 9,768 with overhead: full
  put_state(*outbox, 1'500);
  EXPECT_THAT(waiting(*outbox), ElementsAre(2, 3, 4, 5, 6, 7))
      << "the superseded inventory goes first";
  put_state(*outbox, 1'500);
  EXPECT_THAT(waiting(*outbox), ElementsAre(3, 4, 5, 6, 7, 8)) << "then the superseded discovery";
  put_state(*outbox, 1'500);
  EXPECT_THAT(waiting(*outbox), ElementsAre(3, 5, 6, 7, 8, 9)) << "then the oldest bulk";
  put_state(*outbox, 1'500);
  EXPECT_THAT(waiting(*outbox), ElementsAre(3, 6, 7, 8, 9, 10));
  EXPECT_EQ(outbox->number(Fact::dropped_total), 2);
  put_state(*outbox, 1'500);
  EXPECT_THAT(waiting(*outbox), ElementsAre(6, 7, 8, 9, 10, 11))
      << "and the oldest state last of all";
  const auto history = outbox->history(100);
  std::vector<std::string> fates;
  for (const HistoryEntry& entry : history) {
    if (entry.status != "waiting")
      fates.push_back(std::to_string(entry.sequence) + " " + entry.status + " " + entry.code);
  }
  EXPECT_THAT(fates,
              ElementsAre("3 dropped outbox.full", "5 dropped outbox.full", "4 dropped outbox.full",
                          "2 superseded outbox.superseded", "1 superseded outbox.superseded"));
}

TEST_F(OutboxTest, NewestBulkReportEntersByForcingOutOlderState) {
  config_.bytes_max = 5'000;
  auto outbox = open();
  for (int i = 0; i < 3; ++i) put_state(*outbox, 1'300);
  put_inventory(*outbox, 4'000);
  EXPECT_THAT(waiting(*outbox), ElementsAre(4));
}

TEST_F(OutboxTest, ReportLargerThanTheBoundIsRefused) {
  config_.bytes_max = 1 << 20;
  auto outbox = open();
  const auto given = outbox->put(v1::LANE_INVENTORY, v1::KIND_HARDWARE_INVENTORY,
                                 std::string(2 << 20, 'x'), a_time, 0);
  ASSERT_FALSE(given);
  EXPECT_STREQ(given.error().code, "outbox.too_large");
  EXPECT_EQ(given.error().remedy, Remedy::reject);
  EXPECT_EQ(put_state(*outbox), 1u) << "a refused report takes no number";
}

TEST_F(OutboxTest, CountOfReportsIsBoundedHoweverSmall) {
  config_.reports_max = 5;
  auto outbox = open();
  for (int i = 0; i < 20; ++i) put_state(*outbox, 0);
  EXPECT_THAT(waiting(*outbox), ElementsAre(16, 17, 18, 19, 20));
}

TEST_F(OutboxTest, DiskSpaceIsGivenBack) {
  auto outbox = open();
  for (int i = 0; i < 10; ++i) put_inventory(*outbox, 200'000);
  const auto full = std::filesystem::file_size(config_.path);
  ASSERT_TRUE(outbox->stored(1, 10, 1));
  EXPECT_LT(std::filesystem::file_size(config_.path), full / 4);
}

TEST_F(OutboxTest, ExpiredReportsAreNotSent) {
  auto outbox = open();
  const std::int64_t now = to_millis(clock_.wall());
  ASSERT_TRUE(outbox->put(v1::LANE_STATE, v1::KIND_STATE_MESSAGES, "x", now, 10));
  ASSERT_TRUE(outbox->put(v1::LANE_STATE, v1::KIND_STATE_MESSAGES, "x", now, 0));
  clock_.advance(std::chrono::seconds(11));
  EXPECT_THAT(waiting(*outbox), ElementsAre(2));
  EXPECT_EQ(outbox->history(2)[1].status, "expired");
}

TEST_F(OutboxTest, AnotherProcessMayPutWhileItIsOpen) {
  auto one = open();
  auto other = open();
  EXPECT_EQ(put_state(*one), 1u);
  EXPECT_EQ(put_state(*other), 2u);
  EXPECT_EQ(put_state(*one), 3u);
  EXPECT_THAT(waiting(*one), ElementsAre(1, 2, 3));
}

// A program that opens the outbox in the moment another commits must wait for it, not give up.
TEST_F(OutboxTest, MayBeOpenedWhileAnotherProcessWrites) {
  auto outbox = open();
  for (int i = 0; i < 100; ++i) {
    std::thread writer([&] {
      for (int k = 0; k < 3; ++k) put_state(*outbox);
    });
    EXPECT_TRUE(open());
    writer.join();
  }
  EXPECT_EQ(waiting(*outbox).size(), 300u);
}

TEST_F(OutboxTest, NewIncarnationNumbersWhatWaitsAnew) {
  auto outbox = open();
  for (int i = 0; i < 4; ++i) put_state(*outbox);
  ASSERT_TRUE(outbox->stored(1, 2, 1));
  const auto before = outbox->incarnation();
  ASSERT_TRUE(outbox->begin_new_incarnation());
  EXPECT_NE(outbox->incarnation(), before);
  EXPECT_THAT(waiting(*outbox), ElementsAre(1, 2));
  EXPECT_EQ(put_state(*outbox), 3u);
}

TEST_F(OutboxTest, DamagedFileIsSetAsideAndANewOneBegun) {
  {
    auto outbox = open();
    put_state(*outbox);
  }
  {
    std::ofstream file(config_.path, std::ios::binary | std::ios::trunc);
    file << std::string(20'000, 'Z');
  }
  auto outbox = open();
  ASSERT_TRUE(outbox);
  EXPECT_NE(outbox->set_aside(), "");
  EXPECT_TRUE(std::filesystem::exists(outbox->set_aside()));
  EXPECT_EQ(put_state(*outbox), 1u);
}

TEST_F(OutboxTest, FileDamagedInTheMiddleIsSetAsideToo) {
  {
    auto outbox = open();
    for (int i = 0; i < 50; ++i) put_state(*outbox, 3'000);
  }
  {
    std::fstream file(config_.path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(4'096);
    file << std::string(60'000, '\xff');
  }
  auto outbox = open();
  ASSERT_TRUE(outbox);
  EXPECT_NE(outbox->set_aside(), "");
}

TEST_F(OutboxTest, DiskThatCannotBeWrittenIsSaid) {
  OutboxConfig nowhere;
  nowhere.path = scratch_.file("no/such/directory/outbox.sqlite");
  const auto opened = Outbox::open(nowhere, clock_);
  ASSERT_FALSE(opened);
  EXPECT_STREQ(opened.error().code, "outbox.disk");
  EXPECT_EQ(opened.error().remedy, Remedy::retry);
}

TEST_F(OutboxTest, LookingWhereNothingIsSaysSo) {
  OutboxConfig nowhere;
  nowhere.path = scratch_.file("none.sqlite");
  const auto opened = Outbox::open_to_read(nowhere, clock_);
  ASSERT_FALSE(opened);
  EXPECT_STREQ(opened.error().code, "outbox.absent");
  EXPECT_FALSE(std::filesystem::exists(nowhere.path));
}

TEST_F(OutboxTest, RemembersFacts) {
  {
    auto outbox = open();
    EXPECT_GT(outbox->number(Fact::installed_at_ms), 0);
    ASSERT_TRUE(outbox->remember(Fact::agent_id, "a1"));
    ASSERT_TRUE(outbox->remember(Fact::agent_id, "a2"));
  }
  EXPECT_EQ(open()->fact(Fact::agent_id), "a2");
}

// Every number a child announced before it was killed is there, without a hole, as often as we try.
TEST_F(OutboxTest, SurvivesKillMinusNine) {
  for (int round = 0; round < 5; ++round) {
    const auto before = open()->last_sequence();
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(ends[0]);
      auto outbox = open();
      for (;;) {
        auto given = outbox->put(v1::LANE_STATE, v1::KIND_STATE_MESSAGES, std::string(2'000, 'x'),
                                 a_time, 0);
        if (!given || write(ends[1], &*given, sizeof *given) != sizeof *given) _exit(1);
      }
    }
    close(ends[1]);
    std::uint64_t announced = before;
    for (int i = 0; i < 20; ++i)
      ASSERT_EQ(read(ends[0], &announced, sizeof announced),
                static_cast<ssize_t>(sizeof announced));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    while (read(ends[0], &announced, sizeof announced) == static_cast<ssize_t>(sizeof announced)) {
    }
    close(ends[0]);

    auto outbox = open();
    EXPECT_EQ(outbox->set_aside(), "");
    EXPECT_GE(outbox->last_sequence(), announced);
    std::uint64_t expected = 0;
    for (const std::uint64_t sequence : waiting(*outbox)) ASSERT_EQ(sequence, ++expected);
    EXPECT_EQ(expected, outbox->last_sequence());
  }
}

}  // namespace
}  // namespace greengate::agent
