#include "adapters/agents/server_key.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace greengate::adapters {
namespace {

constexpr std::size_t z85_key_chars = 40;

tl::unexpected<Error> io_error(const std::string& doing, const std::string& path) {
  return fail(Remedy::retry, "agents.key_io", doing + " " + path + ": " + std::strerror(errno) + ".");
}

/// Writes beside the target first, so that a crash leaves either no file or a whole one.
Result<void> write_line(const std::string& path, std::string line, mode_t mode) {
  const std::string beside = path + ".new";
  const int fd = open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (fd < 0) return io_error("making", beside);
  std::array<char, 1> newline{'\n'};
  const std::array<iovec, 2> parts{{{line.data(), line.size()}, {newline.data(), newline.size()}}};
  const bool written = fchmod(fd, mode) == 0 &&
                       writev(fd, parts.data(), static_cast<int>(parts.size())) ==
                           static_cast<ssize_t>(line.size() + newline.size()) &&
                       fsync(fd) == 0;
  if (close(fd) != 0 || !written) return io_error("writing", beside);
  if (rename(beside.c_str(), path.c_str()) != 0) return io_error("renaming", beside);

  const auto folder = std::filesystem::path(path).parent_path();
  const int folder_fd =
      open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_fd < 0) return io_error("opening the folder of", path);
  const bool synced = fsync(folder_fd) == 0;
  close(folder_fd);
  if (!synced) return io_error("syncing the folder of", path);
  return {};
}

/// The secret key in the file; empty when there is no file.
Result<std::string> read_secret(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return std::string();
  if (fd < 0) return io_error("opening", path);
  struct stat about {};
  std::array<char, 128> text{};
  const bool known = fstat(fd, &about) == 0;
  const ssize_t got = read(fd, text.data(), text.size());
  close(fd);
  if (!known || got < 0) return io_error("reading", path);
  if ((about.st_mode & 077) != 0)
    return fail(Remedy::reject, "agents.key_file",
                path + " may be read by others; give it mode 0600.");
  std::string key(text.data(), static_cast<std::size_t>(got));
  while (!key.empty() && (key.back() == '\n' || key.back() == '\r')) key.pop_back();
  if (key.size() != z85_key_chars)
    return fail(Remedy::reject, "agents.key_file",
                path + " does not hold a CURVE secret key (40 characters of Z85).");
  return key;
}

using Z85Key = std::array<char, z85_key_chars + 1>;  // libzmq writes a zero behind it
std::string text_of(const Z85Key& key) { return {key.data(), z85_key_chars}; }

}  // namespace

Result<CurveKeyPair> make_curve_key_pair() {
  Z85Key public_key{}, secret_key{};
  if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0)
    return fail(Remedy::reject, "agents.key_file", "This libzmq was built without CURVE.");
  return CurveKeyPair{text_of(public_key), text_of(secret_key)};
}

Result<CurveKeyPair> load_or_make_server_key(const std::string& path) {
  auto secret = read_secret(path);
  if (!secret) return pass(secret);

  if (secret->empty()) {
    auto fresh = make_curve_key_pair();
    if (!fresh) return pass(fresh);
    auto kept = write_line(path, fresh->secret_key, 0600);
    if (!kept) return pass(kept);
    auto shown = write_line(path + ".pub", fresh->public_key, 0644);
    if (!shown) return pass(shown);
    return fresh;
  }

  Z85Key public_key{};
  if (zmq_curve_public(public_key.data(), secret->c_str()) != 0)
    return fail(Remedy::reject, "agents.key_file", path + " does not hold a CURVE secret key.");
  CurveKeyPair pair{text_of(public_key), *secret};
  if (access((path + ".pub").c_str(), F_OK) != 0) {
    auto shown = write_line(path + ".pub", pair.public_key, 0644);
    if (!shown) return pass(shown);
  }
  return pair;
}

}  // namespace greengate::adapters
