#include "agent/processes/become.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace greengate::agent {
namespace {

constexpr unsigned last_descriptor = 65'535;  // where the kernel cannot close a range

void close_between(unsigned first, unsigned last) {
  if (first > last || syscall(SYS_close_range, first, last, 0u) == 0) return;
  for (unsigned fd = first; fd <= last && fd <= last_descriptor; ++fd) close(static_cast<int>(fd));
}

void limit(int which, rlim_t value) {
  if (value == 0) return;
  const rlimit asked{value, value};
  setrlimit(static_cast<__rlimit_resource>(which), &asked);
}

// The system calls themselves: the library's would look for other threads.
bool change_user(const ChildUser& to) {
  if (syscall(SYS_setgroups, to.group_count, to.groups) != 0) return false;
  if (syscall(SYS_setresgid, to.gid, to.gid, to.gid) != 0) return false;
  if (syscall(SYS_setresuid, to.uid, to.uid, to.uid) != 0) return false;
  uid_t real = 0, effective = 0, saved = 0;
  return getresuid(&real, &effective, &saved) == 0 && real == to.uid && effective == to.uid && saved == to.uid;
}

}  // namespace

void close_all_but(int first, const int* kept, std::size_t count) {
  unsigned from = static_cast<unsigned>(first);
  for (;;) {
    // The lowest one to keep from here on; there are a handful.
    unsigned next = ~0u;
    for (std::size_t i = 0; i < count; ++i) {
      if (kept[i] >= 0 && static_cast<unsigned>(kept[i]) >= from && static_cast<unsigned>(kept[i]) < next) next = static_cast<unsigned>(kept[i]);
    }
    close_between(from, next == ~0u ? next : next - 1);
    if (next == ~0u) return;
    from = next + 1;
  }
}

void become(const ChildImage& image) {
  const auto leave = [&](int why, int status) {
    if (image.report >= 0) [[maybe_unused]] const ssize_t told = write(image.report, &why, sizeof why);
    _exit(status);
  };
  if (image.own_session) setsid();
  else setpgid(0, 0);
  if (image.lowest_priority) {
    setpriority(PRIO_PROCESS, 0, 19);
    constexpr int idle_class = 3 << 13, this_process = 1;  // linux/ioprio.h
    syscall(SYS_ioprio_set, this_process, 0, idle_class);
  }
  if (image.user && !change_user(*image.user)) leave(errno ? errno : EPERM, exit_not_started);
  if (image.parent != 0) {
    // After the change of user, which forgets it.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != image.parent) leave(ESRCH, exit_not_started);  // it ended before that call
  }
  if (image.no_new_privileges) {
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) leave(errno, exit_not_started);
    umask(077);
  }
  limit(RLIMIT_AS, image.limits.memory_bytes);
  limit(RLIMIT_CPU, image.limits.cpu_seconds);
  limit(RLIMIT_FSIZE, image.limits.file_bytes);
  limit(RLIMIT_NOFILE, image.limits.open_files);
  limit(RLIMIT_NPROC, image.limits.processes);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (chdir("/") != 0) leave(errno, exit_not_started);
  if (dup2(image.input, STDIN_FILENO) < 0 || dup2(image.output, STDOUT_FILENO) < 0 || dup2(image.errors, STDERR_FILENO) < 0)
    leave(errno, exit_not_started);
  close_all_but(3, &image.report, 1);
  if (image.report >= 0) fcntl(image.report, F_SETFD, FD_CLOEXEC);
  execve(image.program, image.arguments, image.environment);
  leave(errno, errno == ENOEXEC ? exit_no_format : exit_not_started);
  __builtin_unreachable();
}

}  // namespace greengate::agent
