#include "workers/policy_book.h"

namespace greengate::workers {
namespace {

std::size_t hash_of(const PolicySet& set) {
  std::size_t hash = set.policies.size();
  const auto mix = [&](const std::string& text) { hash = hash * 1'099'511'628'211u ^ std::hash<std::string>{}(text); };
  for (const AssignedPolicy& policy : set.policies) {
    mix(policy.id);
    mix(policy.version);
    mix(policy.standing);
  }
  for (const WantedClass& wanted : set.classes) mix(wanted.name);
  return hash;
}

}  // namespace

std::size_t PolicySet::bytes() const {
  std::size_t sum = sizeof *this;
  for (const AssignedPolicy& policy : policies)
    sum += sizeof policy + policy.id.capacity() + policy.version.capacity() + policy.category.capacity() + policy.standing.capacity();
  for (const WantedClass& wanted : classes) sum += sizeof wanted + wanted.name_space.capacity() + wanted.name.capacity();
  return sum;
}

std::optional<AgentPolicy> PolicyBook::put(const AgentId& agent, PolicySet set, AgentPolicy known) {
  std::lock_guard lock(mutex_);
  known.set = shared(std::move(set));
  const auto place = known_.find(agent);
  if (place == known_.end()) {
    known_.emplace(agent, std::move(known));
    return std::nullopt;
  }
  return std::exchange(place->second, std::move(known));
}

void PolicyBook::confirm(const AgentId& agent, WallTime at) {
  std::lock_guard lock(mutex_);
  if (const auto place = known_.find(agent); place != known_.end()) place->second.at = at;
}

std::shared_ptr<const PolicySet> PolicyBook::shared(PolicySet set) {
  const std::size_t hash = hash_of(set);
  const auto [first, last] = sets_.equal_range(hash);
  for (auto one = first; one != last; ++one)
    if (*one->second == set) return one->second;
  const std::size_t more = set.bytes();
  if (bytes_ + more > bytes_max_) let_go_of_unused();
  if (bytes_ + more > bytes_max_) return nullptr;
  bytes_ += more;
  return sets_.emplace(hash, std::make_shared<const PolicySet>(std::move(set)))->second;
}

void PolicyBook::let_go_of_unused() {
  for (auto one = sets_.begin(); one != sets_.end();) {
    if (one->second.use_count() > 1) {
      ++one;
      continue;
    }
    bytes_ -= one->second->bytes();
    one = sets_.erase(one);
  }
}

std::optional<AgentPolicy> PolicyBook::find(const AgentId& agent) const {
  std::lock_guard lock(mutex_);
  const auto place = known_.find(agent);
  if (place == known_.end()) return std::nullopt;
  return place->second;
}

void PolicyBook::forget(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  known_.erase(agent);
}

std::size_t PolicyBook::agents() const {
  std::lock_guard lock(mutex_);
  return known_.size();
}

std::size_t PolicyBook::sets() const {
  std::lock_guard lock(mutex_);
  return sets_.size();
}

std::size_t PolicyBook::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace greengate::workers
