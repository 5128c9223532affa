#include "tests/adapters/http/scripted_server.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

namespace greengate::test {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

ScriptedServer::ScriptedServer(Script script, asio::ssl::context* tls)
    : script_(std::move(script)),
      tls_(tls),
      acceptor_(context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
      port_(acceptor_.local_endpoint().port()) {
  accepting_ = std::thread([this] {
    for (;;) {
      boost::system::error_code error;
      tcp::socket socket(context_);
      acceptor_.accept(socket, error);
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      if (error) continue;
      descriptors_.push_back(socket.native_handle());
      threads_.emplace_back([this, s = std::move(socket), number = connections_++]() mutable {
        serve(std::move(s), number);
      });
    }
  });
}

ScriptedServer::~ScriptedServer() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    for (const int descriptor : descriptors_) ::shutdown(descriptor, SHUT_RDWR);
  }
  // Wakes the blocking accept; closing it from here would race.
  asio::io_context other;
  tcp::socket knock(other);
  boost::system::error_code ignored;
  knock.connect(tcp::endpoint(asio::ip::address_v4::loopback(), port_), ignored);
  accepting_.join();
  for (std::thread& thread : threads_) thread.join();
}

void ScriptedServer::serve(tcp::socket socket, int number) {
  Peer peer;
  peer.number = number;
  peer.socket = &socket;
  std::optional<asio::ssl::stream<tcp::socket&>> tls;
  boost::system::error_code error;
  if (tls_) {
    tls.emplace(socket, *tls_);
    tls->handshake(asio::ssl::stream_base::server, error);
    peer.tls = &*tls;
  }
  if (!error) script_(peer);
  std::lock_guard lock(mutex_);
  std::erase(descriptors_, socket.native_handle());
  socket.close(error);
}

std::string ScriptedServer::Peer::read_request() {
  for (;;) {
    const auto head = buffer.find("\r\n\r\n");
    if (head != std::string::npos) {
      const auto length_at = buffer.find("Content-Length: ");
      const std::size_t length = length_at < head ? std::stoul(buffer.substr(length_at + 16)) : 0;
      if (buffer.size() >= head + 4 + length) {
        std::string request = buffer.substr(0, head + 4 + length);
        buffer.erase(0, request.size());
        return request;
      }
    }
    char bytes[4096];
    boost::system::error_code error;
    const std::size_t read = tls ? tls->read_some(asio::buffer(bytes), error)
                                 : socket->read_some(asio::buffer(bytes), error);
    if (error) return {};
    buffer.append(bytes, read);
  }
}

void ScriptedServer::Peer::send(std::string_view bytes) {
  boost::system::error_code ignored;  // the client may have had enough
  if (tls)
    asio::write(*tls, asio::buffer(bytes), ignored);
  else
    asio::write(*socket, asio::buffer(bytes), ignored);
}

void ScriptedServer::Peer::wait_for_close() {
  char bytes[4096];
  boost::system::error_code error;
  while (!error) socket->read_some(asio::buffer(bytes), error);
}

TestCertificate make_certificate(const std::string& names_wanted) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x = X509_new();
  X509_set_version(x, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_set_pubkey(x, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
  X509_set_issuer_name(x, X509_get_subject_name(x));
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, x, x, nullptr, nullptr, 0);
  X509_EXTENSION* names =
      X509V3_EXT_conf_nid(nullptr, &context, NID_subject_alt_name, names_wanted.c_str());
  X509_add_ext(x, names, -1);
  X509_EXTENSION_free(names);
  EXPECT_GT(X509_sign(x, key, EVP_sha256()), 0);

  TestCertificate made;
  const auto text = [](auto write) {
    BIO* bio = BIO_new(BIO_s_mem());
    write(bio);
    char* data = nullptr;
    const long length = BIO_get_mem_data(bio, &data);
    std::string out(data, static_cast<std::size_t>(length));
    BIO_free(bio);
    return out;
  };
  made.certificate_pem = text([&](BIO* bio) { PEM_write_bio_X509(bio, x); });
  made.key_pem = text(
      [&](BIO* bio) { PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr); });
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  X509_digest(x, EVP_sha256(), digest, &length);
  for (unsigned i = 0; i < length; ++i) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", digest[i]);
    made.sha256_hex += hex;
  }
  X509_free(x);
  EVP_PKEY_free(key);
  return made;
}

}  // namespace greengate::test
