// The process beside a run. It outlives whoever asked for it by moments at most, and the program by nothing.
#include "agent/processes/supervise.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace greengate::agent {
namespace {

constexpr long chase_ms = 8'000;  // how long descendants that multiply are chased

void interrupt_a_wait(int) {}

long now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000 + now.tv_nsec / 1'000'000;
}

// Numbers of processes, in no order that matters.
struct Processes {
  pid_t pids[4'096];
  std::size_t count = 0;
  void add(pid_t pid) {
    if (pid > 1 && count < sizeof pids / sizeof *pids) pids[count++] = pid;
  }
};
Processes found, stopped;  // too large for a stack; a supervisor is one thread

// Appends "/" and the number, or a word, to a path that has room for it.
char* append(char* end, const char* word) {
  while (*word) *end++ = *word++;
  *end = 0;
  return end;
}
char* append(char* end, pid_t number) {
  char digits[16];
  int length = 0;
  for (; number > 0; number /= 10) digits[length++] = static_cast<char>('0' + number % 10);
  while (length > 0) *end++ = digits[--length];
  *end = 0;
  return end;
}

void add_listed(const char* path, Processes& into) {
  const int list = open(path, O_RDONLY | O_CLOEXEC);
  if (list < 0) return;  // it ended meanwhile
  char buffer[4'096];
  pid_t pid = 0;
  for (ssize_t got; (got = read(list, buffer, sizeof buffer)) > 0;) {
    for (ssize_t i = 0; i < got; ++i) {
      if (buffer[i] >= '0' && buffer[i] <= '9') {
        pid = pid * 10 + (buffer[i] - '0');
      } else {
        into.add(pid);
        pid = 0;
      }
    }
  }
  into.add(pid);
  close(list);
}

// The children of each thread of a process.
void add_children_of(pid_t pid, Processes& into) {
  char path[64];
  char* const end = append(append(append(path, "/proc/"), pid), "/task");
  const int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  struct Entry {  // what the kernel writes for each name
    ino64_t inode;
    off64_t next;
    unsigned short length;
    unsigned char type;
    char name[1];
  };
  alignas(Entry) char buffer[4'096];
  for (long got; (got = syscall(SYS_getdents64, folder, buffer, sizeof buffer)) > 0;) {
    for (long at = 0; at < got;) {
      const Entry& entry = *reinterpret_cast<const Entry*>(buffer + at);
      if (entry.name[0] >= '0' && entry.name[0] <= '9') {
        append(append(append(end, "/"), entry.name), "/children");
        add_listed(path, into);
      }
      at += entry.length;
    }
  }
  close(folder);
}

bool among(pid_t pid, const Processes& all) {
  for (std::size_t i = 0; i < all.count; ++i) {
    if (all.pids[i] == pid) return true;
  }
  return false;
}

// Stops every descendant, and takes from it the right to make more, should another one wake it. Answers whether all that were found had been
// stopped before: then nobody is left who could have made one that was not seen. A fork that has a signal waiting makes nothing.
bool all_stopped() {
  found.count = 0;
  add_children_of(getpid(), found);
  bool all = true;
  for (std::size_t i = 0; i < found.count; ++i) {
    const pid_t pid = found.pids[i];
    const rlimit64 no_more{0, 0};
    kill(pid, SIGSTOP);
    prlimit64(pid, RLIMIT_NPROC, &no_more, nullptr);  // of another user's processes only with CAP_SYS_RESOURCE
    all = all && among(pid, stopped);
    add_children_of(pid, found);
  }
  stopped.count = found.count;
  for (std::size_t i = 0; i < found.count; ++i) stopped.pids[i] = found.pids[i];
  return all;
}

// Until we have no children any more: orphans of the program are ours, as we asked for them. Killing begins when all stand still; before
// that it would only make room for new ones. Answers false when it took too long.
bool kill_all() {
  const long until = now_ms() + chase_ms;
  for (long pause_us = 0;; pause_us = pause_us < 20'000 ? pause_us + 500 : pause_us) {
    const bool late = now_ms() >= until;
    if (all_stopped() || late) {
      found.count = 0;
      add_children_of(getpid(), found);
      for (std::size_t i = 0; i < found.count; ++i) kill(found.pids[i], SIGKILL);
    } else {
      pause_us = 0;
    }
    pid_t gone = 0;
    while ((gone = waitpid(-1, nullptr, WNOHANG)) > 0) {}
    if (gone < 0 && errno == ECHILD) return true;
    if (late) return false;
    const timespec pause{0, pause_us * 1'000};
    if (pause_us > 0) nanosleep(&pause, nullptr);
  }
}

}  // namespace

void supervise(const ChildImage& image, int control, int status) {
  setsid();
  // Its end is ours to choose: a terminal's or a service manager's signal reaches the agent, whose end we see.
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_IGN);
  struct sigaction wake {};
  wake.sa_handler = interrupt_a_wait;
  sigaction(SIGCHLD, &wake, nullptr);
  sigset_t child_ended, none;
  sigemptyset(&none);
  sigemptyset(&child_ended);
  sigaddset(&child_ended, SIGCHLD);
  sigprocmask(SIG_SETMASK, &child_ended, nullptr);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  // A copy of the agent's memory is not for a program that runs as the same user.
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);

  const pid_t self = getpid();
  int report[2] = {-1, -1};
  SupervisorWord word;
  pid_t program = -1;
  const int kept[] = {image.input, image.output, image.errors, control, status};
  close_all_but(3, kept, sizeof kept / sizeof *kept);
  if (pipe2(report, O_CLOEXEC) == 0) program = _Fork();
  if (program == 0) {
    ChildImage mine = image;
    mine.report = report[1];
    mine.parent = self;
    become(mine);
  }
  if (program < 0) {
    word.start_errno = errno ? errno : EAGAIN;
  } else {
    close(report[1]);
    if (image.input > 2) close(image.input);
    if (image.errors > 2 && image.errors != image.output) close(image.errors);
    if (image.output > 2) close(image.output);
    int why = 0;
    if (read(report[0], &why, sizeof why) == static_cast<ssize_t>(sizeof why)) word.start_errno = why;
    for (;;) {
      // Left unreaped until its group has been killed, so that its number stays its own.
      siginfo_t ended{};
      if (waitid(P_PID, static_cast<id_t>(program), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == program) {
        word.by_itself = true;
        break;
      }
      pollfd agent{control, POLLIN, 0};
      if (ppoll(&agent, 1, nullptr, &none) > 0) break;
      for (;;) {  // orphans that ended meanwhile
        siginfo_t orphan{};
        if (waitid(P_ALL, 0, &orphan, WEXITED | WNOHANG | WNOWAIT) != 0 || orphan.si_pid == 0 || orphan.si_pid == program) break;
        waitpid(orphan.si_pid, nullptr, WNOHANG);
      }
    }
    for (int rounds = 0; rounds < 50 && !all_stopped(); ++rounds) {}
    kill(-program, SIGKILL);
    kill(program, SIGKILL);
    while (waitpid(program, &word.status, 0) < 0 && errno == EINTR) {}
    word.left_some = !kill_all();
  }
  [[maybe_unused]] const ssize_t told = write(status, &word, sizeof word);
  _exit(0);
}

}  // namespace greengate::agent
