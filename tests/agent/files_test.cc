// Goal: collected files arrive whole or not at all, and nothing outside the configured trees ever
// does. Method: real files and a real outbox; the test plays the gateway, loses, rejects and restarts.
#include "agent/files/plan.h"
#include "agent/files/sender.h"
#include "core/random.h"
#include "greengate/v1/report.pb.h"
#include "tests/agent/scratch.h"
#include "tests/support/manual_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace greengate::agent {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::ManualClock;
using test::Scratch;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Files : public ::testing::Test {
 protected:
  Files() {
    write(machine("proc/self/mountinfo"), "");
    settings_.collect = {tree("conf/*.conf")};
    write(tree("conf/a.conf"), "alpha");
    write(tree("conf/b.conf"), "beta");
    write(tree("conf/note.txt"), "no");
    outbox_ = open_outbox();
    sender_ = make_sender();
  }
  std::string tree(const std::string& name) const { return scratch_.file("tree/" + name); }
  std::string machine(const std::string& name) const { return scratch_.file("machine/" + name); }
  std::string state() const { return scratch_.file("state"); }
  std::string ledger_file() const { return scratch_.file("state/sent-files"); }
  static void write(const std::string& path, const std::string& content) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
  }

  // ---- plans ----

  FilePlan plan() {
    MachineView view;
    view.root = scratch_.file("machine");
    const Machine looked_at(view);
    Pace pace(0, 0, clock_);
    return plan_files(settings_, state(), FileLedger::load(ledger_file()), looked_at, pace);
  }
  /// Below the tree, those to be sent.
  std::vector<std::string> names(const FilePlan& made) const {
    std::vector<std::string> list;
    for (const PlannedFile& file : made.files) {
      if (file.changed) list.push_back(file.place.whole().substr(tree("").size()));
    }
    return list;
  }

  // ---- sending ----

  std::unique_ptr<Outbox> open_outbox() {
    fs::create_directories(state());
    OutboxConfig config;
    config.path = scratch_.file("state/outbox.sqlite");
    config.bytes_max = outbox_bytes_max_;
    auto opened = Outbox::open(config, clock_);
    EXPECT_TRUE(opened) << opened.error().message;
    return std::move(*opened);
  }
  std::unique_ptr<FileSender> make_sender() {
    FileSenderConfig config;
    config.ledger_file = ledger_file();
    config.chunk_bytes = 1'000;
    config.bytes_per_second = 0;
    return std::make_unique<FileSender>(config, *outbox_, clock_);
  }
  /// As after kill -9.
  void start_again() {
    sender_.reset();
    outbox_.reset();
    outbox_ = open_outbox();
    sender_ = make_sender();
  }
  /// Puts chunks until there is nothing to do before the outbox changes.
  void work() {
    for (int rounds = 0; rounds < 10'000; ++rounds) {
      const auto progress = sender_->work();
      ASSERT_TRUE(progress) << progress.error().message;
      if (progress->run_over) over_ = *progress;
      if (!progress->put) return;
      sender_->outbox_changed();
    }
    FAIL() << "it never comes to an end";
  }
  /// What the gateway takes: everything that waits.
  void store_all() {
    auto reports = outbox_->next(0, 1'000, 1 << 30);
    ASSERT_TRUE(reports);
    for (const v1::Report& report : *reports) {
      v1::FileChunk chunk;
      ASSERT_EQ(report.kind(), v1::KIND_FILE_CHUNK);
      ASSERT_EQ(report.lane(), v1::LANE_FILES);
      ASSERT_TRUE(chunk.ParseFromString(report.body()));
      chunks_.push_back(std::move(chunk));
      ASSERT_TRUE(outbox_->stored(report.sequence(), report.sequence(), 1));
    }
    sender_->outbox_changed();
  }
  void run_to_the_end() {
    over_.reset();
    for (int rounds = 0; rounds < 1'000 && !over_; ++rounds) {
      work();
      store_all();
    }
    ASSERT_TRUE(over_) << "the run never ended";
  }
  std::uint64_t waiting_transfer() {
    const auto reports = outbox_->next(0, 1, 1 << 30);
    v1::FileChunk chunk;
    EXPECT_TRUE(reports && !reports->empty() && chunk.ParseFromString((*reports)[0].body()));
    return chunk.transfer();
  }
  /// Name and content of every transfer that came whole, in order; checks each chunk's words.
  std::vector<std::pair<std::string, std::string>> whole_files() const {
    std::vector<std::pair<std::string, std::string>> list;
    std::string content;
    std::uint32_t next = 0;
    std::uint64_t transfer = 0;
    for (const v1::FileChunk& chunk : chunks_) {
      if (chunk.transfer() != transfer) next = 0, content.clear();
      transfer = chunk.transfer();
      EXPECT_EQ(chunk.index(), next++);
      content += chunk.data();
      if (chunk.index() + 1 != chunk.count()) continue;
      EXPECT_EQ(chunk.sha256(), sha256(content));
      EXPECT_EQ(chunk.size(), content.size());
      list.emplace_back(chunk.name(), content);
    }
    return list;
  }
  std::set<std::uint64_t> transfers() const {
    std::set<std::uint64_t> ids;
    for (const v1::FileChunk& chunk : chunks_) ids.insert(chunk.transfer());
    return ids;
  }

  ManualClock clock_;
  Scratch scratch_;
  FileSettings settings_;
  std::int64_t outbox_bytes_max_ = 64 << 20;
  std::unique_ptr<Outbox> outbox_;
  std::unique_ptr<FileSender> sender_;
  std::vector<v1::FileChunk> chunks_;
  std::optional<FileSender::Progress> over_;
};

