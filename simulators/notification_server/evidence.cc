#include "simulators/notification_server/evidence.h"

#include <system_error>

namespace greengate::sim::notify {

Result<void> EvidenceFile::open(std::filesystem::path path, std::int64_t bytes_max) {
  close();
  path_ = std::move(path);
  bytes_max_ = bytes_max;
  file_ = std::fopen(path_.c_str(), "ae");
  if (file_ == nullptr)
    return fail(Remedy::retry, "notify.evidence",
                "Evidence cannot be written to " + path_.string() + ".");
  std::error_code none;
  const auto size = std::filesystem::file_size(path_, none);
  bytes_ = none ? 0 : static_cast<std::int64_t>(size);
  return {};
}

void EvidenceFile::write(std::string_view line) {
  if (file_ != nullptr && bytes_ > bytes_max_) {
    close();
    std::error_code failed;
    std::filesystem::rename(path_, path_.string() + ".1", failed);
    auto reopened = failed ? Result<void>() : open(path_, bytes_max_);
    if (!reopened) file_ = nullptr;
  }
  if (file_ == nullptr || std::fwrite(line.data(), 1, line.size(), file_) != line.size() ||
      std::fputc('\n', file_) == EOF) {
    ++lost_;
    return;
  }
  bytes_ += static_cast<std::int64_t>(line.size()) + 1;
}

void EvidenceFile::flush() {
  if (file_ != nullptr && std::fflush(file_) != 0) ++lost_;
}

void EvidenceFile::close() {
  if (file_ == nullptr) return;
  if (std::fclose(file_) != 0) ++lost_;
  file_ = nullptr;
}

}  // namespace greengate::sim::notify
