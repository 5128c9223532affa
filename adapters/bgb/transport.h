#pragma once

#include "core/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

struct ssl_ctx_st;
struct ssl_st;
struct x509_store_ctx_st;

namespace greengate::adapters::bgb {

/// How we make sure that a server is the site's own (spec 1.2, 4.2).
enum class ServerCheck : std::uint8_t {
  pin,            ///< The very certificate of the file, or a name-checked chain to a CA in it. For self-signed MPs.
  pki,            ///< A name-checked chain to the CA file, or to the system's CAs when no file is given.
  none_lab_only,  ///< Anybody. Said loudly at start.
};

/// What all sessions of a pool share: one SSL_CTX.
///
/// Promise   No session ticket or cached session is ever kept, so none can reach another agent. TLS 1.2 and 1.3.
/// Threads   Built once; then read by the net thread.
/// Errors    bgb.tls_setup (reject): a certificate file that cannot be read or holds none.
class TlsContext {
 public:
  static Result<TlsContext> make(ServerCheck check, const std::string& certificate_file);

  ssl_ctx_st* raw() const { return ctx_.get(); }

 private:
  struct Free {
    void operator()(ssl_ctx_st* ctx) const;
  };
  using Pins = std::vector<std::array<unsigned char, 32>>;

  TlsContext() = default;
  static int verify(x509_store_ctx_st* chain, void* pins);

  std::unique_ptr<Pins> pins_;  // SHA-256 of each certificate in the pin file; its address is known to the SSL_CTX
  std::unique_ptr<ssl_ctx_st, Free> ctx_;
};

/// TLS as a client over a non-blocking socket, without a thread or buffer of its own.
///
/// Limits    While idle it holds neither a read nor a write buffer, and after forget_identity() no key.
/// Threads   One.
/// Errors    error(): bgb.tls, bgb.server_certificate, bgb.lost (retry).
class TlsStream {
 public:
  enum class Step : std::uint8_t { done, want_read, want_write, closed, failed };
  struct Moved {
    Step step;
    std::size_t bytes;
  };

  /// Fails with bgb.identity (reject) when certificate and key are no pair. The descriptor stays the caller's.
  static Result<TlsStream> make(const TlsContext& context, int fd, const std::string& server_host,
                                const std::string& certificate_der, const std::string& private_key_der);
  TlsStream() = default;  ///< No stream.
  explicit operator bool() const { return ssl_ != nullptr; }

  Step handshake();
  /// Certificate and private key leave this session; they served their purpose in the handshake.
  void forget_identity();
  bool holds_key() const;
  Moved read(std::span<std::byte> into);
  Moved write(std::span<const std::byte> from);
  /// Tells the peer that we end; once, without waiting for its reply.
  void close_notify();

  const Error& error() const { return error_; }

 private:
  struct Free {
    void operator()(ssl_st* ssl) const;
  };
  Step judge(int result, bool in_handshake);

  std::unique_ptr<ssl_st, Free> ssl_;
  Error error_;
};

}  // namespace greengate::adapters::bgb
