// The process beside a run. It outlives whoever asked for it by moments at most, and the program by nothing.
#include "agent/processes/supervise.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace greengate::agent {
namespace {

constexpr long chase_ms = 3'000;  // how long descendants that multiply are chased

void interrupt_a_wait(int) {}

long now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000 + now.tv_nsec / 1'000'000;
}

// Sends SIGKILL to each process whose parent we are; orphans of the program are ours, as we asked for them.
void kill_children() {
  const int list = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
  if (list < 0) return;  // a kernel without the list: what stayed in the program's session is killed as a group
  char buffer[4'096];
  pid_t pid = 0;
  for (ssize_t got; (got = read(list, buffer, sizeof buffer)) > 0;) {
    for (ssize_t i = 0; i < got; ++i) {
      if (buffer[i] >= '0' && buffer[i] <= '9') {
        pid = pid * 10 + (buffer[i] - '0');
      } else {
        if (pid > 1) kill(pid, SIGKILL);
        pid = 0;
      }
    }
  }
  if (pid > 1) kill(pid, SIGKILL);
  close(list);
}

// Until we have no children any more, or they multiply for too long.
void kill_all() {
  const long until = now_ms() + chase_ms;
  for (long pause_us = 0;; pause_us = pause_us < 20'000 ? pause_us + 500 : pause_us) {
    kill_children();
    pid_t gone = 0;
    while ((gone = waitpid(-1, nullptr, WNOHANG)) > 0) {}
    if ((gone < 0 && errno == ECHILD) || now_ms() >= until) return;
    const timespec pause{0, pause_us * 1'000};
    nanosleep(&pause, nullptr);
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
    kill(-program, SIGKILL);
    kill(program, SIGKILL);
    while (waitpid(program, &word.status, 0) < 0 && errno == EINTR) {}
    kill_all();
  }
  [[maybe_unused]] const ssize_t told = write(status, &word, sizeof word);
  _exit(0);
}

}  // namespace greengate::agent
