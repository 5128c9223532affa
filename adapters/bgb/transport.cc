#include "adapters/bgb/transport.h"

#include "core/check.h"
#include "core/openssl_handles.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace greengate::adapters::bgb {
namespace {

// OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE on a connection the peer has
// reset. This one does not.
int bio_fd(BIO* bio) {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
}

int bio_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  ssize_t n;
  do n = send(bio_fd(bio), data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int bio_read(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  ssize_t n;
  do n = recv(bio_fd(bio), data, static_cast<std::size_t>(size), 0);
  while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_read(bio);
  if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(n);
}

long bio_ctrl(BIO* bio, int command, long, void*) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_EOF:
      return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    default:
      return 0;
  }
}

BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "greengate socket");
    GREENGATE_CHECK(made != nullptr, "OpenSSL can make a BIO method");
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_ctrl(made, bio_ctrl);
    return made;
  }();
  return method;
}

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  ERR_clear_error();
  return reason ? reason : "no reason given";
}

std::array<unsigned char, 32> fingerprint(const X509* certificate) {
  std::array<unsigned char, 32> digest{};
  unsigned size = 0;
  const int done = X509_digest(certificate, EVP_sha256(), digest.data(), &size);
  GREENGATE_CHECK(done == 1 && size == digest.size(), "SHA-256 of a certificate always works");
  return digest;
}

Result<std::vector<openssl::Certificate>> read_certificates(const std::string& file) {
  openssl::Bio bio(BIO_new_file(file.c_str(), "rb"));
  std::vector<openssl::Certificate> found;
  constexpr std::size_t certificates_max = 64;
  while (bio && found.size() < certificates_max) {
    X509* one = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr);
    if (!one) break;
    found.emplace_back(one);
  }
  if (bio && found.empty()) {  // no PEM: perhaps one certificate in DER
    BIO_seek(bio.get(), 0);
    if (X509* one = d2i_X509_bio(bio.get(), nullptr)) found.emplace_back(one);
  }
  ERR_clear_error();
  if (found.empty())
    return fail(Remedy::reject, "bgb.tls_setup",
                "No certificate could be read from \"" + file + "\".");
  return found;
}

}  // namespace

void TlsContext::Free::operator()(ssl_ctx_st* ctx) const {
  SSL_CTX_free(ctx);
}
void TlsStream::Free::operator()(ssl_st* ssl) const {
  SSL_free(ssl);
}

Result<TlsContext> TlsContext::make(ServerCheck check, const std::string& certificate_file) {
  TlsContext made;
  made.ctx_.reset(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* ctx = made.ctx_.get();
  if (!ctx)
    return fail(Remedy::reject, "bgb.tls_setup",
                "OpenSSL gave no context: " + openssl_reason() + ".");
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  // A ticket of one agent used for another would sign the other in under a false name (spec 9.2):
  // keep none.
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (check == ServerCheck::none_lab_only) {
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, nullptr);
    return made;
  }
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr);
  if (check == ServerCheck::pki && certificate_file.empty()) {
    if (SSL_CTX_set_default_verify_paths(ctx) != 1)
      return fail(Remedy::reject, "bgb.tls_setup",
                  "The system's CAs could not be loaded: " + openssl_reason() + ".");
    return made;
  }
  auto certificates = read_certificates(certificate_file);
  if (!certificates) return pass(certificates);
  X509_STORE* store = SSL_CTX_get_cert_store(ctx);
  for (const auto& certificate : *certificates) X509_STORE_add_cert(store, certificate.get());
  if (check == ServerCheck::pin) {
    made.pins_ = std::make_unique<Pins>();
    for (const auto& certificate : *certificates)
      made.pins_->push_back(fingerprint(certificate.get()));
    X509_STORE_set_flags(
        store, X509_V_FLAG_PARTIAL_CHAIN);  // an issuing CA may be pinned without its root
    SSL_CTX_set_cert_verify_callback(ctx, &TlsContext::verify, made.pins_.get());
  }
  return made;
}

int TlsContext::verify(x509_store_ctx_st* chain, void* pins) {
  const X509* leaf = X509_STORE_CTX_get0_cert(chain);
  const auto& known = *static_cast<const Pins*>(pins);
  if (!leaf || std::find(known.begin(), known.end(), fingerprint(leaf)) == known.end())
    return X509_verify_cert(chain) > 0 ? 1 : 0;
  // The very certificate that was pinned: name, issuer and purpose do not matter any more, its time
  // still does.
  int problem = X509_V_OK;
  if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0) problem = X509_V_ERR_CERT_NOT_YET_VALID;
  if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) problem = X509_V_ERR_CERT_HAS_EXPIRED;
  X509_STORE_CTX_set_error(chain, problem);
  return problem == X509_V_OK ? 1 : 0;
}

