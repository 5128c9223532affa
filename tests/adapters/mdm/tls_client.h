#pragma once

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <string>

namespace greengate::test {

namespace asio = boost::asio;
namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;

/// A key and a certificate on disk, made for one test.
class Certificate {
 public:
  /// `signer`: none signs itself. Valid from and to, in days from `now`. `key`: left out, it gets one of its own.
  Certificate(const std::filesystem::path& folder, const std::string& name, const Certificate* signer, bool authority, int from_days, int to_days,
              std::time_t now, EVP_PKEY* key = nullptr, long serial = 0x0AFF) {
    if (key) EVP_PKEY_up_ref(key);
    key_ = key ? key : EVP_EC_gen("P-256");
    certificate_ = X509_new();
    X509_set_version(certificate_, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate_), serial);
    std::time_t at = now;
    X509_time_adj_ex(X509_getm_notBefore(certificate_), from_days, 0, &at);
    X509_time_adj_ex(X509_getm_notAfter(certificate_), to_days, 0, &at);
    X509_set_pubkey(certificate_, key_);
    X509_NAME* subject = X509_get_subject_name(certificate_);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(certificate_, signer ? X509_get_subject_name(signer->certificate_) : subject);
    X509_EXTENSION* basic = X509V3_EXT_conf_nid(nullptr, nullptr, NID_basic_constraints, authority ? "critical,CA:TRUE" : "CA:FALSE");
    X509_add_ext(certificate_, basic, -1);
    X509_EXTENSION_free(basic);
    X509_sign(certificate_, signer ? signer->key_ : key_, EVP_sha256());
    certificate_file = (folder / (name + ".pem")).string();
    key_file = (folder / (name + ".key")).string();
    FILE* file = std::fopen(certificate_file.c_str(), "w");
    PEM_write_X509(file, certificate_);
    std::fclose(file);
    file = std::fopen(key_file.c_str(), "w");
    PEM_write_PrivateKey(file, key_, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
  }
  ~Certificate() {
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;

  /// As the enrolment table has it.
  std::string fingerprint() const {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    X509_digest(certificate_, EVP_sha256(), digest.data(), &size);
    std::string text;
    for (unsigned i = 0; i < size; ++i) {
      constexpr const char* digits = "0123456789abcdef";
      text += digits[digest[i] >> 4];
      text += digits[digest[i] & 15];
    }
    return text;
  }

  X509* get() const { return certificate_; }

  std::string certificate_file, key_file;

 private:
  EVP_PKEY* key_ = nullptr;
  X509* certificate_ = nullptr;
};

/// A TLS connection as a device makes it, by hand.
class Client {
 public:
  Client(std::uint16_t port, const Certificate* identity) : tls_(ssl::context::tls_client), stream_(context_, tls_) {
    if (identity) {
      SSL_use_certificate_file(stream_.native_handle(), identity->certificate_file.c_str(), SSL_FILETYPE_PEM);
      SSL_use_PrivateKey_file(stream_.native_handle(), identity->key_file.c_str(), SSL_FILETYPE_PEM);
    }
    stream_.next_layer().connect(tcp::endpoint(asio::ip::address_v4::loopback(), port), error_);
    if (!error_) stream_.handshake(ssl::stream_base::client, error_);
  }
  bool connected() const { return !error_; }
  void send(const std::string& bytes) {
    boost::system::error_code error;
    asio::write(stream_, asio::buffer(bytes), error);
  }
  /// Head and body; empty: the server closed without a word.
  std::string answer() {
    std::string text;
    boost::system::error_code error;
    std::array<char, 4096> part{};
    for (;;) {
      const auto head = text.find("\r\n\r\n");
      if (head != std::string::npos) {
        const auto length = text.find("Content-Length: ");
        if (length < head && text.size() >= head + 4 + std::stoul(text.substr(length + 16))) return text;
      }
      const std::size_t read = stream_.read_some(asio::buffer(part), error);
      text.append(part.data(), read);
      if (error) return text;
    }
  }
  std::string post(const std::string& body, const std::string& type = "application/vnd.syncml.dm+xml", const std::string& target = "/dm?mode=Maintenance",
                   const std::string& method = "POST") {
    send(method + " " + target + " HTTP/1.1\r\nHost: dm\r\nContent-Type: " + type + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return answer();
  }

 private:
  asio::io_context context_;
  ssl::context tls_;
  ssl::stream<tcp::socket> stream_;
  boost::system::error_code error_;
};

inline std::string status_of(const std::string& answer) { return answer.substr(0, answer.find("\r\n")).substr(std::min<std::size_t>(answer.size(), 9)); }
inline std::string body_of(const std::string& answer) { return answer.substr(std::min(answer.size(), answer.find("\r\n\r\n") + 4)); }

}  // namespace greengate::test
