#include "workers/carrier.h"

#include "core/config_reader.h"

#include <algorithm>
#include <map>
#include <set>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;

std::vector<ItemId> ids_of(const std::vector<const store::LeasedReport*>& reports) {
  std::vector<ItemId> ids;
  ids.reserve(reports.size());
  for (const auto* report : reports) ids.push_back(report->id);
  return ids;
}

Counter outcome_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_pool_reports_total", "Reports by what the worker pool did with them.",
                         {{"outcome", outcome}});
}

bool is_ours(const store::LeasedReport& report) { return report.name.incarnation == 0; }

}  // namespace

Carrier::Carrier(const CarrierConfig& config, store::ReportQueue& reports, store::DeviceRegistry& devices, Identities& identities,
                 const Translator& translator, const InventoryPlanner& inventories, Courier& courier, const Clock& clock, Metrics& metrics,
                 OutcomeSink outcomes)
    : config_(config),
      reports_(reports),
      devices_(devices),
      identities_(identities),
      translator_(translator),
      inventories_(inventories),
      courier_(courier),
      clock_(clock),
      outcomes_(std::move(outcomes)),
      delivered_(outcome_counter(metrics, "delivered")),
      superseded_(outcome_counter(metrics, "superseded")),
      buried_(outcome_counter(metrics, "buried")),
      postponed_(outcome_counter(metrics, "postponed")),
      messages_(metrics.counter("greengate_pool_messages_total", "Messages a management point took.")),
      delivery_seconds_(metrics.histogram("greengate_pool_delivery_seconds", "From stored to delivered.",
                                          {0.05, 0.25, 1, 5, 30, 300, 3'600, 86'400})) {}

void Carrier::carry(const store::Batch& batch, const std::atomic<bool>& stopping) {
  Hand hand{batch, {}, {}, {}, 0};
  for (const auto& report : batch.reports) hand.open.push_back(&report);
  const auto device = devices_.find(batch.agent);
  if (!device || device->state == store::DeviceState::revoked) {
    const Reports all = hand.open;
    bury(hand, all, Error{Remedy::reject, "agent.revoked", "the agent was revoked before this report was delivered.", {}});
    return;
  }
  if (device->site.state != store::IdentityState::ready) {
    put_back(hand, Error{Remedy::retry, "identity.not_ready", "the site has not confirmed this agent yet.", {}});
    return;
  }
  auto identity = identities_.of(*device);
  if (!identity) {
    log_.error("identity cannot be opened", kv("agent", batch.agent.raw()), kv("code", identity.error().code),
               kv("why", identity.error().message));
    put_back(hand, identity.error());
    return;
  }

  Plan plan = plan_messages(batch, config_.coalescer);
  if (!plan.superseded.empty()) supersede(hand, plan.superseded, {});
  set_aside(hand, plan);
  Errands errands;
  for (Group& group : plan.messages) errands.push_back({std::move(group), {}, {}, false, false, false});
  if (number_ahead(hand, *identity, errands) == Next::over) return;
  for (Errand& errand : errands) {
    if (errand.done) continue;
    // A message begun too close to the lease's end could be sent by two workers at once.
    const bool lease_ends = clock_.wall() + config_.message_time_max > batch.until;
    if (stopping || lease_ends) return hand_back(hand);
    const Next next = is_inventory(errand.group.kind) ? carry_inventory(hand, *identity, errand) : carry_message(hand, *identity, errand);
    if (next == Next::over) return;
  }
}

