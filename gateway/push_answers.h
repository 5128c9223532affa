#pragma once

#include "core/clock.h"
#include "core/ids.h"

#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace greengate::gateway {

/// The site's name for one push to one agent.
struct PushName {
  AgentId agent;
  std::uint64_t push_id = 0, task_id = 0;
  friend auto operator<=>(const PushName&, const PushName&) = default;
};

/// Which of the site's pushes wait for their answer, and until when: each is taken out once, by whoever answers it.
///
/// Limits    count_max; above it begin() refuses.
/// Threads   The owner's lock.
class PushAnswers {
 public:
  explicit PushAnswers(std::size_t count_max) : count_max_(count_max) {}

  /// False when there are too many, or when this one waits already.
  bool begin(const PushName& push, SteadyTime answer_by);
  /// From here on the entry's device may answer it. False when it has been answered.
  bool bind(const PushName& push, std::uint64_t entry);
  /// True once: the caller answers.
  bool take(const PushName& push);
  /// What the device's word about this entry answers; usually one push.
  std::vector<PushName> take(std::uint64_t entry, const AgentId& agent);

  struct Late {
    PushName push;
    std::uint64_t entry = 0;  ///< 0: the mailbox has not said yet.
  };
  std::vector<Late> take_late(SteadyTime now);
  std::size_t size() const { return waiting_.size(); }

 private:
  struct Waiting {
    SteadyTime answer_by;
    std::uint64_t entry = 0;
  };
  using Place = std::map<PushName, Waiting>::iterator;
  void forget(Place place);

  const std::size_t count_max_;
  std::map<PushName, Waiting> waiting_;
  std::set<std::pair<SteadyTime, PushName>> by_time_;
  std::unordered_multimap<std::uint64_t, PushName> by_entry_;
};

}  // namespace greengate::gateway
