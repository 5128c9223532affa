#pragma once

#include "core/result.h"

#include <openssl/ssl.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace greengate::sim::notify {

template <auto release>
struct Release {
  template <class T>
  void operator()(T* thing) const {
    release(thing);
  }
};
using SslContext = std::unique_ptr<SSL_CTX, Release<SSL_CTX_free>>;
using Ssl = std::unique_ptr<SSL, Release<SSL_free>>;

struct ServerIdentity {
  std::filesystem::path certificate_file;  ///< PEM; made when it does not exist.
  std::filesystem::path key_file;          ///< PEM, readable by its owner only.
  std::string name = "localhost";
  std::string state = "valid";  ///< valid | expired | not-yet
  bool make = true;             ///< False: both files must exist.
  bool tls13_only = false;
  bool tls12_only = false;
  bool with_loopback = true;  ///< The made certificate names 127.0.0.1 too.
};

/// A server context: TLS 1.2 and 1.3, no resumption (9.2), no renegotiation, any client certificate
/// taken at this level (4.1) and none demanded unless `demand_certificate`.
/// Errors: notify.certificate.
Result<SslContext> make_context(const ServerIdentity& identity, bool demand_certificate);

using KeyHash = std::array<std::uint8_t, 32>;
/// SHA-256 of the SubjectPublicKeyInfo of a DER certificate; nothing when it is none.
std::optional<KeyHash> key_hash(const std::string& certificate_der);
/// The same of the peer's certificate; nothing when it showed none.
std::optional<KeyHash> peer_key_hash(const SSL* ssl);

/// A connection over a non-blocking descriptor that the caller keeps open. Unlike OpenSSL's own
/// socket BIO it never raises SIGPIPE.
Ssl make_ssl(SSL_CTX* context, int fd);
/// The next read sees a record that cannot be authentic, so that OpenSSL sends a fatal alert: the
/// only way it offers to raise one after the handshake.
void poison_next_read(SSL* ssl);
/// OpenSSL's oldest waiting error, and an empty queue.
std::string take_ssl_error();

}  // namespace greengate::sim::notify
