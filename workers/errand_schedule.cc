#include "workers/errand_schedule.h"

#include <algorithm>

namespace greengate::workers {

void ErrandSchedule::put(const AgentId& agent, std::chrono::milliseconds delay) {
  std::lock_guard lock(mutex_);
  put_locked(agent, clock_.steady() + delay);
}

void ErrandSchedule::put_locked(const AgentId& agent, SteadyTime due) {
  Entry& entry = entries_[agent];
  entry.forgotten = false;
  if (entry.due && *entry.due <= due) return;
  entry.due = due;  // a later line in by_time_ no longer matches and is passed over
  if (entry.running) return;
  by_time_.emplace(due, agent);
  changed_.notify_one();
}

void ErrandSchedule::forget(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  const auto entry = entries_.find(agent);
  if (entry == entries_.end()) return;
  if (entry->second.running) {
    entry->second.due.reset();
    entry->second.forgotten = true;
  } else {
    entries_.erase(entry);
  }
}

void ErrandSchedule::start(std::uint32_t threads) {
  {
    std::lock_guard lock(mutex_);
    stopping_ = false;
  }
  for (std::uint32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

void ErrandSchedule::drain() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

void ErrandSchedule::stop() {
  drain();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

std::optional<AgentId> ErrandSchedule::take_due(SteadyTime now) {
  while (!by_time_.empty() && by_time_.begin()->first <= now) {
    const auto first = by_time_.begin();
    const AgentId agent = first->second;
    const SteadyTime due = first->first;
    by_time_.erase(first);
    const auto entry = entries_.find(agent);
    if (entry == entries_.end() || entry->second.running || entry->second.due != due) continue;
    entry->second.due.reset();
    entry->second.running = true;
    return agent;
  }
  return std::nullopt;
}

void ErrandSchedule::step(std::unique_lock<std::mutex>& lock, const AgentId& agent) {
  lock.unlock();
  const auto next = step_(agent);
  lock.lock();
  Entry& entry = entries_.at(agent);
  entry.running = false;
  if (entry.forgotten) {
    entries_.erase(agent);
    return;
  }
  const auto wished = std::exchange(entry.due, std::nullopt);
  if (next) put_locked(agent, clock_.steady() + *next);
  if (wished) put_locked(agent, *wished);
  if (const auto left = entries_.find(agent); !left->second.due) entries_.erase(left);
}

void ErrandSchedule::work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const SteadyTime now = clock_.steady();
    if (const auto agent = take_due(now)) {
      step(lock, *agent);
    } else if (by_time_.empty()) {
      changed_.wait(lock);
    } else {
      changed_.wait_for(lock, by_time_.begin()->first - now);
    }
  }
}

bool ErrandSchedule::run_due() {
  std::unique_lock lock(mutex_);
  const auto agent = take_due(clock_.steady());
  if (!agent) return false;
  step(lock, *agent);
  return true;
}

std::size_t ErrandSchedule::waiting() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace greengate::workers
