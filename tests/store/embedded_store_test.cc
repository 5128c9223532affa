// What only the embedded store promises: how it meets bad disks and damaged files.
#include "store/embedded/salvage.h"
#include "core/log.h"
#include "tests/store/fault_vfs.h"
#include "tests/store/embedded_fixture.h"

#include <atomic>
#include <fstream>

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using store::Kept;
using store::Outcome;
using Outcomes = std::vector<Kept>;
using Sequences = std::vector<std::uint64_t>;

class FailingDisk : public EmbeddedStore {
 protected:
  FailingDisk() {
    FaultVfs::instance().heal();
    options_.database.vfs = FaultVfs::name;
  }
  ~FailingDisk() override { FaultVfs::instance().heal(); }
  FaultVfs& disk() { return FaultVfs::instance(); }
};

TEST_F(FailingDisk, AFullDiskKeepsNothingAndLaterReportsAreOutOfOrder) {
  open();
  keep_sequences("a", 1, 2);
  disk().writes_left = 3;  // part of the group gets through
  const auto failed = keep({report("a", 3, std::string(200'000, 'x')), report("a", 4)});
  ASSERT_FALSE(failed);
  EXPECT_STREQ(failed.error().code, "queue.disk");
  EXPECT_EQ(failed.error().remedy, Remedy::retry);
  disk().heal();
  EXPECT_EQ(queue().last_sequence(AgentId("a"), 1), 2u);
  EXPECT_EQ(kept({report("a", 5)}), Outcomes{Kept::out_of_order}) << "no hole is left";
  EXPECT_EQ(queue().stats().waiting, 2u);
  EXPECT_EQ(kept({report("a", 3), report("a", 4), report("a", 5)}),
            (Outcomes{Kept::stored, Kept::stored, Kept::stored}));
  reopen();
  EXPECT_EQ(sequences(lease()), (Sequences{1, 2, 3, 4, 5}));
}

TEST_F(FailingDisk, ABatchAlreadyOnItsWayBehindAFailedOneIsOutOfOrder) {
  open();
  keep_sequences("a", 1, 1);
  disk().writes_left = 3;
  std::promise<Outcomes> second;
  std::promise<const char*> first;
  queue().keep({report("a", 2, std::string(200'000, 'x'))}, [&](auto result) {
    disk().heal();
    first.set_value(result ? "" : result.error().code);
  });
  queue().keep({report("a", 3)}, [&](auto result) {
    Outcomes outcomes;
    if (result)
      for (const auto& each : *result) outcomes.push_back(each.kept);
    second.set_value(outcomes);
  });
  EXPECT_STREQ(first.get_future().get(), "queue.disk");
  EXPECT_EQ(second.get_future().get(), Outcomes{Kept::out_of_order});
}

// Goal: a slow disk delays the end by what is on its way, not by all that waits. Method: many groups of one report each, most of which cannot be
// written in the time the store has to stop; each is told the truth.
TEST_F(FailingDisk, ASlowDiskIsNotWaitedForAtTheStopAndNothingSaidToBeKeptIsLost) {
  constexpr std::uint64_t reports = 100;
  options_.writer.group_changes_max = 1;
  open();
  disk().sync_takes_ms = 50;
  std::atomic<std::uint64_t> kept{0}, refused{0};
  for (std::uint64_t sequence = 1; sequence <= reports; ++sequence)
    queue().keep({report("a", sequence)}, [&](auto result) {
      if (result && result->front().kept == Kept::stored) ++kept;
      if (!result && result.error().remedy == Remedy::halt) ++refused;
    });
  store_->drain(clock_.steady());
  store_->stop();
  EXPECT_EQ(kept + refused, reports) << "each is answered, and once";
  EXPECT_GT(refused, 0u);
  disk().heal();
  reopen();
  EXPECT_EQ(queue().last_sequence(AgentId("a"), 1), kept);
}

TEST_F(FailingDisk, ASettlementThatFailsLeavesTheReportsLeased) {
  open();
  keep_sequences("a", 1, 2);
  const auto batch = lease();
  disk().sync_fails = true;
  const auto failed = queue().settle(batch->lease, all(*batch));
  ASSERT_FALSE(failed);
  EXPECT_STREQ(failed.error().code, "queue.disk");
  disk().heal();
  EXPECT_EQ(queue().stats().waiting, 2u);
  EXPECT_EQ(queue().stats().delivered_total, 0u);
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  EXPECT_EQ(queue().stats().waiting, 0u);
  EXPECT_GE(metric("greengate_store_commits_total{outcome=\"failed\"}"), 1.0);
}

TEST_F(FailingDisk, ASettlementThatFailsMovesNoBaseline) {
  open();
  keep_sequences("a", 1, 2);
  const auto batch = lease();
  ASSERT_TRUE(queue().settle(batch->lease, {{batch->reports[0].id}}, {{1, 1, 0, clock_.wall(), "first"}}));
  disk().sync_fails = true;
  ASSERT_FALSE(queue().settle(batch->lease, {{batch->reports[1].id}}, {{1, 1, 1, clock_.wall(), "second"}}));
  disk().heal();
  EXPECT_EQ(baselines().find(AgentId("a"), 1).value()->body, "first");
  ASSERT_TRUE(queue().settle(batch->lease, {{batch->reports[1].id}}, {{1, 1, 1, clock_.wall(), "second"}}));
  EXPECT_EQ(baselines().find(AgentId("a"), 1).value()->body, "second");
}

TEST_F(FailingDisk, APinThatFailsMovesNoCounter) {
  open();
  keep_sequences("a", 1, 1);
  const auto batch = lease();
  disk().sync_fails = true;
  EXPECT_FALSE(queue().pin(batch->lease, {{ids(*batch), "note"}}, {{"serial", 5}}));
  disk().heal();
  EXPECT_EQ(registry().counter(AgentId("a"), "serial"), 0u);
  ASSERT_TRUE(queue().pin(batch->lease, {{ids(*batch), "note"}}, {{"serial", 6}}));
  EXPECT_EQ(registry().counter(AgentId("a"), "serial"), 6u);
}

TEST_F(FailingDisk, AReplayThatFailsLeavesTheDeadLetters) {
  open();
  keep_sequences("a", 1, 2);
  const auto batch = lease();
  ASSERT_TRUE(queue().bury(batch->lease, ids(*batch), {Remedy::reject, "mp.refused", "Refused.", {}}));
  const auto bytes = queue().stats().buried_bytes;
  disk().sync_fails = true;
  const auto failed = queue().replay(ids(*batch));
  ASSERT_FALSE(failed);
  EXPECT_STREQ(failed.error().code, "queue.disk");
  EXPECT_FALSE(queue().discard(ids(*batch)));
  const auto own = queue().keep_own(report("a", 0));
  ASSERT_FALSE(own);
  EXPECT_STREQ(own.error().code, "queue.disk");
  disk().heal();
  EXPECT_EQ(queue().stats().buried, 2u);
  EXPECT_EQ(queue().stats().buried_bytes, bytes);
  EXPECT_EQ(queue().stats().waiting, 0u);
  EXPECT_FALSE(lease());
  EXPECT_EQ(queue().replay(ids(*batch)).value(), 2u);
  EXPECT_EQ(sequences(lease()), (Sequences{1, 2}));
}

TEST_F(FailingDisk, AnEnrolmentThatFailsSpendsNoToken) {
  open();
  store::Token token;
  token.id = "00000001";
  token.hash = std::string(32, 'h');
  token.expires_at = clock_.wall() + 1h;
  ASSERT_TRUE(registry().add_token(token));
  disk().sync_fails = true;
  std::promise<const char*> answer;
  registry().enrol({AgentKey("key"), token.hash, "host", "", "", ""},
                   [&](auto device) { answer.set_value(device ? "" : device.error().code); });
  EXPECT_STREQ(answer.get_future().get(), "registry.disk");
  EXPECT_EQ(registry().size(), 0u);
  EXPECT_EQ(registry().tokens()[0].uses, 0u);
  const auto revoked = registry().revoke_token(token.id);
  ASSERT_FALSE(revoked);
  EXPECT_STREQ(revoked.error().code, "registry.disk");
}

TEST_F(EmbeddedStore, RefusesBulkAndThenAllWhenTheFileSystemIsNearlyFull) {
  std::atomic<std::uint64_t> free_bytes = 1u << 30;
  options_.free_bytes = [&free_bytes] { return free_bytes.load(); };
  open();
  const auto offer = [this](const char* agent, store::Lane lane) {
    auto offered = report(agent, 1);
    offered.lane = lane;
    return kept({offered}).front();
  };
  EXPECT_EQ(offer("a", store::Lane::inventory), Kept::stored);
  free_bytes = 200u << 20;
  clock_.advance(1s);
  EXPECT_EQ(offer("b", store::Lane::inventory), Kept::full);
  EXPECT_EQ(offer("b", store::Lane::state), Kept::stored);
  free_bytes = 10u << 20;
  clock_.advance(1s);
  EXPECT_EQ(offer("c", store::Lane::control), Kept::full);
  close();  // before free_bytes goes
}

TEST_F(EmbeddedStore, PinsSeveralMessagesAndSettlesWithBaselinesInOneSyncEach) {
  open();
  keep_sequences("a", 1, 3);
  const auto batch = lease();
  const auto commits = [this] { return metric("greengate_store_commits_total{outcome=\"ok\"}"); };
  const double before = commits();
  ASSERT_TRUE(queue().pin(batch->lease, {{{batch->reports[0].id}, "one"}, {{batch->reports[1].id, batch->reports[2].id}, "two"}},
                          {{"serial", 1}, {"other", 2}}));
  EXPECT_EQ(commits(), before + 1);
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch), {{1, 1, 0, clock_.wall(), "one"}, {2, 1, 0, clock_.wall(), "two"}}));
  EXPECT_EQ(commits(), before + 2);
}

TEST_F(EmbeddedStore, SetsADamagedRecordAsideAndGoesOn) {
  open();
  keep_sequences("a", 1, 3);
  close();
  sql("UPDATE reports SET body = x'00112233' WHERE sequence = 2");
  open();
  const auto batch = lease();
  EXPECT_EQ(sequences(batch), (Sequences{1, 3}));
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  EXPECT_EQ(queue().stats().damaged, 1u);
  EXPECT_EQ(queue().stats().waiting, 0u);
  EXPECT_EQ(metric("greengate_store_damaged_records_total"), 1.0);
  const auto traces = queue().trace(AgentId("a"), 10);
  ASSERT_TRUE(traces && traces->size() == 3u);
  EXPECT_EQ((*traces)[1].code, "store.damaged");
  reopen();
  EXPECT_EQ(queue().stats().damaged, 1u) << "it is kept for whoever wants to look";
  EXPECT_EQ(kept({report("a", 2), report("a", 4)}), (Outcomes{Kept::duplicate, Kept::stored}));
}

TEST_F(EmbeddedStore, TakesADamagedBaselineForAbsentUntilItIsWrittenAnew) {
  open();
  keep_sequences("a", 1, 3);
  auto batch = lease(1);
  const std::vector<store::BaselineMove> moves{{1, 1, 0, clock_.wall(), "hardware"}, {2, 7, 3, clock_.wall(), "software"}};
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch), moves));
  for (const char* damage : {"UPDATE baselines SET body = x'00' WHERE major = 1", "UPDATE baselines SET minor = minor + 1 WHERE minor = 0",
                             "UPDATE baselines SET place = place + 2 WHERE major = 1"}) {
    close();
    sql(damage);
    open();
    for (const std::uint32_t kind : {1u, 3u}) EXPECT_EQ(baselines().find(AgentId("a"), kind).value(), std::nullopt) << damage;
    EXPECT_TRUE(baselines().find(AgentId("a"), 2).value()) << "the others are whole";
    batch = lease(1);
    ASSERT_TRUE(batch);
    ASSERT_TRUE(queue().settle(batch->lease, {}, {moves[0]}));
    EXPECT_EQ(baselines().find(AgentId("a"), 1).value()->body, "hardware");
  }
  EXPECT_EQ(metric("greengate_store_damaged_baselines_total"), 3.0);
}

