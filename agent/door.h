#pragma once

#include "core/clock.h"
#include "core/result.h"
#include "greengate/v1/frame.pb.h"

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

namespace greengate::agent {

/// A Unix socket in the state directory, through which commands on this machine ask the running agent.
///
/// Promise   Whoever asked gets one line: the answer, or a code that says why there is none. Never waits.
/// Limits    For the agent's user and root only (mode 0600). 16 at a time; a question of 4 KiB within 5 s; an answer within 60 s.
/// Threads   One.
/// Errors    door.path, door.socket (reject). To those who ask: ask.malformed, door.busy, ask.timeout.
class Door {
 public:
  /// Replaces what an agent before us left behind: the caller holds the state directory.
  static Result<std::unique_ptr<Door>> open(const std::string& path, const Clock& clock);
  ~Door();
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  /// To be watched for reading.
  std::vector<int> descriptors() const;
  SteadyTime next_due() const;
  /// Questions that have come, each with a nonce of its own.
  std::vector<v1::Ask> poll();
  /// To whoever asked with this nonce, if still there.
  void answer(std::uint64_t nonce, const v1::Answer& answer);
  /// To all who wait.
  void answer_all(const std::string& code, const std::string& message);

 private:
  struct Caller {
    int fd = -1;
    std::uint64_t nonce = 0;  ///< 0: has not asked yet.
    std::string in, out;
    bool answered = false;
    SteadyTime until{};
  };
  Door(int listener, std::string path, const Clock& clock) : listener_(listener), path_(std::move(path)), clock_(clock) {}
  void let_in();
  /// False when the caller is done with.
  bool serve(Caller& caller, std::vector<v1::Ask>& questions);
  void say(Caller& caller, const std::string& code, const std::string& message);
  bool push(Caller& caller);

  int listener_;
  std::string path_;
  const Clock& clock_;
  std::list<Caller> callers_;
};

}  // namespace greengate::agent
