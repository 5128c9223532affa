#include "adapters/mp/bootstrap.h"

#include "adapters/mp/document.h"
#include "adapters/mp/reply_walk.h"
#include "adapters/mp/reply_xml.h"
#include "adapters/mp/signing_key.h"
#include "core/openssl_handles.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <memory>

namespace greengate::adapters {
namespace {

constexpr std::size_t document_bytes_max = 1u << 20;
constexpr std::size_t points_max = 256;
constexpr std::size_t certificate_bytes_max = 16 * 1024;
constexpr std::size_t word_bytes_max = 128;

bool is_hex_text(std::string_view text) {
  return text.size() >= 64 && text.size() % 2 == 0 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
}

std::string without_space(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (!std::isspace(static_cast<unsigned char>(c))) out.push_back(c);
  return out;
}

std::string short_text(std::string_view text) { return std::string(text.substr(0, word_bytes_max)); }

Result<void> load(const MpSettings& settings, std::string_view document, pugi::xml_document& tree) {
  if (document.size() > document_bytes_max)
    return fail(Remedy::reject, "mp.reply_xml", "The management point's document is too long to be read.");
  return parse_reply_xml(settings, document_text(document), tree);
}

/// The hex of the certificate: X509Certificate wherever it is, else the first text that is long hex.
std::string hex_certificate(const pugi::xml_document& tree) {
  std::string any;
  for (pugi::xml_node node = tree.document_element(); node; node = next_element(node)) {
    std::string text = without_space(node.text().get());
    if (!is_hex_text(text)) continue;
    if (std::string_view(node.name()) == "X509Certificate") return text;
    if (any.empty()) any = std::move(text);
  }
  return any;
}

bool is_certificate(std::string_view der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const openssl::Certificate read(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  return read && at == reinterpret_cast<const unsigned char*>(der.data()) + der.size();
}

std::string bytes_of_hex(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    unsigned value = 0;
    std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
    out.push_back(static_cast<char>(value));
  }
  return out;
}

}  // namespace

std::string bootstrap_target(const MpSettings& settings, Bootstrap what) {
  std::string target = "/SMS_MP/.sms_aut?";
  switch (what) {
    case Bootstrap::mp_list: return target + "MPLIST";
    case Bootstrap::mp_list_of_site: return target + "MPLIST1&" + settings.site_code;
    case Bootstrap::mp_certificate: return target + "MPCERT";
    case Bootstrap::site_signing_certificate: return target + "SITESIGNCERT";
    case Bootstrap::key_information: return target + "MPKEYINFORMATION";
    case Bootstrap::liveness: return target + "SMSTRC";
  }
  return target;
}

bool fit_for_learned_host(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  std::size_t labels = 0, in_label = 0;
  bool letter_in_last = false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (c == '.') {
      if (in_label == 0 || name[i - 1] == '-') return false;
      ++labels;
      in_label = 0;
      letter_in_last = false;
      continue;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_') return false;
    if (in_label == 0 && c == '-') return false;
    if (++in_label > 63) return false;
    letter_in_last = letter_in_last || letter;
  }
  // A last label without a letter is how addresses look, "0x7f.1" and "2130706433" included.
  if (in_label == 0 || name.back() == '-' || labels == 0 || !letter_in_last) return false;
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::string_view last = std::string_view(lower).substr(lower.rfind('.') + 1);
  if (last.starts_with("0x")) return false;
  for (const std::string_view never : {"localhost", "localdomain", "local", "internal", "invalid", "arpa", "onion"})
    if (last == never) return false;
  return true;
}

namespace {

bool could_be_a_host(std::string_view name) {
  return !name.empty() && name.size() <= 253 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' || c == ':';
  });
}

