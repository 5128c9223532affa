#pragma once

#include <string>

namespace greengate::adapters::bgb {

/// The way this machine would take to an address now, as the kernel has it: "dev 2 via 10.0.0.1 from 10.0.0.5". No packet is sent.
/// Asked of rtnetlink; where that is closed to us only the local address is told apart.
///
/// Threads   One; keeps one socket.
class RouteLookup {
 public:
  RouteLookup() = default;
  ~RouteLookup();
  RouteLookup(const RouteLookup&) = delete;
  RouteLookup& operator=(const RouteLookup&) = delete;

  /// Empty when there is no way, or `address` is none.
  std::string way_to(const std::string& address);

 private:
  bool open();

  int fd_ = -1;
  unsigned sequence_ = 0;
  bool closed_to_us_ = false;
};

}  // namespace greengate::adapters::bgb
