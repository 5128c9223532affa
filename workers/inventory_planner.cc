#include "workers/inventory_planner.h"

#include "adapters/mp/hardware_inventory.h"
#include "adapters/mp/software_inventory.h"
#include "core/check.h"
#include "workers/baseline_form.h"
#include "workers/inventory_state.h"
#include "workers/translator.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <google/protobuf/arena.h>

#include <algorithm>
#include <array>
#include <utility>

namespace greengate::workers {
namespace {

using adapters::InstanceContent;
using adapters::InventoryKind;
using google::protobuf::Arena;

struct DecisionWords {
  InventoryDecision decision;
  const char* name;
  const char* code;  ///< Empty: something is sent.
};
constexpr std::array decision_words{
    DecisionWords{InventoryDecision::full_first, "full_first", ""},
    DecisionWords{InventoryDecision::full_resync, "full_resync", ""},
    DecisionWords{InventoryDecision::full_due, "full_due", ""},
    DecisionWords{InventoryDecision::full_gap, "full_gap", ""},
    DecisionWords{InventoryDecision::full_shape, "full_shape", ""},
    DecisionWords{InventoryDecision::full_smaller, "full_smaller", ""},
    DecisionWords{InventoryDecision::full_repeated, "full_repeated", ""},
    DecisionWords{InventoryDecision::delta, "delta", ""},
    DecisionWords{InventoryDecision::delta_repeated, "delta_repeated", ""},
    DecisionWords{InventoryDecision::unchanged, "unchanged", "inventory.unchanged"},
    DecisionWords{InventoryDecision::older, "older", "inventory.older"},
    DecisionWords{InventoryDecision::empty, "empty", "inventory.empty"},
    DecisionWords{InventoryDecision::nothing_known, "nothing_known", "inventory.nothing_known"},
};

const DecisionWords& words_of(InventoryDecision decision) {
  const auto found = std::find_if(decision_words.begin(), decision_words.end(), [&](const auto& each) { return each.decision == decision; });
  GREENGATE_CHECK(found != decision_words.end(), "every decision has its words");
  return *found;
}

bool is_full(InventoryDecision decision) {
  return decision != InventoryDecision::delta && decision != InventoryDecision::delta_repeated && *words_of(decision).code == '\0';
}

// What differs between the two kinds.
template <class State>
struct Kind;
template <>
struct Kind<v1::HardwareInventory> {
  using Changes = HardwareChanges;
  static constexpr const char* major = "inventory_major";
  static constexpr const char* minor = "inventory_minor";
  static auto parse(std::string_view body, Arena& arena, StateOrigin origin) { return parse_hardware(body, arena, origin); }
};
template <>
struct Kind<v1::SoftwareInventory> {
  using Changes = SoftwareChanges;
  static constexpr const char* major = "software_major";
  static constexpr const char* minor = "software_minor";
  static auto parse(std::string_view body, Arena& arena, StateOrigin origin) { return parse_software(body, arena, origin); }
};

Result<void> write_rows(adapters::HardwareInventoryWriter& to, const std::vector<const v1::InventoryInstance*>& rows, InstanceContent content) {
  for (const auto* row : rows) {
    if (auto written = to.instance(*row, content); !written) return written;
  }
  return {};
}

// What is gone comes first: a key that returns in another class's shape must not be deleted after it was added.
Result<void> write_changes(adapters::HardwareInventoryWriter& to, const HardwareChanges& changes) {
  for (const ClassChanges& one : changes.classes) {
    if (!one.deleted.empty()) {
      if (auto begun = to.begin_class(*one.was); !begun) return begun;
      if (auto written = write_rows(to, one.deleted, InstanceContent::deleted); !written) return written;
    }
    if (one.updated.empty() && one.added.empty()) continue;
    if (auto begun = to.begin_class(*one.is); !begun) return begun;
    if (auto written = write_rows(to, one.updated, InstanceContent::updated); !written) return written;
    if (auto written = write_rows(to, one.added, InstanceContent::added); !written) return written;
  }
  return {};
}

Result<void> write_all(adapters::HardwareInventoryWriter& to, const v1::HardwareInventory& state) {
  for (const v1::InventoryClass& one : state.classes()) {
    if (auto begun = to.begin_class(one); !begun) return begun;
    for (const v1::InventoryInstance& row : one.instances()) {
      if (auto written = to.instance(row, InstanceContent::added); !written) return written;
    }
  }
  return {};
}

Result<void> write_changes(adapters::SoftwareInventoryWriter& to, const SoftwareChanges& changes) {
  const std::pair<const std::vector<const v1::SoftwareFile*>&, InstanceContent> parts[] = {
      {changes.deleted, InstanceContent::deleted}, {changes.updated, InstanceContent::updated}, {changes.added, InstanceContent::added}};
  for (const auto& [files, content] : parts) {
    for (const auto* file : files) {
      if (auto written = to.file(*file, content); !written) return written;
    }
  }
  return {};
}

Result<void> write_all(adapters::SoftwareInventoryWriter& to, const v1::SoftwareInventory& state) {
  for (const v1::SoftwareFile& file : state.files()) {
    if (auto written = to.file(file, InstanceContent::added); !written) return written;
  }
  return {};
}

template <class State>
using WriterOf = std::conditional_t<std::is_same_v<State, v1::HardwareInventory>, adapters::HardwareInventoryWriter, adapters::SoftwareInventoryWriter>;

}  // namespace

/// The states a message is made from, until it is made.
struct InventoryPlan::Content {
  virtual ~Content() = default;
  /// Fills `move.body`, and gives the states up before the message is compressed.
  virtual Result<adapters::OutgoingMessage> write(const adapters::MpSettings& settings, const adapters::MpIdentity& identity,
                                                  const adapters::ReportFacts& facts) = 0;
  store::BaselineMove move;
};

namespace {

template <class State>
struct ContentOf final : InventoryPlan::Content {
  std::unique_ptr<Arena> arena = std::make_unique<Arena>();
  State* was = nullptr;  ///< The baseline; null when there is none.
  State* is = nullptr;
  typename Kind<State>::Changes changes;
  bool full = true;
  Churn churn;
  BaselineForm form;                            ///< Of the report `is` came with; without the state.
  /// The report's body as it came, when it is `is` word for word; it lives in the batch.
  const std::string* untouched = nullptr;

