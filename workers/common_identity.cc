#include "workers/common_identity.h"

#include "core/descriptor.h"
#include "workers/key_pair_box.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace greengate::workers {
namespace {

constexpr const char* seal_context = "shared-identity";
constexpr std::string_view mark_prefix = "common:";
constexpr std::size_t file_bytes_max = 1u << 20;

tl::unexpected<Error> unusable(const std::string& file, const std::string& why) {
  return fail(Remedy::reject, "identity.file", file + " " + why + ".");
}

/// The whole file; a missing one is an empty text where that is allowed.
Result<std::string> read_file(const std::string& path, bool secret, bool may_be_missing) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 && errno == ENOENT && may_be_missing) return std::string();
  if (file.get() < 0) return unusable(path, std::string("cannot be opened: ") + std::strerror(errno));
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return unusable(path, "is not a regular file");
  if (secret && (facts.st_mode & 077) != 0) return unusable(path, "may be used by others; take their rights away (chmod 600)");
  if (static_cast<std::size_t>(facts.st_size) > file_bytes_max) return unusable(path, "is longer than 1 MiB");
  std::string text(static_cast<std::size_t>(facts.st_size), '\0');
  std::size_t got = 0;
  while (got < text.size()) {
    const ssize_t n = read(file.get(), text.data() + got, text.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return unusable(path, "cannot be read");
    got += static_cast<std::size_t>(n);
  }
  if (text.empty()) return unusable(path, "is empty");
  return text;
}

/// All or nothing, and synced: after a crash there is the old file or the new one.
Result<void> replace_file(const std::string& path, const std::string& bytes) {
  const std::string draft = path + ".new";
  {
    unlink(draft.c_str());
    const Descriptor file(open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.get() < 0) return unusable(path, std::string("cannot be made: ") + std::strerror(errno));
    if (write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) || fsync(file.get()) != 0) {
      return unusable(path, std::string("cannot be written: ") + std::strerror(errno));
    }
  }
  if (rename(draft.c_str(), path.c_str()) != 0) return unusable(path, std::string("cannot be put in place: ") + std::strerror(errno));
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const Descriptor directory(open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || fsync(directory.get()) != 0) return unusable(path, std::string("cannot be synced: ") + std::strerror(errno));
  return {};
}

}  // namespace

Result<std::shared_ptr<CommonIdentity>> CommonIdentity::shared_key(std::string file, const store::Sealer& sealer,
                                                                   const adapters::CertificateSettings& certificate,
                                                                   WallTime now) {
  auto sealed = read_file(file, true, true);
  if (!sealed) return pass(sealed);
  adapters::KeyPair pair;
  if (!sealed->empty()) {
    auto packed = sealer.open(*sealed, seal_context);
    if (!packed) return unusable(file, "was sealed under another gateway.seal_key_file, or was changed");
    auto kept = unpack_key_pair(*packed);
    if (!kept) return pass(kept);
    pair = std::move(*kept);
  } else {
    auto key = adapters::SigningKey::generate();
    if (!key) return pass(key);
    auto der = key->self_signed_certificate(certificate, now);
    if (!der) return pass(der);
    pair.key = std::move(*key);
    pair.certificate_der = std::move(*der);
  }
  const bool fresh = sealed->empty();
  std::shared_ptr<CommonIdentity> identity(new CommonIdentity(std::move(pair), SmsId()));
  identity->file_ = std::move(file);
  identity->sealer_ = std::make_shared<const store::Sealer>(sealer);
  identity->certificate_ = certificate;
  if (fresh) {
    if (auto written = identity->write(); !written) return pass(written);
  }
  return identity;
}

Result<std::shared_ptr<CommonIdentity>> CommonIdentity::isv_proxy(const std::string& key_file, const std::string& certificate_file,
                                                                  SmsId sms_id) {
  auto key = read_file(key_file, true, false);
  if (!key) return pass(key);
  auto certificate = read_file(certificate_file, false, false);
  if (!certificate) return pass(certificate);
  auto pair = adapters::key_pair_from_pem(*key, *certificate);
  if (!pair) return pass(pair);
  return std::shared_ptr<CommonIdentity>(new CommonIdentity(std::move(*pair), std::move(sms_id)));
}

adapters::KeyPair CommonIdentity::pair() const {
  std::lock_guard lock(mutex_);
  return pair_;
}

Result<void> CommonIdentity::write() const {
  auto packed = pack_key_pair(pair_.key, pair_.certificate_der);
  if (!packed) return pass(packed);
  auto sealed = sealer_->seal(*packed, seal_context);
  if (!sealed) return pass(sealed);
  return replace_file(file_, *sealed);
}

Result<void> CommonIdentity::renew_if_due(WallTime now, std::chrono::milliseconds renew_before) {
  if (!sealer_ || renew_before <= std::chrono::milliseconds(0)) return {};
  std::lock_guard lock(mutex_);
  auto ends = adapters::certificate_ends(pair_.certificate_der);
  if (!ends) return pass(ends);
  if (now < *ends - renew_before) return {};
  auto der = pair_.key.self_signed_certificate(certificate_, now);
  if (!der) return pass(der);
  std::string old = std::exchange(pair_.certificate_der, std::move(*der));
  auto written = write();
  if (!written) pair_.certificate_der = std::move(old);
  return written;
}

std::string CommonIdentity::key_mark() const {
  return std::string(mark_prefix) + adapters::fingerprint(pair_.key.public_key_blob_hex() + proxy_sms_id_.raw()).substr(0, 32) + ":";
}

std::string CommonIdentity::mark() const {
  std::lock_guard lock(mutex_);
  return key_mark() + adapters::fingerprint(pair_.certificate_der).substr(0, 32);
}

bool CommonIdentity::is_mark(const std::string& sealed) { return sealed.starts_with(mark_prefix); }

bool CommonIdentity::same_key(const std::string& mark) const {
  std::lock_guard lock(mutex_);
  return mark.starts_with(key_mark());
}

}  // namespace greengate::workers
