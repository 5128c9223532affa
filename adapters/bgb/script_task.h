#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters::bgb {

/// What a push of TaskType 15 asks for: a script of the site's, by name and hash, never by its text.
struct ScriptTask {
  struct Parameter {
    std::string name, value;
  };
  std::string guid;            ///< Upper case, hyphens, no braces.
  std::string version;
  std::uint32_t type = 0;      ///< 0 is PowerShell (M).
  std::string hash;            ///< SHA-256 of the script as the site stores it; lower-case hex.
  std::vector<Parameter> parameters;  ///< In order. Those of CMPivot are decoded.
  bool cmpivot = false;        ///< The fixed GUID of CMPivot: a query, not a script of anybody's.
  bool parameters_hash_right = true;
};

/// Whether a ParameterGroupHash that is not that of the parameters refuses the task. That a client checks it is inferred (5.3).
enum class ParametersHash { strict, loose };

inline constexpr std::string_view cmpivot_guid = "7DC6B6F1-E7F6-43C1-96E0-E1D16BC25C14";

/// Reads a TaskParam of TaskType 15.
///
/// Promise   Hostile input: looked at for its size before anything is allocated, XML without DTD, comment, CDATA or entity beyond the
///           five, either kind of quotes, attributes and unknown members in any order. What is returned has well-formed GUID and hash, and
///           parameters with names that differ.
/// Limits    base64_bytes_max, depth_max, members_max, parameters_max, name_bytes_max, value_bytes_max.
/// Threads   Any.
/// Errors    bgb.script_empty, bgb.script_too_large, bgb.script_base64, bgb.script_text, bgb.script_older_form, bgb.script_malformed,
///           bgb.script_forbidden, bgb.script_limit, bgb.script_member, bgb.script_guid, bgb.script_hash, bgb.script_parameter,
///           bgb.script_parameters_hash, bgb.script_query (reject).
/// Source    bgb-protocol 5.3; docs/reference/script-tasks.md
Result<ScriptTask> parse_script_task(std::string_view task_param, ParametersHash check);

struct ScriptTaskLimits {
  static constexpr std::size_t base64_bytes_max = 256 * 1024;
  static constexpr std::size_t depth_max = 4;
  static constexpr std::size_t members_max = 1'024;
  static constexpr std::size_t parameters_max = 64;
  static constexpr std::size_t name_bytes_max = 128;
  static constexpr std::size_t value_bytes_max = 64 * 1024;
};

/// 8-4-4-4-12 hexadecimal digits, no braces.
bool is_guid(std::string_view text);

}  // namespace greengate::adapters::bgb
