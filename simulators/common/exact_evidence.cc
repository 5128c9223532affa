#include "simulators/common/exact_evidence.h"

#include "core/log.h"
#include "simulators/common/authority.h"
#include "simulators/common/crypto.h"
#include "simulators/common/text.h"

#include <fcntl.h>
#include <unistd.h>

namespace greengate::sim {
namespace {
const Log log_("evidence");
}

ExactEvidence::ExactEvidence(std::filesystem::path dir, std::string name, EvidenceLevel level)
    : dir_(std::move(dir)), name_(std::move(name)), level_(level) {}
ExactEvidence::~ExactEvidence() {
  if (lines_ >= 0) ::close(lines_);
}

Result<void> ExactEvidence::open() {
  std::error_code error;
  std::filesystem::create_directories(dir_ / name_, error);
  if (!error) std::filesystem::permissions(dir_ / name_, std::filesystem::perms::owner_all, error);
  if (error) return fail(Remedy::reject, "evidence.folder", "The folder " + (dir_ / name_).string() + " cannot be made: " + error.message() + ".");
  if (level_ == EvidenceLevel::none) return {};
  lines_ = ::open((dir_ / (name_ + ".jsonl")).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (lines_ < 0) return fail(Remedy::reject, "evidence.folder", name_ + ".jsonl cannot be written in " + dir_.string() + ".");
  return {};
}

void ExactEvidence::keep(const std::string& file, std::string_view content) {
  if (level_ != EvidenceLevel::full) return;
  if (auto written = write_private(dir_ / name_ / file, std::string(content)); !written) complain();
}

void ExactEvidence::append_line(const std::string& line) {
  if (level_ == EvidenceLevel::none) return;
  const std::string whole = line + '\n';
  if (::write(lines_, whole.data(), whole.size()) != static_cast<ssize_t>(whole.size())) complain();
}

void ExactEvidence::complain() {
  if (told_failure_) return;
  told_failure_ = true;
  log_.error("evidence not written", kv("code", "evidence.write"), kv("dir", dir_.string()));
}

std::string fingerprint(std::string_view secret) {
  return to_lower(to_hex_upper(sha256(secret).substr(0, 8)));
}

}  // namespace greengate::sim
