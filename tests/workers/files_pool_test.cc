// Goal: a collected file reaches the site once, whole, and what never becomes a file holds nothing up. Method: real store, real pool, a
// scripted management point, chunks in the lane of files.
#include "adapters/mp/compression.h"
#include "adapters/mp/multipart.h"
#include "tests/workers/site_fixture.h"
#include "workers/file_assembly.h"
#include "workers/pool.h"
#include "workers/translator.h"

namespace greengate::test {
namespace {

using namespace workers;
using store::Outcome;
using std::chrono::milliseconds;

class FilesPoolTest : public SiteFixture {
 protected:
  FilesPoolTest() : translator_(settings_), inventories_({}, settings_, store_->baselines(), metrics_) {
    config_.workers = 2;
    config_.retry_base = milliseconds(10);
    config_.retry_cap = milliseconds(10);
    make_ready(agent_);
    door_->answer_with([this](const adapters::OutgoingMessage& message) -> Result<adapters::Verdict> {
      const auto parts = adapters::parse_multipart(message.http_body, message.content_type, "");
      auto stream = adapters::inflate_zlib(parts->payload, 64u << 20);
      std::lock_guard lock(mutex_);
      streams_.push_back(stream ? *stream : stream.error().message);
      if (refuse_ > 0 && refuse_-- > 0) return fail(Remedy::retry, "http.closed", "cut off while answering.");
      return adapters::Verdict{};
    });
  }
  void start() {
    pool_ = std::make_unique<Pool>(config_, store_->reports(), store_->devices(), *identities_, translator_, inventories_, *courier_, clock_, metrics_,
                                   [this](const ReportOutcome& outcome) {
                                     {
                                       std::lock_guard lock(mutex_);
                                       outcomes_.push_back(outcome);
                                     }
                                     changed_.notify_all();
                                   });
    ASSERT_TRUE(pool_->start());
  }
  void TearDown() override {
    courier_->stop();
    if (pool_) pool_->stop();
  }

