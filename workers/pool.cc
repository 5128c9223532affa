#include "workers/pool.h"

#include <algorithm>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;

// After the store could not lease.
constexpr milliseconds store_patience{500};

std::vector<ItemId> ids_of(const std::vector<const store::LeasedReport*>& reports) {
  std::vector<ItemId> ids;
  ids.reserve(reports.size());
  for (const auto* report : reports) ids.push_back(report->id);
  return ids;
}

// A file must fit into one lease.
PoolConfig with_file_limits(PoolConfig config) {
  config.coalescer.files = {config.batch_reports_max, config.batch_bytes_max};
  return config;
}

Counter outcome_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_pool_reports_total", "Reports by what the worker pool did with them.",
                         {{"outcome", outcome}});
}

}  // namespace

std::vector<ConfigProblem> PoolConfig::problems() const {
  std::vector<ConfigProblem> found;
  const auto complain = [&](const char* key, const std::string& value, const char* advice) {
    found.push_back({key, std::string(key) + " is " + value + "; " + advice});
  };
  if (workers < 1 || workers > 256) {
    complain("delivery.workers", std::to_string(workers), "it can be 1 to 256 (8 if left out).");
  }
  if (batch_reports_max < 1 || batch_reports_max > 10'000) {
    complain("delivery.batch_reports_max", std::to_string(batch_reports_max), "it can be 1 to 10000 (256 if left out).");
  }
  if (file_wait_max < std::chrono::minutes(1)) {
    complain("delivery.file_wait_max", duration_text(file_wait_max), "it must be at least 1min (1d if left out).");
  }
  if (retry_base < milliseconds(10) || retry_cap < retry_base) {
    complain("delivery.retry_base", duration_text(retry_base),
             "it must be at least 10ms and not longer than delivery.retry_cap.");
  }
  return found;
}

Pool::Pool(PoolConfig config, store::ReportQueue& reports, store::DeviceRegistry& devices, Identities& identities,
           const Translator& translator, Courier& courier, const Clock& clock, Metrics& metrics, OutcomeSink outcomes)
    : config_(with_file_limits(config)),
      reports_(reports),
      devices_(devices),
      identities_(identities),
      translator_(translator),
      courier_(courier),
      pacer_(config.workers, courier),
      clock_(clock),
      outcomes_(std::move(outcomes)),
      delivered_(outcome_counter(metrics, "delivered")),
      superseded_(outcome_counter(metrics, "superseded")),
      buried_(outcome_counter(metrics, "buried")),
      postponed_(outcome_counter(metrics, "postponed")),
      messages_(metrics.counter("greengate_pool_messages_total", "Messages a management point took.")),
      delivery_seconds_(metrics.histogram("greengate_pool_delivery_seconds", "From stored to delivered.",
                                          {0.05, 0.25, 1, 5, 30, 300, 3'600, 86'400})) {}

Pool::~Pool() { stop(); }

Result<void> Pool::start() {
  stopping_ = false;
  for (std::uint32_t i = 0; i < config_.workers; ++i) threads_.emplace_back([this] { work(); });
  return {};
}

void Pool::drain(SteadyTime) {
  // A worker finishes the message in its hand, which the courier's own draining bounds; what it has not begun goes back.
  stopping_ = true;
  pacer_.wake();
  reports_.wake_waiters();
}

