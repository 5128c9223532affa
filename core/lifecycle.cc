#include "core/lifecycle.h"

#include <algorithm>

namespace greengate {
namespace {

using std::chrono::milliseconds;

// An operator's timeline names those that took this long.
constexpr milliseconds worth_a_line{100};
// A deadline is met when the thread that watched it has had its turn of the processor.
constexpr milliseconds deadline_slack{500};

}  // namespace

Lifecycle::Lifecycle(std::vector<Component*> downstream_first, const Clock& clock)
    : downstream_first_(std::move(downstream_first)), clock_(clock) {}

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
  struct Took {
    milliseconds drain{}, stop{};
    bool late = false;
  };
  std::vector<Took> took(started_);
  const SteadyTime began = clock_.steady();
  const auto since = [&](SteadyTime then) { return std::chrono::floor<milliseconds>(clock_.steady() - then); };

  for (std::size_t i = started_; i-- > 0;) downstream_first_[i]->refuse();
  for (std::size_t i = started_; i-- > 0;) {
    Component& one = *downstream_first_[i];
    set_at(one.name(), "draining");
    const SteadyTime before = clock_.steady();
    one.drain(drain_until);
    took[i].drain = since(before);
    took[i].late = took[i].drain > deadline_slack && clock_.steady() > drain_until + deadline_slack;
  }
  const milliseconds drained = since(began);
  for (std::size_t i = started_; i-- > 0;) {
    Component& one = *downstream_first_[i];
    set_at(one.name(), "stopping");
    const SteadyTime before = clock_.steady();
    one.stop();
    took[i].stop = since(before);
  }
  set_at({}, "");

  for (std::size_t i = started_; i-- > 0;) {
    const auto part = kv("part", downstream_first_[i]->name());
    const auto drain = kv("drain_ms", took[i].drain), stop = kv("stop_ms", took[i].stop);
    if (took[i].late) {
      log_.warn("component drained past the deadline", part, drain, stop);
    } else if (took[i].drain + took[i].stop >= worth_a_line) {
      log_.info("component stopped", part, drain, stop);
    } else {
      log_.debug("component stopped", part, drain, stop);
    }
  }
  if (started_ > 0) log_.info("all stopped", kv("drain_ms", drained), kv("stop_ms", since(began) - drained));
  started_ = 0;
}

std::string Lifecycle::at() const {
  std::lock_guard lock(mutex_);
  return at_;
}

void Lifecycle::set_at(std::string_view component, const char* doing) {
  std::lock_guard lock(mutex_);
  at_.assign(component);
  if (!component.empty()) at_.append(", ").append(doing);
}

}  // namespace greengate
