#pragma once

#include <string>
#include <vector>

namespace greengate::sim::notify {

/// How bad a departure from the specification is.
enum class Severity {
  warning,  ///< Noted; the message counts.
  refused,  ///< The message does not count; the session goes on.
  fatal,    ///< The session is closed: never resynchronise inside a stream.
};

/// One departure of a client from the specification.
struct Finding {
  const char* code;  ///< Stable: "frame.oversize". Listed in docs/reference/simulators-notify.md.
  const char* section;  ///< Of the client notification specification.
  Severity severity;
  std::string detail;  ///< A sentence for people.
};

using Findings = std::vector<Finding>;

inline const char* severity_name(Severity severity) {
  switch (severity) {
    case Severity::warning:
      return "warning";
    case Severity::refused:
      return "refused";
    case Severity::fatal:
      return "fatal";
  }
  return "fatal";
}

}  // namespace greengate::sim::notify
