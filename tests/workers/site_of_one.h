#pragma once

#include "adapters/mp/settings.h"
#include "core/metrics.h"
#include "store/sealer.h"
#include "tests/support/manual_clock.h"
#include "tests/support/memory_store.h"
#include "tests/workers/site_model.h"
#include "workers/carrier.h"

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace greengate::test {

/// One device, its store in memory, the product's carrier, and a site that is only a model. Everything happens on the test's thread.
class SiteOfOne {
 public:
  /// What becomes of the next message.
  enum class Fate { taken, taken_but_answer_lost, lost, refused, refused_but_taken };

  explicit SiteOfOne(std::map<std::string, std::vector<std::string>> keys, workers::InventoryConfig config = {});
  ~SiteOfOne();

  void report(std::uint32_t kind, const google::protobuf::Message& state) { report_bytes(kind, state.SerializeAsString()); }
  void report_bytes(std::uint32_t kind, std::string body) { store->put({agent, incarnation, ++sequence}, kind, std::move(body)); }
  void next_fate(Fate fate) { fate_ = fate; }
  /// Carries one batch. False: nothing waits.
  bool carry_once();
  /// Carries batches until nothing waits, an hour passing between one and the next. False: it never ended.
  bool run();
  Result<adapters::MpIdentity> identity() { return identities_->of(agent); }
  /// The site knows the device under another name.
  void rename();

  const AgentId agent{"0011223344556677"};
  std::uint64_t incarnation = 1, sequence = 0;
  ManualClock clock;
  Metrics metrics;
  adapters::MpSettings settings;
  std::unique_ptr<MemoryStore> store;
  SiteModel site;
  std::vector<workers::ReportOutcome> outcomes;
  std::vector<std::uint32_t> wanted;  ///< Kinds of states the agent was to be asked for.

 private:
  class Door;
  Fate fate_ = Fate::taken;
  std::string key_file_;
  std::unique_ptr<workers::Identities> identities_;
  std::unique_ptr<workers::Translator> translator_;
  std::unique_ptr<workers::InventoryPlanner> planner_;
  std::unique_ptr<workers::Courier> courier_;
  std::unique_ptr<workers::Carrier> carrier_;
  std::atomic<bool> stopping_{false};
};

}  // namespace greengate::test
