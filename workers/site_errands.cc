#include "workers/site_errands.h"

#include "core/random.h"

#include <array>
#include <atomic>
#include <memory>
#include <utility>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;

/// What a question to the site can come to, as IdentityLife calls it.
constexpr std::array outcomes{"registered", "confirmed",          "still_pending", "again",            "rejected",        "refused",
                              "failed",     "renewal_registered", "renewed",       "renewal_rejected", "renewal_given_up"};

}  // namespace

std::vector<ConfigProblem> SiteErrandsConfig::problems() const {
  std::vector<ConfigProblem> found;
  if (workers < 1 || workers > 64) {
    found.push_back({"registration.workers",
                     "registration.workers is " + std::to_string(workers) + "; it can be 1 to 64 (2 if left out)."});
  }
  if (keys_ready_max < 1 || keys_ready_max > 10'000) {
    found.push_back({"registration.keys_ready_max", "registration.keys_ready_max is " + std::to_string(keys_ready_max) +
                                                        "; it can be 1 to 10000 (32 if left out)."});
  }
  if (confirm_cap < confirm_first) {
    found.push_back({"registration.confirm_cap", "registration.confirm_cap is " + duration_text(confirm_cap) +
                                                     "; it cannot be shorter than registration.confirm_first."});
  }
  if (failure_cap < failure_base || failure_base < milliseconds(10)) {
    found.push_back({"registration.failure_base",
                     "registration.failure_base is " + duration_text(failure_base) +
                         "; it must be at least 10ms and not longer than registration.failure_cap."});
  }
  if (refused_cap < refused_base || refused_base < milliseconds(10)) {
    found.push_back({"registration.refused_base",
                     "registration.refused_base is " + duration_text(refused_base) +
                         "; it must be at least 10ms and not longer than registration.refused_cap."});
  }
  if (refusals_max < 1 || refusals_max > 100) {
    found.push_back({"registration.refusals_max", "registration.refusals_max is " + std::to_string(refusals_max) +
                                                      "; it can be 1 to 100 (3 if left out)."});
  }
  if (rejected_retry < milliseconds(10) || renew_retry < milliseconds(10) || certificate_check < milliseconds(10)) {
    found.push_back({"registration.rejected_retry",
                     "registration.rejected_retry, renew_retry and certificate_check must each be at least 10ms."});
  }
  return found;
}

LifeRules SiteErrandsConfig::rules() const {
  LifeRules rules;
  rules.confirm = {confirm_first, confirm_cap};
  rules.failure = {failure_base, failure_cap};
  rules.refused = {refused_base, refused_cap};
  rules.rejected_retry = rejected_retry;
  rules.refusals_max = refusals_max;
  rules.refusal_spacing = refusal_spacing;
  rules.renew_before = renew_before;
  rules.renew_retry = renew_retry;
  rules.look_interval = certificate_check;
  rules.renew_with_new_key = renew_with_new_key;
  return rules;
}

SiteErrands::SiteErrands(SiteErrandsConfig config, const adapters::MpSettings& settings, store::DeviceRegistry& devices,
                         store::ReportQueue& reports, Identities& identities, KeyPool& keys, Courier& courier,
                         const Clock& clock, Metrics& metrics, ReadyListener on_ready)
    : config_(config),
      devices_(devices),
      reports_(reports),
      identities_(identities),
      clock_(clock),
      on_ready_(std::move(on_ready)),
      rules_(config.rules()),
      steps_(rules_, settings, devices, reports, identities, keys, courier, clock) {
  for (const char* outcome : outcomes) {
    outcomes_.emplace(outcome, metrics.counter("greengate_registration_steps_total",
                                               "Questions about agents' registration, by what came of them.", {{"outcome", outcome}}));
  }
  for (std::size_t i = 0; i < life_states; ++i) {
    agents_in_state_.push_back(metrics.gauge("greengate_registration_agents", "Active agents by where they stand with the site.",
                                             {{"state", name_of(static_cast<LifeState>(i))}}));
  }
}

SiteErrands::~SiteErrands() { stop(); }

Result<void> SiteErrands::start() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = false;
  }
  std::vector<AgentId> active;
  devices_.for_each([&active](const store::Device& device) {
    if (device.state == store::DeviceState::active) active.push_back(device.id);
  });
  for (const AgentId& agent : active) agent_active(agent);
  for (std::uint32_t i = 0; i < config_.workers; ++i) threads_.emplace_back([this] { work(); });
  return {};
}

void SiteErrands::drain(SteadyTime) {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  due_changed_.notify_all();
}