  Result<adapters::OutgoingMessage> write(const adapters::MpSettings& settings, const adapters::MpIdentity& identity,
                                          const adapters::ReportFacts& facts) override {
    WriterOf<State> writer(settings, identity, facts, full ? InventoryKind::full : InventoryKind::delta);
    if (auto written = full ? write_all(writer, *is) : write_changes(writer, changes); !written) return pass(written);
    changes = {};
    if (!full) {
      if (keep_unsent(*was, *is, churn) != 0) untouched = nullptr;
      if (keep_unspoken(*was, *is) != 0) untouched = nullptr;
    }
    move.body = write_baseline(form, untouched ? std::string_view(*untouched) : std::string_view(is->SerializeAsString()));
    was = is = nullptr;
    arena.reset();
    return writer.finish();
  }
};

struct Versions {
  std::uint64_t major = 0, minor = 0;
  friend auto operator<=>(const Versions&, const Versions&) = default;
};

}  // namespace

std::vector<ConfigProblem> InventoryConfig::problems() const {
  std::vector<ConfigProblem> found = churn_problems("inventory.churning", churning);
  if (full_interval < std::chrono::hours(1) || full_interval > std::chrono::days(365)) {
    found.push_back({"inventory.full_interval",
                     "inventory.full_interval is " + duration_text(full_interval) + "; it can be 1h to 365d (28d if left out)."});
  }
  if (deltas_max > 1'000'000) {
    found.push_back({"inventory.deltas_max",
                     "inventory.deltas_max is " + std::to_string(deltas_max) + "; it can be 0 (only whole inventories) to 1000000 (100 if left out)."});
  }
  return found;
}

const char* decision_name(InventoryDecision decision) { return words_of(decision).name; }
const char* decision_code(InventoryDecision decision) { return words_of(decision).code; }

InventoryPlan::InventoryPlan() = default;
InventoryPlan::InventoryPlan(InventoryPlan&&) noexcept = default;
InventoryPlan& InventoryPlan::operator=(InventoryPlan&&) noexcept = default;
InventoryPlan::~InventoryPlan() = default;

Result<PreparedInventory> InventoryPlan::write(const adapters::MpSettings& settings, const adapters::MpIdentity& identity) && {
  GREENGATE_CHECK(content, "a plan that sends something has its content, once");
  const std::unique_ptr<Content> spent = std::move(content);
  auto message = spent->write(settings, identity, report_facts(note));
  if (!message) return pass(message);
  return PreparedInventory{std::move(*message), std::move(spent->move)};
}

InventoryPlanner::InventoryPlanner(const InventoryConfig& config, const adapters::MpSettings& settings, store::Baselines& baselines,
                                   Metrics& metrics)
    : config_(config),
      churn_(config.churning),
      settings_(settings),
      baselines_(baselines),
      dropped_(metrics.counter("greengate_inventory_instances_dropped_total",
                               "Instances left out of an agent's inventory: without a key, or named like one before them.")) {
  for (const DecisionWords& each : decision_words) {
    decisions_.emplace(each.decision, metrics.counter("greengate_inventory_decisions_total", "Inventories by what was decided to send of them.",
                                                      {{"decision", each.name}}));
  }
}

Result<InventoryPlan> InventoryPlanner::plan(const AgentId& agent, const SmsId& client, const Group& group,
                                             const std::optional<DeliveryNote>& note, const Counters& counters, WallTime now) const {
  return group.kind == v1::KIND_SOFTWARE_INVENTORY ? plan_state<v1::SoftwareInventory>(agent, client, group, note, counters, now)
                                                   : plan_state<v1::HardwareInventory>(agent, client, group, note, counters, now);
}

template <class State>
Result<InventoryPlan> InventoryPlanner::plan_state(const AgentId& agent, const SmsId& client, const Group& group,
                                                   const std::optional<DeliveryNote>& note, const Counters& counters, WallTime now) const {
  auto content = std::make_unique<ContentOf<State>>();
  InventoryPlan plan;
  const auto decided = [&](InventoryDecision decision) {
    plan.decision = decision;
    return Result<InventoryPlan>(std::move(plan));
  };

  // What the site has.
  auto found = baselines_.find(agent, group.kind);
  if (!found) return pass(found);
  std::optional<store::Baseline> baseline = std::move(*found);
  const Versions taken = baseline ? Versions{baseline->major, baseline->minor} : Versions{};
  BaselineForm form;
  std::optional<Versions> at_site;
  if (baseline) {
    auto read = read_baseline(baseline->body);
    std::string().swap(baseline->body);
    if (read) form = std::move(*read);
    auto parsed = read ? Kind<State>::parse(form.plain, *content->arena, StateOrigin::baseline)
                       : Result<ParsedState<State>>(pass(read));
    std::string().swap(form.plain);
    if (parsed && form.client != client.raw()) {
      // The site's record is another now and has nothing of this; what the agent has is known all the same.
      content->was = parsed->state;
      form.client = client.raw();
      baseline.reset();
    } else if (parsed) {
      content->was = parsed->state;
      at_site = taken;
    } else {
      log_.warn("baseline cannot be read; the whole inventory is sent", kv("agent", agent.raw()), kv("code", parsed.error().code),
                kv("why", parsed.error().message));
      baseline.reset();
    }
  }

  // What it is to have.
  const store::LeasedReport* report = nullptr;
  bool resync = false;
  for (const store::LeasedReport* each : group.reports) {
    if (each->kind == group.kind) report = each;
    else resync = true;
  }
  const bool was_newer = report && baseline && report->name.incarnation == form.incarnation && report->name.sequence <= form.sequence;
  if (was_newer && !resync && !note) return decided(InventoryDecision::older);
  if (was_newer && resync) report = nullptr;  // answered from the baseline, which knows more
  if (note && at_site && Versions{note->version_major, note->version_minor} <= *at_site) return decided(InventoryDecision::older);
  if (report) {
    auto parsed = Kind<State>::parse(report->body, *content->arena, StateOrigin::agent);
    if (!parsed) return pass(parsed);
    if (!note) dropped_.add(parsed->dropped);
    content->is = parsed->state;
    content->form = {report->name.incarnation, report->name.sequence, client.raw(), {}};
    if (parsed->as_it_came) content->untouched = &report->body;
    if constexpr (std::is_same_v<State, v1::HardwareInventory>) {
      if (policy_ != nullptr && policy_->keep_wanted(agent, *content->is)) content->untouched = nullptr;
    }
    plan.tells_report = true;
  } else if (content->was) {
    content->is = std::exchange(content->was, nullptr);
    content->form = std::move(form);
  } else {
    return decided(InventoryDecision::nothing_known);
  }

  // All of it, or the changes?
  const Versions numbered{counters(Kind<State>::major), counters(Kind<State>::minor)};
  const auto decide = [&]() -> InventoryDecision {
    const bool same_ground = note && at_site.value_or(Versions{}) == Versions{note->baseline_major, note->baseline_minor};
    if (note && !same_ground) return at_site ? InventoryDecision::full_gap : InventoryDecision::full_first;
    if (note && note->version_minor == 0) return InventoryDecision::full_repeated;
    if (resync) return InventoryDecision::full_resync;
    if (!at_site) return InventoryDecision::full_first;
    if (!note && *at_site != numbered) return InventoryDecision::full_gap;
    if (!note && now - baseline->full_at >= config_.full_interval) return InventoryDecision::full_due;
    if (!fits_together(*content->was, *content->is)) return InventoryDecision::full_shape;
    content->changes = compare(*content->was, *content->is, churn_);
    if (!content->changes.can_be_told) return InventoryDecision::full_shape;
    if (content->changes.rows == 0) return InventoryDecision::unchanged;
    if (note) return InventoryDecision::delta_repeated;
    if (baseline->minor >= config_.deltas_max) return InventoryDecision::full_due;
    const std::size_t rows = rows_of(*content->is);
    if (rows != 0 && content->changes.rows > rows) return InventoryDecision::full_smaller;
    return InventoryDecision::delta;
  };
  const InventoryDecision decision = decide();
  if (decision == InventoryDecision::unchanged) return decided(decision);

  content->full = is_full(decision);
  if (content->full) {
    content->changes = {};
    const bool keeps = content->was && fits_together(*content->was, *content->is);
    if (keeps && keep_unspoken(*content->was, *content->is) != 0) content->untouched = nullptr;
    if (rows_of(*content->is) == 0) return decided(InventoryDecision::empty);
  }
  content->churn = churn_;

  const bool repeated = decision == InventoryDecision::full_repeated || decision == InventoryDecision::delta_repeated;
  if (repeated) {
    plan.note = *note;
  } else {
    const Versions last = std::max(numbered, taken);
    const Versions next = content->full ? Versions{last.major + 1, 0} : Versions{last.major, last.minor + 1};
    plan.note.message_id = adapters::new_message_id();
    plan.note.made_at = now;
    if (policy_ != nullptr) plan.note.policy_date = policy_->last_update(agent, group.kind);
    plan.note.version_major = static_cast<std::uint32_t>(next.major);
    plan.note.version_minor = static_cast<std::uint32_t>(next.minor);
    plan.note.baseline_major = at_site.value_or(Versions{}).major;
    plan.note.baseline_minor = at_site.value_or(Versions{}).minor;
    plan.counters = {{Kind<State>::major, next.major}, {Kind<State>::minor, next.minor}};
    plan.to_pin = true;
  }
  content->move.kind = group.kind;
  content->move.major = plan.note.version_major;
  content->move.minor = plan.note.version_minor;
  content->move.full_at = content->full ? now : baseline->full_at;
  plan.content = std::move(content);
  return decided(decision);
}

}  // namespace greengate::workers
