#include "adapters/mp/signing_key.h"

#include "adapters/mp/utf16.h"
#include "core/check.h"
#include "core/openssl_handles.h"
#include "core/random.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>

namespace greengate::adapters {
namespace {

using openssl::Certificate;
using openssl::Number;
using openssl::ParameterBuilder;
using openssl::Parameters;
using openssl::Pkcs8;
using openssl::Pkey;
using openssl::PkeyContext;

constexpr int key_bits = 2048;
constexpr int key_bits_max = 4096;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

void append_le32(std::string& out, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

Number component(const EVP_PKEY* key, const char* name) {
  BIGNUM* value = nullptr;
  EVP_PKEY_get_bn_param(key, name, &value);
  return Number(value);
}

/// PUBLICKEYBLOB (3.5): header, "RSA1", bits, exponent, modulus, each little-endian. Empty: not
/// such a key.
std::string public_key_blob(const EVP_PKEY* key) {
  const Number n = component(key, OSSL_PKEY_PARAM_RSA_N), e = component(key, OSSL_PKEY_PARAM_RSA_E);
  const int bits = n ? BN_num_bits(n.get()) : 0;
  if (!e || bits < key_bits || bits > key_bits_max || bits % 8 != 0 || BN_num_bits(e.get()) > 32)
    return {};
  std::string blob("\x06\x02\x00\x00\x00\xA4\x00\x00RSA1", 12);
  append_le32(blob, static_cast<std::uint32_t>(bits));
  append_le32(blob, static_cast<std::uint32_t>(BN_get_word(e.get())));
  std::string modulus(static_cast<std::size_t>(bits / 8), '\0');
  BN_bn2lebinpad(n.get(), reinterpret_cast<unsigned char*>(modulus.data()), bits / 8);
  return blob + modulus;
}

/// The next INTEGER of a DER sequence; null when something else comes.
Number next_integer(const unsigned char*& at, const unsigned char* end) {
  long length = 0;
  int tag = 0, tag_class = 0;
  if (ASN1_get_object(&at, &length, &tag, &tag_class, end - at) != 0 || tag != V_ASN1_INTEGER)
    return nullptr;
  Number number(BN_bin2bn(at, static_cast<int>(length), nullptr));
  at += length;
  return number;
}

/// A key from PKCS#1's RSAPrivateKey. The library's general decoder takes longer over this than a
/// signature takes, and a gateway loads a key for nearly every device whose reports it delivers.
Pkey key_from_pkcs1(const unsigned char* at, int length) {
  const unsigned char* end = at + length;
  long inside = 0;
  int tag = 0, tag_class = 0;
  if (ASN1_get_object(&at, &inside, &tag, &tag_class, length) != V_ASN1_CONSTRUCTED ||
      tag != V_ASN1_SEQUENCE || at + inside != end)
    return nullptr;
  const Number version = next_integer(at, end);
  if (!version || !BN_is_zero(version.get())) return nullptr;
  constexpr std::array names{OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
                             OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
                             OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
                             OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
  std::array<Number, names.size()> numbers;
  const ParameterBuilder builder(OSSL_PARAM_BLD_new());
  for (std::size_t i = 0; i < names.size(); ++i) {
    numbers[i] = next_integer(at, end);
    if (!builder || !numbers[i] ||
        OSSL_PARAM_BLD_push_BN(builder.get(), names[i], numbers[i].get()) != 1)
      return nullptr;
  }
  // The factors make the modulus, or every signature would be wrong.
  const openssl::NumberContext scratch(BN_CTX_new());
  const Number product(BN_new());
  if (!scratch || !product ||
      BN_mul(product.get(), numbers[3].get(), numbers[4].get(), scratch.get()) != 1 ||
      BN_cmp(product.get(), numbers[0].get()) != 0)
    return nullptr;
  const Parameters parameters(OSSL_PARAM_BLD_to_param(builder.get()));
  const PkeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr));
  EVP_PKEY* key = nullptr;
  if (!parameters || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_KEYPAIR, parameters.get()) != 1)
    return nullptr;
  return Pkey(key);
}

bool add_extension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  if (!extension) return false;
  const bool added = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

}  // namespace