TEST_F(EmbeddedStore, BringsAFileOfTheFirstSchemaUpToDate) {
  open();
  keep_sequences("a", 1, 3);
  auto batch = lease(2);
  ASSERT_TRUE(queue().pin(batch->lease, {{{batch->reports[0].id}, "message 1"}}, {{"serial", 4}}));
  ASSERT_TRUE(queue().bury(batch->lease, {batch->reports[1].id}, {Remedy::reject, "mp.refused", "Refused.", {}}));
  close();
  sql(kToFirstSchema);
  open();
  batch = lease(2);
  EXPECT_EQ(sequences(batch), Sequences{1});
  EXPECT_EQ(batch->reports[0].note, "message 1");
  EXPECT_EQ(queue().stats().buried, 1u);
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch), {{1, 1, 0, clock_.wall(), "hardware"}}));
  EXPECT_TRUE(baselines().find(AgentId("a"), 1).value());
  EXPECT_EQ(registry().counter(AgentId("a"), "serial"), 4u);
}

TEST_F(EmbeddedStore, SetsAFileAsideThatIsNoDatabaseAndStarts) {
  for (const std::size_t bytes : {100u, 50'000u}) {
    std::ofstream(path(), std::ios::binary) << std::string(bytes, 'x');
    open();
    keep_sequences("a", 1, 1);
    close();
    std::filesystem::remove(path());
  }
  EXPECT_EQ(set_aside(), 2u);
  EXPECT_EQ(metric("greengate_store_damaged_files_total"), 2.0);
}

// Goal: damage costs what it hit and no more. Method: fill several hundred pages, overwrite one in
// the middle of the reports, and see that the store starts, still knows its devices and brings back
// most reports.
TEST_F(EmbeddedStore, SavesWhatItCanFromADamagedFile) {
  open();
  std::promise<void> enrolled;
  registry().enrol({AgentKey("key"), "", "host", "", "", ""}, [&](auto device) {
    EXPECT_TRUE(device);
    enrolled.set_value();
  });
  enrolled.get_future().wait();
  const AgentId device = registry().list()[0].id;
  ASSERT_TRUE(registry().set_fact(device, "name", "value"));
  keep_sequences("settled", 1, 1);
  const auto batch = lease();
  ASSERT_TRUE(queue().settle(batch->lease, all(*batch), {{1, 1, 0, clock_.wall(), "baseline"}}));
  for (int i = 0; i < 40; ++i)
    keep({report("a" + std::to_string(i), 1, std::string(100'000, 'x'))}).value();
  for (int i = 0; i < 400; ++i)
    keep({report("b" + std::to_string(i), 1, std::string(1'000, 'y'))}).value();
  close();
  {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    const auto pages = std::filesystem::file_size(path()) / options_.database.page_bytes;
    file.seekp(static_cast<std::streamoff>((pages - 25) * options_.database.page_bytes));
    file << std::string(options_.database.page_bytes, '\xee');
  }
  open();
  EXPECT_EQ(set_aside(), 1u);
  EXPECT_EQ(registry().size(), 1u);
  EXPECT_GT(queue().stats().waiting, 400u);
  EXPECT_LT(queue().stats().waiting, 440u);
  EXPECT_EQ(registry().fact(device, "name").value(), "value");
  ASSERT_TRUE(baselines().find(AgentId("settled"), 1).value());
  EXPECT_EQ(baselines().find(AgentId("settled"), 1).value()->body, "baseline");
  EXPECT_TRUE(lease());
}

TEST_F(EmbeddedStore, SavesAFileOfTheFirstSchemaWhole) {
  open();
  keep_sequences("a", 1, 2);
  auto batch = lease();
  ASSERT_TRUE(queue().pin(batch->lease, {{{batch->reports[0].id}, "message 1"}}, {}));
  ASSERT_TRUE(queue().bury(batch->lease, {batch->reports[1].id}, {Remedy::reject, "mp.refused", "Refused.", {}}));
  close();
  sql(kToFirstSchema);
  auto source = store::Database::open(path(), store::Database::Use::writing, {});
  auto target = store::Database::open(path() + ".other", store::Database::Use::writing, {});
  ASSERT_TRUE(source && target && store::prepare_schema(*target));
  const auto saved = store::salvage_rows(path(), *target, {});
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->tables_cut_short, 0u);
  for (const char* table : {"reports", "progress", "buried", "buried_bodies"})
    EXPECT_EQ(target->number(("SELECT count(*) FROM " + std::string(table)).c_str()).value(), 1) << table;
}

TEST_F(EmbeddedStore, FinishesARebuildingThatWasCutOffBetweenTheTwoRenames) {
  open();
  keep_sequences("a", 1, 2);
  close();
  std::filesystem::rename(path(), path() + ".rebuilt");
  open();
  EXPECT_EQ(sequences(lease()), (Sequences{1, 2}));
  close();
  std::ofstream(path() + ".rebuilt") << "an attempt that was cut off earlier";
  open();
  EXPECT_EQ(queue().stats().waiting, 2u);
  EXPECT_FALSE(std::filesystem::exists(path() + ".rebuilt"));
}

TEST_F(EmbeddedStore, RefusesToKeepWhenMemoryIsFullOfWhatWaitsForTheDisk) {
  options_.pending_bytes_max = 10'000;
  open();
  std::promise<void> entered, release;
  auto gate = release.get_future().share();
  queue().keep({report("a", 1)}, [&, gate](auto) {
    entered.set_value();
    gate.wait();  // the writer stands still, as it does on a slow disk
  });
  entered.get_future().wait();
  std::promise<Kept> second;
  std::promise<std::string> third;
  queue().keep({report("b", 1, std::string(9'000, 'x'))},
               [&](auto result) { second.set_value(result->front().kept); });
  queue().keep({report("c", 1, std::string(9'000, 'x'))},
               [&](auto result) { third.set_value(result ? "" : result.error().code); });
  release.set_value();
  EXPECT_EQ(second.get_future().get(), Kept::stored);
  EXPECT_EQ(third.get_future().get(), "queue.busy");
  EXPECT_EQ(kept({report("c", 1)}), Outcomes{Kept::stored});
}

TEST_F(EmbeddedStore, ExpiresReportsNobodyLeases) {
  options_.writer.housekeeping_every = 1ms;
  open();
  queue().hold(AgentId("a"));
  auto mortal = report("a", 2);
  mortal.time_to_live = 10s;
  EXPECT_EQ(kept({report("a", 1), mortal, report("a", 3)}),
            (Outcomes{Kept::stored, Kept::stored, Kept::stored}));
  clock_.advance(10s);
  ASSERT_TRUE(eventually([this] { return queue().stats().expired_total == 1; }));
  queue().unhold(AgentId("a"));
  EXPECT_EQ(sequences(lease()), (Sequences{1, 3}));
}

TEST_F(EmbeddedStore, TakesTheOldestDeadLettersBodiesAboveTheirBound) {
  options_.writer.housekeeping_every = 1ms;
  config_.queue_bytes_max = 1 << 20;  // an eighth of it for dead letters
  open();
  const std::string body(20'000, 'x');
  for (std::uint64_t sequence = 1; sequence <= 10; ++sequence) {
    ASSERT_EQ(kept({report("a", sequence, body)}), Outcomes{Kept::stored});
    const auto batch = lease();
    ASSERT_TRUE(
        queue().bury(batch->lease, ids(*batch), {Remedy::reject, "mp.refused", "Refused.", {}}));
  }
  const std::uint64_t room = (1 << 20) / 8;
  ASSERT_TRUE(eventually([&] { return queue().stats().buried_bytes <= room; })) << queue().stats().buried_bytes;
  EXPECT_EQ(queue().stats().buried_total, 10u);
  EXPECT_EQ(queue().trace(AgentId("a"), 20)->size(), 10u) << "the reasons stay in the history";
  for (const bool restart : {false, true}) {
    if (restart) reopen();
    EXPECT_EQ(queue().stats().buried, 10u) << "without a body a letter is still one";
    EXPECT_EQ(queue().stats().buried_bytes, 6 * 20'000u + 10 * 128u);
    const auto letters = queue().dead_letters({}, 20).value();
    ASSERT_EQ(letters.size(), 10u);
    for (std::size_t i = 0; i < letters.size(); ++i) EXPECT_EQ(letters[i].has_body, i >= 4) << i;
    const auto gone = queue().dead_letter(letters[3].id);
    ASSERT_FALSE(gone);
    EXPECT_STREQ(gone.error().code, "queue.no_letter");
    EXPECT_EQ(letters[3].code, "mp.refused");
  }
  std::vector<ItemId> all_letters;
  const auto found = queue().dead_letters({}, 20).value();
  for (const auto& letter : found) all_letters.push_back(letter.id);
  EXPECT_EQ(queue().replay(all_letters).value(), 6u) << "what has no body stays";
  EXPECT_EQ(queue().stats().buried, 4u);
  EXPECT_EQ(queue().stats().buried_bytes, 4 * 128u);
  EXPECT_EQ(queue().discard(all_letters).value(), 4u);
  EXPECT_EQ(queue().stats().buried_bytes, 0u);
  EXPECT_EQ(metric("greengate_queue_buried_reports_total{code=\"mp.refused\"}"), 10.0);
}

TEST_F(EmbeddedStore, ForgetsTheOldestOfTooManyDeadLetters) {
  options_.writer.housekeeping_every = 1ms;
  config_.queue_bytes_max = 1 << 17;  // room for 64 reasons: half of an eighth, 128 bytes each
  open();
  keep_sequences("a", 1, 100);
  const auto batch = lease();
  ASSERT_TRUE(queue().bury(batch->lease, ids(*batch), {Remedy::reject, "mp.refused", "Refused.", {}}));
  ASSERT_TRUE(eventually([this] { return queue().stats().buried == 64; })) << queue().stats().buried;
  const auto letters = queue().dead_letters({}, 100).value();
  ASSERT_EQ(letters.size(), 64u);
  EXPECT_EQ(letters.front().name.sequence, 37u);
  EXPECT_EQ(queue().trace(AgentId("a"), 200)->size(), 100u);
  const auto bytes = queue().stats().buried_bytes;
  reopen();
  EXPECT_EQ(queue().stats().buried_bytes, bytes);
  EXPECT_EQ(queue().stats().buried, 64u);
}

TEST_F(EmbeddedStore, GivesNoDamagedDeadLetterOut) {
  open();
  keep_sequences("a", 1, 2);
  const auto batch = lease();
  ASSERT_TRUE(queue().bury(batch->lease, ids(*batch), {Remedy::reject, "mp.refused", "Refused.", {}}));
  close();
  sql("UPDATE buried_bodies SET body = x'00' WHERE id = (SELECT min(id) FROM buried_bodies)");
  open();
  const auto letters = queue().dead_letters({}, 10).value();
  const auto damaged = queue().dead_letter(letters[0].id);
  ASSERT_FALSE(damaged);
  EXPECT_STREQ(damaged.error().code, "queue.no_letter");
  EXPECT_EQ(metric("greengate_store_damaged_records_total"), 1.0);
  EXPECT_EQ(queue().dead_letter(letters[1].id).value().body, "a/2");
  EXPECT_EQ(queue().replay({letters[0].id, letters[1].id}).value(), 2u);
  const auto back = lease();
  EXPECT_EQ(sequences(back), Sequences{2}) << "a lease meets the damage and sets the record aside";
  ASSERT_TRUE(queue().settle(back->lease, all(*back)));  // goes through the same writer, after that
  EXPECT_EQ(queue().stats().damaged, 1u);
}

TEST_F(EmbeddedStore, RefusesADatabaseOfAnotherProgramAndLeavesItAlone) {
  sql("CREATE TABLE precious(x); INSERT INTO precious VALUES(1)");
  const auto refused = store::open_embedded(config_, options_, clock_, metrics_);
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().code, "store.open");
  EXPECT_EQ(refused.error().remedy, Remedy::reject);
  EXPECT_EQ(set_aside(), 0u);
  sql("INSERT INTO precious VALUES(2)");
}

TEST_F(EmbeddedStore, RefusesAFileOfANewerGreengate) {
  open();
  close();
  sql("PRAGMA user_version = 99");
  const auto refused = store::open_embedded(config_, options_, clock_, metrics_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().remedy, Remedy::reject);
  EXPECT_EQ(set_aside(), 0u);
}

TEST_F(EmbeddedStore, RefusesADirectoryThatIsInUse) {
  open();
  const auto second = store::open_embedded(config_, options_, clock_, metrics_);
  ASSERT_FALSE(second);
  EXPECT_STREQ(second.error().code, "store.open");
  EXPECT_EQ(second.error().remedy, Remedy::retry);
}

TEST_F(EmbeddedStore, KeepsItsFileToItself) {
  open();
  keep_sequences("a", 1, 1);
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
    EXPECT_EQ(entry.status().permissions() &
                  (std::filesystem::perms::group_all | std::filesystem::perms::others_all),
              std::filesystem::perms::none)
        << entry.path();
  }
}

TEST(OpenStore, NamesTheKindsThereAre) {
  store::StoreConfig config;
  config.kind = "papyrus";
  ManualClock clock;
  Metrics metrics;
  const auto refused = store::open_store(config, clock, metrics);
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().code, "config.store_kind");
  ASSERT_EQ(config.problems().size(), 1u);
  EXPECT_NE(config.problems()[0].message.find("papyrus"), std::string::npos);
  EXPECT_TRUE(store::StoreConfig{}.problems().empty());
}

}  // namespace
}  // namespace greengate::test
