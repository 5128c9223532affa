#include "agent/tasks.h"

#include "core/check.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

extern char** environ;

namespace greengate::agent {
namespace {

constexpr std::size_t read_bytes = 64 << 10;
constexpr std::chrono::milliseconds reap_interval{
    20};  // between the end of output and the end of the process

}  // namespace

CollectionRunner::CollectionRunner(CollectionRunnerConfig config, const Clock& clock)
    : config_(std::move(config)), clock_(clock) {
  GREENGATE_CHECK(!config_.command.empty(), "there is a command that collects");
}

CollectionRunner::~CollectionRunner() {
  end_child();
}

Result<void> CollectionRunner::start(Collection what) {
  GREENGATE_CHECK(!running(), "one collection at a time");
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return fail(Remedy::retry, "collect.start",
                std::string("No pipe for a collection: ") + std::strerror(errno) + ".");
  }
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // A group of its own, so that the commands it runs can be ended with it; and no signal blocked or
  // handled as in the agent.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);

  std::vector<std::string> words = config_.command;
  words.emplace_back(name_of(what));
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int failed =
      posix_spawn(&child, words.front().c_str(), &files, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  close(ends[1]);
  if (failed != 0) {
    close(ends[0]);
    return fail(Remedy::retry, "collect.start",
                words.front() + " cannot be run: " + std::strerror(failed) + ".");
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  what_ = what;
  child_ = child;
  output_ = ends[0];
  started_ = clock_.steady();
  deadline_ = started_ + config_.patience;
  body_.clear();
  return {};
}

SteadyTime CollectionRunner::next_due() const {
  if (!running()) return SteadyTime::max();
  return output_ >= 0 ? deadline_ : std::min(deadline_, clock_.steady() + reap_interval);
}

std::optional<CollectionRunner::Finished> CollectionRunner::poll() {
  if (!running()) return std::nullopt;
  while (output_ >= 0) {
    const std::size_t before = body_.size();
    body_.resize(before + read_bytes);
    const ssize_t got = read(output_, body_.data() + before, read_bytes);
    const int why = errno;
    body_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && why == EINTR) continue;
    if (got < 0 && why == EAGAIN) break;
    if (got <= 0) {
      close(output_);
      output_ = -1;
    } else if (body_.size() > config_.body_bytes_max) {
      end_child();
      return finish(fail(Remedy::retry, "collect.too_large",
                         std::string("The ") + name_of(what_) + " is larger than " +
                             std::to_string(config_.body_bytes_max) + " bytes."));
    }
  }
  if (output_ < 0) {
    int status = 0;
    const pid_t ended = waitpid(child_, &status, WNOHANG);
    if (ended == child_) {
      child_ = 0;
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return finish(std::move(body_));
      return finish(
          fail(Remedy::retry, "collect.failed",
               std::string("Collecting the ") + name_of(what_) + " ended with " +
                   (WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                        : "status " + std::to_string(WEXITSTATUS(status))) +
                   "."));
    }
  }
  if (clock_.steady() < deadline_) return std::nullopt;
  end_child();
  return finish(fail(Remedy::retry, "collect.timeout",
                     std::string("Collecting the ") + name_of(what_) +
                         " took longer than reports.collection_patience."));
}

CollectionRunner::Finished CollectionRunner::finish(Result<std::string> body) {
  body_ = std::string();
  return {what_, std::move(body),
          std::chrono::duration_cast<std::chrono::milliseconds>(clock_.steady() - started_)};
}

void CollectionRunner::end_child() {
  if (child_ > 0) {
    kill(-child_, SIGKILL);
    // A killed process ends at once, unless it hangs in the kernel: then it is left to init rather
    // than waited for.
    int status = 0;
    for (int tries = 0; tries < 50 && waitpid(child_, &status, WNOHANG) == 0; ++tries)
      usleep(2'000);
    child_ = 0;
  }
  if (output_ >= 0) {
    close(output_);
    output_ = -1;
  }
}

}  // namespace greengate::agent