struct SigningKey::State {
  explicit State(Pkey pkey) : key(std::move(pkey)) {}

  bool prepare() {
    blob_hex = upper_hex(public_key_blob(key.get()));
    sha256 = context_for(EVP_sha256());
    return !blob_hex.empty() && sha256;
  }
  PkeyContext context_for(const EVP_MD* hash) const {
    PkeyContext context(EVP_PKEY_CTX_new(key.get(), nullptr));
    if (context && EVP_PKEY_sign_init(context.get()) == 1 &&
        EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_PADDING) == 1 &&
        EVP_PKEY_CTX_set_signature_md(context.get(), hash) == 1)
      return context;
    return nullptr;
  }

  Pkey key;
  PkeyContext sha256;  // each signature works on a copy, which costs far less than preparing anew
  std::string blob_hex;
};

Result<SigningKey> SigningKey::generate(const std::atomic<bool>* unwanted) {
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> maker(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr),
                                                                         &EVP_PKEY_CTX_free);
  EVP_PKEY* made = nullptr;
  if (maker && EVP_PKEY_keygen_init(maker.get()) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(maker.get(), key_bits) == 1) {
    // Asked for every number that might be a prime; 0 ends it.
    if (unwanted) {
      EVP_PKEY_CTX_set_app_data(maker.get(), const_cast<std::atomic<bool>*>(unwanted));
      EVP_PKEY_CTX_set_cb(maker.get(), [](EVP_PKEY_CTX* context) {
        return static_cast<const std::atomic<bool>*>(EVP_PKEY_CTX_get_app_data(context))->load() ? 0 : 1;
      });
    }
    EVP_PKEY_generate(maker.get(), &made);
  }
  Pkey key(made);
  if (!key && unwanted && *unwanted) return fail(Remedy::halt, "mp.key_unwanted", "Nobody needs the key any more.");
  auto state = std::make_shared<State>(std::move(key));
  if (!state->key || !state->prepare())
    return fail(Remedy::retry, "mp.sign", "The cryptography library could not make an RSA key.");
  return SigningKey(std::move(state));
}

Result<SigningKey> SigningKey::from_pkcs8_der(std::string_view der) {
  if (der.size() > 16 * 1024)
    return fail(Remedy::reject, "mp.key", "The stored key is too long to be an RSA key.");
  const unsigned char* at = bytes_of(der);
  const Pkcs8 form(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, static_cast<long>(der.size())));
  const ASN1_OBJECT* algorithm = nullptr;
  const unsigned char* pkcs1 = nullptr;
  int length = 0;
  Pkey key;
  if (form && PKCS8_pkey_get0(&algorithm, &pkcs1, &length, nullptr, form.get()) == 1 &&
      OBJ_obj2nid(algorithm) == NID_rsaEncryption)
    key = key_from_pkcs1(pkcs1, length);
  if (!key)
    return fail(Remedy::reject, "mp.key", "The stored key is not an RSA key in PKCS#8 form.");
  auto state = std::make_shared<State>(std::move(key));
  if (!state->prepare())
    return fail(Remedy::reject, "mp.key", "The stored key is not an RSA key of 2048 to 4096 bits.");
  return SigningKey(std::move(state));
}

Result<std::string> SigningKey::pkcs8_der() const {
  GREENGATE_CHECK(state_, "an empty SigningKey is never used");
  const Pkcs8 form(EVP_PKEY2PKCS8(state_->key.get()));
  unsigned char* der = nullptr;
  const int length = form ? i2d_PKCS8_PRIV_KEY_INFO(form.get(), &der) : -1;
  if (length <= 0)
    return fail(Remedy::retry, "mp.sign", "The cryptography library could not write the key.");
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(length));
  OPENSSL_clear_free(der, static_cast<std::size_t>(length));
  return out;
}

