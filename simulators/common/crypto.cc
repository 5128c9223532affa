#include "simulators/common/crypto.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <sstream>

namespace greengate::sim {
namespace {

struct Free {
  void operator()(X509* p) const { X509_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(EVP_PKEY_CTX* p) const { EVP_PKEY_CTX_free(p); }
  void operator()(BIO* p) const { BIO_free_all(p); }
  void operator()(BIGNUM* p) const { BN_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

std::string digest(const EVP_MD* kind, std::string_view bytes) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), out, &size, kind, nullptr) != 1) return {};
  return std::string(reinterpret_cast<const char*>(out), size);
}

std::string name_text(const X509_NAME* name) {
  Owned<BIO> out(BIO_new(BIO_s_mem()));
  if (!out || X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253) < 0) return {};
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  return std::string(data, static_cast<std::size_t>(std::max(0L, size)));
}

WallTime time_of(const ASN1_TIME* asn1) {
  std::tm parts{};
  if (asn1 == nullptr || ASN1_TIME_to_tm(asn1, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

std::string bio_text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<std::size_t>(std::max(0L, size)));
}

std::string der_of(X509* certificate) {
  unsigned char* out = nullptr;
  const int size = i2d_X509(certificate, &out);
  if (size <= 0) return {};
  std::string der(reinterpret_cast<const char*>(out), static_cast<std::size_t>(size));
  OPENSSL_free(out);
  return der;
}

// The DER in front of the bare hash inside the padded block (RFC 8017, 9.2 note 1).
constexpr unsigned char sha256_prefix[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60,
                                           0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
                                           0x01, 0x05, 0x00, 0x04, 0x20};
constexpr unsigned char sha1_prefix[] = {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e,
                                         0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14};

std::string padded_block(std::size_t size, std::string_view content) {
  std::string block(size, '\xff');
  block[0] = '\0';
  block[1] = '\x01';
  block[size - content.size() - 1] = '\0';
  std::copy(content.begin(), content.end(),
            block.end() - static_cast<std::ptrdiff_t>(content.size()));
  return block;
}

std::string opened(const Key& key, std::string_view big_endian) {
  Owned<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new(key.get(), nullptr));
  if (!context || EVP_PKEY_verify_recover_init(context.get()) != 1 ||
      EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_NO_PADDING) != 1)
    return {};
  std::string out(big_endian.size(), '\0');
  std::size_t size = out.size();
  if (EVP_PKEY_verify_recover(context.get(), reinterpret_cast<unsigned char*>(out.data()), &size,
                              reinterpret_cast<const unsigned char*>(big_endian.data()),
                              big_endian.size()) != 1) {
    ERR_clear_error();
    return {};
  }
  out.resize(size);
  return out;
}

Result<Identity> identity_from_pem(const std::string& pem) {
  Identity identity;
  Owned<BIO> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Owned<X509> certificate(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
  if (!certificate)
    return fail(
        Remedy::reject, "identity.file",
        "A certificate file of the simulator cannot be read; remove it to have a new one made.");
  const std::size_t key_at = pem.find("-----BEGIN PRIVATE KEY");
  if (key_at == std::string::npos)
    return fail(Remedy::reject, "identity.file",
                "A certificate file of the simulator has no private key; remove it to have a new "
                "one made.");
  identity.key_pem = pem.substr(key_at);
  identity.certificate_pem = pem.substr(0, key_at);
  identity.certificate_der = der_of(certificate.get());
  return identity;
}

bool add_extension(X509* certificate, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

}  // namespace

std::string sha256(std::string_view bytes) {
  return digest(EVP_sha256(), bytes);
}
std::string sha1(std::string_view bytes) {
  return digest(EVP_sha1(), bytes);
}

Result<CertificateFacts> read_certificate(std::string_view der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const auto* const end = at + der.size();
  Owned<X509> certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (!certificate || at != end) {
    ERR_clear_error();
    return fail(Remedy::reject, "certificate.der",
                "The certificate is not one whole DER certificate.");
  }
  CertificateFacts facts;
  facts.key = Key(X509_get_pubkey(certificate.get()), [](EVP_PKEY* p) { EVP_PKEY_free(p); });
  if (!facts.key) {
    ERR_clear_error();
    return fail(Remedy::reject, "certificate.der", "The certificate's key cannot be read.");
  }
  facts.is_rsa = EVP_PKEY_get_base_id(facts.key.get()) == EVP_PKEY_RSA;
  facts.key_bits = EVP_PKEY_get_bits(facts.key.get());
  facts.subject = name_text(X509_get_subject_name(certificate.get()));
  facts.issuer = name_text(X509_get_issuer_name(certificate.get()));
  // A huge key would make each check slow; nobody registers one.
  if (facts.key_bits > 8192)
    return fail(Remedy::reject, "certificate.der",
                "The certificate's key is larger than 8192 bits.");
  facts.self_signed =
      facts.subject == facts.issuer && X509_verify(certificate.get(), facts.key.get()) == 1;
  facts.not_before = time_of(X509_get0_notBefore(certificate.get()));
  facts.not_after = time_of(X509_get0_notAfter(certificate.get()));
  facts.has_key_usage = X509_get_ext_by_NID(certificate.get(), NID_key_usage, -1) >= 0;
  if (facts.has_key_usage) {
    const auto usage = X509_get_key_usage(certificate.get());
    facts.digital_signature = (usage & KU_DIGITAL_SIGNATURE) != 0;
    facts.data_encipherment = (usage & KU_DATA_ENCIPHERMENT) != 0;
  }
  if (auto* usages = static_cast<EXTENDED_KEY_USAGE*>(
          X509_get_ext_d2i(certificate.get(), NID_ext_key_usage, nullptr, nullptr))) {
    for (int i = 0; i < sk_ASN1_OBJECT_num(usages) && i < 32; ++i) {
      char text[128];
      if (OBJ_obj2txt(text, sizeof text, sk_ASN1_OBJECT_value(usages, i), 1) > 0)
        facts.extended_key_usages.emplace_back(text);
    }
    EXTENDED_KEY_USAGE_free(usages);
  }
  ERR_clear_error();
  return facts;
}

const char* name_of(SignatureForm form) {
  switch (form) {
    case SignatureForm::none:
      return "none";
    case SignatureForm::little_endian_oid:
      return "LE+OID";
    case SignatureForm::little_endian_bare:
      return "LE without OID";
    case SignatureForm::big_endian_oid:
      return "BE+OID";
    case SignatureForm::big_endian_bare:
      return "BE without OID";
  }
  return "none";
}

SignatureForm match_signature(const Key& key, std::string_view signature,
                              std::string_view signed_bytes, std::string_view hash) {
  const auto size = static_cast<std::size_t>(EVP_PKEY_get_size(key.get()));
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA || signature.size() != size || size < 64)
    return SignatureForm::none;
  const bool is_sha1 = hash == "sha1";
  const std::string bare = is_sha1 ? sha1(signed_bytes) : sha256(signed_bytes);
  std::string with_oid =
      is_sha1 ? std::string(reinterpret_cast<const char*>(sha1_prefix), sizeof sha1_prefix)
              : std::string(reinterpret_cast<const char*>(sha256_prefix), sizeof sha256_prefix);
  with_oid += bare;
  const std::string block_oid = padded_block(size, with_oid), block_bare = padded_block(size, bare);

  const std::string reversed(signature.rbegin(), signature.rend());
  const std::string little = opened(key, reversed);
  if (little == block_oid) return SignatureForm::little_endian_oid;
  if (little == block_bare) return SignatureForm::little_endian_bare;
  const std::string big = opened(key, signature);
  if (big == block_oid) return SignatureForm::big_endian_oid;
  if (big == block_bare) return SignatureForm::big_endian_bare;
  return SignatureForm::none;
}

