#include "workers/policy_bodies.h"

namespace greengate::workers {
namespace {

Counter body_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_policy_bodies_total", "Bodies of assigned policies, by what became of them.", {{"outcome", outcome}});
}

// Two assignments with the same key mean the same bytes; without any hash the place has to do.
std::string key_of(const adapters::PolicyAssignment& assignment) {
  std::string key = assignment.policy_id + '\n' + assignment.version + '\n' + assignment.hash_ex + '\n' + assignment.hash + '\n' +
                    std::to_string(assignment.flags);
  if (assignment.hash_ex.empty() && assignment.hash.empty()) key += '\n' + assignment.location;
  return key;
}

}  // namespace

PolicyBodies::PolicyBodies(std::size_t bytes_max, std::chrono::milliseconds bad_retry, const adapters::MpSettings& settings,
                           Courier& courier, const Clock& clock, Metrics& metrics)
    : bytes_max_(bytes_max),
      bad_retry_(bad_retry),
      settings_(settings),
      courier_(courier),
      clock_(clock),
      fetched_(body_counter(metrics, "fetched")),
      shared_(body_counter(metrics, "shared")),
      forbidden_(body_counter(metrics, "forbidden")),
      bad_(body_counter(metrics, "bad")),
      failed_(body_counter(metrics, "failed")) {}

std::optional<PolicyStanding> PolicyBodies::forbidden(const adapters::PolicyAssignment& assignment) const {
  PolicyStanding standing;
  if (assignment.is_task_sequence()) {
    standing.text = "not fetched: task sequence";
  } else if (assignment.needs_authentication()) {
    standing.text = "not fetched: needs authentication";
  } else if (assignment.is_secret()) {
    standing.text = "not fetched: secret";
  } else if (assignment.intranet_only() && settings_.internet_flag == 2) {
    standing.text = "not fetched: intranet only";
  } else if (assignment.type == "User") {
    standing.text = "not fetched: for users";
  } else {
    return std::nullopt;
  }
  return standing;
}

PolicyStanding PolicyBodies::of(const adapters::PolicyAssignment& assignment) {
  if (auto no = forbidden(assignment)) {
    forbidden_.add();
    return *no;
  }
  std::string key = key_of(assignment);
  std::shared_ptr<PolicyStanding> flight;
  {
    std::unique_lock lock(mutex_);
    if (const auto place = places_.find(key); place != places_.end()) {
      const auto kept = place->second;
      if (!kept->again_at || *kept->again_at > clock_.steady()) {
        newest_first_.splice(newest_first_.begin(), newest_first_, kept);
        shared_.add();
        return kept->standing;
      }
    }
    const auto [place, first] = on_the_way_.try_emplace(key);
    if (!first) {
      // Somebody asks already. Its answer is held by its owner, so that it may go from the map the moment it is there.
      flight = place->second;
      arrived_.wait(lock, [&] { return !flight->text.empty(); });
      shared_.add();
      return *flight;
    }
    flight = place->second = std::make_shared<PolicyStanding>();
  }
  PolicyStanding standing = fetch(assignment);
  {
    std::lock_guard lock(mutex_);
    *flight = standing;
    on_the_way_.erase(key);
    if (!standing.try_again) keep(std::move(key), standing);
  }
  arrived_.notify_all();
  return standing;
}

PolicyStanding PolicyBodies::fetch(const adapters::PolicyAssignment& assignment) {
  PolicyStanding standing;
  const auto refused = [&](const Error& error, std::string text) {
    bad_.add();
    log_.warn("policy body not used", kv("policy", assignment.policy_id), kv("version", assignment.version), kv("code", error.code),
              kv("why", error.message));
    standing.text = std::move(text);
    return standing;
  };
  const auto target = adapters::policy_target(assignment.location);
  if (!target) return refused(target.error(), "not fetched: its location is none of a management point");
  auto body = courier_.get(*target);
  if (!body && body.error().remedy != Remedy::reject) {
    failed_.add();
    standing.text = std::string("not fetched yet: ") + body.error().code;
    standing.try_again = true;
    return standing;
  }
  if (!body) return refused(body.error(), std::string("not fetched: ") + body.error().code);
  const adapters::HashCheck hash = adapters::check_policy_hash(assignment, *body);
  if (hash == adapters::HashCheck::differs) {
    return refused(Error{Remedy::reject, "mp.policy_hash", "The body does not match the hash of its assignment.", {}},
                   "discarded: hash does not match");
  }
  auto read = adapters::read_policy_body(settings_, assignment, *body);
  if (!read) return refused(read.error(), std::string("not understood: ") + read.error().code);
  fetched_.add();
  standing.text = read->empty() ? "read: nothing for an agent of ours" : "applied";
  if (hash == adapters::HashCheck::unverified) standing.text += ", without a hash to check";
  if (!read->empty() && (assignment.conditional || read->conditional)) standing.text += ", its condition not evaluated";
  standing.body = std::make_shared<const adapters::PolicyBody>(std::move(*read));
  return standing;
}

void PolicyBodies::keep(std::string key, const PolicyStanding& standing) {
  if (const auto old = places_.find(key); old != places_.end()) {
    bytes_ -= old->second->bytes;
    newest_first_.erase(old->second);
    places_.erase(old);
  }
  Kept kept;
  kept.bytes = 2 * key.size() + sizeof(Kept) + standing.text.size() + (standing.body ? standing.body->bytes() : 0);
  if (kept.bytes > bytes_max_) return;
  kept.standing = standing;
  if (!standing.body) kept.again_at = clock_.steady() + bad_retry_;
  kept.key = key;
  bytes_ += kept.bytes;
  newest_first_.push_front(std::move(kept));
  places_[std::move(key)] = newest_first_.begin();
  while (bytes_ > bytes_max_) {
    bytes_ -= newest_first_.back().bytes;
    places_.erase(newest_first_.back().key);
    newest_first_.pop_back();
  }
}

std::size_t PolicyBodies::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace greengate::workers
