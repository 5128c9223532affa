#include "gateway/enrolment_token.h"

#include "core/check.h"
#include "core/random.h"

#include <openssl/evp.h>

#include <cstdint>

namespace greengate::gateway {
namespace {

// 160 bits in 32 characters of five bits each, without letters that look like digits.
std::string base32(const std::string& bytes) {
  constexpr char alphabet[] = "abcdefghjkmnpqrstuvwxyz023456789";
  static_assert(sizeof alphabet == 33);
  std::string text;
  std::uint32_t held = 0;
  int bits = 0;
  for (const char c : bytes) {
    held = (held << 8) | static_cast<unsigned char>(c);
    for (bits += 8; bits >= 5; bits -= 5) text += alphabet[(held >> (bits - 5)) & 31];
  }
  return text;
}

}  // namespace

NewToken make_token() {
  constexpr char hex[] = "0123456789abcdef";
  NewToken token;
  for (const char c : random_bytes(4)) {
    token.id += hex[static_cast<unsigned char>(c) >> 4];
    token.id += hex[static_cast<unsigned char>(c) & 15];
  }
  token.secret = "gg-" + base32(random_bytes(20));
  token.hash = token_hash(token.secret);
  return token;
}

std::string token_hash(std::string_view secret) {
  constexpr std::string_view blank = " \t\r\n";
  while (!secret.empty() && blank.find(secret.front()) != std::string_view::npos) secret.remove_prefix(1);
  while (!secret.empty() && blank.find(secret.back()) != std::string_view::npos) secret.remove_suffix(1);
  std::string hash(32, '\0');
  unsigned int length = 0;
  const int hashed = EVP_Digest(secret.data(), secret.size(), reinterpret_cast<unsigned char*>(hash.data()), &length,
                                EVP_sha256(), nullptr);
  GREENGATE_CHECK(hashed == 1 && length == 32, "SHA-256 is always there");
  return hash;
}

}  // namespace greengate::gateway
