#pragma once

#include "core/clock.h"
#include "core/ids.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace greengate::workers {

/// One policy the site assigns, as an operator or agent is told.
struct AssignedPolicy {
  std::string id, version, category;
  std::uint32_t flags = 0;
  std::string standing;  ///< PolicyStanding::text
  bool operator==(const AssignedPolicy&) const = default;
};

/// A class the site wants in its hardware inventory. Both names in lower case.
struct WantedClass {
  std::string name_space, name;
  bool operator==(const WantedClass&) const = default;
};

/// How often the site wants something; 0 says nothing of it.
struct PolicyRhythm {
  std::chrono::seconds heartbeat{0}, hardware{0}, software{0};
  bool empty() const { return heartbeat.count() == 0 && hardware.count() == 0 && software.count() == 0; }
  bool operator==(const PolicyRhythm&) const = default;
};

/// All that is assigned to a machine. Most machines of a site have the same, so equal ones are one object in memory.
struct PolicySet {
  std::vector<AssignedPolicy> policies;
  std::vector<WantedClass> classes;  ///< Empty: the site said nothing of classes.
  bool operator==(const PolicySet&) const = default;
  std::size_t bytes() const;
};

/// What is known of one agent's policy. A value.
struct AgentPolicy {
  std::shared_ptr<const PolicySet> set;  ///< None: no room was left for it.
  WallTime at;                           ///< When the site said it.
  std::optional<WallTime> hardware_date, software_date;
  PolicyRhythm rhythm;
};

/// Every agent's policy, in memory.
/// Limits    `bytes_max` of distinct sets; above it an agent's dates and rhythm are kept and its list is not.
/// Threads   Any.
class PolicyBook {
 public:
  explicit PolicyBook(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  /// What was known before.
  std::optional<AgentPolicy> put(const AgentId& agent, PolicySet set, AgentPolicy known);
  /// The site said that nothing has changed.
  void confirm(const AgentId& agent, WallTime at);
  std::optional<AgentPolicy> find(const AgentId& agent) const;
  void forget(const AgentId& agent);

  std::size_t agents() const;
  std::size_t sets() const;
  std::size_t bytes() const;

 private:
  std::shared_ptr<const PolicySet> shared(PolicySet set);
  void let_go_of_unused();

  const std::size_t bytes_max_;
  mutable std::mutex mutex_;  // guards everything below
  std::unordered_map<AgentId, AgentPolicy> known_;
  std::unordered_multimap<std::size_t, std::shared_ptr<const PolicySet>> sets_;  // by hash
  std::size_t bytes_ = 0;
};

}  // namespace greengate::workers
