#include "workers/site_errands.h"

#include "adapters/mp/policy.h"
#include "adapters/mp/registration.h"

#include "core/random.h"
#include <algorithm>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;
using store::IdentityState;

Counter errand_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_registration_steps_total", "Steps of agents on their way to being known at the site.",
                         {{"outcome", outcome}});
}

// 200 without a body: the site knows the message's sender or signature not, or not yet (mp-protocol 1.5).
Error refused() { return Error{Remedy::retry, "mp.refused", "the management point answered an Invoke with nothing.", {}}; }

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
  return found;
}

SiteErrands::SiteErrands(SiteErrandsConfig config, const adapters::MpSettings& settings, store::DeviceRegistry& devices,
                         store::ReportQueue& reports, Identities& identities, KeyPool& keys, Courier& courier,
                         const Clock& clock, Metrics& metrics, ReadyListener on_ready)
    : config_(config),
      settings_(settings),
      devices_(devices),
      reports_(reports),
      identities_(identities),
      keys_(keys),
      courier_(courier),
      clock_(clock),
      on_ready_(std::move(on_ready)),
      registered_(errand_counter(metrics, "registered")),
      confirmed_(errand_counter(metrics, "confirmed")),
      rejected_(errand_counter(metrics, "rejected")),
      failed_(errand_counter(metrics, "failed")),
      policies_(metrics.counter("greengate_policy_requests_total", "Policy requests the site answered.")) {}

SiteErrands::~SiteErrands() { stop(); }

Result<void> SiteErrands::start() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = false;
  }
  for (const store::Device& device : devices_.list()) {
    if (device.state == store::DeviceState::active) agent_active(device.id);
  }
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
  if (!device) return;
  if (device->site.state == IdentityState::ready) {
    reports_.unhold(agent);
    return;
  }
  reports_.hold(agent);
  put(agent, Errand::identity, milliseconds(0));
}

void SiteErrands::agent_gone(const AgentId& agent) {
  identities_.forget(agent);
  // Its reports need no confirmation any more: the pool buries them with the reason.
  reports_.unhold(agent);
  std::lock_guard lock(mutex_);
  failures_.erase(agent);
  pendings_.erase(agent);
  planned_.erase({agent, Errand::identity});
  planned_.erase({agent, Errand::policy});
}

void SiteErrands::ask_policy(const AgentId& agent, milliseconds delay) { put(agent, Errand::policy, delay); }

void SiteErrands::put(const AgentId& agent, Errand errand, milliseconds delay) {
  const SteadyTime due = clock_.steady() + delay;
  std::lock_guard lock(mutex_);
  const auto [planned, fresh] = planned_.try_emplace({agent, errand}, due);
  if (!fresh) {
    if (planned->second <= due) return;  // joins the earlier wish
    planned->second = due;               // the later entry in the schedule no longer matches and is passed over
  }
  schedule_.emplace(due, Due{agent, errand});
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
    const Due due = first->second;
    const auto planned = planned_.find({due.agent, due.errand});
    const bool still_wanted = planned != planned_.end() && planned->second == first->first;
    schedule_.erase(first);
    if (!still_wanted) continue;
    planned_.erase(planned);

    lock.unlock();
    const auto next = due.errand == Errand::identity ? identity_step(due.agent) : policy_step(due.agent);
    if (next) put(due.agent, due.errand, *next);
    lock.lock();
  }
}

