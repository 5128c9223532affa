#pragma once

#include "core/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim {

enum class EvidenceLevel { none, lines, full };
bool parse_evidence_level(std::string_view text, EvidenceLevel& level);

/// Keeps what a simulator received: a numbered folder for each message and one line in
/// `verdicts.jsonl`.
///
/// Promise   A line is handed to the operating system before append_line() returns; a number is
/// never used twice in one
///           folder, over restarts too (level full or lines).
/// Limits    Disk is the reader's to watch: nothing is deleted.
/// Threads   Any.
/// Errors    evidence.folder, evidence.write
class Evidence {
 public:
  Evidence(std::filesystem::path dir, EvidenceLevel level);
  ~Evidence();
  Evidence(const Evidence&) = delete;
  Evidence& operator=(const Evidence&) = delete;

  Result<void> open();
  EvidenceLevel level() const { return level_; }
  std::uint64_t next_number();

  struct File {
    const char* name;
    std::string_view content;
  };
  /// Level full only; otherwise does nothing. Returns the folder's name below dir, or an empty
  /// text.
  std::string keep(std::uint64_t number, const std::vector<File>& files);
  /// Level full or lines. `line` has no newline.
  void append_line(const std::string& line);
  /// For what is no message, such as GET requests: other.jsonl.
  void append_other(const std::string& line);

 private:
  void append(int file, const std::string& line);

  std::filesystem::path dir_;
  EvidenceLevel level_;
  std::mutex mutex_;  // guards everything below
  std::uint64_t last_number_ = 0;
  int lines_ = -1, other_ = -1;
  bool told_failure_ = false;
};

}  // namespace greengate::sim