void Pool::stop() {
  drain({});
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Pool::work() {
  while (!stopping_) {
    // What could not go now is not leased: that would only churn the store and keep it from who might send it.
    Pacer::Ticket ticket = pacer_.reserve();
    if (ticket.lanes().empty()) {
      pacer_.wait(ticket);
      continue;
    }
    auto batch = reports_.lease(ticket.lanes(), config_.batch_reports_max, static_cast<std::uint64_t>(config_.batch_bytes_max),
                                ticket.look_again());
    if (!batch) {
      if (batch.error().remedy == Remedy::halt) return;
      log_.error("lease failed", kv("code", batch.error().code), kv("why", batch.error().message));
      std::this_thread::sleep_for(store_patience);
      continue;
    }
    if (!*batch) continue;
    ticket.keep_only((*batch)->lane);
    carry(**batch);
  }
}

void Pool::carry(const store::Batch& batch) {
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
  if (!plan.superseded.empty()) supersede(hand, plan.superseded);
  set_aside(hand, plan);
  for (Group& group : plan.messages) {
    // A message begun too close to the lease's end could be sent by two workers at once.
    const bool lease_ends = clock_.wall() + config_.message_time_max > batch.until;
    if (stopping_ || lease_ends) {
      settle_delivered(hand);
      return reports_.hand_back(batch.lease);
    }
    if (!carry_message(hand, *identity, group)) return;
  }
}

bool Pool::carry_message(Hand& hand, const adapters::MpIdentity& identity, Group& group) {
  const store::Batch& batch = hand.batch;
  DeliveryNote note;
  if (group.note.empty()) {
    auto numbering = translator_.number(group, clock_.wall(), [&](const std::string& counter) {
      return devices_.counter(batch.agent, counter);
    });
    if (!numbering) {
      bury(hand, group.reports, numbering.error());
      return true;
    }
    note = numbering->note;
    if (auto pinned = reports_.pin(batch.lease, {{ids_of(group.reports), write_note(note)}}, numbering->counters); !pinned) {
      log_.warn("numbering not kept", kv("agent", batch.agent.raw()), kv("code", pinned.error().code),
                kv("why", pinned.error().message));
      settle_delivered(hand);
      reports_.hand_back(batch.lease);
      return false;
    }
  } else {
    auto kept = read_note(group.note);
    if (!kept) {
      bury(hand, group.reports, kept.error());
      return true;
    }
    note = *kept;
  }

  auto message = translator_.translate(identity, group, note);
  if (!message && message.error().remedy == Remedy::reject) {
    bury(hand, group.reports, message.error());
    return true;
  }
  if (!message) {
    put_back(hand, message.error());
    return false;
  }
  auto answer = courier_.send(*message);
  if (answer) {
    delivered(hand, group.reports, note.message_id);
    return true;
  }
  if (answer.error().remedy == Remedy::reject) {
    bury(hand, group.reports, answer.error());
    return true;
  }
  if (answer.error().remedy == Remedy::halt) {
    settle_delivered(hand);
    reports_.hand_back(batch.lease);
  } else {
    put_back(hand, answer.error());
  }
  return false;
}

void Pool::close(Hand& hand, const Reports& reports) {
  std::erase_if(hand.open, [&](const auto* report) { return std::find(reports.begin(), reports.end(), report) != reports.end(); });
}

bool Pool::settle(Hand& hand, const std::vector<store::Settlement>& settlements) {
  auto settled = reports_.settle(hand.batch.lease, settlements);
  if (settled) return true;
  // The lease returns by itself and the message is sent again with the same ID: at least once.
  log_.warn("settling failed", kv("agent", hand.batch.agent.raw()), kv("code", settled.error().code),
            kv("why", settled.error().message));
  return false;
}

void Pool::supersede(Hand& hand, const Reports& reports) {
  close(hand, reports);
  std::vector<store::Settlement> settlements;
  for (const auto* report : reports) settlements.push_back({report->id, store::Outcome::superseded, {}, {}});
  if (!settle(hand, settlements)) return;
  superseded_.add(static_cast<double>(reports.size()));
  for (const auto* report : reports) outcomes_({report->name, store::Outcome::superseded, {}, {}});
}

void Pool::set_aside(Hand& hand, const Plan& plan) {
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

void Pool::delivered(Hand& hand, const Reports& reports, const std::string& tracking) {
  close(hand, reports);
  messages_.add();
  for (const auto* report : reports) {
    hand.delivered.push_back({report->id, store::Outcome::delivered, tracking, {}});
    hand.delivered_reports.push_back(report);
  }
  ++hand.delivered_messages;
  if (hand.delivered_messages >= config_.settle_messages_max || hand.open.empty()) settle_delivered(hand);
}

void Pool::settle_delivered(Hand& hand) {
  if (hand.delivered.empty()) return;
  if (settle(hand, hand.delivered)) {
    delivered_.add(static_cast<double>(hand.delivered.size()));
    const WallTime now = clock_.wall();
    for (const auto* report : hand.delivered_reports) {
      delivery_seconds_.observe(std::chrono::duration<double>(now - report->kept_at).count());
      outcomes_({report->name, store::Outcome::delivered, {}, {}});
    }
  }
  hand.delivered.clear();
  hand.delivered_reports.clear();
  hand.delivered_messages = 0;
}

void Pool::bury(Hand& hand, const Reports& reports, const Error& reason) {
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
  for (const auto* report : reports) outcomes_({report->name, store::Outcome::buried, reason.code, reason.message});
}

void Pool::put_back(Hand& hand, const Error& why) {
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

}  // namespace greengate::workers
