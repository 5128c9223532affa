#pragma once

#include "adapters/wns/secret.h"
#include "core/result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace greengate::adapters {

/// An app's client secrets, read from their files, newest first; read again when a file is replaced.
///
/// Limits    4 KiB a file; a line end behind the secret is not part of it.
/// Threads   The owner's.
/// Errors    wns.secret (reject): missing, empty, too long, readable by others, or octets no form can hold.
class SecretFiles {
 public:
  explicit SecretFiles(std::vector<std::string> paths) : paths_(std::move(paths)) {}

  Result<void> read();
  /// Reads again if a file is another than before. True: something changed and the new secrets are in use; a file that cannot be used leaves
  /// the old ones.
  Result<bool> read_if_changed();
  const std::vector<Secret>& secrets() const { return secrets_; }

 private:
  std::vector<std::string> paths_;
  std::vector<Secret> secrets_;
  std::string stamp_;
};

/// The key channels' fingerprints are made with: 32 octets from the file, which is made if absent; random when `path` is empty.
/// Errors    wns.fingerprint_key (reject).
Result<std::string> fingerprint_key(const std::string& path);

}  // namespace greengate::adapters
