#include "agent/keys.h"

#include "core/descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace greengate::agent {
namespace {

constexpr std::size_t file_bytes_max = 1'024;

tl::unexpected<Error> disk_trouble(const std::string& doing, const std::string& path) {
  return fail(Remedy::retry, "keys.file",
              doing + " " + path + " failed: " + std::strerror(errno) + ".");
}

Result<adapters::CurvePair> read_keys(int fd, const std::string& path) {
  struct stat facts {};
  if (fstat(fd, &facts) != 0) return disk_trouble("Looking at", path);
  if (!S_ISREG(facts.st_mode) || (facts.st_mode & 077) != 0 ||
      (facts.st_uid != geteuid() && geteuid() != 0)) {
    return fail(Remedy::reject, "keys.readable_by_others",
                path +
                    " must be a file that only the agent's own user may read; others could have "
                    "taken the key. "
                    "Remove it and enrol again, or correct its owner and mode (0600).");
  }
  std::array<char, file_bytes_max> buffer{};
  const ssize_t got = read(fd, buffer.data(), buffer.size());
  if (got < 0) return disk_trouble("Reading", path);
  const std::string text(buffer.data(), static_cast<std::size_t>(got));

  // One line that matters: "secret = <40 characters>"; the public key follows from it.
  constexpr std::string_view label = "secret = ";
  const std::size_t at = text.find(label);
  const std::string secret = at == std::string::npos ? "" : text.substr(at + label.size(), 40);
  const auto public_key = adapters::curve_public_of(secret);
  if (!public_key) {
    return fail(Remedy::reject, "keys.malformed",
                path + " holds no CURVE key; remove it and let the agent enrol again.");
  }
  return adapters::CurvePair{*public_key, secret};
}

}  // namespace

Result<adapters::CurvePair> load_or_make_keys(const std::string& path) {
  {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (file.get() >= 0) return read_keys(file.get(), path);
    if (errno != ENOENT) return disk_trouble("Opening", path);
  }
  const adapters::CurvePair made = adapters::make_curve_pair();
  const std::string text =
      "# The key pair of this Greengate agent. Whoever has the secret can report as this "
      "machine.\npublic = " +
      made.public_key + "\nsecret = " + made.secret_key + "\n";

  // Written aside and put in place whole, so that a power cut leaves either no key or all of it.
  // Nobody makes keys twice: link() refuses where a file is.
  const std::string aside = path + ".new-" + std::to_string(getpid());
  unlink(aside.c_str());
  {
    const Descriptor file(
        open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file.get() < 0) return disk_trouble("Making", aside);
    const ssize_t written = write(file.get(), text.data(), text.size());
    if (written != static_cast<ssize_t>(text.size()) || fsync(file.get()) != 0)
      return disk_trouble("Writing", aside);
  }
  const int linked = link(aside.c_str(), path.c_str());
  const int why = errno;
  unlink(aside.c_str());
  if (linked != 0 && why == EEXIST) return load_or_make_keys(path);
  errno = why;
  if (linked != 0) return disk_trouble("Putting in place", path);
  const Descriptor directory(
      open(std::filesystem::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || fsync(directory.get()) != 0) return disk_trouble("Keeping", path);
  return made;
}

}  // namespace greengate::agent
