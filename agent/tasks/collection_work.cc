#include "agent/tasks/collection_work.h"

namespace greengate::agent {

Result<void> CollectionWork::check(const v1::Notification&) {
  if (hooks_.enabled) return {};
  return fail(Remedy::reject, "task.disabled", std::string("This machine's administrator has switched off the ") + name_of(what_) + " collection.");
}

Result<void> CollectionWork::start(const v1::Notification& task) {
  if (auto checked = check(task); !checked) return checked;
  under_way_ = true;
  too_old_ = hooks_.is_collecting();
  if (!too_old_) hooks_.want();
  return {};
}

std::optional<TaskEnd> CollectionWork::resume(const v1::Notification& task, const std::string&) {
  if (auto started = start(task); !started) return TaskEnd{false, started.error().code, started.error().message};
  return std::nullopt;
}

void CollectionWork::finished(const Result<void>& kept) {
  if (!under_way_) return;
  if (too_old_) {
    too_old_ = false;
    return hooks_.want();
  }
  under_way_ = false;
  end_ = kept ? TaskEnd{true, "", ""} : TaskEnd{false, "task.collection_failed", kept.error().message + " (" + kept.error().code + ")"};
}

}  // namespace greengate::agent
