#pragma once

#include "core/result.h"
#include "simulators/common/evidence.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace greengate::sim {

/// Evidence of conversations that carry secrets: lines with fingerprints for everyone, exact bytes for the owner.
///
/// Promise   `<name>.jsonl` (0644) never holds a secret by this class's doing; the files under `<name>/` hold the bytes as they were, with
///           mode 0600 in a folder with mode 0700. A line is handed to the operating system before append_line() returns.
/// Limits    Disk is the reader's to watch: nothing is deleted.
/// Threads   One.
/// Errors    evidence.folder, evidence.write
class ExactEvidence {
 public:
  ExactEvidence(std::filesystem::path dir, std::string name, EvidenceLevel level);
  ~ExactEvidence();
  ExactEvidence(const ExactEvidence&) = delete;
  ExactEvidence& operator=(const ExactEvidence&) = delete;

  Result<void> open();
  EvidenceLevel level() const { return level_; }
  /// Level full only.
  void keep(const std::string& file, std::string_view content);
  /// Level full or lines.
  void append_line(const std::string& line);

 private:
  void complain();
  std::filesystem::path dir_;
  std::string name_;
  EvidenceLevel level_;
  int lines_ = -1;
  bool told_failure_ = false;
};

/// First eight octets of SHA-256, as 16 hex digits: says "the same" without saying what.
std::string fingerprint(std::string_view secret);

}  // namespace greengate::sim
