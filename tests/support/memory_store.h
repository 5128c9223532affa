#pragma once

#include "core/clock.h"
#include "store/baselines.h"
#include "store/device_registry.h"
#include "store/report_queue.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace greengate::test {

/// The store of one device in memory, without threads: queue, baselines and registry as their contracts have them, each call whole or not at
/// all. Its disk can be told to fail at the next settlement, and to lose a baseline.
class MemoryStore final : public store::ReportQueue, public store::Baselines, public store::DeviceRegistry {
 public:
  MemoryStore(const Clock& clock, store::Device device) : clock_(clock), device_(std::move(device)) {}

  // What the test arranges.
  void fail_settling(const char* code) { settling_fails_ = code; }
  void lose_baselines() { baselines_.clear(); }
  void spoil_baselines(const std::string& body) {
    for (auto& [kind, baseline] : baselines_) baseline.body = body;
  }
  void revoke_lease_at_settling() { lease_ends_ = true; }

  // What the test sees.
  struct Settled {
    store::ReportName name;
    std::uint32_t kind = 0;
    store::Outcome outcome = store::Outcome::delivered;
    std::string code, tracking;
  };
  std::vector<Settled> take_settled() { return std::exchange(settled_, {}); }
  std::size_t waiting() const { return waiting_.size(); }
  std::size_t pins() const { return pins_; }
  std::uint64_t counter(const std::string& name) const {
    const auto found = counters_.find(name);
    return found == counters_.end() ? 0 : found->second;
  }

  /// Straight into the queue; answers its number.
  ItemId put(store::ReportName name, std::uint32_t kind, std::string body) {
    store::LeasedReport report;
    report.id = ItemId(++last_item_);
    report.name = std::move(name);
    report.lane = store::Lane::inventory;
    report.kind = kind;
    report.collected_at = report.kept_at = clock_.wall();
    report.body = std::move(body);
    waiting_.push_back(std::move(report));
    return waiting_.back().id;
  }

  // ReportQueue
  void keep(std::vector<store::NewReport> batch, store::KeepDone done) override {
    std::vector<store::KeepResult> results;
    for (store::NewReport& report : batch) {
      put(report.name, report.kind, std::move(report.body));
      results.push_back({store::Kept::stored, report.name.sequence});
    }
    done(std::move(results));
  }
  std::uint64_t last_sequence(const AgentId&, std::uint64_t) const override { return 0; }
  Result<ItemId> keep_own(store::NewReport report) override { return put({report.name.agent, 0, ++own_}, report.kind, std::move(report.body)); }
  Result<std::optional<store::Batch>> lease(store::LaneSet, std::uint32_t, std::uint64_t, std::chrono::milliseconds) override {
    if (waiting_.empty()) return std::optional<store::Batch>{};
    store::Batch batch;
    batch.lease = LeaseId(++last_lease_);
    batch.agent = device_.id;
    batch.lane = store::Lane::inventory;
    batch.until = clock_.wall() + std::chrono::minutes(2);
    const std::uint64_t group = waiting_.front().group;
    for (const store::LeasedReport& report : waiting_) {
      if (report.group == group) batch.reports.push_back(report);
    }
    leased_.clear();
    for (const auto& report : batch.reports) leased_.insert(report.id);
    return std::optional(std::move(batch));
  }
  void wake_waiters() override {}
  Result<void> pin(LeaseId lease, const std::vector<store::Pin>& pins, const std::vector<store::CounterValue>& counters) override {
    if (auto held = holds(lease); !held) return held;
    ++pins_;
    for (const store::Pin& pin : pins) {
      for (const ItemId& id : pin.reports) {
        store::LeasedReport& report = *place(id);
        report.group = pin.reports.front().raw();
        report.note = pin.note;
      }
    }
    for (const auto& [name, value] : counters) counters_[name] = value;
    return {};
  }
  Result<void> settle(LeaseId lease, const std::vector<store::Settlement>& settlements, const std::vector<store::BaselineMove>& moves) override {
    if (std::exchange(lease_ends_, false)) last_lease_ += 1;
    if (auto held = holds(lease); !held) return held;
    if (const char* code = std::exchange(settling_fails_, nullptr)) return fail(Remedy::retry, code, "The memory's disk failed.");
    for (const store::Settlement& settlement : settlements) end(settlement.id, settlement.outcome, settlement.code, settlement.tracking);
    for (const store::BaselineMove& move : moves) {
      baselines_[move.kind] = {move.kind, move.major, move.minor, move.full_at, clock_.wall(), move.body.size(), move.body};
    }
    return {};
  }
  Result<void> bury(LeaseId lease, const std::vector<ItemId>& reports, const Error& reason) override {
    if (auto held = holds(lease); !held) return held;
    for (const ItemId& id : reports) {
      letters_.push_back(*place(id));
      end(id, store::Outcome::buried, reason.code, {});
    }
    return {};
  }
  Result<void> postpone(LeaseId lease, const std::vector<ItemId>& reports, std::chrono::milliseconds, const Error&) override {
    if (auto held = holds(lease); !held) return held;
    for (const ItemId& id : reports) {
      place(id)->attempt += 1;
      leased_.erase(id);
    }
    return {};
  }
  void hand_back(LeaseId) override { leased_.clear(); }
  void hold(const AgentId&) override {}
  void unhold(const AgentId&) override {}
  void on_expired(std::function<void(const std::vector<store::ReportName>&)>) override {}
  Result<std::vector<store::DeadLetter>> dead_letters(const store::DeadLetterFilter&, std::uint32_t) override {
    return std::vector<store::DeadLetter>{};
  }
  Result<store::LeasedReport> dead_letter(ItemId) override { return fail(Remedy::reject, "queue.no_letter", "Ask replay_letters()."); }
  /// The newest letters come back behind what waits, as in the real one.
  Result<std::uint32_t> replay(const std::vector<ItemId>&) override {
    for (const store::LeasedReport& letter : letters_) put(letter.name, letter.kind, letter.body);
    const auto count = static_cast<std::uint32_t>(letters_.size());
    letters_.clear();
    return count;
  }
  Result<std::uint32_t> discard(const std::vector<ItemId>&) override { return 0u; }
  Result<std::vector<store::ReportTrace>> trace(const AgentId&, std::uint32_t) override { return std::vector<store::ReportTrace>{}; }
  store::QueueStats stats() const override { return {}; }

