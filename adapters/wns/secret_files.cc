#include "adapters/wns/secret_files.h"

#include "core/random.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace greengate::adapters {
namespace {

constexpr std::size_t secret_octets_max = 4'096;
constexpr std::size_t key_octets = 32;

class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

// Reads a whole small file that only its owner, and perhaps its group, may read.
Result<std::string> read_private(const char* code, const std::string& path, std::size_t octets_max, mode_t forbidden) {
  const auto refuse = [&](const std::string& why) { return fail(Remedy::reject, code, path + " " + why + "."); };
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return refuse(std::string("cannot be opened: ") + std::strerror(errno));
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0) return refuse(std::string("cannot be looked at: ") + std::strerror(errno));
  if (!S_ISREG(facts.st_mode)) return refuse("is not a regular file");
  if ((facts.st_mode & forbidden) != 0) return refuse("may be used by others; take their rights away (chmod 600)");
  std::string text(octets_max + 1, '\0');
  std::size_t got = 0;
  while (got < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + got, text.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      wipe(text);
      return refuse(std::string("cannot be read: ") + std::strerror(errno));
    }
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  if (got > octets_max) {
    wipe(text);
    return refuse("is longer than " + std::to_string(octets_max) + " bytes");
  }
  text.resize(got);
  return text;
}

// What tells a replaced file from the one that was read.
std::string stamp_of(const std::vector<std::string>& paths) {
  std::string stamp;
  for (const std::string& path : paths) {
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) continue;
    stamp += std::to_string(facts.st_ino) + "." + std::to_string(facts.st_mtim.tv_sec) + "." + std::to_string(facts.st_mtim.tv_nsec) + "." +
             std::to_string(facts.st_size) + ";";
  }
  return stamp;
}

}  // namespace

Result<void> SecretFiles::read() {
  const std::string stamp = stamp_of(paths_);
  std::vector<Secret> secrets;
  for (const std::string& path : paths_) {
    auto text = read_private("wns.secret", path, secret_octets_max, S_IRWXO);
    if (!text) return pass(text);
    while (!text->empty() && (text->back() == '\n' || text->back() == '\r' || text->back() == ' ')) text->pop_back();
    const bool sound = !text->empty() && std::all_of(text->begin(), text->end(), [](char c) { return c >= 0x20 && c < 0x7f; });
    if (!sound) {
      wipe(*text);
      return fail(Remedy::reject, "wns.secret", path + " holds no secret: one line of visible characters.");
    }
    secrets.emplace_back(std::move(*text));
  }
  secrets_ = std::move(secrets);
  stamp_ = stamp;
  return {};
}

Result<bool> SecretFiles::read_if_changed() {
  const std::string stamp = stamp_of(paths_);
  if (stamp == stamp_) return false;
  auto done = read();
  if (!done) {
    stamp_ = stamp;  // said once; the next change is looked at again
    return pass(done);
  }
  return true;
}

Result<std::string> fingerprint_key(const std::string& path) {
  if (path.empty()) return random_bytes(key_octets);
  const File made(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (made.get() >= 0) {
    const std::string key = random_bytes(key_octets);
    if (::write(made.get(), key.data(), key.size()) != static_cast<ssize_t>(key.size()) || ::fsync(made.get()) != 0) {
      const std::string why = std::strerror(errno);
      ::unlink(path.c_str());
      return fail(Remedy::reject, "wns.fingerprint_key", path + " cannot be written: " + why + ".");
    }
    return key;
  }
  auto key = read_private("wns.fingerprint_key", path, key_octets, S_IRWXG | S_IRWXO);
  if (!key) return pass(key);
  if (key->size() != key_octets) return fail(Remedy::reject, "wns.fingerprint_key", path + " does not hold 32 bytes.");
  return std::move(*key);
}

}  // namespace greengate::adapters
