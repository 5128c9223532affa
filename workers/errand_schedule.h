#pragma once

#include "core/clock.h"
#include "core/ids.h"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

namespace greengate::workers {

/// A step for each of many agents, each at its time, on a few threads.
///
/// Promise   One step of an agent at a time. A wish that comes while the agent's step runs is not lost: it is due after it. Of two wishes
///           the earlier time counts.
/// Limits    One entry an agent.
/// Threads   put(), forget(): any, the step included. run_due() lets a caller do the threads' work; for tests with a clock of their own.
class ErrandSchedule {
 public:
  /// Answers how long until the agent's next step; nothing when there is none.
  using Step = std::function<std::optional<std::chrono::milliseconds>(const AgentId&)>;

  ErrandSchedule(const Clock& clock, Step step) : clock_(clock), step_(std::move(step)) {}
  ~ErrandSchedule() { stop(); }

  void put(const AgentId& agent, std::chrono::milliseconds delay);
  /// Nothing more is due for it; a step under way ends and has no successor.
  void forget(const AgentId& agent);

  void start(std::uint32_t threads);
  /// No step is begun any more.
  void drain();
  /// drain(), and waits for the steps under way.
  void stop();

  /// One due step on the caller's thread; false when none is due.
  bool run_due();
  std::size_t waiting() const;

 private:
  struct Entry {
    std::optional<SteadyTime> due;  // matches the line in by_time_ that counts
    bool running = false;
    bool forgotten = false;  // while it was running
  };
  void put_locked(const AgentId& agent, SteadyTime due);
  void step(std::unique_lock<std::mutex>& lock, const AgentId& agent);
  /// The next agent that is due, taken off the schedule.
  std::optional<AgentId> take_due(SteadyTime now);
  void work();

  const Clock& clock_;
  const Step step_;
  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  std::multimap<SteadyTime, AgentId> by_time_;
  std::unordered_map<AgentId, Entry> entries_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace greengate::workers
