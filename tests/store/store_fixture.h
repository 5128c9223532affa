#pragma once

#include "core/metrics.h"
#include "store/open_store.h"
#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

namespace greengate::test {

/// A directory of its own, gone at the end.
class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "greengate-store-XXXXXX").string();
    if (!mkdtemp(pattern.data())) std::abort();
    path_ = pattern;
  }
  ~TempDirectory() {
    std::error_code ignored;  // the next test has its own
    std::filesystem::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// One way to build a store; the contract is the same for each.
struct StoreKind {
  std::string name;
  std::function<Result<std::unique_ptr<store::Store>>(const store::StoreConfig&, const Clock&,
                                                      Metrics&)>
      open;
  friend void PrintTo(const StoreKind& kind, std::ostream* out) { *out << kind.name; }
};

inline std::vector<StoreKind> store_kinds() {
  return {{"embedded", [](const store::StoreConfig& config, const Clock& clock, Metrics& metrics) {
             return store::open_store(config, clock, metrics);
           }}};
}

/// An open store in a directory of its own, on a clock the test moves.
class StoreTest : public testing::Test {
 protected:
  explicit StoreTest(StoreKind kind = store_kinds()[0]) : kind_(std::move(kind)) {
    config_.directory = directory_.path();
  }

  void open() {
    auto opened = kind_.open(config_, clock_, metrics_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
    ASSERT_TRUE(store_->start());
  }
  void close() { store_.reset(); }
  void reopen() {
    close();
    open();
  }
  store::ReportQueue& queue() { return store_->reports(); }
  store::DeviceRegistry& registry() { return store_->devices(); }
  store::Baselines& baselines() { return store_->baselines(); }
  store::Mailbox& mailbox() { return store_->mailbox(); }

  static store::NewReport report(const std::string& agent, std::uint64_t sequence,
                                 std::string body = "body") {
    store::NewReport made;
    made.name = {AgentId(agent), 1, sequence};
    made.kind = 3;
    made.body = std::move(body);
    return made;
  }

  Result<std::vector<store::KeepResult>> keep(std::vector<store::NewReport> batch) {
    std::promise<Result<std::vector<store::KeepResult>>> promise;
    auto answer = promise.get_future();
    queue().keep(std::move(batch),
                 [&promise](auto result) { promise.set_value(std::move(result)); });
    return answer.get();
  }
  /// The outcomes, in order; an error fails the test.
  std::vector<store::Kept> kept(std::vector<store::NewReport> batch) {
    auto results = keep(std::move(batch));
    EXPECT_TRUE(results) << results.error().message;
    std::vector<store::Kept> outcomes;
    if (results) {
      for (const auto& result : *results) outcomes.push_back(result.kept);
    }
    return outcomes;
  }
  void keep_sequences(const std::string& agent, std::uint64_t first, std::uint64_t last) {
    std::vector<store::NewReport> batch;
    for (std::uint64_t sequence = first; sequence <= last; ++sequence) {
      batch.push_back(report(agent, sequence, agent + "/" + std::to_string(sequence)));
    }
    for (const store::Kept outcome : kept(std::move(batch)))
      ASSERT_EQ(outcome, store::Kept::stored);
  }

  /// What is due now, if anything.
  std::optional<store::Batch> lease(std::uint32_t reports_max = 100,
                                    std::uint64_t bytes_max = 1 << 20) {
    auto batch = queue().lease(store::LaneSet::all(), reports_max, bytes_max, std::chrono::milliseconds(0));
    EXPECT_TRUE(batch) << batch.error().message;
    return batch ? std::move(*batch) : std::nullopt;
  }
  static std::vector<std::uint64_t> sequences(const std::optional<store::Batch>& batch) {
    std::vector<std::uint64_t> found;
    if (batch) {
      for (const auto& leased : batch->reports) found.push_back(leased.name.sequence);
    }
    return found;
  }
  static std::vector<ItemId> ids(const store::Batch& batch) {
    std::vector<ItemId> found;
    for (const auto& leased : batch.reports) found.push_back(leased.id);
    return found;
  }
  static std::vector<store::Settlement> all(const store::Batch& batch,
                                            store::Outcome outcome = store::Outcome::delivered,
                                            const std::string& tracking = "") {
    std::vector<store::Settlement> settlements;
    for (const auto& leased : batch.reports) settlements.push_back({leased.id, outcome, tracking});
    return settlements;
  }

  StoreKind kind_;
  TempDirectory directory_;
  store::StoreConfig config_;
  ManualClock clock_;
  Metrics metrics_;
  std::unique_ptr<store::Store> store_;
};

/// The same, once for each kind of store.
class StoreContract : public StoreTest, public testing::WithParamInterface<StoreKind> {
 protected:
  StoreContract() : StoreTest(GetParam()) {}
  void SetUp() override { open(); }
};

inline std::string kind_name(const testing::TestParamInfo<StoreKind>& info) {
  return info.param.name;
}

}  // namespace greengate::test
