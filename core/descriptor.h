#pragma once

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace greengate {

/// An open file descriptor, closed with its owner. Closing leaves errno as it was: a caller may still want to know why it gave up.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      shut();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Descriptor() { shut(); }

  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  void shut() {
    const int before = errno;
    if (fd_ >= 0) close(fd_);
    errno = before;
  }
  int fd_ = -1;
};

}  // namespace greengate
