#include "agent/collectors/helper_process.h"

#include "agent/collectors/limits.h"
#include "agent/processes/become.h"
#include "core/log.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;  // helpers live in real time, whatever a test's clock shows

constexpr milliseconds reap_patience{500};

// Killed helpers that the kernel has not let go of (waiting for a dead disk); looked after at the
// next call.
std::mutex stuck_mutex;  // guards stuck
std::vector<pid_t> stuck;

bool has_ended(pid_t pid, int& status) {
  const pid_t answer = waitpid(pid, &status, WNOHANG);
  return answer == pid || (answer < 0 && errno != EINTR);
}

bool room_for_a_helper() {
  std::lock_guard lock(stuck_mutex);
  int status = 0;
  std::erase_if(stuck, [&](pid_t pid) { return has_ended(pid, status); });
  return stuck.size() < limits::helpers_stuck;
}

// Ends `pid` and its group. The exit status, or nothing when it had to be killed or left behind.
std::optional<int> settle(pid_t pid, bool kill_it) {
  int status = 0;
  if (kill_it) kill(-pid, SIGKILL), kill(pid, SIGKILL);
  const auto deadline = steady_clock::now() + reap_patience;
  for (milliseconds pause{0}; !has_ended(pid, status);
       pause = std::min(pause + milliseconds(1), milliseconds(20))) {
    if (steady_clock::now() >= deadline) {
      if (!kill_it) return settle(pid, true);
      static const Log log("inventory");
      log.warn("helper process does not end", kv("pid", pid));
      std::lock_guard lock(stuck_mutex);
      stuck.push_back(pid);
      return std::nullopt;
    }
    poll(nullptr, 0, static_cast<int>(pause.count()));
  }
  if (kill_it || !WIFEXITED(status)) return std::nullopt;
  return WEXITSTATUS(status);
}

enum class End { closed, deadline, refused };

// Hands what arrives on `fd` to `take` until the other end closes.
End pump(int fd, steady_clock::time_point deadline,
         const std::function<bool(std::string_view)>& take) {
  std::array<char, 8'192> buffer;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) return End::deadline;
    pollfd waiting{fd, POLLIN, 0};
    const int ready =
        poll(&waiting, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
    if (ready < 0 && errno != EINTR) return End::refused;
    if (ready <= 0) continue;
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return End::refused;
    if (got == 0) return End::closed;
    if (!take({buffer.data(), static_cast<std::size_t>(got)})) return End::refused;
  }
}

// Both ends of a pipe, closed when it goes.
struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() {
    if (pipe2(ends, O_CLOEXEC) != 0) ends[0] = ends[1] = -1;
  }
  ~Pipe() {
    for (const int fd : ends) {
      if (fd >= 0) close(fd);
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  bool open() const { return ends[0] >= 0; }
  void close_writer() {
    close(ends[1]);
    ends[1] = -1;
  }
};

pid_t spawn(const std::string& program, const std::vector<std::string>& arguments, int output) {
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  char language[] = "LC_ALL=C";
  char colour[] = "SYSTEMD_COLORS=0";
  char* environment[] = {path, language, colour, nullptr};

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&files, 3);

  // The agent may block or ignore signals; the program starts with none of that.
  posix_spawnattr_t how;
  posix_spawnattr_init(&how);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&how, &none);
  posix_spawnattr_setsigdefault(&how, &all);
  posix_spawnattr_setpgroup(&how, 0);
  posix_spawnattr_setflags(&how,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  pid_t pid = -1;
  if (posix_spawn(&pid, program.c_str(), &files, &how, argv.data(), environment) != 0) pid = -1;
  posix_spawnattr_destroy(&how);
  posix_spawn_file_actions_destroy(&files);
  return pid;
}

// One answer over the pipe: small enough to be written whole.
struct Answer {
  std::uint64_t index;
  Space space;
  bool known;
};

// The helper's whole life. Only system calls, since the parent may have threads: no allocation, no
// lock, no destructor.
[[noreturn]] void answer_and_leave(const std::vector<const char*>& paths, std::size_t first,
                                   int output) {
  signal(SIGPIPE, SIG_DFL);
  for (std::size_t i = first; i < paths.size(); ++i) {
    Answer answer{i, {}, false};
    struct statvfs figures;
    if (statvfs(paths[i], &figures) == 0) {
      const std::uint64_t block = figures.f_frsize ? figures.f_frsize : figures.f_bsize;
      answer.space = {block, figures.f_blocks, figures.f_bavail, figures.f_namemax};
      answer.known = true;
    }
    if (write(output, &answer, sizeof answer) != static_cast<ssize_t>(sizeof answer)) break;
  }
  _exit(0);
}

}  // namespace

