#include "agent/state_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace greengate::agent {

Result<StateDirectory> StateDirectory::hold(const std::string& path) {
  std::error_code failed;
  if (!std::filesystem::exists(path, failed)) {
    std::filesystem::create_directories(path, failed);
    if (!failed) std::filesystem::permissions(path, std::filesystem::perms::owner_all, failed);
    if (failed) {
      return fail(Remedy::reject, "agent.state_directory",
                  "agent.state_directory " + path + " cannot be made: " + failed.message() + ".");
    }
  }
  const std::string file = path + "/lock";
  const int lock = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock < 0) {
    return fail(
        Remedy::reject, "agent.state_directory",
        "agent.state_directory " + path + " cannot be written: " + std::strerror(errno) + ".");
  }
  StateDirectory held(lock);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    return fail(Remedy::reject, "agent.already_running",
                "Another greengate-agent works in " + path + ".");
  }
  hand_over(path, file);
  return held;
}

StateDirectory::StateDirectory(StateDirectory&& other) noexcept
    : lock_(std::exchange(other.lock_, -1)) {}

StateDirectory::~StateDirectory() {
  if (lock_ >= 0) close(lock_);
}

void StateDirectory::hand_over(const std::string& path, const std::string& file) {
  struct stat directory {};
  if (geteuid() != 0 || stat(path.c_str(), &directory) != 0 || directory.st_uid == 0) return;
  // Should it fail, the agent will say itself that it may not read the file.
  [[maybe_unused]] const int done = lchown(file.c_str(), directory.st_uid, directory.st_gid);
}

}  // namespace greengate::agent
