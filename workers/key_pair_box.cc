#include "workers/key_pair_box.h"

#include <cstdint>

namespace greengate::workers {
namespace {

Result<std::size_t> key_bytes_in(const std::string& packed) {
  std::size_t key_bytes = 0;
  if (packed.size() >= 4) {
    for (int i = 0; i < 4; ++i) key_bytes |= std::size_t{static_cast<unsigned char>(packed[i])} << (8 * i);
  }
  if (packed.size() < 4 || key_bytes > packed.size() - 4) {
    return fail(Remedy::reject, "seal.broken", "a sealed identity does not hold a key and a certificate.");
  }
  return key_bytes;
}

}  // namespace

Result<std::string> pack_key_pair(const adapters::SigningKey& key, const std::string& certificate_der) {
  auto key_der = key.pkcs8_der();
  if (!key_der) return pass(key_der);
  std::string packed;
  for (int shift = 0; shift < 32; shift += 8) packed += static_cast<char>((key_der->size() >> shift) & 0xff);
  return packed + *key_der + certificate_der;
}

Result<adapters::KeyPair> unpack_key_pair(const std::string& packed) {
  auto key_bytes = key_bytes_in(packed);
  if (!key_bytes) return pass(key_bytes);
  auto key = adapters::SigningKey::from_pkcs8_der(packed.substr(4, *key_bytes));
  if (!key) return pass(key);
  adapters::KeyPair pair;
  pair.key = std::move(*key);
  pair.certificate_der = packed.substr(4 + *key_bytes);
  return pair;
}

Result<std::string> certificate_in(const std::string& packed) {
  auto key_bytes = key_bytes_in(packed);
  if (!key_bytes) return pass(key_bytes);
  return packed.substr(4 + *key_bytes);
}

}  // namespace greengate::workers
