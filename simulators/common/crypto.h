#pragma once

#include "core/clock.h"
#include "core/result.h"

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct evp_pkey_st;

namespace greengate::sim {

/// OpenSSL behind plain words, for simulators only: the product has its own.
/// Threads   Any: keys are read-only once made.

using Key = std::shared_ptr<evp_pkey_st>;

std::string sha256(std::string_view bytes);
std::string sha1(std::string_view bytes);

/// What a certificate says about itself.
struct CertificateFacts {
  Key key;
  bool is_rsa = false;
  int key_bits = 0;
  std::string subject, issuer;
  bool self_signed = false;  ///< Subject is issuer and its own key verifies it.
  WallTime not_before{}, not_after{};
  bool has_key_usage = false, digital_signature = false, data_encipherment = false;
  std::vector<std::string> extended_key_usages;  ///< Dotted.
};

/// Errors: certificate.der (reject).
Result<CertificateFacts> read_certificate(std::string_view der);

/// How a signature was made; only `little_endian_oid` is the documented form (mp-protocol 3.3).
enum class SignatureForm {
  none,
  little_endian_oid,
  little_endian_bare,
  big_endian_oid,
  big_endian_bare
};
const char* name_of(SignatureForm form);

/// Opens the signature with the public key and compares the padded block by hand, so that each of
/// the four ways of writing it is told from a signature that is simply wrong. `hash` is "sha256" or
/// "sha1".
SignatureForm match_signature(const Key& key, std::string_view signature,
                              std::string_view signed_bytes, std::string_view hash);

/// CryptoAPI PUBLICKEYBLOB of an RSA key (mp-protocol 3.5).
std::string public_key_blob(const Key& key);

/// A key and a self-signed certificate of our own.
struct Identity {
  std::string certificate_pem, key_pem, certificate_der;
};

/// Reads `<name>.pem` from `dir`, or makes it: RSA 2048, ten years. Errors: identity.make,
/// identity.file.
Result<Identity> open_identity(const std::filesystem::path& dir, const std::string& name,
                               const std::string& common_name, const std::string& host);

}  // namespace greengate::sim