// One sync for all that can be numbered now.
Carrier::Next Carrier::number_ahead(Hand& hand, const adapters::MpIdentity& identity, Errands& errands) {
  std::map<std::string, std::uint64_t> numbered;  // what earlier messages of this batch make of the counters
  const auto counter = [&](const std::string& name) {
    const auto found = numbered.find(name);
    return found != numbered.end() ? found->second : devices_.counter(hand.batch.agent, name);
  };
  std::set<std::uint32_t> inventories;
  std::vector<store::Pin> pins;
  for (Errand& errand : errands) {
    const Group& group = errand.group;
    if (!group.note.empty()) {
      auto kept = read_note(group.note);
      if (kept) {
        errand.note = std::move(*kept);
      } else {
        bury(hand, group.reports, kept.error());
        errand.done = true;
      }
    }
    if (is_inventory(group.kind)) errand.follows = !inventories.insert(group.kind).second;
    if (errand.done || errand.note || errand.follows) continue;

    std::vector<store::CounterValue> counters;
    if (is_inventory(group.kind)) {
      if (plan_inventory(hand, identity, errand, counter) == Next::over) return Next::over;
      if (errand.done) continue;
      errand.note = errand.plan->note;
      counters = errand.plan->counters;
      if (inventories.size() > 1) errand.plan.reset();  // one inventory's states in memory are enough
    } else {
      auto numbering = translator_.number(group, clock_.wall(), counter);
      if (!numbering) {
        bury(hand, group.reports, numbering.error());
        errand.done = true;
        continue;
      }
      errand.note = numbering->note;
      counters = std::move(numbering->counters);
    }
    pins.push_back({ids_of(group.reports), write_note(*errand.note)});
    for (auto& [name, value] : counters) numbered[name] = value;
  }
  if (pins.empty()) return Next::go_on;
  std::vector<store::CounterValue> counters;
  for (const auto& [name, value] : numbered) counters.push_back({name, value});
  return pin(hand, pins, counters);
}

Carrier::Next Carrier::pin(Hand& hand, const std::vector<store::Pin>& pins, const std::vector<store::CounterValue>& counters) {
  auto pinned = reports_.pin(hand.batch.lease, pins, counters);
  if (pinned) return Next::go_on;
  log_.warn("numbering not kept", kv("agent", hand.batch.agent.raw()), kv("code", pinned.error().code), kv("why", pinned.error().message));
  hand_back(hand);
  return Next::over;
}

Carrier::Next Carrier::carry_message(Hand& hand, const adapters::MpIdentity& identity, Errand& errand) {
  auto message = translator_.translate(identity, errand.group, *errand.note);
  if (!message) return not_delivered(hand, errand, message.error());
  auto answer = courier_.send(*message);
  if (!answer) return not_delivered(hand, errand, answer.error());
  delivered(hand, errand.group.reports, errand.note->message_id);
  return Next::go_on;
}

// Afterwards the errand has a plan that sends something, or is done.
Carrier::Next Carrier::plan_inventory(Hand& hand, const adapters::MpIdentity& identity, Errand& errand,
                                      const InventoryPlanner::Counters& counters) {
  const store::Batch& batch = hand.batch;
  auto plan = inventories_.plan(batch.agent, identity.sms_id, errand.group, errand.note, counters, clock_.wall());
  if (!plan) {
    const Next next = not_delivered(hand, errand, plan.error());
    errand.done = true;
    return next;
  }
  if (!errand.counted) inventories_.count(plan->decision);
  errand.counted = true;
  if (plan->sends()) {
    errand.plan = std::move(*plan);
    return Next::go_on;
  }
  supersede(hand, errand.group.reports, decision_code(plan->decision));
  errand.done = true;
  if (plan->decision == InventoryDecision::nothing_known && state_wanted_) state_wanted_(batch.agent, errand.group.kind);
  return Next::go_on;
}

Carrier::Next Carrier::carry_inventory(Hand& hand, const adapters::MpIdentity& identity, Errand& errand) {
  if (!errand.plan) {
    const auto counter = [&](const std::string& name) { return devices_.counter(hand.batch.agent, name); };
    if (plan_inventory(hand, identity, errand, counter) == Next::over) return Next::over;
    if (errand.done) return Next::go_on;
    if (errand.plan->to_pin) {
      errand.note = errand.plan->note;
      if (pin(hand, {{ids_of(errand.group.reports), write_note(*errand.note)}}, errand.plan->counters) == Next::over) return Next::over;
    }
  }
  InventoryPlan plan = std::move(*errand.plan);
  errand.plan.reset();
  const bool tells_report = plan.tells_report;
  auto prepared = std::move(plan).write(inventories_.settings(), identity);
  if (!prepared) return not_delivered(hand, errand, prepared.error());
  auto answer = courier_.send(prepared->message);
  if (!answer) return not_delivered(hand, errand, answer.error());
  return inventory_delivered(hand, errand, tells_report, prepared->move);
}

