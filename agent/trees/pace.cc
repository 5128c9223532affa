#include "agent/trees/pace.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace greengate::agent {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr milliseconds worth_a_rest{20};  // shorter ones cost more than they spare
constexpr milliseconds longest_rest{2'000};

// linux/ioprio.h, which older systems do not install.
constexpr int ioprio_who_process = 1;
constexpr int ioprio_class_idle = 3;
constexpr int ioprio_class_shift = 13;

}  // namespace

Pace::Pace(std::uint64_t files_per_second, std::uint64_t bytes_per_second, const Clock& clock,
           Rest rest)
    : files_per_second_(files_per_second),
      bytes_per_second_(bytes_per_second),
      clock_(clock),
      rest_(std::move(rest)),
      paid_until_(clock.steady()) {
  if (!rest_) rest_ = [](milliseconds time) { std::this_thread::sleep_for(time); };
}

void Pace::file() {
  if (files_per_second_ > 0) keep(microseconds(1'000'000 / files_per_second_));
}

void Pace::bytes(std::uint64_t count) {
  if (bytes_per_second_ == 0) return;
  // In whole seconds first: the product would not fit for a count near the top.
  const std::uint64_t seconds = std::min<std::uint64_t>(count / bytes_per_second_, 3'600);
  const std::uint64_t part = (count % bytes_per_second_) * 1'000'000 / bytes_per_second_;
  keep(microseconds(seconds * 1'000'000 + part));
}

void Pace::keep(microseconds cost) {
  const SteadyTime now = clock_.steady();
  paid_until_ = std::max(paid_until_, now) + cost;
  while (paid_until_ - clock_.steady() >= worth_a_rest) {
    const SteadyTime before = clock_.steady();
    rest_(std::min(longest_rest, std::chrono::floor<milliseconds>(paid_until_ - before)));
    if (clock_.steady() <= before) return;  // a clock that stands still: nothing to wait for
  }
}

void become_low_priority() {
  // PRIO_PROCESS with 0 is the caller; a refusal is no reason to do without the work.
  [[maybe_unused]] const int nice = setpriority(PRIO_PROCESS, 0, 19);
  [[maybe_unused]] const long idle =
      syscall(SYS_ioprio_set, ioprio_who_process, 0, ioprio_class_idle << ioprio_class_shift);
}

}  // namespace greengate::agent
