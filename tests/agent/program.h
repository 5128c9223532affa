#pragma once

#include "core/check.h"

#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace greengate::test {

/// A started program; killed, if need be, when the test ends.
class Program {
 public:
  explicit Program(std::vector<std::string> words, bool as_nobody = false) {
    pid_ = fork();
    GREENGATE_CHECK(pid_ >= 0, "a test may fork");
    if (pid_ == 0) {
      if (as_nobody) {
        const passwd* nobody = getpwnam("nobody");
        if (!nobody || setgid(nobody->pw_gid) != 0 || setuid(nobody->pw_uid) != 0) _exit(99);
      }
      std::vector<char*> arguments;
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      execv(arguments.front(), arguments.data());
      _exit(98);
    }
  }
  ~Program() { end(SIGKILL); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  int end(int signal) {
    if (pid_ <= 0) return status_;
    if (signal) kill(pid_, signal);
    waitpid(pid_, &status_, 0);
    pid_ = 0;
    return status_;
  }
  /// Its exit status; it must end by itself.
  int join() {
    end(0);
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 1000 + WTERMSIG(status_);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  int status_ = 0;
};

/// The program beside this test, or another build of it.
inline std::string agent_program() {
  const char* other = std::getenv("GREENGATE_AGENT_PROGRAM");
  return other ? other : GREENGATE_AGENT_PROGRAM;
}

}  // namespace greengate::test
