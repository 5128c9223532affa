#include "agent/processes/supervised_run.h"

#include "agent/processes/supervise.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t read_bytes = 16 * 1024;
constexpr int reads_at_once = 64;             // before the agent's other work gets its turn
constexpr milliseconds end_patience{10'000};  // of the supervisor, once told to end

struct Pipe {
  int reader = -1, writer = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == 0) reader = ends[0], writer = ends[1];
  }
  ~Pipe() {
    for (const int fd : {reader, writer}) {
      if (fd >= 0) close(fd);
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
};

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> made;
  for (std::string& word : words) made.push_back(word.data());
  made.push_back(nullptr);
  return made;
}

void close_it(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

}  // namespace

Result<std::unique_ptr<SupervisedRun>> SupervisedRun::start(const RunOrder& order, const Clock& clock) {
  Pipe output, control, status;
  const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
  const auto failed = [&] {
    const int why = errno;
    if (nowhere >= 0) close(nowhere);
    return fail(Remedy::retry, "run.start", order.program + " cannot be run: " + std::strerror(why) + ".");
  };
  if (nowhere < 0 || output.reader < 0 || control.reader < 0 || status.reader < 0) return failed();
  // All that the child reads is made here: between fork and exec it may not allocate.
  std::vector<std::string> arguments = order.arguments, environment = order.environment;
  const std::vector<char*> argument_pointers = pointers(arguments), environment_pointers = pointers(environment);
  ChildUser user;
  if (order.user) user = {order.user->uid, order.user->gid, order.user->groups.data(), order.user->groups.size()};
  ChildImage image;
  image.program = order.program.c_str();
  image.arguments = argument_pointers.data();
  image.environment = environment_pointers.data();
  image.input = nowhere;
  image.output = output.writer;
  image.errors = order.errors_too ? output.writer : nowhere;
  image.limits = order.limits;
  image.own_session = true;
  image.no_new_privileges = true;
  image.user = order.user ? &user : nullptr;

  std::unique_ptr<SupervisedRun> run(new SupervisedRun(order, clock));
  const pid_t pid = fork();
  if (pid == 0) supervise(image, control.reader, status.writer);
  if (pid < 0) return failed();
  close(nowhere);
  run->supervisor_ = pid;
  run->output_ = std::exchange(output.reader, -1);
  run->status_ = std::exchange(status.reader, -1);
  run->control_ = std::exchange(control.writer, -1);
  fcntl(run->output_, F_SETFL, O_NONBLOCK);
  fcntl(run->status_, F_SETFL, O_NONBLOCK);
  run->started_ = clock.steady();
  run->deadline_ = run->started_ + order.patience;
  return run;
}

SupervisedRun::~SupervisedRun() {
  if (supervisor_ <= 0) return;
  close_it(control_);
  // It kills what runs at once; a moment is given so that nothing is left when we are.
  pollfd ended{status_, POLLIN, 0};
  if (status_ >= 0) ::poll(&ended, 1, 2'000);
  let_go();
}

std::optional<RunEnd> SupervisedRun::poll() {
  if (supervisor_ <= 0) return std::nullopt;
  read_output();
  SupervisorWord word;
  const ssize_t got = read(status_, &word, sizeof word);
  if (got == static_cast<ssize_t>(sizeof word)) {
    read_output();  // nobody is left who could print more than what waits
    end_.left_some = word.left_some;
    if (word.start_errno != 0) return finish(RunEnd::How::not_started, word.start_errno);
    // It may have ended just before it was told to.
    if (ending_ && (!word.by_itself || *ending_ == RunEnd::How::output)) return finish(*ending_, 0);
    return WIFEXITED(word.status) ? finish(RunEnd::How::exited, WEXITSTATUS(word.status)) : finish(RunEnd::How::signalled, WTERMSIG(word.status));
  }
  if (got >= 0) return finish(ending_.value_or(RunEnd::How::lost), 0);
  if (clock_.steady() < deadline_) return std::nullopt;
  if (!ending_) {
    end_it(RunEnd::How::timeout);
    return std::nullopt;
  }
  kill(supervisor_, SIGKILL);
  return finish(*ending_, 0);
}

void SupervisedRun::read_output() {
  std::array<char, read_bytes> buffer;
  for (int times = 0; output_ >= 0 && times < reads_at_once; ++times) {
    const ssize_t got = read(output_, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return close_it(output_);
    const auto bytes = static_cast<std::size_t>(got);
    end_.output.append(buffer.data(), std::min(bytes, kept_max_ - std::min(kept_max_, end_.output.size())));
    end_.output_bytes += bytes;
    if (end_.output_bytes > bytes_max_) return end_it(RunEnd::How::output);
  }
}

void SupervisedRun::end_it(RunEnd::How why) {
  if (!ending_) ending_ = why;
  close_it(control_);
  close_it(output_);
  deadline_ = clock_.steady() + end_patience;
}

RunEnd SupervisedRun::finish(RunEnd::How how, int number) {
  end_.how = how;
  end_.number = number;
  end_.took = std::chrono::duration_cast<milliseconds>(clock_.steady() - started_);
  let_go();
  return std::move(end_);
}

void SupervisedRun::let_go() {
  close_it(control_);
  close_it(output_);
  close_it(status_);
  // It has said its last word, or was killed: it ends at once, unless the kernel holds it; then it is left to init.
  for (int tries = 0; tries < 50 && waitpid(supervisor_, nullptr, WNOHANG) == 0; ++tries) ::poll(nullptr, 0, 2);
  supervisor_ = 0;
}

}  // namespace greengate::agent
