#include "simulators/common/authority.h"

#include "core/random.h"
#include "simulators/common/crypto.h"
#include "simulators/common/text.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace greengate::sim {
namespace {

constexpr long day_s = 86'400;

struct Free {
  void operator()(BIO* p) const { BIO_free_all(p); }
  void operator()(BIGNUM* p) const { BN_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

tl::unexpected<Error> not_made() {
  ERR_clear_error();
  return fail(Remedy::retry, "authority.make", "A certificate of the test authority could not be made.");
}

std::shared_ptr<X509> new_certificate() {
  return {X509_new(), [](X509* p) { X509_free(p); }};
}
std::shared_ptr<EVP_PKEY> new_key() {
  return {EVP_EC_gen("P-256"), [](EVP_PKEY* p) { EVP_PKEY_free(p); }};
}

bool add(X509* certificate, X509* issuer, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool fill(X509* certificate, EVP_PKEY* key, const std::string& common_name, long from_s, long to_s) {
  std::string serial = random_bytes(16);
  serial[0] = static_cast<char>((serial[0] & 0x7F) | 0x40);  // positive, and always sixteen bytes
  const Owned<BIGNUM> number(BN_bin2bn(reinterpret_cast<const unsigned char*>(serial.data()), 16, nullptr));
  return X509_set_version(certificate, 2) == 1 && number &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), from_s) != nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), to_s) != nullptr && X509_set_pubkey(certificate, key) == 1 &&
         X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1, 0) == 1;
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<std::size_t>(std::max(0L, size)));
}

Result<Issued> described(std::shared_ptr<X509> certificate, std::shared_ptr<EVP_PKEY> key) {
  Issued issued;
  const Owned<BIO> certificate_out(BIO_new(BIO_s_mem())), key_out(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate_out.get(), certificate.get()) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return not_made();
  issued.certificate_pem = text_of(certificate_out.get());
  issued.key_pem = text_of(key_out.get());
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate.get(), &der);
  if (size <= 0) return not_made();
  issued.fingerprint = to_lower(to_hex_upper(sha256({reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)})));
  OPENSSL_free(der);
  const Owned<BIGNUM> number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate.get()), nullptr));
  if (!number) return not_made();
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(number.get())), '\0');
  BN_bn2bin(number.get(), reinterpret_cast<unsigned char*>(bytes.data()));
  issued.serial = to_hex_upper(bytes);
  issued.certificate = std::move(certificate);
  issued.key = std::move(key);
  return issued;
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

Result<void> write_private(const std::filesystem::path& path, const std::string& content) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);  // so that the mode below is the file's
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const bool written = file >= 0 && ::write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  if (file >= 0) ::close(file);
  if (!written) return fail(Remedy::retry, "authority.file", "The file " + path.string() + " could not be written.");
  return {};
}

Result<Issued> issued_from_pem(const std::string& pem) {
  const Owned<BIO> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const Owned<BIO> key_in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::shared_ptr<X509> certificate(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr), [](X509* p) { X509_free(p); });
  std::shared_ptr<EVP_PKEY> key(PEM_read_bio_PrivateKey(key_in.get(), nullptr, nullptr, nullptr), [](EVP_PKEY* p) { EVP_PKEY_free(p); });
  ERR_clear_error();
  if (!certificate || !key)
    return fail(Remedy::reject, "authority.file", "A certificate file of the simulator cannot be read; remove it to have a new one made.");
  return described(std::move(certificate), std::move(key));
}

Result<Authority> Authority::open(const std::filesystem::path& dir, const std::string& name, const std::string& common_name) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  Authority authority;
  authority.file_ = dir / (name + ".pem");
  const std::filesystem::path key_file = dir / (name + "-key.pem");
  if (std::filesystem::exists(authority.file_, error) && std::filesystem::exists(key_file, error)) {
    auto read = issued_from_pem(content_of(authority.file_) + content_of(key_file));
    if (!read) return pass(read);
    authority.self_ = std::move(*read);
    return authority;
  }
  auto certificate = new_certificate();
  auto key = new_key();
  if (!certificate || !key || !fill(certificate.get(), key.get(), common_name, -2 * day_s, 3650 * day_s)) return not_made();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
  if (!add(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE") ||
      !add(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash") ||
      X509_sign(certificate.get(), key.get(), EVP_sha256()) <= 0)
    return not_made();
  auto made = described(certificate, key);
  if (!made) return pass(made);
  authority.self_ = std::move(*made);
  std::ofstream out(authority.file_, std::ios::binary);
  out << authority.self_.certificate_pem;
  out.close();
  if (!out) return fail(Remedy::retry, "authority.file", "The file " + authority.file_.string() + " could not be written.");
  if (auto written = write_private(key_file, authority.self_.key_pem); !written) return pass(written);
  return authority;
}

Result<Issued> Authority::server(const std::vector<std::string>& dns_names, State state) const {
  std::string names;
  for (const std::string& name : dns_names) names += (names.empty() ? "DNS:" : ",DNS:") + name;
  return issue(dns_names.front(), names, "serverAuth", state);
}
Result<Issued> Authority::client(const std::string& common_name) const {
  return issue(common_name, "", "clientAuth", State::valid);
}

Result<Issued> Authority::issue(const std::string& common_name, const std::string& names, const char* usage, State state) const {
  auto certificate = new_certificate();
  auto key = new_key();
  const long from = state == State::expired ? -30 * day_s : state == State::not_yet ? day_s : -2 * day_s;
  const long to = state == State::expired ? -day_s : 3650 * day_s;
  if (!certificate || !key || !fill(certificate.get(), key.get(), common_name, from, to)) return not_made();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(self_.certificate.get()));
  if (!add(certificate.get(), self_.certificate.get(), NID_basic_constraints, "critical,CA:FALSE") ||
      !add(certificate.get(), self_.certificate.get(), NID_key_usage, "critical,digitalSignature") ||
      !add(certificate.get(), self_.certificate.get(), NID_ext_key_usage, usage) ||
      !add(certificate.get(), self_.certificate.get(), NID_authority_key_identifier, "keyid") ||
      (!names.empty() && !add(certificate.get(), self_.certificate.get(), NID_subject_alt_name, names)) ||
      X509_sign(certificate.get(), self_.key.get(), EVP_sha256()) <= 0)
    return not_made();
  return described(std::move(certificate), std::move(key));
}

}  // namespace greengate::sim
