#include "workers/policy_watch.h"

#include "core/random.h"
#include "workers/resync.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <algorithm>
#include <cctype>
#include <set>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* cookie_fact = "policy.cookie";
constexpr const char* resync_fact = "policy.resyncs";
constexpr std::size_t resyncs_remembered_max = 64;
constexpr std::size_t waiting_per_agent_max = 16;
constexpr std::size_t classes_max = 4'096;

// After 200 and nothing, unless whoever looks after identities knows better: refusals count when they lie this far apart (I 6.3).
constexpr milliseconds refused_retry = std::chrono::minutes(5);

// A site's rhythm is obeyed within these: format and meaning are read, not promised.
constexpr seconds rhythm_min = std::chrono::hours(1);
constexpr seconds rhythm_max = std::chrono::hours(24 * 45);

Counter request_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_policy_requests_total", "Requests for an agent's policy, by how they ended.", {{"outcome", outcome}});
}

std::uint32_t kind_of(adapters::PolicyArea area) {
  switch (area) {
    case adapters::PolicyArea::hardware: return v1::KIND_HARDWARE_INVENTORY;
    case adapters::PolicyArea::software: return v1::KIND_SOFTWARE_INVENTORY;
    default: return v1::KIND_UNSPECIFIED;
  }
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

void latest(std::optional<WallTime>& date, const std::optional<WallTime>& other) {
  if (other && (!date || *other > *date)) date = other;
}

// Where several policies speak of one rhythm, the shortest interval is what keeps all of them.
void shortest(seconds& value, std::chrono::minutes every) {
  const seconds said = std::clamp<seconds>(every, rhythm_min, rhythm_max);
  if (value.count() == 0 || said < value) value = said;
}

void note_schedules(const adapters::PolicyBody& body, PolicyRhythm& rhythm) {
  for (const adapters::PolicySchedule& schedule : body.schedules) {
    switch (schedule.area) {
      case adapters::PolicyArea::discovery: shortest(rhythm.heartbeat, schedule.every); break;
      case adapters::PolicyArea::hardware: shortest(rhythm.hardware, schedule.every); break;
      case adapters::PolicyArea::software: shortest(rhythm.software, schedule.every); break;
      case adapters::PolicyArea::other: break;
    }
  }
}

void note_classes(const adapters::PolicyBody& body, PolicySet& set) {
  for (const adapters::InventoryItem& item : body.items) {
    if (item.area != adapters::PolicyArea::hardware && item.area != adapters::PolicyArea::other) continue;
    WantedClass wanted{item.name_space, lower(item.class_name)};
    if (set.classes.size() < classes_max && std::find(set.classes.begin(), set.classes.end(), wanted) == set.classes.end())
      set.classes.push_back(std::move(wanted));
  }
}

// Ids and versions are the site's texts: what would break the list of the answered ones is taken out.
std::string resync_name(const std::string& id, const std::string& version) {
  std::string name = id + " " + version;
  std::erase_if(name, [](unsigned char c) { return c < 0x20; });
  return name.substr(0, 256);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

}  // namespace

std::vector<ConfigProblem> PolicyConfig::problems() const {
  using std::chrono::hours;
  using std::chrono::minutes;
  std::vector<ConfigProblem> found;
  const auto complain = [&](const char* key, const std::string& is, const char* can_be) {
    found.push_back({std::string("policy.") + key, std::string("policy.") + key + " is " + is + "; " + can_be});
  };
  if (workers < 1 || workers > 64) complain("workers", std::to_string(workers), "it can be 1 to 64 (2 if left out).");
  if (interval < milliseconds(100) || interval > hours(24 * 7)) complain("interval", duration_text(interval), "it can be 100ms to 7d (60min if left out).");
  if (first_window > hours(24) || first_window < milliseconds(0)) complain("first_window", duration_text(first_window), "it can be 0s to 24h.");
  if (failure_base < milliseconds(10) || failure_cap < failure_base)
    complain("failure_base", duration_text(failure_base), "it must be at least 10ms and not longer than policy.failure_cap.");
  if (bodies_bytes_max < 64 << 10) complain("bodies_bytes_max", std::to_string(bodies_bytes_max), "it must be at least 64KiB.");
  if (assignments_bytes_max < 64 << 10) complain("assignments_bytes_max", std::to_string(assignments_bytes_max), "it must be at least 64KiB.");
  return found;
}

PolicyWatch::PolicyWatch(PolicyConfig config, const adapters::MpSettings& settings, store::DeviceRegistry& devices,
                         store::ReportQueue& reports, Identities& identities, Courier& courier, const Clock& clock, Metrics& metrics)
    : config_(config),
      settings_(settings),
      devices_(devices),
      reports_(reports),
      identities_(identities),
      courier_(courier),
      clock_(clock),
      received_(request_counter(metrics, "received")),
      unchanged_(request_counter(metrics, "unchanged")),
      refused_(request_counter(metrics, "refused")),
      failed_(request_counter(metrics, "failed")),
      resyncs_(metrics.counter("greengate_policy_resyncs_total", "Inventories the site's policy wanted whole again.")),
      agents_known_(metrics.gauge("greengate_policy_known_agents", "Agents whose policy is known.")),
      book_bytes_(metrics.gauge("greengate_policy_assignments_bytes", "Distinct lists of assigned policies in memory.")),
      bodies_bytes_(metrics.gauge("greengate_policy_bodies_bytes", "What policy bodies say, in memory.")),
      bodies_(static_cast<std::size_t>(config.bodies_bytes_max), config.bad_body_retry, settings, courier, clock, metrics),
      book_(static_cast<std::size_t>(config.assignments_bytes_max)),
      schedule_(clock, [this](const AgentId& agent) { return step(agent); }) {}

PolicyWatch::~PolicyWatch() { stop(); }

Result<void> PolicyWatch::start() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = false;
  }
  if (!config_.enabled) return {};
  devices_.for_each([this](const store::Device& device) {
    if (device.state == store::DeviceState::active && device.site.state == store::IdentityState::ready)
      schedule_.put(device.id, spread(device.id, config_.interval));
  });
  schedule_.start(config_.workers);
  return {};
}

