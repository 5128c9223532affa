#pragma once

#include "adapters/mdm/dm_auth.h"
#include "core/result.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace greengate::adapters {

/// Who a TLS client showed to be.
struct DmPeer {
  std::string fingerprint;   ///< SHA-256 of the certificate, lower-case hex; empty: none was shown.
  std::string serial;        ///< Lower-case hex without leading zeros.
  std::string issuer;        ///< As RFC 2253 has it.
  bool trusted = false;      ///< Its chain leads to a configured CA.
  bool in_time = false;      ///< Neither expired nor not yet valid.
  std::string remote;        ///< IP address.
};

/// One row of the table.
struct DmEnrolment {
  std::string name;          ///< For people: the device's host name.
  std::string device_id;     ///< As its messages have it in Source/LocURI.
  std::string fingerprint;   ///< Either this …
  std::string serial, issuer;///< … or these, which count only under a configured CA.
  DmCredential credential;
};

/// Which certificate belongs to which device: the file an operator, or the service that enrols devices, keeps.
///
/// Promise   Immutable; a file with one mistake is refused whole.
/// Limits    64 MiB, 500 000 rows. A file with passwords that others may read is refused.
/// Errors    mdm.enrolments (reject): with the file, the row and what to write instead.
class Enrolments {
 public:
  static Result<std::shared_ptr<const Enrolments>> from_file(const std::string& path);
  static Result<std::shared_ptr<const Enrolments>> from_text(const std::string& text, const std::string& name_in_messages);

  const DmEnrolment* of(const DmPeer& peer) const;
  const DmEnrolment* of_device(const std::string& device_id) const;
  const std::vector<DmEnrolment>& rows() const { return rows_; }
  bool needs_authority() const { return needs_authority_; }
  bool has_passwords() const { return has_passwords_; }

 private:
  std::vector<DmEnrolment> rows_;
  std::unordered_map<std::string, std::size_t> by_fingerprint_, by_serial_, by_device_;
  bool needs_authority_ = false, has_passwords_ = false;
};

/// One spelling of a device's id, to compare by.
std::string plain_device_id(std::string_view id);

}  // namespace greengate::adapters