Result<std::vector<ListedPoint>> read_points(const MpSettings& settings, std::string_view document, bool (*fits)(std::string_view), std::size_t* unfit) {
  pugi::xml_document tree;
  if (auto parsed = load(settings, document, tree); !parsed) return pass(parsed);
  const std::string_view root = tree.document_element().name();
  if (root != "MPList" && root != "MPLIST" && root != "EnumerateMPLocationReply" && root != "MPLocationReply")
    return fail(Remedy::reject, "mp.list", "The management point's answer is no list of management points.");
  std::vector<ListedPoint> points;
  std::size_t seen = 0, passed_over = 0;
  for (pugi::xml_node node = tree.document_element(); node; node = next_element(node)) {
    if (std::string_view(node.name()) != "MP") continue;
    if (++seen > points_max) return fail(Remedy::reject, "mp.list", "The list has too many management points.");
    std::string_view host = node.attribute("FQDN").value();
    if (host.empty()) host = node.attribute("Name").value();
    if (!fits(host)) {
      ++passed_over;
      continue;
    }
    ListedPoint point;
    point.host = std::string(host);
    std::transform(point.host.begin(), point.host.end(), point.host.begin(), [](unsigned char c) { return std::tolower(c); });
    point.https = ssl_state_of(node);
    point.site_code = short_text(node.attribute("SiteCode").value());
    point.version = short_text(node.child("Version").text().get());
    const auto same = [&](const ListedPoint& other) { return other.host == point.host && other.https == point.https; };
    if (std::none_of(points.begin(), points.end(), same)) points.push_back(std::move(point));
  }
  if (unfit != nullptr) *unfit = passed_over;
  return points;
}

}  // namespace

Result<std::vector<ListedPoint>> parse_mp_list(const MpSettings& settings, std::string_view document, std::size_t* unfit) {
  return read_points(settings, document, fit_for_learned_host, unfit);
}

Result<std::vector<ListedPoint>> parse_named_points(const MpSettings& settings, std::string_view document) {
  return read_points(settings, document, could_be_a_host, nullptr);
}

Result<std::string> parse_certificate(const MpSettings& settings, std::string_view document) {
  pugi::xml_document tree;
  if (auto parsed = load(settings, document, tree); !parsed) return pass(parsed);
  const std::string hex = hex_certificate(tree);
  if (hex.empty() || hex.size() > 2 * certificate_bytes_max)
    return fail(Remedy::reject, "mp.certificate", "The management point's answer holds no certificate.");
  std::string der = bytes_of_hex(hex);
  if (!is_certificate(der))
    return fail(Remedy::reject, "mp.certificate", "What the management point gave as a certificate is none.");
  return der;
}

Result<KeyInformation> parse_key_information(const MpSettings& settings, std::string_view document) {
  pugi::xml_document tree;
  if (auto parsed = load(settings, document, tree); !parsed) return pass(parsed);
  KeyInformation information;
  for (pugi::xml_node node = tree.document_element(); node; node = next_element(node)) {
    if (std::string_view(node.name()) == "FQDN") information.fqdn = short_text(node.text().get());
    if (std::string_view(node.name()) == "SITECODE") information.site_code = short_text(node.text().get());
  }
  if (information.fqdn.empty() && information.site_code.empty())
    return fail(Remedy::reject, "mp.key_information", "The management point's answer says nothing of its key.");
  return information;
}

Result<std::string> certificate_of_file(std::string_view bytes) {
  if (bytes.size() <= certificate_bytes_max && is_certificate(bytes)) return std::string(bytes);
  const openssl::Bio source(
      BIO_new_mem_buf(bytes.data(), static_cast<int>(std::min(bytes.size(), 4 * certificate_bytes_max))));
  const openssl::Certificate read(PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr));
  unsigned char* der = nullptr;
  const int size = read ? i2d_X509(read.get(), &der) : 0;
  if (size <= 0) return fail(Remedy::reject, "mp.certificate", "The file holds no certificate in PEM or DER.");
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

std::string pem_of_certificate(std::string_view der) {
  const openssl::Bio to(BIO_new(BIO_s_mem()));
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  PEM_write_bio(to.get(), PEM_STRING_X509, "", at, static_cast<long>(der.size()));
  char* text = nullptr;
  const long size = BIO_get_mem_data(to.get(), &text);
  return std::string(text, static_cast<std::size_t>(std::max(size, 0L)));
}

std::string fingerprint_of(std::string_view der) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(der.data(), der.size(), digest.data(), &size, EVP_sha256(), nullptr);
  return upper_hex(std::string_view(reinterpret_cast<const char*>(digest.data()), size));
}

}  // namespace greengate::adapters