  /// Waits until so many reports have an outcome, at most ten seconds, while the clock runs at a hundred times its pace.
  std::map<std::uint64_t, ReportOutcome> outcomes(std::size_t count) {
    std::unique_lock lock(mutex_);
    for (int i = 0; i < 1'000 && outcomes_.size() < count; ++i) {
      changed_.wait_for(lock, milliseconds(10));
      clock_.advance(milliseconds(1'000));
      store_->reports().wake_waiters();
    }
    EXPECT_EQ(outcomes_.size(), count);
    std::map<std::uint64_t, ReportOutcome> by_sequence;
    for (const auto& outcome : outcomes_) by_sequence[outcome.name.sequence] = outcome;
    return by_sequence;
  }
  /// What the store says of a report now.
  store::ReportTrace trace(std::uint64_t sequence) {
    auto all = store_->reports().trace(agent_, 100);
    EXPECT_TRUE(all);
    for (const auto& each : *all)
      if (each.name.sequence == sequence) return each;
    ADD_FAILURE() << "no report " << sequence;
    return {};
  }
  template <class Condition>
  bool until(Condition condition) {
    for (int i = 0; i < 1'000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }
  std::vector<std::string> streams() {
    std::lock_guard lock(mutex_);
    return streams_;
  }

  void keep_chunk(const v1::FileChunk& chunk) { keep_in_files(++sequence_, v1::KIND_FILE_CHUNK, chunk.SerializeAsString()); }
  void keep_in_files(std::uint64_t sequence, std::uint32_t kind, std::string body) {
    store::NewReport report;
    report.name = {agent_, 1, sequence};
    report.kind = kind;
    report.lane = store::Lane::files;
    report.collected_at = clock_.wall();
    report.body = std::move(body);
    std::vector<store::NewReport> batch;
    batch.push_back(std::move(report));
    std::promise<Result<std::vector<store::KeepResult>>> done;
    store_->reports().keep(std::move(batch), [&](auto result) { done.set_value(std::move(result)); });
    const auto kept = done.get_future().get();
    ASSERT_TRUE(kept && kept->at(0).kept == store::Kept::stored);
  }
  static v1::FileChunk chunk(std::uint64_t transfer, std::uint32_t index, std::uint32_t count, const std::string& whole) {
    v1::FileChunk chunk;
    chunk.set_transfer(transfer);
    chunk.set_index(index);
    chunk.set_count(count);
    chunk.set_name("agent.conf");
    chunk.set_path("/etc/contoso/");
    chunk.set_size(whole.size());
    chunk.set_modified_ms(1'767'225'600'000);
    Sha256 hash;
    hash.add(whole);
    chunk.set_sha256(hash.digest());
    const std::size_t step = (whole.size() + count - 1) / count;
    chunk.set_data(whole.substr(index * step, step));
    return chunk;
  }

  PoolConfig config_;
  Translator translator_;
  InventoryPlanner inventories_;
  std::unique_ptr<Pool> pool_;
  std::uint64_t sequence_ = 0;
  std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  std::vector<ReportOutcome> outcomes_;
  std::vector<std::string> streams_;
  int refuse_ = 0;
};

TEST_F(FilesPoolTest, DeliversAFileWhoseChunksCameInTwoStretches) {
  const std::string whole(300'000, 'q');
  keep_chunk(chunk(7, 0, 2, whole));
  start();
  ASSERT_TRUE(until([&] { return trace(1).code == "files.incomplete"; }));
  EXPECT_TRUE(door_->sent().empty());
  keep_chunk(chunk(7, 1, 2, whole));
  const auto told = outcomes(2);
  EXPECT_EQ(told.at(1).outcome, Outcome::delivered);
  EXPECT_EQ(told.at(2).outcome, Outcome::delivered);
  ASSERT_EQ(door_->sent().size(), 1u);
  EXPECT_EQ(door_->sent()[0].endpoint, "MP_SinvCollFileEndpoint");
  EXPECT_TRUE(streams()[0].ends_with(whole));
  EXPECT_EQ(store_->devices().counter(agent_, "files_major"), 1u);
}

TEST_F(FilesPoolTest, BuriesAFileWhoseHashIsWrongAndDeliversTheNextAndTheirNeighbour) {
  v1::FileChunk wrong = chunk(7, 0, 1, "right");
  wrong.set_data("wrong");
  keep_chunk(wrong);
  v1::IdMif mif;
  mif.set_file_name("asset.mif");
  mif.set_text("Start Component");
  keep_in_files(++sequence_, v1::KIND_IDMIF, mif.SerializeAsString());
  keep_chunk(chunk(8, 1, 2, "no beginning"));
  keep_chunk(chunk(9, 0, 2, "next"));
  keep_chunk(chunk(9, 1, 2, "next"));
  start();
  const auto told = outcomes(5);
  EXPECT_EQ(told.at(1).outcome, Outcome::buried);
  EXPECT_EQ(told.at(1).code, "files.hash");
  EXPECT_EQ(told.at(2).outcome, Outcome::delivered);
  EXPECT_EQ(told.at(3).outcome, Outcome::buried);
  EXPECT_EQ(told.at(3).code, "files.broken");
  EXPECT_EQ(told.at(4).outcome, Outcome::delivered);
  EXPECT_EQ(told.at(5).outcome, Outcome::delivered);
}

TEST_F(FilesPoolTest, SendsTheSameMessageAgainAfterALostAnswer) {
  refuse_ = 2;
  keep_chunk(chunk(7, 0, 2, "abcdef"));
  keep_chunk(chunk(7, 1, 2, "abcdef"));
  start();
  EXPECT_EQ(outcomes(2).at(2).outcome, Outcome::delivered);
  const auto sent = door_->sent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[0].message_id, sent[2].message_id);
  EXPECT_EQ(streams()[0], streams()[2]) << "the same version and the same dates";
  EXPECT_EQ(store_->devices().counter(agent_, "files_major"), 1u) << "numbered once, not at every attempt";
}

// Twenty minutes in which nothing comes are twenty looks, not a storm of leases; after a day the file is given up.
TEST_F(FilesPoolTest, LooksSeldomForARestThatDoesNotComeAndGivesItUpInTheEnd) {
  config_.file_wait_max = std::chrono::hours(24);
  keep_chunk(chunk(7, 0, 3, "abcdef"));
  start();
  ASSERT_TRUE(until([&] { return trace(1).attempts >= 1; }));
  for (std::uint32_t minute = 1; minute <= 20; ++minute) {
    clock_.advance(std::chrono::minutes(1));
    store_->reports().wake_waiters();
    ASSERT_TRUE(until([&] { return trace(1).attempts > minute; }));
    ASSERT_EQ(trace(1).attempts, minute + 1);
  }
  clock_.advance(std::chrono::hours(24));
  const auto told = outcomes(1);
  EXPECT_EQ(told.at(1).outcome, Outcome::buried);
  EXPECT_EQ(told.at(1).code, "files.broken");
}

TEST_F(FilesPoolTest, DeliversStatusAndMeteringByTheirOwnEndpoints) {
  v1::StatusMessage status;
  status.set_type("SoftwareDistributionPackageEvent");
  keep(agent_, 1, v1::KIND_STATUS, status.SerializeAsString());
  v1::MeteringData metering;
  metering.add_programs()->set_file_name("edge-agent");
  keep(agent_, 2, v1::KIND_METERING, metering.SerializeAsString());
  start();
  outcomes(2);
  std::set<std::string> endpoints;
  for (const auto& sent : door_->sent()) endpoints.insert(sent.endpoint);
  EXPECT_EQ(endpoints, (std::set<std::string>{"MP_RelayEndpoint", "StatusReceiver"}));
}

}  // namespace
}  // namespace greengate::test
