#include "simulators/notification_server/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace greengate::sim::notify {
namespace {

using Key = std::unique_ptr<EVP_PKEY, Release<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Release<X509_free>>;
using File = std::unique_ptr<std::FILE, Release<std::fclose>>;

struct Line {
  int fd;
  bool poisoned = false;
};

int line_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const auto* line = static_cast<Line*>(BIO_get_data(bio));
  const auto sent = ::send(line->fd, data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
    BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int line_read(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  auto* line = static_cast<Line*>(BIO_get_data(bio));
  if (line->poisoned) {
    // One application-data record of 64 zero bytes, handed over as far as there is room.
    static constexpr char record[69] = {0x17, 0x03, 0x03, 0x00, 0x40};
    const int some = size < int(sizeof record) ? size : int(sizeof record);
    std::memcpy(data, record, static_cast<std::size_t>(some));
    if (size >= 5) std::memset(data + 5, 0, static_cast<std::size_t>(some > 5 ? some - 5 : 0));
    return some;
  }
  const auto got = ::recv(line->fd, data, static_cast<std::size_t>(size), 0);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
    BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

long line_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

int line_destroy(BIO* bio) {
  delete static_cast<Line*>(BIO_get_data(bio));
  BIO_set_data(bio, nullptr);
  return 1;
}

BIO_METHOD* line_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "greengate line");
    BIO_meth_set_write(made, line_write);
    BIO_meth_set_read(made, line_read);
    BIO_meth_set_ctrl(made, line_control);
    BIO_meth_set_destroy(made, line_destroy);
    return made;
  }();
  return method;
}

void add_extension(X509* certificate, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  if (X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str())) {
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
}

/// RSA-2048 and self-signed, as a site without a PKI has it (1.2).
Result<void> make_files(const ServerIdentity& identity) {
  const Key key(EVP_RSA_gen(2048));
  const Certificate certificate(X509_new());
  if (!key || !certificate)
    return fail(Remedy::retry, "notify.certificate", "No key could be made: " + take_ssl_error());
  constexpr long day = 86'400;
  long from = -day, to = 3650 * day;
  if (identity.state == "expired") from = -30 * day, to = -day;
  if (identity.state == "not-yet") from = day;
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), to);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(identity.name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(certificate.get(), name);
  add_extension(certificate.get(), NID_subject_alt_name, "DNS:" + identity.name + (identity.with_loopback ? ",IP:127.0.0.1" : ""));
  add_extension(certificate.get(), NID_ext_key_usage, "serverAuth");
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0)
    return fail(Remedy::retry, "notify.certificate",
                "The certificate could not be signed: " + take_ssl_error());

  const int key_fd =
      ::open(identity.key_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const File key_out(key_fd < 0 ? nullptr : ::fdopen(key_fd, "w"));
  const File out(std::fopen(identity.certificate_file.c_str(), "we"));
  if (!key_out || !out ||
      PEM_write_PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 0 ||
      PEM_write_X509(out.get(), certificate.get()) == 0)
    return fail(Remedy::retry, "notify.certificate",
                "The server certificate could not be written to " +
                    identity.certificate_file.parent_path().string() + ".");
  return {};
}

std::optional<KeyHash> hash_of(const X509* certificate) {
  unsigned char* der = nullptr;
  const int bytes = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (bytes <= 0) return std::nullopt;
  KeyHash hash{};
  const int done =
      EVP_Digest(der, static_cast<std::size_t>(bytes), hash.data(), nullptr, EVP_sha256(), nullptr);
  OPENSSL_free(der);
  if (done != 1) return std::nullopt;
  return hash;
}

/// Self-signed client certificates are normal; who they are is asked at sign-in (4.1).
int take_any(int, X509_STORE_CTX*) {
  return 1;
}

}  // namespace

Result<SslContext> make_context(const ServerIdentity& identity, bool demand_certificate) {
  std::error_code ignored;
  if (identity.make && !(std::filesystem::exists(identity.certificate_file, ignored) &&
                         std::filesystem::exists(identity.key_file, ignored))) {
    auto made = make_files(identity);
    if (!made) return pass(made);
  }
  ERR_clear_error();
  SslContext context(SSL_CTX_new(TLS_server_method()));
  if (!context ||
      SSL_CTX_use_certificate_chain_file(context.get(), identity.certificate_file.c_str()) != 1 ||
      SSL_CTX_use_PrivateKey_file(context.get(), identity.key_file.c_str(), SSL_FILETYPE_PEM) !=
          1 ||
      SSL_CTX_check_private_key(context.get()) != 1)
    return fail(Remedy::reject, "notify.certificate",
                "The server certificate " + identity.certificate_file.string() +
                    " cannot be used: " + take_ssl_error());
  SSL_CTX_set_min_proto_version(context.get(),
                                identity.tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION);
  if (identity.tls12_only) SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  const int demand = demand_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | demand, take_any);
  return context;
}

std::optional<KeyHash> key_hash(const std::string& certificate_der) {
  const auto* at = reinterpret_cast<const unsigned char*>(certificate_der.data());
  const Certificate certificate(d2i_X509(nullptr, &at, static_cast<long>(certificate_der.size())));
  ERR_clear_error();
  if (!certificate) return std::nullopt;
  return hash_of(certificate.get());
}

std::optional<KeyHash> peer_key_hash(const SSL* ssl) {
  const X509* certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr) return std::nullopt;
  return hash_of(certificate);
}

Ssl make_ssl(SSL_CTX* context, int fd) {
  Ssl ssl(SSL_new(context));
  BIO* bio = ssl ? BIO_new(line_method()) : nullptr;
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, new Line{fd});
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl.get(), bio, bio);
  SSL_set_accept_state(ssl.get());
  return ssl;
}

void poison_next_read(SSL* ssl) {
  static_cast<Line*>(BIO_get_data(SSL_get_rbio(ssl)))->poisoned = true;
}

std::string take_ssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "no further reason";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "error " + std::to_string(code);
}

}  // namespace greengate::sim::notify