Carrier::Next Carrier::not_delivered(Hand& hand, const Errand& errand, const Error& why) {
  switch (why.remedy) {
    case Remedy::reject: bury(hand, errand.group.reports, why); return Next::go_on;
    case Remedy::halt: hand_back(hand); return Next::over;
    case Remedy::retry: break;
  }
  put_back(hand, why);
  return Next::over;
}

Carrier::Next Carrier::inventory_delivered(Hand& hand, const Errand& errand, bool tells_report, const store::BaselineMove& move) {
  messages_.add();
  // The message told one of them: the newest state, or, where there was none, the last request for everything again.
  const Reports& reports = errand.group.reports;
  const store::LeasedReport* told = nullptr;
  for (const auto* report : reports) {
    if ((report->kind == errand.group.kind) == tells_report) told = report;
  }
  std::vector<store::Settlement> settlements = hand.delivered;
  Reports settled = hand.delivered_reports;
  for (const auto* report : reports) {
    if (report == told) {
      settlements.push_back({report->id, store::Outcome::delivered, errand.note->message_id, {}});
    } else {
      const bool behind = !tells_report && report->kind == errand.group.kind;
      settlements.push_back({report->id, store::Outcome::superseded, {}, behind ? decision_code(InventoryDecision::older) : ""});
    }
    settled.push_back(report);
  }
  close(hand, reports);
  hand.delivered.clear();
  hand.delivered_reports.clear();
  hand.delivered_messages = 0;
  if (!settle(hand, settlements, {move})) {
    // A later inventory numbered on a baseline that did not move would go out before this one is sent again.
    hand_back(hand);
    return Next::over;
  }
  tell(settled, settlements);
  return Next::go_on;
}

void Carrier::close(Hand& hand, const Reports& reports) {
  std::erase_if(hand.open, [&](const auto* report) { return std::find(reports.begin(), reports.end(), report) != reports.end(); });
}

bool Carrier::settle(Hand& hand, const std::vector<store::Settlement>& settlements, const std::vector<store::BaselineMove>& moves) {
  auto settled = reports_.settle(hand.batch.lease, settlements, moves);
  if (settled) return true;
  // The lease returns by itself and the message is sent again with the same ID: at least once.
  log_.warn("settling failed", kv("agent", hand.batch.agent.raw()), kv("code", settled.error().code),
            kv("why", settled.error().message));
  return false;
}

void Carrier::tell(const Reports& reports, const std::vector<store::Settlement>& settlements) {
  const WallTime now = clock_.wall();
  for (std::size_t i = 0; i < reports.size(); ++i) {
    const store::LeasedReport& report = *reports[i];
    const store::Settlement& settlement = settlements[i];
    if (settlement.outcome == store::Outcome::delivered) {
      delivered_.add();
      delivery_seconds_.observe(std::chrono::duration<double>(now - report.kept_at).count());
    } else {
      superseded_.add();
    }
    if (!is_ours(report)) outcomes_({report.name, settlement.outcome, settlement.code, {}});
  }
}

void Carrier::supersede(Hand& hand, const Reports& reports, const std::string& code) {
  close(hand, reports);
  if (hand.open.empty()) settle_delivered(hand);  // the lease ends with its last report
  std::vector<store::Settlement> settlements;
  for (const auto* report : reports) settlements.push_back({report->id, store::Outcome::superseded, {}, code});
  if (settle(hand, settlements)) tell(reports, settlements);
}

