#pragma once

namespace greengate {

/// A descriptor that one thread polls and any thread can make readable.
///
/// Threads   wake(): any thread. clear(): the polling thread, before it looks at what it was woken for.
class Wakeup {
 public:
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  int fd() const { return fd_; }
  void wake();
  void clear();

 private:
  int fd_;
};

}  // namespace greengate