void PolicyWatch::drain(SteadyTime) {
  schedule_.drain();
  std::unordered_map<AgentId, std::vector<Told>> waiting;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting.swap(waiting_);
  }
  for (const auto& [agent, all] : waiting)
    for (const Told& told : all) told(fail(Remedy::halt, "mp.stopping", "the gateway is stopping."));
}

void PolicyWatch::stop() {
  drain({});
  schedule_.stop();
}

milliseconds PolicyWatch::spread(const AgentId& agent, milliseconds over) const {
  // The same agent lands at the same place each time, so a restart keeps the order of the day.
  return over.count() > 0 ? milliseconds(static_cast<std::int64_t>(std::hash<std::string>{}(agent.raw()) % static_cast<std::size_t>(over.count())))
                          : milliseconds(0);
}

void PolicyWatch::agent_ready(const AgentId& agent) {
  if (config_.enabled) schedule_.put(agent, spread(agent, config_.first_window));
}

void PolicyWatch::agent_connected(const AgentId& agent) {
  const auto known = book_.find(agent);
  // Welcome has just told it the gateway's own rhythm.
  if (known && config_.apply_schedules && !known->rhythm.empty() && ways_.direct) ways_.direct(agent, known->rhythm);
  if (config_.enabled) schedule_.put(agent, spread(agent, known ? config_.interval : std::min(config_.interval, config_.first_window)));
}

void PolicyWatch::agent_gone(const AgentId& agent) {
  schedule_.forget(agent);
  book_.forget(agent);
  {
    std::lock_guard lock(mutex_);
    failures_.erase(agent);
  }
  tell(agent, fail(Remedy::retry, "ask.not_ready", "The agent is not known at the site."));
}

void PolicyWatch::ask(const AgentId& agent, milliseconds delay) {
  if (config_.enabled) schedule_.put(agent, delay);
}

void PolicyWatch::refresh(const AgentId& agent, Told told) {
  const char* code = nullptr;
  {
    std::lock_guard lock(mutex_);
    std::vector<Told>& waiting = waiting_[agent];
    if (!config_.enabled) {
      code = "ask.unavailable";
    } else if (stopping_) {
      code = "mp.stopping";
    } else if (waiting.size() >= waiting_per_agent_max) {
      code = "ask.busy";
    } else {
      waiting.push_back(told);
    }
    if (waiting.empty()) waiting_.erase(agent);
  }
  if (code != nullptr) return told(fail(Remedy::retry, code, "Policy cannot be asked for just now."));
  schedule_.put(agent, milliseconds(0));
}

void PolicyWatch::tell(const AgentId& agent, const Result<AgentPolicy>& told) {
  std::vector<Told> waiting;
  {
    std::lock_guard lock(mutex_);
    const auto place = waiting_.find(agent);
    if (place == waiting_.end()) return;
    waiting.swap(place->second);
    waiting_.erase(place);
  }
  for (const Told& one : waiting) one(told);
}

