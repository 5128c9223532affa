#include "agent/tasks/scan_work.h"

#include "agent/collectors/facts.h"
#include "agent/collectors/text.h"
#include "greengate/v1/report.pb.h"

#include <unistd.h>

#include <algorithm>
#include <set>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds answer_patience{10'000};  // of a scanning daemon
constexpr std::size_t finds_named = 20;
constexpr std::size_t find_bytes_max = 300;
constexpr std::string_view found_mark = " FOUND";

bool may_run(const std::string& program) { return access(program.c_str(), X_OK) == 0; }

// Disks, and file systems in memory: where programs can be put.
bool holds_programs(const Mount& mount) {
  if (mount.mount_point == "/") return true;
  if (mount.type == "zfs" || mount.type == "btrfs" || mount.type == "bcachefs") return true;
  if (mount.type == "tmpfs") return mount.mount_point == "/dev/shm" || !mount.mount_point.starts_with("/dev");
  return mount.source.starts_with("/dev/") && mount.type != "devtmpfs" && mount.type != "squashfs" && mount.type != "overlay";
}

}  // namespace

std::vector<std::string> local_file_systems(const Machine& machine) {
  const std::vector<Mount> mounts = look_at_mounts(machine);
  std::set<std::string> whole;  // devices mounted from their root
  for (const Mount& mount : mounts) {
    if (holds_programs(mount) && mount.root == "/") whole.insert(mount.device_number);
  }
  std::set<std::pair<std::string, std::string>> seen;
  std::vector<std::string> places;
  for (const Mount& mount : mounts) {
    if (!holds_programs(mount) || mount.mount_point.starts_with("/proc") || mount.mount_point.starts_with("/sys")) continue;
    if (mount.root != "/" && whole.contains(mount.device_number)) continue;
    if (seen.insert({mount.device_number, mount.root}).second) places.push_back(mount.mount_point);
  }
  return places;
}

TaskEnd end_of(const Error& error) { return {false, error.code, error.message}; }

ScanWork::ScanWork(const ScanSettings& settings, std::function<std::vector<std::string>()> places, const Clock& clock)
    : settings_(settings), places_(std::move(places)), clock_(clock), child_(clock) {}

bool ScanWork::is_daemon(const std::string& scanner) const { return last_component(scanner).find("clamdscan") != std::string_view::npos; }

std::vector<std::string> ScanWork::scanners_here() const {
  std::vector<std::string> here;
  for (const std::string& scanner : settings_.scanners) {
    // A daemon has its own database and its own bounds; it cannot be told to stay in one file system.
    if (may_run(scanner) && !(is_daemon(scanner) && !settings_.database.empty())) here.push_back(scanner);
  }
  return here;
}

std::vector<std::string> ScanWork::paths_of(bool full) const {
  std::vector<std::string> paths = full ? settings_.full_paths : settings_.quick_paths;
  if (full && paths.empty()) paths = places_();
  std::erase_if(paths, [](const std::string& path) { return access(path.c_str(), F_OK) != 0; });
  return paths;
}

Result<void> ScanWork::check(const v1::Notification&) {
  if (scanners_here().empty()) return fail(Remedy::reject, "task.no_scanner", "No malware scanner of scan.scanners is installed.");
  return {};
}

Result<void> ScanWork::start(const v1::Notification& task) {
  full_ = task.task() == v1::TASK_FULL_SCAN;
  found_ = 0;
  finds_.clear();
  left_ = scanners_here();
  std::reverse(left_.begin(), left_.end());
  return try_next();
}

// A scan that was cut off says nothing about what it had not reached.
std::optional<TaskEnd> ScanWork::resume(const v1::Notification& task, const std::string&) {
  if (auto checked = check(task); !checked) return end_of(checked.error());
  if (auto started = start(task); !started) return end_of(started.error());
  return std::nullopt;
}

Result<void> ScanWork::try_next() {
  while (!left_.empty()) {
    const std::string scanner = left_.back();
    left_.pop_back();
    // It would follow mounts wherever they lead: not for everything.
    if (is_daemon(scanner) && full_ && settings_.full_paths.empty()) continue;
    if (!is_daemon(scanner)) return scan_with(scanner);
    asking_ = true;
    asked_ = scanner;
    return child_.start({.words = {scanner, "--ping", "1"}, .input = {}, .patience = answer_patience, .line = {}});
  }
  return fail(Remedy::reject, "task.no_scanner", "No malware scanner answers that could do this scan.");
}