Ran run_program(const std::vector<std::string>& places, const std::vector<std::string>& arguments,
                milliseconds patience, const std::function<bool(std::string_view)>& take) {
  const auto program = std::find_if(places.begin(), places.end(), [](const std::string& p) {
    return access(p.c_str(), X_OK) == 0;
  });
  if (program == places.end()) return Ran::absent;
  if (!room_for_a_helper()) return Ran::failed;
  Pipe pipe;
  if (!pipe.open()) return Ran::failed;
  const pid_t pid = spawn(*program, arguments, pipe.ends[1]);
  if (pid < 0) return Ran::failed;
  pipe.close_writer();

  std::uint64_t printed = 0;
  const End end = pump(pipe.ends[0], steady_clock::now() + patience, [&](std::string_view piece) {
    printed += piece.size();
    return printed <= limits::command_bytes && take(piece);
  });
  const std::optional<int> status = settle(pid, end != End::closed);
  if (end == End::deadline) {
    static const Log log("inventory");
    log.warn("command stopped at its deadline", kv("program", *program),
             kv("patience_ms", patience));
  }
  return status && *status == 0 ? Ran::well : Ran::failed;
}

namespace {

constexpr std::size_t error_line_bytes = 400;

ChildImage image_of(const char* program, char* const* arguments, const ScriptBounds& bounds, int output, int errors, int nowhere) {
  static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  static char language[] = "LC_ALL=C.UTF-8";
  static char home[] = "HOME=/";
  static char* const environment[] = {path, language, home, nullptr};
  ChildImage image;
  image.program = program;
  image.arguments = arguments;
  image.environment = environment;
  image.input = nowhere;
  image.output = output;
  image.errors = errors;
  image.limits.memory_bytes = bounds.memory_bytes;
  image.limits.cpu_seconds = static_cast<std::uint64_t>(bounds.patience.count() / 1000 + 1);
  image.lowest_priority = true;
  image.parent = getpid();
  return image;
}

// The raw status of an ended child, killed if it does not end by itself.
std::optional<int> settle_raw(pid_t pid, bool kill_it) {
  int status = 0;
  if (kill_it) kill(-pid, SIGKILL), kill(pid, SIGKILL);
  const auto deadline = steady_clock::now() + reap_patience;
  while (!has_ended(pid, status)) {
    if (steady_clock::now() >= deadline) {
      if (!kill_it) return settle_raw(pid, true);
      std::lock_guard lock(stuck_mutex);
      stuck.push_back(pid);
      return std::nullopt;
    }
    poll(nullptr, 0, 2);
  }
  kill(-pid, SIGKILL);  // what it left behind in its group
  return status;
}

std::string first_line_of(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')).substr(0, error_line_bytes));
}

}  // namespace

