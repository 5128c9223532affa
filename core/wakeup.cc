#include "core/wakeup.h"

#include "core/check.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

namespace greengate {

Wakeup::Wakeup() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  GREENGATE_CHECK(fd_ >= 0, "an eventfd can be made at start");
}

Wakeup::~Wakeup() { close(fd_); }

void Wakeup::wake() {
  const std::uint64_t one = 1;
  // EAGAIN means the counter is full, that is, already readable: the waking is done.
  [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof one);
}

void Wakeup::clear() {
  std::uint64_t count;
  [[maybe_unused]] const ssize_t got = read(fd_, &count, sizeof count);
}

}  // namespace greengate
