#pragma once

#include "core/clock.h"

#include <functional>
#include <memory>
#include <string>

namespace greengate::gateway {

/// The process's end: takes SIGTERM and SIGINT, and sees to it that the process is gone when it should be, whatever its parts wait for.
///
/// Promise   Before ready() a signal ends the process at once, with 0. Afterwards the first is handed to wait(), and a second ends the
///           process at once, with 1. So does the deadline of watch(), which names the part that did not stop; that of everything_is_kept()
///           ends it with 0, as only memory is left to give back. Nothing acknowledged is lost: it is in the store, whose promise is made
///           for power cuts.
/// Threads   Made by the main thread before any other exists, as threads inherit what is blocked; every call from the main thread. One of
///           its own, for as long as the process lives.
class End {
 public:
  End();
  ~End();
  End(const End&) = delete;
  End& operator=(const End&) = delete;

  void ready();
  /// The first signal's number.
  int wait();
  /// `at` says what the main thread waits for; it lives until everything_is_kept().
  void watch(SteadyTime deadline, std::function<std::string()> at);
  void everything_is_kept(SteadyTime deadline);

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace greengate::gateway
