#include "agent/tasks/child.h"

#include "agent/collectors/text.h"
#include "agent/processes/become.h"
#include "core/check.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace greengate::agent {
namespace {

constexpr std::chrono::milliseconds reap_interval{20};  // between the end of output and the end of the process
constexpr std::size_t line_bytes_max = 4 << 10;
constexpr std::size_t input_bytes_max = 4 << 10;  // fits into a pipe
constexpr std::size_t last_line_bytes = 200;
constexpr std::size_t read_bytes = 16 << 10;
constexpr int reads_at_once = 16;  // then the agent's other business has its turn

ChildImage image_of(char* const* words, const ChildCommand& command, int input, int output) {
  static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  static char language[] = "LC_ALL=C.UTF-8";
  static char home[] = "HOME=/";
  static char* const environment[] = {path, language, home, nullptr};
  ChildImage image;
  image.program = words[0];
  image.arguments = words;
  image.environment = environment;
  image.input = input;
  image.output = image.errors = output;
  image.limits.file_bytes = image.limits.open_files = 0;
  image.own_session = command.outlive;
  image.lowest_priority = command.low_priority;
  image.parent = command.outlive ? 0 : getpid();
  return image;
}

}  // namespace

std::string ChildProcess::Ended::words() const {
  std::string said = too_long ? "did not end in time" : signal != 0 ? "was ended by signal " + std::to_string(signal)
                     : status == exit_not_started || status == exit_no_format ? "could not be run" : "ended with status " + std::to_string(status);
  return last_line.empty() ? said : said + ": " + last_line;
}

Result<void> ChildProcess::start(ChildCommand command) {
  GREENGATE_CHECK(!running() && !command.words.empty() && command.input.size() <= input_bytes_max, "one program at a time");
  const auto failed = [&](const char* what) {
    return fail(Remedy::retry, "task.child", command.words.front() + " was not started: " + what + ": " + std::strerror(errno) + ".");
  };
  std::array<int, 2> in{-1, -1}, out{-1, -1};
  const auto close_all = [&] {
    for (const int fd : {in[0], in[1], out[0], out[1]}) {
      if (fd >= 0) close(fd);
    }
  };
  if (pipe2(in.data(), O_CLOEXEC) != 0 || pipe2(out.data(), O_CLOEXEC) != 0) {
    auto failure = failed("no pipe");
    close_all();
    return failure;
  }
  if (!command.input.empty() && write(in[1], command.input.data(), command.input.size()) != static_cast<ssize_t>(command.input.size())) {
    auto failure = failed("no input");
    close_all();
    return failure;
  }
  std::vector<char*> words;
  for (std::string& word : command.words) words.push_back(word.data());
  words.push_back(nullptr);
  const ChildImage image = image_of(words.data(), command, in[0], out[1]);
  const pid_t child = fork();
  if (child == 0) become(image);
  if (child < 0) {
    auto failure = failed("no process");
    close_all();
    return failure;
  }
  close(in[0]);
  close(in[1]);
  close(out[1]);
  if (!command.outlive) setpgid(child, child);  // whoever comes first
  fcntl(out[0], F_SETFL, O_NONBLOCK);
  child_ = child;
  output_ = out[0];
  deadline_ = clock_.steady() + command.patience;
  command_ = std::move(command);
  line_.clear();
  last_line_.clear();
  return {};
}

SteadyTime ChildProcess::next_due() const {
  if (!running()) return SteadyTime::max();
  return output_ >= 0 ? deadline_ : std::min(deadline_, clock_.steady() + reap_interval);
}

void ChildProcess::pass_line() {
  if (line_.empty()) return;
  if (command_.line) command_.line(line_);
  last_line_ = clean_text(line_, last_line_bytes);
  line_.clear();
}

void ChildProcess::close_output() {
  if (output_ >= 0) close(output_);
  output_ = -1;
  pass_line();
}

void ChildProcess::read_output() {
  std::array<char, read_bytes> buffer;
  for (int times = 0; times < reads_at_once && output_ >= 0; ++times) {
    const ssize_t got = read(output_, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return close_output();
    for (const char c : std::string_view(buffer.data(), static_cast<std::size_t>(got))) {
      if (c != '\n') line_ += c;
      if (c == '\n' || line_.size() >= line_bytes_max) pass_line();
    }
  }
}

std::optional<ChildProcess::Ended> ChildProcess::poll() {
  if (!running()) return std::nullopt;
  read_output();
  Ended ended;
  int status = 0;
  // Something it started may hold the output open; the program's own end counts.
  if (waitpid(child_, &status, WNOHANG) == child_) {
    read_output();
    close_output();
    if (!command_.outlive) kill(-child_, SIGKILL);  // what it left behind in its group
    child_ = 0;
    if (WIFEXITED(status)) ended.status = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) ended.signal = WTERMSIG(status);
  } else if (clock_.steady() >= deadline_) {
    ended.too_long = true;
    end();
  } else {
    return std::nullopt;
  }
  ended.last_line = last_line_;
  return ended;
}

void ChildProcess::end() {
  if (child_ > 0 && !command_.outlive) {
    kill(-child_, SIGKILL);
    kill(child_, SIGKILL);
    // A killed process ends at once, unless it hangs in the kernel: then it is left to init rather than waited for.
    int status = 0;
    for (int tries = 0; tries < 50 && waitpid(child_, &status, WNOHANG) == 0; ++tries) usleep(2'000);
  }
  child_ = 0;
  close_output();
}

}  // namespace greengate::agent
