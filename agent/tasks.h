#pragma once

#include "agent/schedule.h"
#include "core/clock.h"
#include "core/result.h"

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace greengate::agent {

struct CollectionRunnerConfig {
  /// The command that collects; the collection's name is appended, and the serialized report
  /// comes on its standard output.
  std::vector<std::string> command;
  std::chrono::milliseconds patience{300'000};
  std::size_t body_bytes_max = 15 << 20;
};

/// Runs one collection at a time in a process of its own, so that a collector that is slow, crashes
/// or needs much memory never touches the link, and gives all its memory back.
///
/// Limits    One at a time; `patience`, then the process and all it started is killed;
///           body_bytes_max.
/// Threads   One.
/// Errors    collect.start, collect.timeout, collect.failed, collect.too_large (all retry).
class CollectionRunner {
 public:
  CollectionRunner(CollectionRunnerConfig config, const Clock& clock);
  ~CollectionRunner();
  CollectionRunner(const CollectionRunner&) = delete;
  CollectionRunner& operator=(const CollectionRunner&) = delete;

  Result<void> start(Collection what);
  bool running() const { return child_ > 0; }
  Collection what() const { return what_; }
  /// Readable when poll() may have something; -1 while nothing runs or only the end is awaited.
  int fd() const { return output_; }
  SteadyTime next_due() const;

  struct Finished {
    Collection what;
    Result<std::string> body;
    std::chrono::milliseconds took;
  };
  /// Takes what came; an answer once, when the collection is over. Never waits.
  std::optional<Finished> poll();

 private:
  Finished finish(Result<std::string> body);
  void end_child();

  CollectionRunnerConfig config_;
  const Clock& clock_;
  Collection what_ = Collection::discovery;
  pid_t child_ = 0;
  int output_ = -1;
  SteadyTime started_{}, deadline_{};
  std::string body_;
};

}  // namespace greengate::agent
