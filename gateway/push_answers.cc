#include "gateway/push_answers.h"

namespace greengate::gateway {

bool PushAnswers::begin(const PushName& push, SteadyTime answer_by) {
  if (waiting_.size() >= count_max_) return false;
  if (!waiting_.try_emplace(push, Waiting{answer_by, 0}).second) return false;
  by_time_.emplace(answer_by, push);
  return true;
}

bool PushAnswers::bind(const PushName& push, std::uint64_t entry) {
  const auto found = waiting_.find(push);
  if (found == waiting_.end()) return false;
  if (found->second.entry == 0) {
    found->second.entry = entry;
    by_entry_.emplace(entry, push);
  }
  return true;
}

bool PushAnswers::take(const PushName& push) {
  const auto found = waiting_.find(push);
  if (found == waiting_.end()) return false;
  forget(found);
  return true;
}

std::vector<PushName> PushAnswers::take(std::uint64_t entry, const AgentId& agent) {
  std::vector<PushName> taken;
  const auto [begin, end] = by_entry_.equal_range(entry);
  for (auto it = begin; it != end; ++it) {
    if (it->second.agent == agent) taken.push_back(it->second);
  }
  for (const PushName& push : taken) forget(waiting_.find(push));
  return taken;
}

std::vector<PushAnswers::Late> PushAnswers::take_late(SteadyTime now) {
  std::vector<Late> late;
  while (!by_time_.empty() && by_time_.begin()->first <= now) {
    const auto found = waiting_.find(by_time_.begin()->second);
    late.push_back({found->first, found->second.entry});
    forget(found);
  }
  return late;
}

void PushAnswers::forget(Place place) {
  by_time_.erase({place->second.answer_by, place->first});
  const auto [begin, end] = by_entry_.equal_range(place->second.entry);
  for (auto it = begin; it != end; ++it) {
    if (it->second != place->first) continue;
    by_entry_.erase(it);
    break;
  }
  waiting_.erase(place);
}

}  // namespace greengate::gateway