std::optional<milliseconds> SiteErrands::identity_step(const AgentId& agent) {
  auto device = devices_.find(agent);
  if (!device || device->state != store::DeviceState::active) return std::nullopt;
  if (device->site.state == IdentityState::ready) return std::nullopt;

  if (device->site.sealed.empty()) {
    // The key is ours on disk before the site hears of it: a crash in between must not orphan a client record.
    auto key = keys_.take();
    if (!key) return std::nullopt;  // stopping
    auto certificate = key->self_signed_certificate(settings_.certificate, clock_.wall());
    if (!certificate) return after_failure(agent, certificate.error());
    auto sealed = identities_.seal(agent, *key, *certificate);
    if (!sealed) return after_failure(agent, sealed.error());
    device->site.sealed = std::move(*sealed);
    // Proposing an SMSID of our own keeps a lost answer from making a second client record (4.2).
    device->site.sms_id = adapters::new_sms_id();
    device->site.state_since = clock_.wall();
    if (auto kept = devices_.set_site_identity(agent, device->site); !kept) return after_failure(agent, kept.error());
  }
  auto identity = identities_.of(*device);
  if (!identity) return after_failure(agent, identity.error());

  const bool confirming = device->site.state == IdentityState::pending;
  adapters::ReportFacts facts;
  facts.message_id = adapters::new_message_id();
  facts.made_at = clock_.wall();
  auto message = confirming ? adapters::confirmation_message(settings_, *identity, facts)
                            : adapters::registration_message(settings_, *identity, facts);
  if (!message) return after_failure(agent, message.error());
  auto answer = courier_.send(*message);
  if (!answer) return after_failure(agent, answer.error());
  if (answer->kind != adapters::Verdict::Kind::reply) return after_failure(agent, refused());
  auto reply = adapters::parse_registration_reply(settings_, answer->xml);
  if (!reply) return after_failure(agent, reply.error());

  store::SiteIdentity site = device->site;
  site.state_since = clock_.wall();
  site.last_code.clear();
  switch (reply->status) {
    case adapters::RegistrationStatus::done:
    case adapters::RegistrationStatus::pending: {
      const bool ready = reply->status == adapters::RegistrationStatus::done;
      if (!reply->sms_id.raw().empty()) site.sms_id = reply->sms_id;  // the site's choice always wins (4.2)
      site.state = ready ? IdentityState::ready : IdentityState::pending;
      if (auto kept = devices_.set_site_identity(agent, site); !kept) return after_failure(agent, kept.error());
      if (!confirming) registered_.add();
      if (!ready) return after_pending(agent);
      confirmed_.add();
      {
        std::lock_guard lock(mutex_);
        failures_.erase(agent);
        pendings_.erase(agent);
      }
      log_.info("agent is ready at the site", kv("agent", agent.raw()), kv("sms_id", site.sms_id.raw()));
      reports_.unhold(agent);
      on_ready_(agent);
      return std::nullopt;
    }
    case adapters::RegistrationStatus::again:
      site.state = IdentityState::none;
      site.last_code = "registration.again";
      if (auto kept = devices_.set_site_identity(agent, site); !kept) return after_failure(agent, kept.error());
      return after_failure(agent, Error{Remedy::retry, "registration.again", "the site asked to register again.", {}});
    case adapters::RegistrationStatus::rejected:
      site.state = IdentityState::rejected;
      site.last_code = "registration.rejected";
      rejected_.add();
      log_.warn("the site rejected an agent", kv("agent", agent.raw()),
                kv("retry_in_ms", config_.rejected_retry));
      if (auto kept = devices_.set_site_identity(agent, site); !kept) return after_failure(agent, kept.error());
      return config_.rejected_retry;
  }
  return std::nullopt;
}

std::optional<milliseconds> SiteErrands::policy_step(const AgentId& agent) {
  const auto device = devices_.find(agent);
  if (!device || device->state != store::DeviceState::active || device->site.state != IdentityState::ready) {
    return std::nullopt;
  }
  auto identity = identities_.of(*device);
  if (!identity) {
    log_.error("identity cannot be opened", kv("agent", agent.raw()), kv("code", identity.error().code));
    return std::nullopt;
  }
  auto reply = policy_of(*identity);
  if (!reply && std::string_view(reply.error().code) == "pacing.budget") {
    return reply.error().retry_after + milliseconds(random_u64() % 1'000);
  }
  if (!reply) {
    // The next poll or push asks again; nothing is lost by a policy that comes later.
    failed_.add();
    log_.warn("policy request failed", kv("agent", agent.raw()), kv("code", reply.error().code),
              kv("why", reply.error().message));
    return std::nullopt;
  }
  policies_.add();
  log_.info("policy received", kv("agent", agent.raw()), kv("assignments", reply->assignments.size()));
  return std::nullopt;
}

Result<adapters::PolicyReply> SiteErrands::policy_of(const adapters::MpIdentity& identity) {
  adapters::ReportFacts facts;
  facts.message_id = adapters::new_message_id();
  facts.made_at = clock_.wall();
  auto message = adapters::policy_request(settings_, identity, facts, {});
  if (!message) return pass(message);
  auto answer = courier_.send(*message);
  if (!answer) return pass(answer);
  if (answer->kind != adapters::Verdict::Kind::reply) return tl::unexpected(refused());
  return adapters::parse_policy_reply(settings_, answer->xml);
}

milliseconds SiteErrands::after_failure(const AgentId& agent, const Error& error) {
  failed_.add();
  milliseconds wait;
  {
    std::lock_guard lock(mutex_);
    // All management points resting, or a budget used up, says nothing about this agent: come back when one may be tried.
    const std::string_view code = error.code;
    const bool site_rests = code == "mp.none_available" || code == "pacing.budget";
    wait = site_rests ? error.retry_after + milliseconds(random_u64() % 1'000)
                      : failures_.try_emplace(agent, BackoffConfig{config_.failure_base, config_.failure_cap}, random_u64())
                            .first->second.next(error.retry_after);
  }
  log_.warn("registration step failed", kv("agent", agent.raw()), kv("code", error.code), kv("why", error.message),
            kv("retry_in_ms", wait));
  return wait;
}

milliseconds SiteErrands::after_pending(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  return pendings_.try_emplace(agent, BackoffConfig{config_.confirm_first, config_.confirm_cap}, random_u64())
      .first->second.next();
}

}  // namespace greengate::workers
