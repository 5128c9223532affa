#pragma once

#include "agent/processes/become.h"

namespace greengate::agent {

/// What the supervisor says at its end.
struct SupervisorWord {
  int start_errno = 0;  ///< Not 0: the program was not run.
  int status = 0;       ///< As waitpid tells it.
  bool by_itself = false;  ///< The program ended before it was told to.
  bool left_some = false;  ///< Descendants could not be ended in time.
};

/// The supervisor's whole life, in a fork of its own: runs the program, waits for its end or for `control` to close, kills all that is left of
/// it, writes a SupervisorWord to `status` and leaves. System calls only.
[[noreturn]] void supervise(const ChildImage& image, int control, int status);

}  // namespace greengate::agent
