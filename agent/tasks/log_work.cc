#include "agent/tasks/log_work.h"

#include "agent/tasks/scan_work.h"
#include "agent/trees/encoding.h"
#include "agent/trees/sha256.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <ctime>
#include <memory>

namespace greengate::agent {
namespace {

constexpr std::string_view beginning = "greengate-agent-logs-";
constexpr std::string_view ending = ".tar.gz";

std::string name_of_package(const std::string& host_name, std::int64_t now_ms) {
  std::string host = host_name.substr(0, 32);
  std::replace_if(host.begin(), host.end(), [](unsigned char c) { return std::isalnum(c) == 0 && c != '-'; }, '_');
  const std::time_t seconds = now_ms / 1'000;
  std::tm day{};
  gmtime_r(&seconds, &day);
  char moment[32];
  (void)std::strftime(moment, sizeof moment, "%Y%m%dT%H%M%SZ", &day);
  return std::string(beginning) + host + "-" + moment + std::string(ending);
}

// What an agent that died left.
void remove_packages(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(folder.c_str()), closedir);
  while (const dirent* entry = stream ? readdir(stream.get()) : nullptr) {
    const std::string_view name = entry->d_name;
    if (name.starts_with(beginning) && name.ends_with(ending)) unlink((folder + "/" + std::string(name)).c_str());
  }
}

}  // namespace

LogWork::LogWork(Config config, std::function<void(PlannedFile)> send, const Clock& clock)
    : config_(std::move(config)), send_(std::move(send)), clock_(clock), packer_(clock) {
  remove_packages(config_.folder);
}

Result<void> LogWork::start(const v1::Notification&) {
  end_.reset();
  name_ = name_of_package(config_.host_name, to_millis(clock_.wall()));
  std::vector<std::string> words = config_.packer;
  words.push_back(path());
  return packer_.start({.words = std::move(words), .input = {}, .patience = config_.patience, .low_priority = true, .line = {}});
}

// What was half sent is given up by the sender; logs of now are as good.
std::optional<TaskEnd> LogWork::resume(const v1::Notification& task, const std::string&) {
  if (auto started = start(task); !started) return end_of(started.error());
  return std::nullopt;
}

TaskEnd LogWork::over(TaskEnd end) {
  unlink(path().c_str());
  name_.clear();
  return end;
}

std::optional<TaskEnd> LogWork::poll() {
  if (end_) return over(*std::exchange(end_, std::nullopt));
  const auto ended = packer_.poll();
  if (!ended) return std::nullopt;
  const std::string hash = from_hex(ended->last_line);
  struct stat about {};
  if (!ended->well() || hash.size() != Sha256::size || lstat(path().c_str(), &about) != 0 || !S_ISREG(about.st_mode))
    return over({false, "task.log_package_failed", "Packing the logs " + ended->words() + "."});
  send_({{config_.folder, name_}, standing_of(about), hash, true});
  return std::nullopt;
}

void LogWork::sent(bool whole) {
  if (name_.empty()) return;
  end_ = whole ? TaskEnd{true, "", name_} : TaskEnd{false, "task.logs_not_sent", "The package was given up before the gateway had all of it."};
}

}  // namespace greengate::agent
