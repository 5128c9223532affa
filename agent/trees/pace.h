#pragma once

#include "core/clock.h"

#include <chrono>
#include <cstdint>
#include <functional>

namespace greengate::agent {

/// Keeps background work slow: so many files and so many bytes a second, on average, rested for in
/// between.
///
/// Threads   One.
class Pace {
 public:
  using Rest = std::function<void(std::chrono::milliseconds)>;
  /// 0: unbounded. `rest` waits; without one the thread sleeps.
  Pace(std::uint64_t files_per_second, std::uint64_t bytes_per_second, const Clock& clock,
       Rest rest = {});

  void file();
  void bytes(std::uint64_t count);

 private:
  void keep(std::chrono::microseconds cost);

  std::uint64_t files_per_second_, bytes_per_second_;
  const Clock& clock_;
  Rest rest_;
  SteadyTime paid_until_;
};

/// Makes this process the last that gets the processor and the disk. What the kernel refuses is
/// left as it is.
void become_low_priority();

}  // namespace greengate::agent
