// What only the embedded store promises: how it meets bad disks, damaged files and sudden death.
#include "store/embedded/embedded_store.h"
#include "store/embedded/salvage.h"
#include "core/log.h"
#include "tests/store/fault_vfs.h"
#include "tests/store/store_fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <map>
#include <random>
#include <thread>

namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using store::Kept;
using store::Outcome;
using Outcomes = std::vector<Kept>;
using Sequences = std::vector<std::uint64_t>;

constexpr const char* kToFirstSchema =
    "DROP TABLE baselines; DROP TABLE facts; ALTER TABLE progress DROP COLUMN replayed; ALTER TABLE buried DROP COLUMN note;"
    "PRAGMA user_version = 1";

class EmbeddedStore : public StoreTest {
 protected:
  EmbeddedStore() {
    kind_.open = [this](const store::StoreConfig& config, const Clock& clock, Metrics& metrics) {
      return store::open_embedded(config, options_, clock, metrics);
    };
  }
  std::string path() const { return directory_.path() + "/greengate.db"; }
  /// Changes the closed file as nobody should.
  void sql(const char* statement) {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(path().c_str(), &database), SQLITE_OK);
    char* message = nullptr;
    EXPECT_EQ(sqlite3_exec(database, statement, nullptr, nullptr, &message), SQLITE_OK) << message;
    sqlite3_free(message);
    sqlite3_close(database);
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path()))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  std::size_t set_aside() const {
    std::size_t count = 0;
    for (const auto& name : files())
      count += name.starts_with("greengate.db.damaged-") && !name.ends_with("-wal") &&
               !name.ends_with("-shm");
    return count;
  }
  /// Waits for the writer's housekeeping, with a bound.
  static bool eventually(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }
  double metric(const std::string& line) const {
    const std::string text = metrics_.render();
    const auto at = text.find("\n" + line + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + line.size() + 2));
  }

  store::EmbeddedOptions options_;
};

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

TEST_F(EmbeddedStore, DropsTheOldestDeadLettersAboveTheirBound) {
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
  ASSERT_TRUE(eventually([this] { return queue().stats().buried == 6; })) << queue().stats().buried;
  EXPECT_EQ(queue().stats().buried_total, 10u);
  EXPECT_EQ(queue().trace(AgentId("a"), 20)->size(), 10u) << "the reasons stay in the history";
  reopen();
  EXPECT_EQ(queue().stats().buried, 6u);
  EXPECT_EQ(metric("greengate_queue_buried_reports_total{code=\"mp.refused\"}"), 10.0);
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

// Goal: nothing acknowledged is lost by kill -9. Method: a child keeps reports, two batches in
// flight, and tells each acknowledged one over a pipe; we kill it at a random moment, open its
// store and find every one of them, in order and once. It goes on in the same directory, twenty
// times.
TEST_F(EmbeddedStore, LosesNothingAcknowledgedToKillNine) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  std::printf("seed %u\n", seed);
  std::map<std::string, std::uint64_t> acknowledged;
  for (int round = 0; round < 20; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const std::string out = std::to_string(ends[1]);
    fflush(nullptr);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      execl(GREENGATE_CRASH_CHILD, "store_crash_child", directory_.path().c_str(), out.c_str(),
            static_cast<char*>(nullptr));
      _exit(127);
    }
    ::close(ends[1]);
    FILE* told = fdopen(ends[0], "r");
    char agent[32];
    unsigned long long sequence = 0;
    // Killed after a random number of acknowledgements: whatever it is doing then.
    const auto until = 1 + random() % 400;
    std::size_t lines = 0;
    while (lines < until && fscanf(told, "%31s %llu", agent, &sequence) == 2) {
      acknowledged[agent] = std::max<std::uint64_t>(acknowledged[agent], sequence);
      ++lines;
    }
    ASSERT_EQ(lines, until) << "the child ended by itself";
    kill(child, SIGKILL);
    while (fscanf(told, "%31s %llu", agent, &sequence) ==
           2) {  // what it still said before it died counts
      acknowledged[agent] = std::max<std::uint64_t>(acknowledged[agent], sequence);
    }
    fclose(told);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;

    open();
    for (const auto& [id, last] : acknowledged) {
      EXPECT_GE(queue().last_sequence(AgentId(id), 1), last)
          << id << " round " << round << " seed " << seed;
    }
    close();
  }
  open();
  std::map<std::string, Sequences> found;
  while (const auto batch = lease(1'000, 64 << 20)) {
    for (const auto& leased : batch->reports) {
      EXPECT_EQ(leased.body, batch->agent.raw() + "/" + std::to_string(leased.name.sequence));
      found[batch->agent.raw()].push_back(leased.name.sequence);
    }
    ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  }
  for (const auto& [id, last] : acknowledged) {
    const auto& sequences = found[id];
    ASSERT_GE(sequences.size(), last) << id;
    for (std::size_t i = 0; i < sequences.size(); ++i)
      ASSERT_EQ(sequences[i], i + 1) << id << " seed " << seed;
  }
  EXPECT_EQ(queue().stats().damaged, 0u);
}

}  // namespace
}  // namespace greengate::test
