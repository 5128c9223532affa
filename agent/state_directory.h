#pragma once

#include "core/result.h"

#include <string>

namespace greengate::agent {

/// The place of keys and outbox, held by one agent at a time.
///
/// Promise   Made with mode 0700 where absent. As long as this lives, no other `run` or `enrol`
///           works here. What root makes in a directory of another user (enrolling by hand before
///           the service starts) is handed to that user.
/// Errors    agent.state_directory, agent.already_running (reject).
class StateDirectory {
 public:
  static Result<StateDirectory> hold(const std::string& path);
  StateDirectory(StateDirectory&& other) noexcept;
  StateDirectory& operator=(StateDirectory&&) = delete;
  ~StateDirectory();

  /// Gives a file in `path` to the directory's owner, should root have made it.
  static void hand_over(const std::string& path, const std::string& file);

 private:
  explicit StateDirectory(int lock) : lock_(lock) {}
  int lock_;
};

}  // namespace greengate::agent