void SiteErrands::stop() {
  drain({});
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void SiteErrands::agent_active(const AgentId& agent) {
  const auto device = devices_.find(agent);
  if (!device || device->state != store::DeviceState::active || (left_out_ && left_out_(*device))) return;
  const IdentityLife life = steps_.life_of(*device, random_u64());
  {
    std::lock_guard lock(mutex_);
    if (!lives_.try_emplace(agent, Entry{life, true, {}}).second) return;  // it has its own pace
    agents_in_state_[static_cast<std::size_t>(life.state())].add(1);
  }
  put_back(agent, life);
}

void SiteErrands::agent_gone(const AgentId& agent) {
  identities_.forget(agent);
  {
    std::lock_guard lock(mutex_);
    if (const auto entry = lives_.find(agent); entry != lives_.end()) {
      agents_in_state_[static_cast<std::size_t>(entry->second.life.state())].add(-1);
      lives_.erase(entry);
    }
    planned_.erase(agent);
  }
  // Its reports need no confirmation any more: the pool buries them with the reason.
  reports_.unhold(agent);
}

void SiteErrands::put_back(const AgentId& agent, IdentityLife life, bool over) {
  std::unique_lock lock(mutex_);
  while (true) {
    lock.unlock();
    steps_.hold_or_release(agent, life);
    lock.lock();
    const auto entry = lives_.find(agent);
    if (entry == lives_.end()) {  // revoked meanwhile
      lock.unlock();
      return reports_.unhold(agent);
    }
    Entry& kept = entry->second;
    const LifeState was = kept.life.state();
    const auto heard = std::exchange(kept.heard_meanwhile, {});
    for (const auto& say : heard) say(life);
    kept.life = life;
    if (was != life.state()) {
      agents_in_state_[static_cast<std::size_t>(was)].add(-1);
      agents_in_state_[static_cast<std::size_t>(life.state())].add(1);
    }
    if (!heard.empty()) continue;  // what was said may hold or release
    kept.busy = false;
    if (!over) put_locked(agent, life.due());
    return;
  }
}

void SiteErrands::tell(const AgentId& agent, std::function<void(IdentityLife&)> say) {
  std::optional<IdentityLife> life;
  {
    std::lock_guard lock(mutex_);
    const auto entry = lives_.find(agent);
    if (entry == lives_.end()) return;
    if (entry->second.busy) {
      if (entry->second.heard_meanwhile.size() < 16) entry->second.heard_meanwhile.push_back(std::move(say));
      return;
    }
    entry->second.busy = true;
    life = entry->second.life;
  }
  const LifeState was = life->state();
  say(*life);
  if (was != life->state()) log_.info("identity", kv("agent", agent.raw()), kv("state", name_of(life->state())));
  put_back(agent, *life);
}

void SiteErrands::invoke_answered(const AgentId& agent) {
  tell(agent, [](IdentityLife& life) { life.invoke_answered(); });
}

milliseconds SiteErrands::invoke_refused(const AgentId& agent) {
  const auto wait = std::make_shared<std::atomic<std::int64_t>>(config_.refused_cap.count());
  tell(agent, [wait, at = steps_.now()](IdentityLife& life) { *wait = life.invoke_refused(at).count(); });
  return milliseconds(*wait);
}

void SiteErrands::reply_unexpected(const AgentId& agent) {
  tell(agent, [at = steps_.now()](IdentityLife& life) { life.reply_unexpected(at); });
}

Result<void> SiteErrands::rotate(const AgentId& agent) {
  if (identities_.common()) {
    return fail(Remedy::reject, "identity.common_key", "agents have no keys of their own here (site.identity_mode).");
  }
  {
    std::lock_guard lock(mutex_);
    const auto entry = lives_.find(agent);
    if (entry == lives_.end()) return fail(Remedy::reject, "registry.unknown", "there is no such active agent.");
    const LifeState state = entry->second.life.state();
    if (state != LifeState::ready && state != LifeState::renewing) {
      return fail(Remedy::reject, "identity.not_ready", "the agent is not ready at the site; its key is changed only when it is.");
    }
  }
  tell(agent, [at = steps_.now()](IdentityLife& life) { life.rotate(at); });
  log_.info("key change wanted", kv("agent", agent.raw()));
  return {};
}

std::optional<IdentityView> SiteErrands::view(const AgentId& agent) const {
  IdentityView view;
  {
    std::lock_guard lock(mutex_);
    const auto entry = lives_.find(agent);
    if (entry == lives_.end()) return std::nullopt;
    const IdentityLife& life = entry->second.life;
    const Moment now = steps_.now();
    view.state = life.state();
    view.since = life.since();
    view.next_step = name_of(life.ask());
    view.next_at = now.wall + std::chrono::duration_cast<WallTime::duration>(life.due() - now.steady);
    view.last_code = life.last_code();
    view.refusals = life.refusals();
    view.holds_reports = life.holds();
    view.certificate_ends = life.certificate_ends();
  }
  if (const auto device = devices_.find(agent)) {
    view.sms_id = device->site.sms_id;
    view.common_key = CommonIdentity::is_mark(device->site.sealed);
  }
  return view;
}

void SiteErrands::put_locked(const AgentId& agent, SteadyTime due) {
  const auto [planned, fresh] = planned_.try_emplace(agent, due);
  if (!fresh) {
    if (planned->second <= due) return;  // joins the earlier wish
    planned->second = due;               // the later entry in the schedule no longer matches and is passed over
  }
  schedule_.emplace(due, agent);
  due_changed_.notify_one();
}

void SiteErrands::work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (schedule_.empty()) {
      due_changed_.wait(lock);
      continue;
    }
    const SteadyTime now = clock_.steady();
    const auto first = schedule_.begin();
    if (first->first > now) {
      due_changed_.wait_for(lock, first->first - now);
      continue;
    }
    const AgentId agent = first->second;
    const auto planned = planned_.find(agent);
    const bool still_wanted = planned != planned_.end() && planned->second == first->first;
    schedule_.erase(first);
    if (!still_wanted) continue;
    planned_.erase(planned);

    lock.unlock();
    identity_step(agent);
    lock.lock();
  }
}

void SiteErrands::identity_step(const AgentId& agent) {
  std::optional<IdentityLife> life;
  {
    std::lock_guard lock(mutex_);
    const auto entry = lives_.find(agent);
    if (entry == lives_.end() || entry->second.busy) return;  // whoever is at it plans the next step
    if (entry->second.life.due() > clock_.steady()) return put_locked(agent, entry->second.life.due());
    entry->second.busy = true;
    life = entry->second.life;
  }
  const IdentitySteps::Step step = steps_.take(agent, *life);
  if (*step.outcome) outcomes_.at(step.outcome).add();
  put_back(agent, *life, step.over);
  if (step.became_ready) on_ready_(agent);
}

}  // namespace greengate::workers
