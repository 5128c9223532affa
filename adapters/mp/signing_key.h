#pragma once

#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

namespace greengate::adapters {

/// A client's RSA-2048 key and what a management point wants made with it.
///
/// Promise   Copies share one key. Signatures have the byte order and spelling of CryptSignHash:
/// PKCS#1 v1.5 with the
///           hash's OID, reversed, upper-case hex.
/// Threads   Any, at the same time.
/// Errors    mp.key (reject: not a usable RSA key), mp.sign (retry: the library failed), mp.key_unwanted (halt).
/// Source    mp-protocol 3.3, 3.5, 4.3.
class SigningKey {
 public:
  /// No key; usable only as a place to assign to.
  SigningKey() = default;

  /// Takes tens to hundreds of milliseconds: for the pool of keys made ahead, never while an agent
  /// waits. Once `unwanted` is set it ends within moments, with mp.key_unwanted (halt): on a busy machine the thread that makes keys may
  /// wait for the processor ten times as long as it needs it.
  static Result<SigningKey> generate(const std::atomic<bool>* unwanted = nullptr);
  /// RSA, 2048 to 4096 bits, public exponent up to 32 bits.
  static Result<SigningKey> from_pkcs8_der(std::string_view der);
  /// A secret: seal it before it touches the disk.
  Result<std::string> pkcs8_der() const;

  Result<std::string> sign(std::string_view bytes, SignatureHash hash) const;
  /// Over the SMSID as UTF-16LE with its NUL. Deterministic: kept beside the key it saves a
  /// signature per message.
  Result<std::string> sign_client_id(const SmsId& sms_id, SignatureHash hash) const;
  /// CryptoAPI's PUBLICKEYBLOB in upper-case hex.
  const std::string& public_key_blob_hex() const;
  /// DER, signed by this key itself, with the key usage and purposes ConfigMgr clients have.
  Result<std::string> self_signed_certificate(const CertificateSettings& settings,
                                              WallTime now) const;

  explicit operator bool() const { return state_ != nullptr; }

 private:
  struct State;
  explicit SigningKey(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// The hash's name in messages: an OID text (M for SHA-256; I for SHA-1, Q13).
std::string_view hash_oid(SignatureHash hash);

std::string upper_hex(std::string_view bytes);

/// Does this certificate (DER) hold this key? Asked when an identity is loaded.
bool certificate_matches(std::string_view certificate_der, const SigningKey& key);

}  // namespace greengate::adapters
