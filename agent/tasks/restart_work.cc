#include "agent/tasks/restart_work.h"

#include "agent/collectors/text.h"
#include "agent/tasks/scan_work.h"
#include "agent/trees/encoding.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds grace_max = std::chrono::hours(24);
constexpr milliseconds warn_patience{10'000};
// The command says yes or no soon; one that stays until the grace is over has said yes.
constexpr milliseconds command_patience{10'000};
// A machine may take long to go down after its grace.
constexpr seconds going_down = std::chrono::minutes(15);
constexpr std::size_t reason_bytes_max = 160;

std::string first_line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return clean_text(line, reason_bytes_max);
}

}  // namespace

RestartWork::RestartWork(const RestartSettings& settings, Machine machine, const Clock& clock)
    : settings_(settings), machine_(std::move(machine)), clock_(clock), warner_(clock), child_(clock) {}

seconds RestartWork::grace_of(const v1::Notification& task) const {
  const seconds asked(task.restart().grace_s());
  return std::min(asked.count() > 0 ? asked : std::chrono::ceil<seconds>(settings_.grace), grace_max);
}

std::string RestartWork::filled(std::string text, seconds grace) const {
  const std::pair<std::string, std::string> values[] = {{"{minutes}", std::to_string((grace.count() + 59) / 60)},
                                                        {"{seconds}", std::to_string(grace.count())}};
  for (const auto& [mark, value] : values) {
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + value.size())) text.replace(at, mark.size(), value);
  }
  return text;
}

std::string RestartWork::boot_id() const { return first_line_of(machine_.boot_id_file); }

Result<void> RestartWork::check(const v1::Notification&) {
  struct stat about {};
  // A veto that cannot be looked at is one: whatever is there counts, a link too.
  if (!settings_.veto_file.empty() && (lstat(settings_.veto_file.c_str(), &about) == 0 || (errno != ENOENT && errno != ENOTDIR))) {
    const std::string reason = S_ISREG(about.st_mode) ? first_line_of(settings_.veto_file) : "";
    return fail(Remedy::reject, "task.vetoed", settings_.veto_file + " forbids a restart" + (reason.empty() ? "." : ": " + reason));
  }
  if (settings_.command.empty() || access(settings_.command.front().c_str(), X_OK) != 0)
    return fail(Remedy::reject, "task.no_restart_command", "The program of restart.command is not there or may not be run.");
  return {};
}

std::string RestartWork::memory(const v1::Notification& task) {
  const std::int64_t give_up_ms = to_millis(clock_.wall()) + milliseconds(grace_of(task) + going_down).count();
  Encoder out;
  out.text(boot_id()).signed_number(give_up_ms);
  return out.take();
}

Result<void> RestartWork::start(const v1::Notification& task) {
  if (auto checked = check(task); !checked) return checked;
  grace_ = grace_of(task);
  waiting_ = false;
  give_up_ = clock_.steady() + grace_ + going_down;
  warning_ = settings_.warn && !settings_.warn_command.empty() && access(settings_.warn_command.front().c_str(), X_OK) == 0;
  if (!warning_) return run_command();
  auto warned = warner_.start({.words = settings_.warn_command, .input = filled(settings_.warn_text, grace_) + "\n", .patience = warn_patience, .line = {}});
  if (warned) return {};
  // Nobody can be told; that is no reason to leave the site's wish undone.
  warning_ = false;
  return run_command();
}

Result<void> RestartWork::run_command() {
  std::vector<std::string> words;
  for (const std::string& word : settings_.command) words.push_back(filled(word, grace_));
  return child_.start({.words = std::move(words), .input = {}, .patience = command_patience, .outlive = true, .line = {}});
}

std::optional<TaskEnd> RestartWork::resume(const v1::Notification&, const std::string& memory) {
  Decoder in(memory);
  const std::string before(in.text(256));
  const std::int64_t give_up_ms = in.signed_number();
  const std::string now = boot_id();
  if (in.at_end() && !before.empty() && !now.empty() && before != now) return TaskEnd{true, "", "The machine was restarted."};
  waiting_ = true;
  const milliseconds left(in.at_end() ? give_up_ms - to_millis(clock_.wall()) : 0);
  give_up_ = clock_.steady() + std::clamp<milliseconds>(left, milliseconds(0), grace_max + going_down);
  return std::nullopt;
}

SteadyTime RestartWork::next_due() const {
  if (waiting_) return give_up_;
  return std::min(warner_.next_due(), child_.next_due());
}

std::optional<TaskEnd> RestartWork::poll() {
  if (warning_) {
    if (!warner_.poll()) return std::nullopt;
    warning_ = false;
    if (auto run = run_command(); !run) return end_of(run.error());
    return std::nullopt;
  }
  if (const auto ended = child_.poll()) {
    if (ended->status != 0 && !ended->too_long) {
      if (!machine_.privileged) {
        return TaskEnd{false, "task.no_rights", "The agent has no right to restart this machine: the command " + ended->words() + "."};
      }
      return TaskEnd{false, "task.restart_failed", "The command of restart.command " + ended->words() + "."};
    }
    waiting_ = true;
  }
  if (!waiting_ || clock_.steady() < give_up_) return std::nullopt;
  waiting_ = false;
  return TaskEnd{false, "task.restart_not_seen", "The command was given, but the machine has not been restarted; perhaps somebody cancelled it."};
}

}  // namespace greengate::agent
