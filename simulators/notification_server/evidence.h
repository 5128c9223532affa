#pragma once

#include "core/result.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

namespace greengate::sim::notify {

/// A file of JSON lines that only grows.
///
/// Limits    `bytes_max`, then it is renamed to "<name>.1", which replaces an older one.
/// Threads   One.
/// Errors    notify.evidence from open(); later a line that could not be written is counted.
class EvidenceFile {
 public:
  EvidenceFile() = default;
  ~EvidenceFile() { close(); }
  EvidenceFile(const EvidenceFile&) = delete;
  EvidenceFile& operator=(const EvidenceFile&) = delete;

  Result<void> open(std::filesystem::path path, std::int64_t bytes_max);
  void write(std::string_view line);
  void flush();
  void close();
  std::uint64_t lost() const { return lost_; }

 private:
  std::filesystem::path path_;
  std::int64_t bytes_max_ = 0;
  std::int64_t bytes_ = 0;
  std::FILE* file_ = nullptr;
  std::uint64_t lost_ = 0;
};

}  // namespace greengate::sim::notify
