// Goal: collected files come together whatever else is in the lane, and nothing an agent sends can stop the lane. Method: chunks in, plan out.
#include "workers/file_assembly.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"
#include "workers/coalescer.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <set>

namespace greengate::test {
namespace {

using namespace workers;
using Reports = std::vector<const store::LeasedReport*>;

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.digest();
}

v1::FileChunk chunk_of(std::uint64_t transfer, std::uint32_t index, std::uint32_t count, const std::string& whole) {
  v1::FileChunk chunk;
  chunk.set_transfer(transfer);
  chunk.set_index(index);
  chunk.set_count(count);
  chunk.set_name("agent.conf");
  chunk.set_path("/etc/contoso/");
  chunk.set_size(whole.size());
  chunk.set_modified_ms(1'767'225'600'000);
  chunk.set_sha256(sha256(whole));
  const std::size_t step = (whole.size() + count - 1) / count;
  chunk.set_data(std::size_t{index} * step < whole.size() ? whole.substr(std::size_t{index} * step, step) : std::string());
  return chunk;
}

class Lane {
 public:
  Lane& add(const v1::FileChunk& chunk, std::uint64_t incarnation = 1) { return add_bytes(chunk.SerializeAsString(), incarnation); }
  Lane& add_bytes(std::string body, std::uint64_t incarnation = 1) {
    store::LeasedReport report;
    report.id = ItemId(reports_.size() + 1);
    report.kind = v1::KIND_FILE_CHUNK;
    report.name.incarnation = incarnation;
    report.name.sequence = reports_.size() + 1;
    report.kept_at = from_millis(static_cast<std::int64_t>(reports_.size()) * 1'000);
    report.body = std::move(body);
    reports_.push_back(std::move(report));
    return *this;
  }
  Lane& file(std::uint64_t transfer, std::uint32_t count, const std::string& whole) {
    for (std::uint32_t i = 0; i < count; ++i) add(chunk_of(transfer, i, count, whole));
    return *this;
  }
  Reports all() const {
    Reports all;
    for (const auto& report : reports_) all.push_back(&report);
    return all;
  }
  FilePlan plan(FileLimits limits = {}, bool alone = true) const { return plan_files(all(), limits, alone); }

 private:
  std::deque<store::LeasedReport> reports_;
};

std::vector<std::uint64_t> ids(const Reports& reports) {
  std::vector<std::uint64_t> ids;
  for (const auto* report : reports) ids.push_back(report->id.raw());
  return ids;
}
using Ids = std::vector<std::uint64_t>;

TEST(FileAssembly, MakesOneMessageOfAWholeFile) {
  Lane lane;
  lane.file(7, 3, "abcdefg");
  const FilePlan plan = lane.plan();
  ASSERT_EQ(plan.whole.size(), 1u);
  EXPECT_EQ(ids(plan.whole[0]), (Ids{1, 2, 3}));
  EXPECT_TRUE(plan.wait.empty());
  EXPECT_TRUE(plan.hopeless.empty());
}

TEST(FileAssembly, TakesAnEmptyFile) {
  Lane lane;
  lane.file(7, 1, "");
  EXPECT_EQ(lane.plan().whole.size(), 1u);
}

TEST(FileAssembly, WaitsForTheRestAndKnowsHowMuchThatIs) {
  Lane lane;
  lane.add(chunk_of(7, 0, 4, "abcd")).add(chunk_of(7, 1, 4, "abcd"));
  const FilePlan plan = lane.plan();
  ASSERT_EQ(plan.wait.size(), 1u);
  EXPECT_EQ(ids(plan.wait[0].reports), (Ids{1, 2}));
  EXPECT_EQ(plan.wait[0].missing, 2u);
  EXPECT_TRUE(plan.whole.empty());
}

TEST(FileAssembly, DoesNotMindTransfersMixedWithOneAnother) {
  Lane lane;
  lane.add(chunk_of(1, 0, 2, "aa")).add(chunk_of(2, 0, 2, "bb")).add(chunk_of(1, 1, 2, "aa")).add(chunk_of(3, 0, 2, "cc")).add(chunk_of(2, 1, 2, "bb"));
  const FilePlan plan = lane.plan();
  ASSERT_EQ(plan.whole.size(), 2u);
  EXPECT_EQ(ids(plan.whole[0]), (Ids{1, 3}));
  EXPECT_EQ(ids(plan.whole[1]), (Ids{2, 5}));
  ASSERT_EQ(plan.wait.size(), 1u);
  EXPECT_EQ(ids(plan.wait[0].reports), (Ids{4}));
}

TEST(FileAssembly, TellsTransfersOfTwoOutboxesApart) {
  Lane lane;
  lane.add(chunk_of(1, 0, 2, "aa"), 1).add(chunk_of(1, 0, 2, "aa"), 2).add(chunk_of(1, 1, 2, "aa"), 2);
  const FilePlan plan = lane.plan();
  ASSERT_EQ(plan.whole.size(), 1u);
  EXPECT_EQ(ids(plan.whole[0]), (Ids{2, 3}));
  EXPECT_EQ(plan.wait.size(), 1u);
}

// One way of going wrong each; the file behind it must go its way.
TEST(FileAssembly, GivesUpATransferThatContradictsItselfAndSendsTheNext) {
  const std::string whole = "abcdef";
  const auto with = [&](auto change) {
    v1::FileChunk chunk = chunk_of(7, 1, 3, whole);
    change(chunk);
    return chunk;
  };
  const std::vector<std::pair<const char*, v1::FileChunk>> seconds{
      {"another size", with([](auto& c) { c.set_size(7); })},
      {"another count", with([](auto& c) { c.set_count(4); })},
      {"another name", with([](auto& c) { c.set_name("x"); })},
      {"another folder", with([](auto& c) { c.set_path("/x/"); })},
      {"another date", with([](auto& c) { c.set_modified_ms(1); })},
      {"another hash", with([](auto& c) { c.set_sha256(std::string(32, 'x')); })},
      {"skips one", with([](auto& c) { c.set_index(2); })},
      {"the first again", with([](auto& c) { c.set_index(0); })},
      {"too much", with([](auto& c) { c.set_data(std::string(100, 'x')); })},
  };
  for (const auto& [what, second] : seconds) {
    Lane lane;
    lane.add(chunk_of(7, 0, 3, whole)).add(second).add(chunk_of(7, 2, 3, whole)).file(8, 2, "next");
    const FilePlan plan = lane.plan();
    ASSERT_EQ(plan.hopeless.size(), 1u) << what;
    EXPECT_STREQ(plan.hopeless[0].reason.code, "files.broken") << what;
    EXPECT_EQ(plan.hopeless[0].reason.remedy, Remedy::reject);
    EXPECT_EQ(ids(plan.hopeless[0].reports), (Ids{1, 2, 3})) << what;
    ASSERT_EQ(plan.whole.size(), 1u) << what;
    EXPECT_EQ(ids(plan.whole[0]), (Ids{4, 5})) << what;
    EXPECT_TRUE(plan.wait.empty()) << what;
  }
}

TEST(FileAssembly, GivesUpAFileThatEndsTooSoonOrGoesOnAfterItsEnd) {
  Lane soon;
  v1::FileChunk last = chunk_of(7, 1, 2, "abcd");
  last.set_data("c");
  soon.add(chunk_of(7, 0, 2, "abcd")).add(last);
  ASSERT_EQ(soon.plan().hopeless.size(), 1u);

  Lane on;
  on.file(7, 2, "abcd").add(chunk_of(7, 1, 2, "abcd"));
  const FilePlan plan = on.plan();
  EXPECT_EQ(plan.whole.size(), 1u);
  ASSERT_EQ(plan.hopeless.size(), 1u);
  EXPECT_EQ(ids(plan.hopeless[0].reports), (Ids{3}));
}

TEST(FileAssembly, GivesUpATransferWhoseBeginningIsMissing) {
  Lane lane;
  lane.add(chunk_of(7, 1, 3, "abc")).add(chunk_of(7, 2, 3, "abc"));
  const FilePlan plan = lane.plan();
  ASSERT_EQ(plan.hopeless.size(), 1u);
  EXPECT_STREQ(plan.hopeless[0].reason.code, "files.broken");
  EXPECT_EQ(ids(plan.hopeless[0].reports), (Ids{1, 2}));
}

TEST(FileAssembly, TakesTheSameTransferFromItsStartAgain) {
  Lane lane;
  lane.file(7, 2, "abcd").file(7, 2, "abcd");
  EXPECT_EQ(lane.plan().whole.size(), 2u);
  Lane broken_first;
  broken_first.add(chunk_of(7, 1, 2, "abcd")).file(7, 2, "abcd");
  EXPECT_EQ(broken_first.plan().whole.size(), 1u);
}

TEST(FileAssembly, RefusesAtOnceWhatCouldNeverFit) {
  const auto code = [](v1::FileChunk chunk, FileLimits limits) {
    Lane lane;
    const FilePlan plan = lane.add(chunk).plan(limits);
    return std::string(plan.hopeless.empty() ? "waits" : plan.hopeless[0].reason.code);
  };
  FileLimits limits{10, 100'000};
  EXPECT_EQ(code(chunk_of(7, 0, 10, std::string(90'000, 'x')), limits), "waits");
  EXPECT_EQ(code(chunk_of(7, 0, 11, "x"), limits), "files.too_large");
  EXPECT_EQ(code(chunk_of(7, 0, 10, std::string(100'000, 'x')), limits), "files.too_large");
  v1::FileChunk lie = chunk_of(7, 0, 2, "x");
  lie.set_size(UINT64_MAX);
  EXPECT_EQ(code(lie, limits), "files.too_large");
  v1::FileChunk long_name = chunk_of(7, 0, 10, std::string(50'000, 'x'));
  long_name.set_path(std::string(9'000, 'p'));  // in every chunk again
  EXPECT_EQ(code(long_name, limits), "files.too_large");
  v1::FileChunk none = chunk_of(7, 0, 1, "x");
  none.set_count(0);
  EXPECT_EQ(code(none, limits), "files.broken");
  v1::FileChunk no_hash = chunk_of(7, 0, 1, "x");
  no_hash.set_sha256("short");
  EXPECT_EQ(code(no_hash, limits), "files.broken");
}

TEST(FileAssembly, BuriesWhatIsNoChunkAlone) {
  Lane lane;
  lane.add(chunk_of(7, 0, 2, "ab")).add_bytes("\xff\xff").add(chunk_of(7, 1, 2, "ab"));
  const FilePlan plan = lane.plan();
  EXPECT_EQ(plan.whole.size(), 1u);
  ASSERT_EQ(plan.hopeless.size(), 1u);
  EXPECT_STREQ(plan.hopeless[0].reason.code, "report.malformed");
}

// Three files, none with an end, fill all that a lease can hold: without giving one up the lane would stand for ever.
TEST(FileAssembly, GivesUpTheOldestWhenUnfinishedFilesFillTheLease) {
  Lane lane;
  for (std::uint64_t transfer = 1; transfer <= 3; ++transfer)
    for (std::uint32_t i = 0; i < 3; ++i) lane.add(chunk_of(transfer, i, 5, "abcdefghij"));
  EXPECT_TRUE(lane.plan({10, 1 << 20}).hopeless.empty()) << "there is room for more";
  const FilePlan plan = lane.plan({9, 1 << 20});
  ASSERT_EQ(plan.hopeless.size(), 1u);
  EXPECT_EQ(ids(plan.hopeless[0].reports), (Ids{1, 2, 3}));
  EXPECT_EQ(plan.wait.size(), 2u);
  EXPECT_TRUE(lane.plan({9, 1 << 20}, false).hopeless.empty()) << "what else is in the batch goes out, and then there is room";
}

TEST(FileAssembly, LooksAgainWhenTheRestCanBeThere) {
  Lane lane;  // a chunk a second
  for (std::uint32_t i = 0; i < 10; ++i) lane.add(chunk_of(7, i, 20, std::string(20, 'x')));
  const FilePlan plan = lane.plan();
  ASSERT_EQ(plan.wait.size(), 1u);
  const WallTime last = from_millis(9'000);
  using namespace std::chrono_literals;
  EXPECT_EQ(wait_for_rest(plan.wait[0], last), 10s);
  EXPECT_EQ(wait_for_rest(plan.wait[0], last + 30s), 30s);
  EXPECT_EQ(wait_for_rest(plan.wait[0], last + 1h), 60s);
  EXPECT_EQ(wait_for_rest({{plan.wait[0].reports.front()}, 19}, from_millis(0)), 2s);
}

TEST(FileAssembly, LosesNoChunkAndDoublesNoneWhateverComes) {
  const unsigned seed = std::random_device{}();
  std::mt19937 dice(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (int round = 0; round < 200; ++round) {
    Lane lane;
    const auto count = static_cast<std::size_t>(dice() % 40);
    for (std::size_t i = 0; i < count; ++i) {
      if (dice() % 15 == 0) {
        lane.add_bytes("\xff");
        continue;
      }
      const auto transfer = dice() % 4;
      lane.add(chunk_of(transfer, static_cast<std::uint32_t>(dice() % 3), 1 + dice() % 3, "abc"), 1 + dice() % 2);
      if (dice() % 4 == 0) lane.file(100 + i, 1 + dice() % 4, std::string(dice() % 50, 'z'));
    }
    const FilePlan plan = lane.plan({16, 2'000}, dice() % 2 == 0);
    std::multiset<std::uint64_t> seen;
    const auto see = [&](const Reports& reports) {
      EXPECT_FALSE(reports.empty());
      for (const auto* report : reports) seen.insert(report->id.raw());
    };
    for (const auto& whole : plan.whole) see(whole);
    for (const auto& waiting : plan.wait) see(waiting.reports);
    for (const auto& each : plan.hopeless) see(each.reports);
    std::multiset<std::uint64_t> given;
    for (const auto* report : lane.all()) given.insert(report->id.raw());
    ASSERT_EQ(seen, given);
    for (const auto& whole : plan.whole) {
      std::string bytes, announced;
      for (const auto* report : whole) {
        v1::FileChunk chunk;
        ASSERT_TRUE(chunk.ParseFromString(report->body));
        bytes += chunk.data();
        announced = chunk.sha256();
      }
      ASSERT_EQ(sha256(bytes), announced);
    }
  }
}

TEST(Coalescer, SendsWholeFilesAndTheirNeighboursAndNamesWhatWaits) {
  store::Batch batch;
  const auto add = [&](std::uint32_t kind, std::string body) {
    store::LeasedReport report;
    report.id = ItemId(batch.reports.size() + 1);
    report.kind = kind;
    report.body = std::move(body);
    batch.reports.push_back(std::move(report));
  };
  add(v1::KIND_FILE_CHUNK, chunk_of(1, 0, 2, "ab").SerializeAsString());
  add(v1::KIND_IDMIF, "mif");
  add(v1::KIND_FILE_CHUNK, chunk_of(1, 1, 2, "ab").SerializeAsString());
  add(v1::KIND_FILE_CHUNK, chunk_of(2, 0, 2, "cd").SerializeAsString());
  add(v1::KIND_FILE_CHUNK, chunk_of(3, 1, 2, "ef").SerializeAsString());
  const Plan plan = plan_messages(batch, {});
  ASSERT_EQ(plan.messages.size(), 2u);
  EXPECT_EQ(ids(plan.messages[0].reports), (Ids{2}));
  EXPECT_EQ(ids(plan.messages[1].reports), (Ids{1, 3}));
  EXPECT_EQ(plan.messages[1].kind, std::uint32_t{v1::KIND_FILE_CHUNK});
  ASSERT_EQ(plan.wait.size(), 1u);
  EXPECT_EQ(ids(plan.wait[0].reports), (Ids{4}));
  ASSERT_EQ(plan.hopeless.size(), 1u);
  EXPECT_EQ(ids(plan.hopeless[0].reports), (Ids{5}));
}

TEST(Coalescer, LeavesAPinnedFileAsItIs) {
  store::Batch batch;
  for (std::uint32_t i = 0; i < 2; ++i) {
    store::LeasedReport report;
    report.id = ItemId(i + 1);
    report.kind = v1::KIND_FILE_CHUNK;
    report.group = 1;
    report.note = "note";
    report.body = chunk_of(1, i, 2, "ab").SerializeAsString();
    batch.reports.push_back(std::move(report));
  }
  const Plan plan = plan_messages(batch, {});
  ASSERT_EQ(plan.messages.size(), 1u);
  EXPECT_EQ(ids(plan.messages[0].reports), (Ids{1, 2}));
  EXPECT_EQ(plan.messages[0].note, "note");
}

}  // namespace
}  // namespace greengate::test