void Carrier::set_aside(Hand& hand, const Plan& plan) {
  for (const Hopeless& each : plan.hopeless) bury(hand, each.reports, each.reason);
  const WallTime now = clock_.wall();
  Reports back;
  milliseconds soonest = milliseconds::max();
  for (const Waiting& each : plan.wait) {
    if (now - each.reports.back()->kept_at >= config_.file_wait_max) {
      bury(hand, each.reports,
           Error{Remedy::reject, "files.broken", "the rest of the file did not come within " + duration_text(config_.file_wait_max) + ".", {}});
      continue;
    }
    back.insert(back.end(), each.reports.begin(), each.reports.end());
    soonest = std::min(soonest, wait_for_rest(each, now));
  }
  if (back.empty()) return;
  close(hand, back);
  const Error why{Remedy::retry, "files.incomplete", "the rest of the file is still to come.", {}};
  if (auto postponed = reports_.postpone(hand.batch.lease, ids_of(back), soonest, why); !postponed) {
    log_.warn("postponing failed", kv("agent", hand.batch.agent.raw()), kv("code", postponed.error().code));
    return;
  }
  postponed_.add(static_cast<double>(back.size()));
}

void Carrier::delivered(Hand& hand, const Reports& reports, const std::string& tracking) {
  close(hand, reports);
  messages_.add();
  for (const auto* report : reports) {
    hand.delivered.push_back({report->id, store::Outcome::delivered, tracking, {}});
    hand.delivered_reports.push_back(report);
  }
  ++hand.delivered_messages;
  if (hand.delivered_messages >= config_.settle_messages_max || hand.open.empty()) settle_delivered(hand);
}

void Carrier::settle_delivered(Hand& hand) {
  if (hand.delivered.empty()) return;
  if (settle(hand, hand.delivered)) tell(hand.delivered_reports, hand.delivered);
  hand.delivered.clear();
  hand.delivered_reports.clear();
  hand.delivered_messages = 0;
}

void Carrier::bury(Hand& hand, const Reports& reports, const Error& reason) {
  const store::Batch& batch = hand.batch;
  close(hand, reports);
  if (hand.open.empty()) settle_delivered(hand);  // the lease ends with its last report
  if (auto buried = reports_.bury(batch.lease, ids_of(reports), reason); !buried) {
    log_.warn("burying failed", kv("agent", batch.agent.raw()), kv("code", buried.error().code),
              kv("why", buried.error().message));
    return;
  }
  buried_.add(static_cast<double>(reports.size()));
  log_.warn("reports buried", kv("agent", batch.agent.raw()), kv("reports", reports.size()), kv("code", reason.code),
            kv("why", reason.message));
  for (const auto* report : reports) {
    if (!is_ours(*report)) outcomes_({report->name, store::Outcome::buried, reason.code, reason.message});
  }
}

void Carrier::put_back(Hand& hand, const Error& why) {
  settle_delivered(hand);
  const store::Batch& batch = hand.batch;
  const std::vector<ItemId> ids = ids_of(hand.open);
  std::uint32_t attempt = 1;
  for (const auto* report : hand.open) attempt = std::max(attempt, report->attempt);
  // Spread by agent, not by dice, so that the wait can be told from the report alone: full, three quarters, half.
  const auto doubled = config_.retry_base * (std::int64_t{1} << std::min<std::uint32_t>(attempt - 1, 20));
  const auto ceiling = std::min<milliseconds>(doubled, config_.retry_cap);
  const auto spread = ceiling.count() / 2;
  const auto offset = spread > 0 ? static_cast<std::int64_t>(std::hash<AgentId>{}(batch.agent) % static_cast<std::uint64_t>(spread)) : 0;
  const auto delay = std::max(milliseconds(ceiling.count() - offset), why.retry_after);
  if (auto postponed = reports_.postpone(batch.lease, ids, delay, why); !postponed) {
    log_.warn("postponing failed", kv("agent", batch.agent.raw()), kv("code", postponed.error().code));
    return;
  }
  postponed_.add(static_cast<double>(ids.size()));
  log_.debug("reports postponed", kv("agent", batch.agent.raw()), kv("reports", ids.size()), kv("code", why.code),
             kv("retry_in_ms", delay));
}

void Carrier::hand_back(Hand& hand) {
  settle_delivered(hand);
  reports_.hand_back(hand.batch.lease);
}

}  // namespace greengate::workers