Result<std::string> SigningKey::sign(std::string_view bytes, SignatureHash hash) const {
  GREENGATE_CHECK(state_, "an empty SigningKey is never used");
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  const bool long_hash = hash == SignatureHash::sha256;
  if (long_hash)
    SHA256(bytes_of(bytes), bytes.size(), digest.data());
  else
    SHA1(bytes_of(bytes), bytes.size(), digest.data());

  const PkeyContext context = long_hash ? PkeyContext(EVP_PKEY_CTX_dup(state_->sha256.get()))
                                        : state_->context_for(EVP_sha1());
  std::array<unsigned char, key_bits_max / 8> signature;
  std::size_t length = signature.size();
  if (!context || EVP_PKEY_sign(context.get(), signature.data(), &length, digest.data(),
                                long_hash ? SHA256_DIGEST_LENGTH : SHA_DIGEST_LENGTH) != 1)
    return fail(Remedy::retry, "mp.sign", "The cryptography library could not sign.");
  std::reverse(signature.begin(), signature.begin() + static_cast<std::ptrdiff_t>(length));
  return upper_hex({reinterpret_cast<const char*>(signature.data()), length});
}

Result<std::string> SigningKey::sign_client_id(const SmsId& sms_id, SignatureHash hash) const {
  return sign(utf16_from_utf8(sms_id.raw()) + std::string(2, '\0'), hash);
}

const std::string& SigningKey::public_key_blob_hex() const {
  GREENGATE_CHECK(state_, "an empty SigningKey is never used");
  return state_->blob_hex;
}

Result<std::string> SigningKey::self_signed_certificate(const CertificateSettings& settings,
                                                        WallTime now) const {
  GREENGATE_CHECK(state_, "an empty SigningKey is never used");
  const Certificate certificate(X509_new());
  const auto failed = [] {
    return fail(Remedy::retry, "mp.sign", "The cryptography library could not make a certificate.");
  };
  if (!certificate) return failed();
  X509* x = certificate.get();

  std::string serial = random_bytes(8);
  serial[0] = static_cast<char>((static_cast<unsigned char>(serial[0]) & 0x7F) |
                                0x40);  // positive, always 8 bytes
  const Number number(BN_bin2bn(bytes_of(serial), static_cast<int>(serial.size()), nullptr));
  const std::int64_t day = 24 * 3600;
  const std::int64_t start = to_millis(now) / 1000 - settings.back_dated_days * day;
  X509_NAME* name = X509_get_subject_name(x);
  const bool filled =
      number && X509_set_version(x, X509_VERSION_3) == 1 &&
      BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x)) != nullptr &&
      ASN1_TIME_set(X509_getm_notBefore(x), static_cast<time_t>(start)) != nullptr &&
      ASN1_TIME_set(X509_getm_notAfter(x), static_cast<time_t>(start + settings.days * day)) !=
          nullptr &&
      X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, bytes_of(settings.common_name),
                                 static_cast<int>(settings.common_name.size()), -1, 0) == 1 &&
      X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, state_->key.get()) == 1 &&
      add_extension(x, NID_key_usage, "digitalSignature,dataEncipherment") &&
      // SMS encryption and SMS signing: Windows finds the two client certificates by exactly these
      // (M 4.3).
      add_extension(x, NID_ext_key_usage, "1.3.6.1.4.1.311.101.2,1.3.6.1.4.1.311.101") &&
      X509_sign(x, state_->key.get(), EVP_sha256()) > 0;
  unsigned char* der = nullptr;
  const int length = filled ? i2d_X509(x, &der) : -1;
  if (length <= 0) return failed();
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(length));
  OPENSSL_free(der);
  return out;
}

bool certificate_matches(std::string_view certificate_der, const SigningKey& key) {
  const unsigned char* at = bytes_of(certificate_der);
  const Certificate certificate(d2i_X509(nullptr, &at, static_cast<long>(certificate_der.size())));
  const EVP_PKEY* held = certificate ? X509_get0_pubkey(certificate.get()) : nullptr;
  return key && held && upper_hex(public_key_blob(held)) == key.public_key_blob_hex();
}

std::string_view hash_oid(SignatureHash hash) {
  return hash == SignatureHash::sha256 ? "1.2.840.113549.1.1.11" : "1.2.840.113549.1.1.5";
}

std::string upper_hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out(bytes.size() * 2, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    out[2 * i] = digits[byte >> 4];
    out[2 * i + 1] = digits[byte & 15];
  }
  return out;
}

}  // namespace greengate::adapters
