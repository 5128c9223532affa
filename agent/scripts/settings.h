#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace greengate::agent {

/// One [scripts.allow.NAME]: the local command that stands for one of the site's scripts.
struct AllowedScript {
  std::string name;                  ///< Of the table; for logs.
  std::string script_guid;           ///< Upper case.
  std::string script_hash;           ///< Lower case. A script that was changed at the site is another one.
  std::vector<std::string> command;  ///< Full path and arguments; run without a shell. "{param:NAME}" is a parameter's value.
  std::string run_as;                ///< A user other than root.
  std::chrono::milliseconds patience{60'000};
  std::int64_t memory_bytes_max = 256 << 20;  ///< Address space of each of its processes.
  std::int64_t output_bytes_max = 1 << 20;    ///< More ends it.
  std::uint32_t processes_max = 64;           ///< Of its user together; 0: no bound.
  std::vector<std::string> parameters;        ///< By name; any other refuses the task.
  std::int64_t value_bytes_max = 1'024;       ///< Of each parameter.
  std::string rows = "lines";                 ///< "lines", or "table": the first line names columns, tabs part values.
  bool errors_too = false;                    ///< What it prints as errors is output too.
};

struct ScriptSettings {
  bool enabled = false;             ///< scripts.enabled
  std::string audit_file;           ///< scripts.audit_file
  std::int64_t audit_bytes_max = 16 << 20;
  std::int64_t shown_bytes_max = 4'096;  ///< Of the output, in the result.
  std::vector<AllowedScript> allowed;
  std::uint32_t topic_type = 9'003;  ///< state_messages.script_topic_type; 0: no result is told.
  std::uint32_t state_id = 1;        ///< state_messages.script_state_id
};

inline constexpr const char* parameter_prefix = "GREENGATE_PARAM_";

/// Fit to be the name of a parameter here, and with the prefix of an environment variable: a letter or _, then letters, digits, _; at most 64.
bool is_parameter_name(const std::string& text);

}  // namespace greengate::agent