std::string public_key_blob(const Key& key) {
  BIGNUM *n = nullptr, *e = nullptr;
  if (EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
      EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_RSA_E, &e) != 1) {
    BN_free(n);
    ERR_clear_error();
    return {};
  }
  const Owned<BIGNUM> modulus(n), exponent(e);
  const auto put32 = [](std::string& out, std::uint32_t value) {
    for (int i = 0; i < 4; ++i) out += static_cast<char>(value >> (8 * i));
  };
  std::string blob("\x06\x02\x00\x00\x00\xA4\x00\x00RSA1", 12);
  put32(blob, static_cast<std::uint32_t>(BN_num_bits(modulus.get())));
  put32(blob, static_cast<std::uint32_t>(BN_get_word(exponent.get())));
  std::string little(static_cast<std::size_t>(BN_num_bytes(modulus.get())), '\0');
  BN_bn2lebinpad(modulus.get(), reinterpret_cast<unsigned char*>(little.data()),
                 static_cast<int>(little.size()));
  return blob + little;
}

Result<Identity> open_identity(const std::filesystem::path& dir, const std::string& name,
                               const std::string& common_name, const std::string& host) {
  const std::filesystem::path path = dir / (name + ".pem");
  if (std::ifstream in(path, std::ios::binary); in) {
    std::stringstream text;
    text << in.rdbuf();
    return identity_from_pem(text.str());
  }
  const auto no_key = [] {
    ERR_clear_error();
    return fail(Remedy::retry, "identity.make",
                "A certificate for the simulator could not be made.");
  };
  Owned<EVP_PKEY> key(EVP_RSA_gen(2048));
  Owned<X509> certificate(X509_new());
  if (!key || !certificate) return no_key();
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()),
                          static_cast<std::uint64_t>(std::time(nullptr)));
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -2 * 24 * 3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 10L * 365 * 24 * 3600);
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(certificate.get(), subject);
  X509_set_pubkey(certificate.get(), key.get());
  if (!host.empty()) {
    // No CA flag: the certificate is its own trust anchor, and only that.
    if (!add_extension(certificate.get(), NID_subject_alt_name,
                       "DNS:" + host + ",DNS:localhost,IP:127.0.0.1") ||
        !add_extension(certificate.get(), NID_ext_key_usage, "serverAuth"))
      return no_key();
  }
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) <= 0) return no_key();

  Owned<BIO> certificate_out(BIO_new(BIO_s_mem())), key_out(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate_out.get(), certificate.get()) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                    nullptr) != 1)
    return no_key();
  Identity identity{bio_text(certificate_out.get()), bio_text(key_out.get()),
                    der_of(certificate.get())};
  std::ofstream out(path, std::ios::binary);
  out << identity.certificate_pem << identity.key_pem;
  out.close();
  std::error_code ignored;
  std::filesystem::permissions(
      path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write, ignored);
  if (!out)
    return fail(Remedy::retry, "identity.file",
                "The simulator's certificate could not be written to " + path.string() + ".");
  return identity;
}

}  // namespace greengate::sim