Result<void> ScanWork::scan_with(const std::string& scanner) {
  asking_ = false;
  const std::vector<std::string> paths = paths_of(full_);
  if (paths.empty()) return fail(Remedy::reject, "task.nothing_to_scan", "None of the paths to scan is there.");
  std::vector<std::string> words{scanner, "--infected", "--no-summary"};
  if (is_daemon(scanner)) {
    words.emplace_back("--fdpass");
  } else {
    words.insert(words.end(), {"--recursive", "--cross-fs=no"});
    if (!settings_.database.empty()) words.push_back("--database=" + settings_.database);
    words.insert(words.end(), settings_.arguments.begin(), settings_.arguments.end());
  }
  words.insert(words.end(), paths.begin(), paths.end());
  return child_.start({.words = std::move(words), .input = {}, .patience = settings_.time_max, .low_priority = true,
                       .line = [this](std::string_view line) { hear(line); }});
}

void ScanWork::hear(std::string_view line) {
  if (!line.ends_with(found_mark)) return;
  ++found_;
  line.remove_suffix(found_mark.size());
  if (finds_.size() < finds_named) finds_.push_back(escaped_name(line, find_bytes_max));
}

std::optional<TaskEnd> ScanWork::poll() {
  const auto ended = child_.poll();
  if (!ended) return std::nullopt;
  if (!asking_) return scanned(*ended);
  auto begun = ended->well() ? scan_with(asked_) : try_next();
  if (!begun) return end_of(begun.error());
  return std::nullopt;
}

TaskEnd ScanWork::scanned(const ChildProcess::Ended& ended) {
  if (found_ > 0) {
    std::string message = std::to_string(found_) + (found_ == 1 ? " file is infected: " : " files are infected, such as ") + finds_.front() + ".";
    if (ended.too_long) message = "The scan did not end in time. " + message;
    return with_state({!ended.too_long, "task.infected", std::move(message)}, true);
  }
  if (ended.too_long) return {false, "task.scan_timeout", "The scan took longer than scan.time_max."};
  if (ended.status != 0) return {false, "task.scan_failed", "The scanner " + ended.words() + "."};
  return with_state({true, "", "Nothing was found."}, false);
}

TaskEnd ScanWork::with_state(TaskEnd end, bool infected) const {
  if (settings_.topic_type == 0) return end;
  v1::StateMessages messages;
  v1::StateMessage& message = *messages.add_messages();
  message.set_time_ms(to_millis(clock_.wall()));
  message.set_topic_type(settings_.topic_type);
  message.set_topic_id(full_ ? "greengate:malware-scan:full" : "greengate:malware-scan:quick");
  message.set_state_id(infected ? settings_.infected_state_id : settings_.clean_state_id);
  if (infected) {
    message.add_parameters(std::to_string(found_));
    for (const std::string& find : finds_) message.add_parameters(find);
  }
  end.reports.push_back({v1::LANE_STATE, v1::KIND_STATE_MESSAGES, messages.SerializeAsString()});
  return end;
}

SignaturesWork::SignaturesWork(const ScanSettings& settings, const Clock& clock) : settings_(settings), child_(clock) {}

Result<void> SignaturesWork::check(const v1::Notification&) {
  if (settings_.updater.empty() || !may_run(settings_.updater.front()))
    return fail(Remedy::reject, "task.no_updater", "The program of scan.updater is not installed.");
  return {};
}

Result<void> SignaturesWork::start(const v1::Notification& task) {
  if (auto checked = check(task); !checked) return checked;
  return child_.start({.words = settings_.updater, .input = {}, .patience = settings_.update_time_max, .low_priority = true, .line = {}});
}

std::optional<TaskEnd> SignaturesWork::resume(const v1::Notification& task, const std::string&) {
  if (auto started = start(task); !started) return end_of(started.error());
  return std::nullopt;
}

std::optional<TaskEnd> SignaturesWork::poll() {
  const auto ended = child_.poll();
  if (!ended) return std::nullopt;
  if (ended->too_long) return TaskEnd{false, "task.update_timeout", "Fetching signatures took longer than scan.update_time_max."};
  if (!ended->well()) return TaskEnd{false, "task.update_failed", "The updater " + ended->words() + "."};
  return TaskEnd{true, "", ended->last_line};
}

}  // namespace greengate::agent
