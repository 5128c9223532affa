#include "core/lifecycle.h"

#include <string>

namespace greengate {

Lifecycle::Lifecycle(std::vector<Component*> downstream_first) : downstream_first_(std::move(downstream_first)) {}

Result<void> Lifecycle::start() {
  for (; started_ < downstream_first_.size(); ++started_) {
    Component& next = *downstream_first_[started_];
    if (auto ready = next.start(); !ready) {
      Error error = ready.error();
      error.message = std::string(next.name()) + " did not start: " + error.message;
      shut_down({});
      return tl::unexpected(std::move(error));
    }
  }
  return {};
}

void Lifecycle::shut_down(SteadyTime drain_until) {
  for (std::size_t i = started_; i-- > 0;) downstream_first_[i]->drain(drain_until);
  for (std::size_t i = started_; i-- > 0;) downstream_first_[i]->stop();
  started_ = 0;
}

}  // namespace greengate
