#pragma once

#include "core/result.h"

#include <string>

namespace greengate::adapters {

/// A CURVE key pair as libzmq takes it: Z85 text, 40 characters each.
struct CurveKeyPair {
  std::string public_key;
  std::string secret_key;
};

/// A fresh pair from the kernel's randomness.
Result<CurveKeyPair> make_curve_key_pair();

/// The gateway's own pair. `path` holds the secret key, mode 0600; `path`.pub the public key, which agents pin.
///
/// Promise   Absent files are made, synced before the call returns, and never overwritten: agents pin this key for life. The
///           public file is written again when it is missing, since it follows from the secret one.
/// Errors    agents.key_file (reject): not a key, or a file that others may read. agents.key_io (retry): the disk said no.
Result<CurveKeyPair> load_or_make_server_key(const std::string& path);

}  // namespace greengate::adapters
