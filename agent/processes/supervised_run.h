#pragma once

#include "agent/processes/become.h"
#include "core/clock.h"
#include "core/result.h"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace greengate::agent {

/// As whom a program is run; none of it is looked up in the child.
struct RunUser {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

struct RunOrder {
  std::string program;                   ///< Full path of what is run.
  std::vector<std::string> arguments;    ///< From the program's name on.
  std::vector<std::string> environment;  ///< All of it: "NAME=value".
  std::optional<RunUser> user;           ///< None: as ours.
  std::chrono::milliseconds patience{60'000};
  ChildLimits limits;
  std::size_t output_kept_max = 4'096;   ///< What comes after it is only counted.
  std::uint64_t output_bytes_max = 1 << 20;  ///< More ends the run.
  bool errors_too = false;               ///< Its error output goes where its output goes; else nowhere.
};

struct RunEnd {
  enum class How {
    exited,       ///< By itself; `number` is its status.
    signalled,    ///< `number` is the signal.
    timeout,
    output,       ///< It printed more than output_bytes_max.
    not_started,  ///< `number` is the errno.
    lost,         ///< Whoever watched it was ended itself.
  };
  How how = How::lost;
  int number = 0;
  std::string output;  ///< At most output_kept_max.
  std::uint64_t output_bytes = 0;
  std::chrono::milliseconds took{0};
  bool left_some = false;  ///< Descendants are alive that could not be ended; a person is needed.
};

/// One program, run without a shell in a session of its own, with a process of ours beside it that ends all it has begotten: processes that
/// left its group or session too.
///
/// Promise   When an end is told, and when this object or the agent itself is gone however it went, no descendant of the program is left.
///           A program that runs as our own user could kill that process of ours first: then its session ends with it, what left the
///           session does not.
/// Limits    RunOrder. Descendants are chased for eight seconds; what is left then, RunEnd::left_some tells.
/// Threads   One. Forks, so that other threads need not be stopped.
/// Errors    run.start (retry): nothing was begun.
class SupervisedRun {
 public:
  static Result<std::unique_ptr<SupervisedRun>> start(const RunOrder& order, const Clock& clock);
  ~SupervisedRun();
  SupervisedRun(const SupervisedRun&) = delete;
  SupervisedRun& operator=(const SupervisedRun&) = delete;

  /// Readable when poll() may have something.
  int fd() const { return output_ >= 0 ? output_ : status_; }
  SteadyTime next_due() const { return deadline_; }
  /// Takes what came; the end, once. Never waits.
  std::optional<RunEnd> poll();

 private:
  SupervisedRun(const RunOrder& order, const Clock& clock) : kept_max_(order.output_kept_max), bytes_max_(order.output_bytes_max), clock_(clock) {}
  void read_output();
  void end_it(RunEnd::How why);
  RunEnd finish(RunEnd::How how, int number);
  void let_go();

  const std::size_t kept_max_;
  const std::uint64_t bytes_max_;
  const Clock& clock_;
  pid_t supervisor_ = 0;
  int output_ = -1, status_ = -1, control_ = -1;  // control: closing it ends everything
  SteadyTime started_{}, deadline_{};
  std::optional<RunEnd::How> ending_;  // why we ended it
  RunEnd end_;
};

}  // namespace greengate::agent
