#include "agent/watchers/watchers.h"

#include <algorithm>

namespace greengate::agent {

Watchers::Watchers(const WatchersConfig& config, Notebook& notebook, const Clock& clock) {
  all_.push_back(std::make_unique<PackageWatch>(config.packages, notebook, clock));
  all_.push_back(std::make_unique<MifFolder>(config.mif, notebook, clock));
  all_.push_back(std::make_unique<Meter>(config.metering, notebook, clock));
}

SteadyTime Watchers::next_due() const {
  SteadyTime due = SteadyTime::max();
  for (const auto& one : all_) due = std::min(due, one->next_due());
  return due;
}

void Watchers::tick() {
  for (const auto& one : all_) one->tick();
}

void Watchers::close() {
  for (const auto& one : all_) one->close();
}

}  // namespace greengate::agent
