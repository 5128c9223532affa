#pragma once

#include "core/result.h"

#include <memory>
#include <string>
#include <string_view>

namespace greengate::store {

/// Seals secrets at rest with AES-256-GCM under one key of the machine.
///
/// Promise   What was sealed opens only with the same key and the same `context`; a changed byte is an error, never other plaintext.
/// Form      version byte 1 · 12-byte nonce (random) · ciphertext · 16-byte tag.
/// Threads   Any.
/// Errors    seal.key (reject): no usable key file. seal.broken (reject): not ours, or changed.
class Sealer {
 public:
  /// Reads a 32-byte key. With `make_if_absent` a missing file is made from the kernel's randomness, mode 0600, synced.
  /// A file others may read is refused.
  static Result<Sealer> from_key_file(const std::string& path, bool make_if_absent);

  /// `context` binds the box to its place, such as "site-identity:<agent id>".
  Result<std::string> seal(std::string_view plaintext, std::string_view context) const;
  Result<std::string> open(std::string_view box, std::string_view context) const;

 private:
  explicit Sealer(std::string key) : key_(std::make_shared<const std::string>(std::move(key))) {}
  std::shared_ptr<const std::string> key_;
};

}  // namespace greengate::store
