#pragma once

#include "core/result.h"

// The report queue's own names for failures that more than one of its files meets.

namespace greengate::store {

/// What the file's failure means to callers of the queue.
inline Error queue_error(const Error& failure) {
  const bool stopping = failure.remedy == Remedy::halt;
  return Error{failure.remedy, stopping ? "queue.stopping" : "queue.disk", failure.message,
               failure.retry_after};
}

inline Error queue_stopping() {
  return Error{Remedy::halt, "queue.stopping", "The store is shutting down.", {}};
}

}  // namespace greengate::store