ScriptEnd run_script(const std::string& program, const ScriptBounds& bounds, std::string& output) {
  output.clear();
  Pipe printed, complained;
  const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
  char* const arguments[] = {const_cast<char*>(program.c_str()), nullptr};
  const ChildImage image = image_of(program.c_str(), arguments, bounds, printed.ends[1], complained.ends[1], nowhere);
  const pid_t pid = printed.open() && complained.open() && nowhere >= 0 && room_for_a_helper() ? fork() : -1;
  if (pid == 0) become(image);
  if (nowhere >= 0) close(nowhere);
  if (pid < 0) return {false, "script.start", "It could not be started."};
  printed.close_writer();
  complained.close_writer();
  fcntl(complained.ends[0], F_SETFL, O_NONBLOCK);

  std::string errors;
  const auto hear_errors = [&] {
    std::array<char, 4'096> buffer;
    for (int times = 0; times < 16; ++times) {
      const ssize_t got = read(complained.ends[0], buffer.data(), buffer.size());
      if (got <= 0) return got == 0;
      // Beyond the first line it is read only so that the script does not wait for us.
      errors.append(buffer.data(), std::min<std::size_t>(static_cast<std::size_t>(got), error_line_bytes - std::min(errors.size(), error_line_bytes)));
    }
    return false;
  };
  const auto deadline = steady_clock::now() + bounds.patience;
  End end = End::deadline;
  bool errors_open = true;
  for (bool done = false; !done;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) break;
    std::array<pollfd, 2> waiting{{{printed.ends[0], POLLIN, 0}, {errors_open ? complained.ends[0] : -1, POLLIN, 0}}};
    if (poll(waiting.data(), waiting.size(), static_cast<int>(std::min<std::int64_t>(left.count(), 60'000))) < 0 && errno != EINTR) break;
    if (waiting[1].revents) errors_open = !hear_errors();
    if (!waiting[0].revents) continue;
    std::array<char, 16'384> buffer;
    const ssize_t got = read(printed.ends[0], buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      end = End::closed;
      done = true;
    } else if (output.size() + static_cast<std::size_t>(got) > bounds.output_bytes) {
      end = End::refused;
      done = true;
    } else {
      output.append(buffer.data(), static_cast<std::size_t>(got));
    }
  }
  // It may close its output and go on: until the deadline that is its own affair.
  if (end == End::closed) {
    siginfo_t seen{};
    while (waitid(P_PID, static_cast<id_t>(pid), &seen, WEXITED | WNOHANG | WNOWAIT) == 0 && seen.si_pid == 0) {
      if (steady_clock::now() >= deadline) {
        end = End::deadline;
        break;
      }
      if (errors_open) errors_open = !hear_errors();
      poll(nullptr, 0, 2);
    }
  }
  const std::optional<int> status = settle_raw(pid, end != End::closed);
  if (errors_open) hear_errors();
  ScriptEnd told;
  told.first_line = first_line_of(errors);
  const auto say = [&](const char* code, std::string message) {
    told.code = code;
    told.message = std::move(message);
    return told;
  };
  if (end == End::deadline)
    return say("script.timeout", "It did not end within " + std::to_string(bounds.patience.count()) + " ms.");
  if (end == End::refused) return say("script.output", "It printed more than " + std::to_string(bounds.output_bytes) + " bytes.");
  if (!status) return say("script.timeout", "It does not end.");
  if (WIFSIGNALED(*status)) return say("script.signal", "It was ended by signal " + std::to_string(WTERMSIG(*status)) + ".");
  const int code = WEXITSTATUS(*status);
  if (code == exit_no_format) return say("script.start", "The system cannot run it; a script begins with a line like #!/bin/sh.");
  if (code == exit_not_started) return say("script.start", "The system refused to run it, or its interpreter is missing.");
  if (code != 0) return say("script.exit", "It ended with status " + std::to_string(code) + ".");
  told.well = true;
  return told;
}

std::vector<std::optional<Space>> look_at_space(const std::vector<std::string>& mount_points,
                                                milliseconds patience) {
  std::vector<std::optional<Space>> found(mount_points.size());
  std::vector<const char*> paths;
  for (const std::string& mount_point : mount_points) paths.push_back(mount_point.c_str());

  // One helper answers for all. If it hangs, the next starts behind the file system it hung on, in
  // the time that is left.
  const auto deadline = steady_clock::now() + patience;
  std::size_t next = 0;
  for (int hung = 0; next < paths.size() && hung < 3 && room_for_a_helper(); ++hung) {
    Pipe pipe;
    if (!pipe.open()) break;
    const pid_t pid = fork();
    if (pid < 0) break;
    if (pid == 0) {
      setpgid(0, 0);
      answer_and_leave(paths, next, pipe.ends[1]);
    }
    pipe.close_writer();
    std::string bytes;
    const auto share =
        std::max((deadline - steady_clock::now()) / 2, steady_clock::duration(milliseconds(50)));
    const End end = pump(pipe.ends[0], steady_clock::now() + share, [&](std::string_view piece) {
      bytes += piece;
      std::size_t used = 0;
      for (; bytes.size() - used >= sizeof(Answer); used += sizeof(Answer)) {
        Answer answer;
        std::memcpy(&answer, bytes.data() + used, sizeof answer);
        if (answer.index >= found.size()) return false;
        if (answer.known) found[answer.index] = answer.space;
        next = answer.index + 1;
      }
      bytes.erase(0, used);
      return true;
    });
    settle(pid, end != End::closed);
    if (end == End::closed) break;
    static const Log log("inventory");
    log.warn("file system does not answer",
             kv("mount_point", next < paths.size() ? paths[next] : ""));
    ++next;
  }
  return found;
}

}  // namespace greengate::agent
