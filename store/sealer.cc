#include "store/sealer.h"

#include "core/descriptor.h"
#include "core/openssl_handles.h"
#include "core/random.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>

namespace greengate::store {

namespace {

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kNonceBytes = 12;
constexpr std::size_t kTagBytes = 16;
constexpr char kVersion = 1;
constexpr std::size_t kPlaintextBytesMax =
    16u << 20;  // identities are a few KiB; also keeps lengths within OpenSSL's int

const unsigned char* raw(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(char* bytes) {
  return reinterpret_cast<unsigned char*>(bytes);
}

tl::unexpected<Error> no_key(const std::string& path, const std::string& why) {
  return fail(Remedy::reject, "seal.key", "The key file " + path + " " + why + ".");
}

tl::unexpected<Error> broken() {
  return fail(Remedy::reject, "seal.broken",
              "The sealed box was changed, or sealed with another key or for another place.");
}

/// Written whole under another name first: after a crash there is a good key or none. Somebody
/// else's key wins.
Result<void> make_key(const std::string& path) {
  const std::string key = random_bytes(kKeyBytes);
  const std::string draft =
      path + ".new-" + std::to_string(getpid()) + "-" + std::to_string(random_u64());
  {
    const Descriptor file(open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.get() < 0) return no_key(path, std::string("cannot be made: ") + std::strerror(errno));
    const bool written =
        write(file.get(), key.data(), key.size()) == static_cast<ssize_t>(key.size()) &&
        fsync(file.get()) == 0;
    const std::string reason = std::strerror(errno);
    if (!written) {
      unlink(draft.c_str());
      return no_key(path, "cannot be written: " + reason);
    }
  }
  const bool linked = link(draft.c_str(), path.c_str()) == 0 || errno == EEXIST;
  const std::string reason = std::strerror(errno);
  unlink(draft.c_str());
  if (!linked) return no_key(path, "cannot be made: " + reason);
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const Descriptor directory(
      open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || fsync(directory.get()) != 0) {
    return no_key(path, std::string("cannot be synced: ") + std::strerror(errno));
  }
  return {};
}

}  // namespace

Result<Sealer> Sealer::from_key_file(const std::string& path, bool make_if_absent) {
  if (make_if_absent && access(path.c_str(), F_OK) != 0 && errno == ENOENT) {
    if (auto made = make_key(path); !made) return pass(made);
  }
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return no_key(path, std::string("cannot be opened: ") + std::strerror(errno));
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0)
    return no_key(path, std::string("cannot be looked at: ") + std::strerror(errno));
  if (!S_ISREG(facts.st_mode)) return no_key(path, "is not a regular file");
  if ((facts.st_mode & 077) != 0)
    return no_key(path, "may be used by others; take their rights away (chmod 600)");
  std::array<char, kKeyBytes + 1> bytes{};
  std::size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t n = read(file.get(), bytes.data() + got, bytes.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return no_key(path, std::string("cannot be read: ") + std::strerror(errno));
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  if (got != kKeyBytes) return no_key(path, "must hold exactly 32 bytes");
  return Sealer(std::string(bytes.data(), kKeyBytes));
}

Result<std::string> Sealer::seal(std::string_view plaintext, std::string_view context) const {
  if (plaintext.size() > kPlaintextBytesMax || context.size() > kPlaintextBytesMax) {
    return fail(Remedy::reject, "seal.broken", "What should be sealed is larger than 16 MiB.");
  }
  const std::string nonce = random_bytes(kNonceBytes);
  std::string box(1 + kNonceBytes + plaintext.size() + kTagBytes, '\0');
  box[0] = kVersion;
  std::memcpy(box.data() + 1, nonce.data(), kNonceBytes);
  char* ciphertext = box.data() + 1 + kNonceBytes;
  const openssl::CipherContext cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  const bool sealed =
      cipher &&
      EVP_EncryptInit_ex2(cipher.get(), EVP_aes_256_gcm(), raw(*key_), raw(nonce), nullptr) == 1 &&
      EVP_EncryptUpdate(cipher.get(), nullptr, &length, raw(context),
                        static_cast<int>(context.size())) == 1 &&
      EVP_EncryptUpdate(cipher.get(), raw(ciphertext), &length, raw(plaintext),
                        static_cast<int>(plaintext.size())) == 1 &&
      EVP_EncryptFinal_ex(cipher.get(), raw(ciphertext) + plaintext.size(), &length) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes,
                          ciphertext + plaintext.size()) == 1;
  if (!sealed) return fail(Remedy::reject, "seal.key", "OpenSSL refused to seal with AES-256-GCM.");
  return box;
}

Result<std::string> Sealer::open(std::string_view box, std::string_view context) const {
  if (box.size() < 1 + kNonceBytes + kTagBytes || box[0] != kVersion ||
      box.size() > kPlaintextBytesMax + 64 || context.size() > kPlaintextBytesMax) {
    return broken();
  }
  const std::string_view nonce = box.substr(1, kNonceBytes);
  const std::string_view ciphertext =
      box.substr(1 + kNonceBytes, box.size() - 1 - kNonceBytes - kTagBytes);
  std::string tag(box.substr(box.size() - kTagBytes));
  std::string plaintext(ciphertext.size(), '\0');
  const openssl::CipherContext cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  const bool opened =
      cipher &&
      EVP_DecryptInit_ex2(cipher.get(), EVP_aes_256_gcm(), raw(*key_), raw(nonce), nullptr) == 1 &&
      EVP_DecryptUpdate(cipher.get(), nullptr, &length, raw(context),
                        static_cast<int>(context.size())) == 1 &&
      EVP_DecryptUpdate(cipher.get(), raw(plaintext.data()), &length, raw(ciphertext),
                        static_cast<int>(ciphertext.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(cipher.get(), raw(plaintext.data()) + plaintext.size(), &length) == 1;
  if (!opened) return broken();
  return plaintext;
}

}  // namespace greengate::store