std::string random_content(std::size_t bytes) {
  std::string content;
  while (content.size() < bytes) content += random_bytes(std::min<std::size_t>(4'096, bytes));
  content.resize(bytes);
  return content;
}

// ---- what is planned ----

TEST_F(Files, MatchingFilesArePlannedWithTheirHash) {
  const FilePlan made = plan();
  EXPECT_THAT(names(made), ElementsAre("conf/a.conf", "conf/b.conf"));
  EXPECT_EQ(made.files[0].sha256, sha256("alpha"));
  EXPECT_EQ(made.files[0].standing.size, 5u);
}

TEST_F(Files, PatternsMayNameFoldersTooAndAnyDepth) {
  write(tree("deep/x/1/a.conf"), "1");
  write(tree("deep/x/1/2/a.conf"), "2");
  write(tree("deep/y/a.conf"), "3");
  settings_.collect = {tree("deep/*/a.conf")};
  EXPECT_THAT(names(plan()), ElementsAre("deep/y/a.conf"));
  settings_.collect = {tree("deep/x/**/a.conf"), tree("deep/x/1/a.conf")};
  EXPECT_THAT(names(plan()), ElementsAre("deep/x/1/2/a.conf", "deep/x/1/a.conf"));
  settings_.collect = {tree("deep/**")};
  EXPECT_THAT(names(plan()), SizeIs(3));
  settings_.collect = {tree("absent/*"), tree("conf/a.conf")};
  EXPECT_THAT(names(plan()), ElementsAre("conf/a.conf"));
}

TEST_F(Files, NoLinkLeadsOutAndNothingButFilesIsOpened) {
  write(scratch_.file("outside/secret.conf"), "secret");
  fs::create_symlink("/etc/shadow", tree("conf/shadow.conf"));
  fs::create_symlink("a.conf", tree("conf/alias.conf"));
  fs::create_symlink(scratch_.file("outside"), tree("out"));
  fs::create_symlink("..", tree("conf/up.conf"));
  fs::create_directories(tree("conf/folder.conf"));
  ASSERT_EQ(mkfifo(tree("conf/pipe.conf").c_str(), 0666), 0);
  settings_.collect = {tree("conf/*.conf"), tree("out/*.conf"), tree("*/secret.conf"),
                       tree("**/secret.conf"), tree("conf/shadow.conf")};
  EXPECT_THAT(names(plan()), ElementsAre("conf/a.conf", "conf/b.conf"));
  settings_.collect = {"/dev/null", "/dev/zero", "/proc/self/environ", "/sys/kernel/*"};
  write(machine("proc/self/mountinfo"),
        "1 0 0:1 / /proc rw - proc proc rw\n2 0 0:2 / /sys rw - sysfs sysfs rw\n");
  EXPECT_THAT(plan().files, IsEmpty());
}

TEST_F(Files, TooLargeOnesAreCountedAndLeft) {
  settings_.file_bytes_max = 4;
  const FilePlan made = plan();
  EXPECT_THAT(names(made), ElementsAre("conf/b.conf"));
  EXPECT_EQ(made.too_large, 1u);
}

TEST_F(Files, RunSendsNoMoreThanItsBytesAndTheNextTakesTheRest) {
  settings_.run_bytes_max = 6;
  FilePlan made = plan();
  EXPECT_THAT(names(made), ElementsAre("conf/a.conf"));
  EXPECT_EQ(made.left, 1u);
  sender_->take(std::move(made));
  run_to_the_end();
  EXPECT_THAT(names(plan()), ElementsAre("conf/b.conf"));
}

TEST_F(Files, NoMoreFilesThanTheirBound) {
  settings_.files_max = 1;
  const FilePlan made = plan();
  EXPECT_THAT(names(made), ElementsAre("conf/a.conf"));
  EXPECT_EQ(made.left, 1u);
}

TEST_F(Files, ServersAndTheAgentsOwnSecretsAreLeftAlone) {
  write(tree("server/x.conf"), "x");
  write(scratch_.file("state/keys"), "secret");
  write(machine("proc/self/mountinfo"),
        "31 1 0:50 / " + tree("server") + " rw - nfs4 host:/x rw\n");
  settings_.collect = {tree("server/*.conf"), tree("**/x.conf"), scratch_.file("*/keys"),
                       scratch_.file("state/keys"), scratch_.file("**/keys")};
  EXPECT_THAT(plan().files, IsEmpty());
}

TEST_F(Files, UnchangedFileIsNotEvenOpened) {
  sender_->take(plan());
  run_to_the_end();
  const int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  ASSERT_GE(inotify_add_watch(watch, tree("conf/a.conf").c_str(), IN_OPEN | IN_ACCESS), 0);
  const FilePlan made = plan();
  EXPECT_THAT(names(made), IsEmpty());
  EXPECT_THAT(made.files, SizeIs(2));
  std::array<char, 1'024> events;
  EXPECT_LT(read(watch, events.data(), events.size()), 0) << "it was opened";
  close(watch);
}

TEST_F(Files, FileWithNewTimesButOldContentIsNotSentAgain) {
  sender_->take(plan());
  run_to_the_end();
  fs::last_write_time(tree("conf/a.conf"), fs::file_time_type::clock::now() + 1h);
  EXPECT_THAT(names(plan()), IsEmpty());
  write(tree("conf/a.conf"), "ALPHA");
  EXPECT_THAT(names(plan()), ElementsAre("conf/a.conf"));
}

TEST_F(Files, DamagedLedgerCostsSendingOnceMore) {
  sender_->take(plan());
  run_to_the_end();
  write(ledger_file(), "nonsense");
  EXPECT_THAT(names(plan()), SizeIs(2));
}

TEST_F(Files, PlanCrossesThePipeAndHalfOfItDoesNot) {
  const std::string bytes = plan().encode();
  const auto whole = FilePlan::decode(bytes);
  ASSERT_TRUE(whole);
  EXPECT_EQ(names(*whole), names(plan()));
  for (std::size_t cut = 0; cut < bytes.size(); ++cut)
    EXPECT_FALSE(FilePlan::decode(bytes.substr(0, cut))) << cut;
  const std::uint64_t seed = random_u64();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 1'000; ++i) {
    std::string bad = bytes;
    bad[random() % bad.size()] = static_cast<char>(random());
    FilePlan::decode(bad);  // anything but a crash
  }
}

// ---- what is sent ----

TEST_F(Files, ArriveWholeInChunksThatNameTheWhole) {
  const std::string content = random_content(10'500);
  write(tree("conf/a.conf"), content);
  sender_->take(plan());
  run_to_the_end();
  EXPECT_THAT(whole_files(),
              ElementsAre(std::pair<std::string, std::string>("a.conf", content),
                          std::pair<std::string, std::string>("b.conf", "beta")));
  ASSERT_THAT(chunks_, SizeIs(12));
  for (int i = 0; i < 11; ++i) {
    EXPECT_EQ(chunks_[i].transfer(), chunks_[0].transfer());
    EXPECT_NE(chunks_[i].transfer(), 0u);
    EXPECT_EQ(chunks_[i].count(), 11u);
    EXPECT_EQ(chunks_[i].path(), tree("conf/"));
    EXPECT_EQ(chunks_[i].sha256(), sha256(content));
    EXPECT_GT(chunks_[i].modified_ms(), 0);
  }
  EXPECT_NE(chunks_[11].transfer(), chunks_[0].transfer());
  EXPECT_FALSE(over_->again);
  EXPECT_EQ(over_->files, 2u);
  EXPECT_EQ(over_->bytes, 10'504u);
  EXPECT_EQ(outbox_->note("file-transfer"), "");
}

TEST_F(Files, EmptyFileIsOneEmptyChunk) {
  write(tree("conf/a.conf"), "");
  sender_->take(plan());
  run_to_the_end();
  EXPECT_EQ(chunks_[0].count(), 1u);
  EXPECT_EQ(chunks_[0].sha256(), sha256(""));
  EXPECT_THAT(whole_files(), SizeIs(2));
}

TEST_F(Files, NamesOfAnyBytesAreWrittenOut) {
  write(tree("conf/\xff\n.conf"), "x");
  sender_->take(plan());
  run_to_the_end();
  EXPECT_EQ(whole_files().back().first, "\\xFF\\x0A.conf");
}

TEST_F(Files, LargeFileHasLargerChunksRatherThanMore) {
  write(tree("conf/a.conf"), random_content(200'000));
  sender_->take(plan());
  run_to_the_end();
  EXPECT_EQ(chunks_[0].count(), 128u);
  EXPECT_THAT(whole_files(), SizeIs(2));
}

TEST_F(Files, OutboxNeverHoldsMoreThanAFewChunks) {
  write(tree("conf/a.conf"), random_content(50'000));
  sender_->take(plan());
  work();
  EXPECT_EQ(outbox_->count(v1::LANE_FILES).reports, 4);
  EXPECT_EQ(sender_->next_due(), clock_.steady() + 60s) << "nothing to do till the outbox changes";
  work();
  EXPECT_EQ(outbox_->count(v1::LANE_FILES).reports, 4);
  ASSERT_TRUE(outbox_->stored(1, 1, 1));
  sender_->outbox_changed();
  work();
  EXPECT_EQ(outbox_->count(v1::LANE_FILES).reports, 4);
  EXPECT_EQ(outbox_->last_sequence(), 5u);
}

TEST_F(Files, NextFileWaitsUntilTheGatewayHasThisOne) {
  sender_->take(plan());
  work();
  EXPECT_EQ(outbox_->count(v1::LANE_FILES).reports, 1);
  EXPECT_TRUE(FileLedger::load(ledger_file()).files.empty()) << "not sent before it is stored";
  store_all();
  work();
  EXPECT_EQ(FileLedger::load(ledger_file()).files.size(), 1u);
}

TEST_F(Files, ChunksKeepTheirPace) {
  sender_.reset();
  FileSenderConfig config;
  config.ledger_file = ledger_file();
  config.chunk_bytes = 1'000;
  config.bytes_per_second = 500;
  sender_ = std::make_unique<FileSender>(config, *outbox_, clock_);
  write(tree("conf/a.conf"), random_content(3'000));
  sender_->take(plan());
  for (int chunk = 1; chunk <= 3; ++chunk) {
    ASSERT_LE(sender_->next_due(), clock_.steady());
    ASSERT_TRUE(sender_->work()->put) << chunk;
    EXPECT_FALSE(sender_->work()->put) << "too soon";
    store_all();
    EXPECT_FALSE(sender_->work()->put) << "still too soon";
    EXPECT_EQ(sender_->next_due(), clock_.steady() + 2s);
    clock_.advance(2s);
  }
}

TEST_F(Files, RestartedAgentGoesOnWithTheNextChunk) {
  const std::string content = random_content(9'000);
  write(tree("conf/a.conf"), content);
  sender_->take(plan());
  work();
  store_all();
  work();
  start_again();
  EXPECT_TRUE(sender_->needs_plan());
  EXPECT_FALSE(sender_->busy());
  work();
  EXPECT_EQ(outbox_->count(v1::LANE_FILES).reports, 4) << "nothing more before a plan says so";
  sender_->take(plan());
  run_to_the_end();
  EXPECT_EQ(whole_files()[0].second, content);
  EXPECT_THAT(transfers(), SizeIs(2)) << "one for each file";
}

TEST_F(Files, RestartAtEveryChunkLosesAndRepeatsNone) {
  const std::string content = random_content(12'345);
  write(tree("conf/a.conf"), content);
  for (int rounds = 0; rounds < 100 && !over_; ++rounds) {
    sender_->take(plan());
    const auto progress = sender_->work();
    ASSERT_TRUE(progress);
    if (progress->run_over) over_ = *progress;
    if (rounds % 3 == 0) store_all();
    start_again();
  }
  ASSERT_TRUE(over_);
  EXPECT_EQ(whole_files()[0].second, content);
  EXPECT_THAT(chunks_, SizeIs(14));
  EXPECT_THAT(transfers(), SizeIs(2));
}

TEST_F(Files, RestartedAgentSendsAFileThatChangedAnew) {
  write(tree("conf/a.conf"), random_content(9'000));
  sender_->take(plan());
  work();
  store_all();
  start_again();
  write(tree("conf/a.conf"), "short now");
  sender_->take(plan());
  run_to_the_end();
  EXPECT_EQ(whole_files()[0].second, "short now");
  EXPECT_THAT(whole_files(), SizeIs(2)) << "of the first, nothing came whole";
  EXPECT_THAT(transfers(), SizeIs(3));
}

TEST_F(Files, FileThatVanishedOrBecameALinkIsGivenUp) {
  write(scratch_.file("outside"), random_content(9'000));
  for (const bool link : {false, true}) {
    write(tree("conf/a.conf"), random_content(9'000));
    sender_->take(plan());
    work();
    fs::remove(tree("conf/a.conf"));
    if (link) fs::create_symlink(scratch_.file("outside"), tree("conf/a.conf"));
    run_to_the_end();
    EXPECT_TRUE(over_->again);
    fs::remove(tree("conf/a.conf"));
  }
  EXPECT_THAT(whole_files(),
              ElementsAre(std::pair<std::string, std::string>("b.conf", "beta")));
}

TEST_F(Files, FileThatChangesWhileItIsSentIsNeverCalledWhole) {
  write(tree("conf/a.conf"), random_content(9'000));
  sender_->take(plan());
  work();
  std::ofstream(tree("conf/a.conf"), std::ios::in | std::ios::out) << "changed";  // same size
  run_to_the_end();
  EXPECT_THAT(whole_files(),
              ElementsAre(std::pair<std::string, std::string>("b.conf", "beta")));
  EXPECT_TRUE(over_->again) << "worth another run soon";
  sender_->take(plan());
  run_to_the_end();
  EXPECT_THAT(whole_files(), SizeIs(2));
}

TEST_F(Files, ContentThatIsNotWhatWasHashedIsNeverCalledWhole) {
  write(tree("conf/a.conf"), random_content(2'500));
  FilePlan made = plan();
  made.files[0].sha256 = sha256("something else");
  sender_->take(std::move(made));
  run_to_the_end();
  EXPECT_THAT(whole_files(),
              ElementsAre(std::pair<std::string, std::string>("b.conf", "beta")));
  EXPECT_TRUE(over_->again);
  EXPECT_THAT(chunks_, SizeIs(1)) << "what can never be whole did not even travel";
}

TEST_F(Files, ChunkLostInTheOutboxBeginsTheTransferAnew) {
  const std::string content = random_content(9'000);
  write(tree("conf/a.conf"), content);
  sender_->take(plan());
  work();
  const std::uint64_t lost = waiting_transfer();
  // As its bound would: the oldest of the files' lane.
  ASSERT_TRUE(outbox_->settled(1, 1, "dropped", "outbox.full", "", 1));
  sender_->outbox_changed();
  run_to_the_end();
  EXPECT_EQ(whole_files()[0].second, content);
  EXPECT_THAT(transfers(), SizeIs(2)) << "the rest of the broken one did not travel";
  EXPECT_FALSE(transfers().contains(lost));
  EXPECT_FALSE(over_->again);
}

TEST_F(Files, OutboxThatForcesChunksOutIsNotFoughtForEver) {
  sender_.reset(), outbox_.reset();
  outbox_bytes_max_ = 3'000;  // two chunks of 1,000 with what is around them
  outbox_ = open_outbox();
  sender_ = make_sender();
  write(tree("conf/a.conf"), random_content(9'000));
  sender_->take(plan());
  for (int rounds = 0; rounds < 100 && !over_; ++rounds) {
    work();
    ASSERT_TRUE(outbox_->put(v1::LANE_STATE, v1::KIND_STATE_MESSAGES, std::string(2'000, 'x'),
                             1'700'000'000'000, 0));
    ASSERT_TRUE(outbox_->stored(outbox_->last_sequence(), outbox_->last_sequence(), 1));
    store_all();
  }
  ASSERT_TRUE(over_);
  EXPECT_TRUE(over_->again);
}

TEST_F(Files, RejectedChunkEndsItsTransferUntilTheNextRun) {
  write(tree("conf/a.conf"), random_content(9'000));
  sender_->take(plan());
  work();
  ASSERT_TRUE(outbox_->settled(2, 2, "rejected", "file.unwanted", "", 1));
  sender_->outbox_changed();
  run_to_the_end();
  EXPECT_FALSE(over_->again);
  EXPECT_THAT(whole_files(),
              ElementsAre(std::pair<std::string, std::string>("b.conf", "beta")));
  EXPECT_EQ(FileLedger::load(ledger_file()).files.size(), 1u);
  EXPECT_THAT(names(plan()), ElementsAre("conf/a.conf"));
}

TEST_F(Files, FileRejectedLaterIsForgottenAndSentInTheNextRun) {
  sender_->take(plan());
  run_to_the_end();
  EXPECT_THAT(names(plan()), IsEmpty());
  sender_->rejected(1, 1);
  EXPECT_THAT(names(plan()), ElementsAre("conf/a.conf"));
}

TEST_F(Files, NewIncarnationBeginsTheTransferAnew) {
  const std::string content = random_content(9'000);
  write(tree("conf/a.conf"), content);
  sender_->take(plan());
  work();
  ASSERT_TRUE(outbox_->begin_new_incarnation());
  sender_->outbox_changed();
  run_to_the_end();
  EXPECT_EQ(whole_files()[0].second, content);
  EXPECT_THAT(transfers(), SizeIs(3));
}

TEST_F(Files, NewPlanKeepsATransferThatIsStillRight) {
  write(tree("conf/a.conf"), random_content(9'000));
  sender_->take(plan());
  work();
  sender_->take(plan());
  run_to_the_end();
  EXPECT_THAT(transfers(), SizeIs(2));
  EXPECT_THAT(whole_files(), SizeIs(2));
}

TEST_F(Files, EmptyPlanForgetsWhatWasHalfSent) {
  write(tree("conf/a.conf"), random_content(9'000));
  sender_->take(plan());
  work();
  start_again();
  sender_->take({});
  work();
  ASSERT_TRUE(over_);
  EXPECT_EQ(outbox_->note("file-transfer"), "");
  EXPECT_FALSE(sender_->needs_plan());
}

TEST_F(Files, NoteThatMakesNoSenseIsForgotten) {
  for (const char* note : {"00", "zz", "0102030405", ""}) {
    ASSERT_TRUE(outbox_->keep_note({"file-transfer", note}));
    start_again();
    EXPECT_FALSE(sender_->needs_plan());
    EXPECT_EQ(outbox_->note("file-transfer"), "");
  }
  write(tree("conf/a.conf"), random_content(9'000));
  sender_->take(plan());
  work();
  const std::string good = outbox_->note("file-transfer");
  EXPECT_EQ(FileSender::progress_text(*outbox_), tree("conf/a.conf") + ", 4 of 9 chunks put");
  const std::uint64_t seed = random_u64();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 100; ++i) {
    std::string bad = good;
    bad[random() % bad.size()] = "0123456789abcdef"[random() % 16];
    ASSERT_TRUE(outbox_->keep_note({"file-transfer", bad}));
    start_again();
    sender_->take(plan());
    const auto progress = sender_->work();  // anything but a crash, and the last chunk is hashed
    ASSERT_TRUE(progress);
  }
}

// ---- the agent's own file ----

class OwnFile : public Files {
 protected:
  PlannedFile own(const std::string& content) {
    write(state() + "/package", content);
    struct stat about {};
    EXPECT_EQ(stat((state() + "/package").c_str(), &about), 0);
    return {{state(), "package"}, standing_of(about), sha256(content), true};
  }
  // Until the word about it comes, everything stored on the way.
  std::optional<bool> word() {
    for (int rounds = 0; rounds < 1'000; ++rounds) {
      const auto progress = sender_->work();
      EXPECT_TRUE(progress);
      if (!progress || progress->own_over) return progress ? progress->own_over : std::nullopt;
      store_all();
    }
    return std::nullopt;
  }
};

TEST_F(OwnFile, IsSentWithoutAPlanAndNotRemembered) {
  const std::string content = random_content(5'500);
  sender_->send_own(own(content));
  EXPECT_FALSE(sender_->needs_plan());
  EXPECT_LE(sender_->next_due(), clock_.steady());
  EXPECT_EQ(word(), true);
  ASSERT_THAT(whole_files(), SizeIs(1));
  EXPECT_EQ(whole_files()[0], std::pair(std::string("package"), content));
  EXPECT_TRUE(FileLedger::load(ledger_file()).files.empty());
  EXPECT_EQ(outbox_->note("file-transfer"), "");
  EXPECT_FALSE(sender_->busy());
  EXPECT_EQ(sender_->next_due(), SteadyTime::max());
}

TEST_F(OwnFile, WaitsForTheFileInHandAndGoesBeforeTheRest) {
  write(tree("conf/a.conf"), random_content(6'000));
  sender_->take(plan());
  work();
  sender_->send_own(own("mine"));
  run_to_the_end();
  ASSERT_THAT(whole_files(), SizeIs(3));
  EXPECT_EQ(whole_files()[0].first, "a.conf");
  EXPECT_EQ(whole_files()[1].first, "package");
  EXPECT_EQ(whole_files()[2].first, "b.conf");
}

TEST_F(OwnFile, APlanMeanwhileLeavesItAlone) {
  const std::string content = random_content(9'000);
  sender_->send_own(own(content));
  work();
  sender_->take(plan());
  run_to_the_end();
  EXPECT_EQ(whole_files()[0].second, content);
  EXPECT_THAT(transfers(), SizeIs(3));
}

TEST_F(OwnFile, ThatChangesIsGivenUpAndSaidSo) {
  sender_->send_own(own(random_content(9'000)));
  work();
  store_all();
  own("another");
  EXPECT_EQ(word(), false);
  EXPECT_EQ(outbox_->note("file-transfer"), "");
}

TEST_F(OwnFile, ARejectedChunkEndsIt) {
  sender_->send_own(own(random_content(2'500)));
  work();
  const std::uint64_t last = outbox_->last_sequence();
  ASSERT_TRUE(outbox_->settled(1, last, "rejected", "files.too_large", "", 1));
  sender_->outbox_changed();
  EXPECT_EQ(word(), false);
}

TEST_F(OwnFile, HalfSentByADeadAgentMakesWayForTheNext) {
  sender_->send_own(own(random_content(9'000)));
  work();
  start_again();
  EXPECT_TRUE(sender_->needs_plan());
  const std::string content = random_content(3'000);
  sender_->send_own(own(content));
  sender_->take({});
  EXPECT_EQ(word(), true);
  EXPECT_EQ(whole_files().back().second, content);
}

}  // namespace
}  // namespace greengate::agent
