#include "agent/tasks/verbose_log_work.h"

#include "agent/collectors/text.h"

#include <algorithm>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

constexpr const char* note_name = "verbose-log-until";

}  // namespace

VerboseLogWork::VerboseLogWork(milliseconds longest, LogLevel usual, std::function<void(LogLevel)> set, Notebook& notebook, const Clock& clock)
    : longest_(longest), usual_(usual), set_(std::move(set)), notebook_(notebook), clock_(clock) {
  const auto until_ms = to_signed(notebook_.note(note_name));
  if (!until_ms) return;
  // The wall clock may have been set since.
  const milliseconds left = std::min(milliseconds(*until_ms - to_millis(clock_.wall())), longest_);
  until_ = clock_.steady() + std::max(left, milliseconds(0));
  if (left > milliseconds(0)) set_(LogLevel::debug);
}

Result<void> VerboseLogWork::start(const v1::Notification& task) {
  const bool on = task.task() == v1::TASK_VERBOSE_LOG_ON;
  const std::string until = on ? std::to_string(to_millis(clock_.wall() + longest_)) : "";
  if (!notebook_.keep({}, {{note_name, until}})) return fail(Remedy::retry, "task.disk", "It could not be noted.");
  until_ = on ? clock_.steady() + longest_ : SteadyTime::max();
  set_(on ? LogLevel::debug : usual_);
  done_ = true;
  return {};
}

std::optional<TaskEnd> VerboseLogWork::resume(const v1::Notification& task, const std::string&) {
  if (auto started = start(task); !started) return TaskEnd{false, started.error().code, started.error().message};
  return std::nullopt;
}

std::optional<TaskEnd> VerboseLogWork::poll() {
  if (clock_.steady() >= until_) {
    until_ = SteadyTime::max();
    set_(usual_);
    log_.info("verbose log ended", kv("consequence", "the configured level counts again"));
    // Left behind, the note says that a time is over: it changes nothing at the next start.
    (void)notebook_.keep({}, {{note_name, ""}});
  }
  if (!std::exchange(done_, false)) return std::nullopt;
  return TaskEnd{true, "", ""};
}

}  // namespace greengate::agent
