#pragma once

#include "adapters/mp/certificate.h"
#include "core/result.h"

#include <string>

namespace greengate::workers {

/// Key and certificate as one text to be sealed: four bytes, little endian, with the key's length, then key and certificate.
/// Errors    mp.sign (retry): the key cannot be written. seal.broken (reject): not such a text. mp.key (reject).
Result<std::string> pack_key_pair(const adapters::SigningKey& key, const std::string& certificate_der);
Result<adapters::KeyPair> unpack_key_pair(const std::string& packed);
/// Without the cost of loading the key.
Result<std::string> certificate_in(const std::string& packed);

}  // namespace greengate::workers
