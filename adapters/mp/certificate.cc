#include "adapters/mp/certificate.h"

#include "core/openssl_handles.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include <array>
#include <ctime>
#include <memory>

namespace greengate::adapters {
namespace {

using openssl::Bio;
using openssl::Certificate;
using openssl::Pkcs8;
using openssl::Pkey;

constexpr std::size_t pem_bytes_max = 1u << 20;

Bio reader_of(std::string_view text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

/// No pass phrase is ever asked for on a terminal.
int no_pass_phrase(char*, int, int, void*) { return -1; }

Certificate parsed(std::string_view der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  return Certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
}

tl::unexpected<Error> unusable(std::string why) { return fail(Remedy::reject, "mp.key", std::move(why)); }

}  // namespace

Result<KeyPair> key_pair_from_pem(std::string_view key_pem, std::string_view certificate_pem) {
  if (key_pem.size() > pem_bytes_max || certificate_pem.size() > pem_bytes_max)
    return unusable("The key or certificate file is longer than 1 MiB.");
  const Bio key_reader = reader_of(key_pem);
  const Pkey pkey(key_reader ? PEM_read_bio_PrivateKey(key_reader.get(), nullptr, no_pass_phrase, nullptr) : nullptr);
  const Pkcs8 form(pkey ? EVP_PKEY2PKCS8(pkey.get()) : nullptr);
  unsigned char* der = nullptr;
  const int length = form ? i2d_PKCS8_PRIV_KEY_INFO(form.get(), &der) : -1;
  if (length <= 0) return unusable("The key file holds no private key in PEM without a pass phrase.");
  auto key = SigningKey::from_pkcs8_der({reinterpret_cast<char*>(der), static_cast<std::size_t>(length)});
  OPENSSL_clear_free(der, static_cast<std::size_t>(length));
  if (!key) return pass(key);

  const Bio certificate_reader = reader_of(certificate_pem);
  const Certificate certificate(
      certificate_reader ? PEM_read_bio_X509(certificate_reader.get(), nullptr, no_pass_phrase, nullptr) : nullptr);
  unsigned char* written = nullptr;
  const int bytes = certificate ? i2d_X509(certificate.get(), &written) : -1;
  if (bytes <= 0) return unusable("The certificate file holds no certificate in PEM.");
  KeyPair pair;
  pair.certificate_der.assign(reinterpret_cast<char*>(written), static_cast<std::size_t>(bytes));
  OPENSSL_free(written);
  pair.key = std::move(*key);
  if (!certificate_matches(pair.certificate_der, pair.key)) return unusable("The certificate is not that of the key.");
  return pair;
}

Result<WallTime> certificate_ends(std::string_view certificate_der) {
  const Certificate certificate = parsed(certificate_der);
  std::tm end{};
  if (!certificate || ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &end) != 1)
    return unusable("The certificate cannot be read.");
  return from_millis(static_cast<std::int64_t>(timegm(&end)) * 1'000);
}

std::string fingerprint(std::string_view bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return upper_hex({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

}  // namespace greengate::adapters