Result<TlsStream> TlsStream::make(const TlsContext& context, int fd, const std::string& server_host,
                                  const std::string& certificate_der,
                                  const std::string& private_key_der) {
  const auto* cert_bytes = reinterpret_cast<const unsigned char*>(certificate_der.data());
  const openssl::Certificate certificate(
      d2i_X509(nullptr, &cert_bytes, static_cast<long>(certificate_der.size())));
  const auto* key_bytes = reinterpret_cast<const unsigned char*>(private_key_der.data());
  const openssl::Pkcs8 info(
      d2i_PKCS8_PRIV_KEY_INFO(nullptr, &key_bytes, static_cast<long>(private_key_der.size())));
  const openssl::Pkey key(info ? EVP_PKCS82PKEY(info.get()) : nullptr);
  if (!certificate || !key)
    return fail(Remedy::reject, "bgb.identity",
                "The agent's certificate (DER) or private key (PKCS#8 DER) cannot be read: " +
                    openssl_reason() + ".");

  TlsStream stream;
  stream.ssl_.reset(SSL_new(context.raw()));
  SSL* ssl = stream.ssl_.get();
  BIO* bio = ssl ? BIO_new(socket_method()) : nullptr;
  if (!bio)
    return fail(Remedy::retry, "bgb.tls", "OpenSSL gave no session: " + openssl_reason() + ".");
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_connect_state(ssl);

  if (SSL_use_certificate(ssl, certificate.get()) != 1 || SSL_use_PrivateKey(ssl, key.get()) != 1 ||
      SSL_check_private_key(ssl) != 1)
    return fail(
        Remedy::reject, "bgb.identity",
        "The agent's certificate and private key do not fit each other: " + openssl_reason() + ".");

  in6_addr scratch;
  const bool is_address = inet_pton(AF_INET, server_host.c_str(), &scratch) == 1 ||
                          inet_pton(AF_INET6, server_host.c_str(), &scratch) == 1;
  X509_VERIFY_PARAM* param = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const int named =
      is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, server_host.c_str())
                 : X509_VERIFY_PARAM_set1_host(param, server_host.c_str(), server_host.size());
  if (named != 1 || (!is_address && SSL_set_tlsext_host_name(ssl, server_host.c_str()) != 1))
    return fail(Remedy::reject, "bgb.tls", "\"" + server_host + "\" cannot be a server's name.");
  ERR_clear_error();
  return stream;
}

TlsStream::Step TlsStream::handshake() {
  ERR_clear_error();
  return judge(SSL_connect(ssl_.get()), true);
}

void TlsStream::forget_identity() {
  SSL_certs_clear(ssl_.get());
}

bool TlsStream::holds_key() const {
  return ssl_ && SSL_get_privatekey(ssl_.get()) != nullptr;
}

TlsStream::Moved TlsStream::read(std::span<std::byte> into) {
  ERR_clear_error();
  std::size_t moved = 0;
  const int result = SSL_read_ex(ssl_.get(), into.data(), into.size(), &moved);
  const Step step = judge(result, false);
  // A session ticket makes OpenSSL take up a write buffer again that SSL_MODE_RELEASE_BUFFERS lets
  // go only with the next write, a quarter of an hour later: 16 KiB a session.
  if (step == Step::want_read) SSL_free_buffers(ssl_.get());
  return {step, moved};
}

TlsStream::Moved TlsStream::write(std::span<const std::byte> from) {
  ERR_clear_error();
  std::size_t moved = 0;
  const int result = SSL_write_ex(ssl_.get(), from.data(), from.size(), &moved);
  return {judge(result, false), moved};
}

void TlsStream::close_notify() {
  ERR_clear_error();
  if (ssl_ && SSL_is_init_finished(ssl_.get())) SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

TlsStream::Step TlsStream::judge(int result, bool in_handshake) {
  if (result > 0) return Step::done;
  const int system_error = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Step::want_read;
    case SSL_ERROR_WANT_WRITE:
      return Step::want_write;
    case SSL_ERROR_ZERO_RETURN:
      error_ = {Remedy::retry,
                in_handshake ? "bgb.tls" : "bgb.lost",
                "The server closed the connection.",
                {}};
      return Step::closed;
    case SSL_ERROR_SYSCALL:
      error_ = {Remedy::retry,
                in_handshake ? "bgb.tls" : "bgb.lost",
                "The connection broke: " +
                    (system_error ? std::string(strerror(system_error)) : "end of stream") + ".",
                {}};
      ERR_clear_error();
      return Step::failed;
    default:
      break;
  }
  const long verdict = SSL_get_verify_result(ssl_.get());
  if (in_handshake && verdict != X509_V_OK && SSL_get_verify_mode(ssl_.get()) != SSL_VERIFY_NONE) {
    error_ = {Remedy::retry,
              "bgb.server_certificate",
              std::string("The notification server's certificate was refused: ") +
                  X509_verify_cert_error_string(verdict) + ".",
              {}};
    ERR_clear_error();
  } else {
    error_ = {
        Remedy::retry,
        in_handshake ? "bgb.tls" : "bgb.lost",
        (in_handshake ? "The TLS handshake failed: " : "TLS broke: ") + openssl_reason() + ".",
        {}};
  }
  return Step::failed;
}

}  // namespace greengate::adapters::bgb