std::optional<milliseconds> PolicyWatch::step(const AgentId& agent) {
  const auto device = devices_.find(agent);
  if (!device || device->state != store::DeviceState::active || device->site.state != store::IdentityState::ready) {
    tell(agent, fail(Remedy::retry, "ask.not_ready", "The site has not confirmed this agent yet."));
    return std::nullopt;
  }
  // Asking for a machine that is gone would make the site believe that it lives.
  const bool away = !ways_.connected || !ways_.connected(agent);
  if (away && ways_.connected && clock_.wall() - device->last_seen > config_.idle_after) {
    log_.debug("policy not asked for", kv("agent", agent.raw()), kv("why", "the agent has been away for long"));
    tell(agent, fail(Remedy::retry, "ask.not_ready", "The agent is away."));
    return std::nullopt;
  }
  bool incomplete = false;
  auto learned = learn(agent, incomplete);
  tell(agent, learned);
  agents_known_.set(static_cast<double>(book_.agents()));
  book_bytes_.set(static_cast<double>(book_.bytes()));
  bodies_bytes_.set(static_cast<double>(bodies_.bytes()));
  if (!learned) return after_failure(agent, learned.error());
  if (incomplete) {
    const Error later{Remedy::retry, "policy.incomplete", "A part of the policy could not be had yet.", {}};
    return std::min(after_failure(agent, later), config_.interval);
  }
  {
    std::lock_guard lock(mutex_);
    failures_.erase(agent);
  }
  const auto jitter = static_cast<std::uint64_t>(config_.interval.count() / 20);
  return config_.interval + milliseconds(jitter > 0 ? static_cast<std::int64_t>(random_u64() % jitter) : 0);
}

Result<AgentPolicy> PolicyWatch::learn(const AgentId& agent, bool& incomplete) {
  auto identity = identities_.of(agent);
  if (!identity) return pass(identity);
  auto cookie = devices_.fact(agent, cookie_fact);
  if (!cookie) return pass(cookie);
  const auto before = book_.find(agent);
  auto reply = request(agent, *identity, cookie->value_or(""));
  if (reply && !reply->full) {
    // An update. Nothing in it: nothing changed. Else, or when there is nothing it could update, all of it is asked for.
    if (before && before->set && reply->assignments.empty()) {
      unchanged_.add();
      book_.confirm(agent, clock_.wall());
      if (auto kept = devices_.set_fact(agent, cookie_fact, reply->cookie); !kept) return pass(kept);
      return *book_.find(agent);
    }
    reply = request(agent, *identity, "");
  }
  if (!reply) return pass(reply);
  received_.add();

  PolicySet set;
  AgentPolicy known;
  known.at = clock_.wall();
  std::vector<Resync> resyncs;
  for (const adapters::PolicyAssignment& assignment : reply->assignments) {
    const PolicyStanding standing = bodies_.of(assignment);
    incomplete = incomplete || standing.try_again;
    set.policies.push_back({assignment.policy_id, assignment.version, assignment.category, assignment.flags, standing.text});
    if (!standing.body) continue;
    for (const adapters::InventoryAction& action : standing.body->actions) {
      const std::uint32_t kind = kind_of(action.area);
      if (kind == v1::KIND_HARDWARE_INVENTORY) latest(known.hardware_date, action.last_update);
      if (kind == v1::KIND_SOFTWARE_INVENTORY) latest(known.software_date, action.last_update);
      if (kind != v1::KIND_UNSPECIFIED && action.wants_everything_again())
        resyncs.push_back({kind, assignment.policy_id, assignment.version});
    }
    note_schedules(*standing.body, known.rhythm);
    if (config_.apply_classes) note_classes(*standing.body, set);
  }
  answer_resyncs(agent, resyncs, incomplete);
  const PolicyRhythm rhythm = known.rhythm;
  const std::size_t count = set.policies.size();
  book_.put(agent, std::move(set), std::move(known));
  if (!before || before->at == WallTime{}) log_.info("policy received", kv("agent", agent.raw()), kv("assignments", count));
  if (config_.apply_schedules && !rhythm.empty() && (!before || before->rhythm != rhythm) && ways_.direct) ways_.direct(agent, rhythm);
  // Last: a reply whose bodies are still missing is asked for again whole.
  if (auto kept = devices_.set_fact(agent, cookie_fact, incomplete ? "" : reply->cookie); !kept) return pass(kept);
  return *book_.find(agent);
}

