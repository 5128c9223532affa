#include "core/check.h"

#include <cstdio>
#include <cstdlib>

namespace greengate {

void belief_broken(const char* condition, const char* belief, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: believed that %s (%s), and it is not so\n", file, line, belief, condition);
  std::abort();
}

}  // namespace greengate