  // Baselines
  Result<std::optional<store::Baseline>> find(const AgentId&, std::uint32_t kind) override {
    const auto found = baselines_.find(kind);
    return found == baselines_.end() ? std::optional<store::Baseline>() : std::optional(found->second);
  }
  Result<std::vector<store::Baseline>> list(const AgentId&) override { return std::vector<store::Baseline>{}; }

  // DeviceRegistry
  std::optional<store::Device> find(const AgentId&) const override { return device_; }
  std::optional<store::Device> find_by_key(const AgentKey&) const override { return device_; }
  std::vector<store::Device> list() const override { return {device_}; }
  std::size_t size() const override { return 1; }
  void enrol(store::EnrolRequest, std::function<void(Result<store::Device>)> done) override { done(device_); }
  Result<store::Device> set_state(const AgentId&, store::DeviceState state) override {
    device_.state = state;
    return device_;
  }
  Result<void> set_site_identity(const AgentId&, const store::SiteIdentity& identity) override {
    device_.site = identity;
    return {};
  }
  void note_seen(const AgentId&, WallTime, const std::string&, const std::string&, const std::string&, const std::string&) override {}
  std::uint64_t counter(const AgentId&, const std::string& name) const override { return counter(name); }
  Result<std::optional<std::string>> fact(const AgentId&, const std::string&) override { return std::optional<std::string>(); }
  Result<void> set_fact(const AgentId&, const std::string&, const std::string&) override { return {}; }
  Result<void> add_token(const store::Token&) override { return {}; }
  Result<void> revoke_token(const std::string&) override { return {}; }
  std::vector<store::Token> tokens() const override { return {}; }

 private:
  Result<void> holds(LeaseId lease) const {
    if (lease.raw() == last_lease_) return {};
    return fail(Remedy::reject, "queue.lease_lost", "Somebody else has these reports.");
  }
  std::deque<store::LeasedReport>::iterator place(const ItemId& id) {
    return std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& report) { return report.id == id; });
  }
  void end(const ItemId& id, store::Outcome outcome, const std::string& code, const std::string& tracking) {
    const auto report = place(id);
    settled_.push_back({report->name, report->kind, outcome, code, tracking});
    waiting_.erase(report);
    leased_.erase(id);
  }

  const Clock& clock_;
  store::Device device_;
  std::deque<store::LeasedReport> waiting_;
  std::vector<store::LeasedReport> letters_;
  std::set<ItemId> leased_;
  std::map<std::string, std::uint64_t> counters_;
  std::map<std::uint32_t, store::Baseline> baselines_;
  std::vector<Settled> settled_;
  std::uint64_t last_item_ = 0, last_lease_ = 0, own_ = 0;
  std::size_t pins_ = 0;
  const char* settling_fails_ = nullptr;
  bool lease_ends_ = false;
};

}  // namespace greengate::test
