#pragma once

namespace greengate {

/// Ends the process with the broken belief on stderr. Never for input from outside.
[[noreturn]] void belief_broken(const char* condition, const char* belief, const char* file, int line);

}  // namespace greengate

/// States what we believe about our own code; checked in release builds too.
#define GREENGATE_CHECK(condition, belief) \
  ((condition) ? static_cast<void>(0) : ::greengate::belief_broken(#condition, belief, __FILE__, __LINE__))
