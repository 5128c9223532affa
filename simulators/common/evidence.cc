#include "simulators/common/evidence.h"

#include "core/log.h"
#include "simulators/common/text.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace greengate::sim {
namespace {

const Log log_("evidence");

// The highest number used before: in the last lines, or among the folders (a line may be missing
// after a crash).
std::uint64_t last_number_in(const std::filesystem::path& dir) {
  std::uint64_t last = 0;
  std::ifstream in(dir / "verdicts.jsonl", std::ios::binary | std::ios::ate);
  if (in) {
    constexpr std::streamoff tail = 256 * 1024;
    in.seekg(std::max<std::streamoff>(0, static_cast<std::streamoff>(in.tellg()) - tail));
    std::string line;
    while (std::getline(in, line)) {
      const std::size_t at = line.find("\"number\":");
      if (at == std::string::npos) continue;
      std::size_t end = at + 9;
      while (end < line.size() && line[end] >= '0' && line[end] <= '9') ++end;
      last = std::max(
          last, parse_number(std::string_view(line).substr(at + 9, end - at - 9)).value_or(0));
    }
  }
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir / "messages", error), end; !error && it != end;
       it.increment(error))
    last = std::max(last, parse_number(it->path().filename().string()).value_or(0));
  return last;
}

}  // namespace

bool parse_evidence_level(std::string_view text, EvidenceLevel& level) {
  if (text == "none")
    level = EvidenceLevel::none;
  else if (text == "lines")
    level = EvidenceLevel::lines;
  else if (text == "full")
    level = EvidenceLevel::full;
  else
    return false;
  return true;
}

Evidence::Evidence(std::filesystem::path dir, EvidenceLevel level)
    : dir_(std::move(dir)), level_(level) {}

Evidence::~Evidence() {
  if (lines_ >= 0) ::close(lines_);
  if (other_ >= 0) ::close(other_);
}

Result<void> Evidence::open() {
  const std::lock_guard lock(mutex_);
  std::error_code error;
  std::filesystem::create_directories(dir_, error);
  if (error)
    return fail(Remedy::reject, "evidence.folder",
                "The folder " + dir_.string() + " cannot be made: " + error.message() + ".");
  if (level_ == EvidenceLevel::none) return {};
  last_number_ = last_number_in(dir_);
  lines_ =
      ::open((dir_ / "verdicts.jsonl").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  other_ = ::open((dir_ / "other.jsonl").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (lines_ < 0 || other_ < 0)
    return fail(Remedy::reject, "evidence.folder",
                "verdicts.jsonl cannot be written in " + dir_.string() + ".");
  return {};
}

std::uint64_t Evidence::next_number() {
  const std::lock_guard lock(mutex_);
  return ++last_number_;
}

std::string Evidence::keep(std::uint64_t number, const std::vector<File>& files) {
  if (level_ != EvidenceLevel::full) return {};
  char name[64];
  std::snprintf(name, sizeof name, "messages/%06llu", static_cast<unsigned long long>(number));
  const std::filesystem::path folder = dir_ / name;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  bool written = !error;
  for (const File& file : files) {
    std::ofstream out(folder / file.name, std::ios::binary);
    out.write(file.content.data(), static_cast<std::streamsize>(file.content.size()));
    out.close();
    written = written && out;
  }
  if (!written)
    log_.warn("evidence not written", kv("code", "evidence.write"), kv("folder", folder.string()));
  return name;
}

void Evidence::append_line(const std::string& line) {
  append(lines_, line);
}
void Evidence::append_other(const std::string& line) {
  append(other_, line);
}

void Evidence::append(int file, const std::string& line) {
  if (level_ == EvidenceLevel::none) return;
  const std::string whole = line + '\n';
  // One write() to a file opened for appending: lines of several threads never mix.
  const std::lock_guard lock(mutex_);
  const ssize_t wrote = ::write(file, whole.data(), whole.size());
  if (wrote == static_cast<ssize_t>(whole.size()) || told_failure_) return;
  told_failure_ = true;
  log_.error("evidence not written", kv("code", "evidence.write"), kv("dir", dir_.string()));
}

}  // namespace greengate::sim
