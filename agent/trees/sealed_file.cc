#include "agent/trees/sealed_file.h"

#include "agent/trees/beneath.h"
#include "agent/trees/sha256.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace greengate::agent {
namespace {

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t done = write(fd, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(done));
  }
  return true;
}

}  // namespace

Result<void> write_sealed(const std::string& path, std::string_view kind,
                          std::string_view content) {
  const std::string beside = path + ".new";
  const auto failed = [&] {
    const int why = errno;
    unlink(beside.c_str());
    return fail(Remedy::retry, "sealed.disk",
                path + " cannot be written: " + std::strerror(why) + ".");
  };
  Sha256 hash;
  hash.add(kind);
  hash.add(content);
  unlink(beside.c_str());  // what a killed process may have left
  const Descriptor file(
      open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return failed();
  if (!write_all(file.get(), kind) || !write_all(file.get(), content) ||
      !write_all(file.get(), hash.digest()))
    return failed();
  if (rename(beside.c_str(), path.c_str()) != 0) return failed();
  return {};
}

std::optional<std::string> read_sealed(const std::string& path, std::string_view kind,
                                       std::size_t bytes_max) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat about {};
  if (!file || fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode)) return std::nullopt;
  const auto size = static_cast<std::uint64_t>(about.st_size);
  const std::size_t around = kind.size() + Sha256::size;
  if (size < around || size > bytes_max + around) return std::nullopt;
  std::string bytes(static_cast<std::size_t>(size), '\0');
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t got = read(file.get(), bytes.data() + at, bytes.size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    at += static_cast<std::size_t>(got);
  }
  const std::string_view whole = bytes;
  const std::string_view sealed = whole.substr(0, whole.size() - Sha256::size);
  if (!sealed.starts_with(kind) || sha256(sealed) != whole.substr(sealed.size()))
    return std::nullopt;
  bytes.resize(sealed.size());
  bytes.erase(0, kind.size());
  return bytes;
}

}  // namespace greengate::agent
