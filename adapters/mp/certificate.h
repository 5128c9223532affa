#pragma once

#include "adapters/mp/signing_key.h"
#include "core/clock.h"
#include "core/result.h"

#include <string>
#include <string_view>

namespace greengate::adapters {

/// A key and the certificate that belongs to it.
struct KeyPair {
  SigningKey key;
  std::string certificate_der;
};

/// Reads a key and a certificate as administrators keep them, in PEM, without a pass phrase.
/// Limits    1 MiB each; the first certificate counts.
/// Errors    mp.key (reject): not such a key or certificate, or not of one another.
Result<KeyPair> key_pair_from_pem(std::string_view key_pem, std::string_view certificate_pem);

/// When it stops being valid.
/// Errors    mp.key (reject): no certificate.
Result<WallTime> certificate_ends(std::string_view certificate_der);

/// SHA-256 in upper-case hex, as administrators compare certificates.
std::string fingerprint(std::string_view bytes);

}  // namespace greengate::adapters
