#pragma once

#include "core/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

struct evp_pkey_st;
struct x509_st;

namespace greengate::sim {

/// A certificate that the test authority made, with its key.
struct Issued {
  std::shared_ptr<x509_st> certificate;
  std::shared_ptr<evp_pkey_st> key;
  std::string certificate_pem, key_pem;
  std::string serial;       ///< Upper-case hex, no leading zeros but those of whole bytes.
  std::string fingerprint;  ///< SHA-256 of the DER, lower-case hex.
};

/// A certificate authority for tests: `<name>.pem` is public, `<name>-key.pem` is readable by its owner only. P-256 throughout.
///
/// Threads   One.
/// Errors    authority.make, authority.file
class Authority {
 public:
  /// Reads both files from `dir` or makes them.
  static Result<Authority> open(const std::filesystem::path& dir, const std::string& name, const std::string& common_name);

  enum class State { valid, expired, not_yet };
  Result<Issued> server(const std::vector<std::string>& dns_names, State state = State::valid) const;
  Result<Issued> client(const std::string& common_name) const;

  const std::string& certificate_pem() const { return self_.certificate_pem; }
  const std::filesystem::path& certificate_file() const { return file_; }

 private:
  Result<Issued> issue(const std::string& common_name, const std::string& names, const char* usage, State state) const;
  Issued self_;
  std::filesystem::path file_;
};

/// Certificate and key from one PEM text. Errors: authority.file.
Result<Issued> issued_from_pem(const std::string& pem);
/// Writes with mode 0600 from the beginning, replacing what was there. Errors: authority.file.
Result<void> write_private(const std::filesystem::path& path, const std::string& content);

}  // namespace greengate::sim