Result<adapters::PolicyReply> PolicyWatch::request(const AgentId& agent, const adapters::MpIdentity& identity, const std::string& cookie) {
  adapters::ReportFacts facts;
  facts.message_id = adapters::new_message_id();
  facts.made_at = clock_.wall();
  auto message = adapters::policy_request(settings_, identity, facts, cookie);
  if (!message) return pass(message);
  auto answer = courier_.send(*message);
  if (!answer) return pass(answer);
  if (answer->kind != adapters::Verdict::Kind::reply) {
    return fail(Remedy::retry, "mp.refused", "The management point answered the policy request with nothing.",
                ways_.refused ? ways_.refused(agent) : refused_retry);
  }
  auto reply = adapters::parse_policy_reply(settings_, answer->xml);
  if (const auto& way = reply ? ways_.answered : ways_.unexpected) way(agent);
  return reply;
}

void PolicyWatch::answer_resyncs(const AgentId& agent, const std::vector<Resync>& wanted, bool& incomplete) {
  if (wanted.empty()) return;
  const auto answered = devices_.fact(agent, resync_fact);
  if (!answered) {
    incomplete = true;
    return;
  }
  std::vector<std::string> lines = lines_of(answered->value_or(""));
  bool changed = false;
  for (const Resync& resync : wanted) {
    const std::string name = std::to_string(resync.kind) + " " + resync_name(resync.policy_id, resync.version);
    if (std::find(lines.begin(), lines.end(), name) != lines.end()) continue;
    if (auto kept = request_resync(reports_, agent, resync.kind, resync.policy_id, resync.version, clock_.wall()); !kept) {
      log_.warn("resync could not be kept", kv("agent", agent.raw()), kv("code", kept.error().code), kv("why", kept.error().message));
      incomplete = true;
      continue;
    }
    resyncs_.add();
    log_.info("the site wants an inventory whole again", kv("agent", agent.raw()), kv("policy", resync.policy_id),
              kv("version", resync.version), kv("what", v1::Kind_Name(resync.kind)));
    lines.push_back(name);
    changed = true;
  }
  if (!changed) return;
  if (lines.size() > resyncs_remembered_max) lines.erase(lines.begin(), lines.end() - resyncs_remembered_max);
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  if (auto kept = devices_.set_fact(agent, resync_fact, text); !kept) incomplete = true;
}

milliseconds PolicyWatch::after_failure(const AgentId& agent, const Error& error) {
  const std::string_view code = error.code;
  (code == "mp.refused" ? refused_ : failed_).add();
  milliseconds wait;
  {
    std::lock_guard lock(mutex_);
    // All management points resting says nothing about this agent: come back when the first may be tried.
    // After a refusal it was said how long to wait.
    const bool told = code == "mp.none_available" || code == "pacing.budget" || code == "mp.refused";
    wait = told ? error.retry_after + milliseconds(random_u64() % 1'000)
                : failures_.try_emplace(agent, BackoffConfig{config_.failure_base, config_.failure_cap}, random_u64())
                     .first->second.next(error.retry_after);
  }
  log_.warn("policy request failed", kv("agent", agent.raw()), kv("code", error.code), kv("why", error.message), kv("retry_in_ms", wait));
  return wait;
}

std::optional<WallTime> PolicyWatch::last_update(const AgentId& agent, std::uint32_t kind) const {
  const auto known = book_.find(agent);
  if (!known) return std::nullopt;
  if (kind == v1::KIND_HARDWARE_INVENTORY) return known->hardware_date;
  if (kind == v1::KIND_SOFTWARE_INVENTORY) return known->software_date;
  return std::nullopt;
}

bool PolicyWatch::keep_wanted(const AgentId& agent, v1::HardwareInventory& inventory) const {
  if (!config_.apply_classes) return false;
  const auto known = book_.find(agent);
  if (!known || !known->set || known->set->classes.empty()) return false;
  std::set<std::pair<std::string, std::string>> wanted;
  for (const WantedClass& one : known->set->classes) wanted.emplace(one.name_space, one.name);
  auto& classes = *inventory.mutable_classes();
  const int before = classes.size();
  const auto unwanted = [&](const v1::InventoryClass& one) {
    const std::string name = lower(one.name());
    const std::string name_space = one.name_space().empty() ? "root\\cimv2" : lower(one.name_space());
    return !wanted.contains({name_space, name}) && !wanted.contains({"", name});
  };
  classes.erase(std::remove_if(classes.begin(), classes.end(), unwanted), classes.end());
  return classes.size() != before;
}

}  // namespace greengate::workers
