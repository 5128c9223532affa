#include "core/random.h"

#include "core/check.h"

#include <sys/random.h>

#include <cerrno>
#include <cstring>

namespace greengate {

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  std::size_t got = 0;
  while (got < count) {
    const ssize_t n = getrandom(bytes.data() + got, count - got, 0);
    if (n < 0 && errno == EINTR) continue;
    GREENGATE_CHECK(n > 0, "the kernel always has randomness after boot");
    got += static_cast<std::size_t>(n);
  }
  return bytes;
}

std::uint64_t random_u64() {
  const std::string bytes = random_bytes(sizeof(std::uint64_t));
  std::uint64_t value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace greengate
