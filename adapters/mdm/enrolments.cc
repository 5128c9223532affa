#include "adapters/mdm/enrolments.h"

#include <sys/stat.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <unordered_set>

namespace greengate::adapters {
namespace {

constexpr std::size_t file_bytes_max = 64u << 20;
constexpr std::size_t rows_max = 500'000;
constexpr std::size_t text_bytes_max = 256;

tl::unexpected<Error> refuse(std::string message) { return fail(Remedy::reject, "mdm.enrolments", std::move(message)); }

/// Hex digits alone, lower case: people write "AB:CD", "ab cd" and "ABCD".
std::optional<std::string> plain_hex(std::string_view text) {
  std::string hex;
  for (const char c : text) {
    if (c == ':' || c == ' ' || c == '-') continue;
    const bool digit = c >= '0' && c <= '9';
    const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    if (!digit && !(lower >= 'a' && lower <= 'f')) return std::nullopt;
    hex += lower;
  }
  return hex;
}

std::string without_zeros(const std::string& hex) {
  const auto first = hex.find_first_not_of('0');
  return first == std::string::npos ? "0" : hex.substr(first);
}

std::string text_in(const toml::table& row, const char* key) { return row[key].value_exact<std::string>().value_or(""); }

}  // namespace

std::string plain_device_id(std::string_view id) {
  std::string plain(id);
  std::transform(plain.begin(), plain.end(), plain.begin(), [](unsigned char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : static_cast<char>(c); });
  return plain;
}

Result<std::shared_ptr<const Enrolments>> Enrolments::from_file(const std::string& path) {
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0) return refuse(path + " cannot be read: " + std::strerror(errno) + ".");
  if (static_cast<std::size_t>(about.st_size) > file_bytes_max) return refuse(path + " is larger than 64 MiB.");
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return refuse(path + " cannot be read.");
  auto table = from_text(text.str(), path);
  if (table && (*table)->has_passwords() && (about.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH)) != 0) {
    return refuse(path + " holds passwords and others may read it; give it mode 0600.");
  }
  return table;
}

Result<std::shared_ptr<const Enrolments>> Enrolments::from_text(const std::string& text, const std::string& name) {
  toml::table document;
  try {
    document = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return refuse(name + ":" + std::to_string(error.source().begin.line) + ": " + std::string(error.description()) + ".");
  }
  auto table = std::make_shared<Enrolments>();
  for (const auto& [key, node] : document) {
    if (key != "device") return refuse(name + " holds \"" + std::string(key.str()) + "\"; it can hold [[device]] rows alone.");
  }
  const toml::node* node = document.get("device");
  if (!node) return std::shared_ptr<const Enrolments>(table);
  const toml::array* rows = node->as_array();
  if (!rows) return refuse(name + ": write each device as a [[device]] row.");
  if (rows->size() > rows_max) return refuse(name + " has more than 500000 rows.");
  std::unordered_set<std::string> names;
  for (const toml::node& each : *rows) {
    const std::string where = name + ":" + std::to_string(each.source().begin.line) + ": ";
    const toml::table* row = each.as_table();
    if (!row) return refuse(where + "write each device as a [[device]] row.");
    for (const auto& [key, value] : *row) {
      const std::string_view word = key.str();
      const bool known = word == "name" || word == "device_id" || word == "certificate_sha256" || word == "certificate_serial" ||
                         word == "certificate_issuer" || word == "user" || word == "password";
      if (!known) return refuse(where + "\"" + std::string(word) + "\" is no key of a device.");
      const auto text_value = value.value_exact<std::string>();
      if (!text_value || text_value->empty() || text_value->size() > text_bytes_max) {
        return refuse(where + std::string(word) + " takes a text of 1 to 256 bytes.");
      }
    }
    DmEnrolment enrolment;
    enrolment.name = text_in(*row, "name");
    enrolment.device_id = text_in(*row, "device_id");
    enrolment.issuer = text_in(*row, "certificate_issuer");
    enrolment.credential = {text_in(*row, "user"), text_in(*row, "password")};
    if (enrolment.name.empty() || enrolment.device_id.empty()) return refuse(where + "name or device_id is missing.");
    const auto fingerprint = plain_hex(text_in(*row, "certificate_sha256"));
    const auto serial = plain_hex(text_in(*row, "certificate_serial"));
    if (!fingerprint || (!fingerprint->empty() && fingerprint->size() != 64)) return refuse(where + "certificate_sha256 takes 64 hex digits.");
    if (!serial) return refuse(where + "certificate_serial takes hex digits.");
    if (fingerprint->empty() == serial->empty() || serial->empty() != enrolment.issuer.empty()) {
      return refuse(where + "give either certificate_sha256, or certificate_serial and certificate_issuer.");
    }
    if (enrolment.credential.user.empty() != enrolment.credential.password.empty()) return refuse(where + "user and password go together.");
    enrolment.fingerprint = *fingerprint;
    if (!serial->empty()) enrolment.serial = without_zeros(*serial);

    const std::size_t place = table->rows_.size();
    if (!names.insert(enrolment.name).second) return refuse(where + "the name is in the file twice.");
    if (!table->by_device_.emplace(plain_device_id(enrolment.device_id), place).second) return refuse(where + "the device_id is in the file twice.");
    const bool fresh = enrolment.serial.empty() ? table->by_fingerprint_.emplace(enrolment.fingerprint, place).second
                                                : table->by_serial_.emplace(enrolment.serial + " " + enrolment.issuer, place).second;
    if (!fresh) return refuse(where + "the certificate is in the file twice.");
    table->needs_authority_ = table->needs_authority_ || !enrolment.serial.empty();
    table->has_passwords_ = table->has_passwords_ || !enrolment.credential.empty();
    table->rows_.push_back(std::move(enrolment));
  }
  return std::shared_ptr<const Enrolments>(table);
}

const DmEnrolment* Enrolments::of(const DmPeer& peer) const {
  if (peer.fingerprint.empty()) return nullptr;
  if (const auto found = by_fingerprint_.find(peer.fingerprint); found != by_fingerprint_.end()) return &rows_[found->second];
  // Anybody can write a serial and an issuer into a certificate; only a CA's signature makes them true.
  if (!peer.trusted) return nullptr;
  const auto found = by_serial_.find(peer.serial + " " + peer.issuer);
  return found == by_serial_.end() ? nullptr : &rows_[found->second];
}

const DmEnrolment* Enrolments::of_device(const std::string& device_id) const {
  const auto found = by_device_.find(plain_device_id(device_id));
  return found == by_device_.end() ? nullptr : &rows_[found->second];
}

}  // namespace greengate::adapters
