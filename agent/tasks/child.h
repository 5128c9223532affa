#pragma once

#include "core/clock.h"
#include "core/result.h"

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace greengate::agent {

struct ChildCommand {
  std::vector<std::string> words;  ///< The program by its whole path, and its arguments. No shell.
  std::string input;               ///< At most 4 KiB.
  std::chrono::milliseconds patience{60'000};
  bool low_priority = false;  ///< The last that gets the processor and the disk.
  bool outlive = false;       ///< Goes on when the agent ends, and is not ended when patience is over.
  /// Gets what it prints, on both its outputs, line by line; a line longer than 4 KiB in pieces.
  std::function<void(std::string_view line)> line;
};

/// A program an agent's task has running, in a process group of its own, with an environment of ours.
///
/// Promise   Never waits. What it prints is read and passed on, never gathered. It and its group end with the agent, however that ends, and at
///           `patience`, unless it is to outlive it.
/// Threads   One; start() from the thread that lives as long as the agent.
/// Errors    task.child (retry).
class ChildProcess {
 public:
  explicit ChildProcess(const Clock& clock) : clock_(clock) {}
  ~ChildProcess() { end(); }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  Result<void> start(ChildCommand command);
  bool running() const { return child_ > 0; }
  int fd() const { return output_; }
  SteadyTime next_due() const;

  struct Ended {
    int status = -1;         ///< Exit status; -1: by a signal.
    int signal = 0;
    bool too_long = false;   ///< Ended by us, or left to itself when it outlives us.
    std::string last_line;   ///< It printed, cut at 200 bytes.
    bool well() const { return status == 0 && !too_long; }
    /// "ended with status 2: cannot open …", for people.
    std::string words() const;
  };
  /// The end, once.
  std::optional<Ended> poll();
  void end();

 private:
  void read_output();
  void pass_line();
  void close_output();

  const Clock& clock_;
  ChildCommand command_;
  pid_t child_ = 0;
  int output_ = -1;
  SteadyTime deadline_{};
  std::string line_, last_line_;
};

}  // namespace greengate::agent
