#pragma once

#include "agent/collectors/custom_class.h"
#include "agent/collectors/helper_process.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace greengate::agent {

struct CustomInventoryConfig {
  std::string folder = "/etc/greengate-agent/inventory.d";  ///< custom.folder; empty: no custom inventory
  ScriptBounds script;  ///< custom.patience, custom.output_bytes_max, custom.memory_bytes_max: for each script
  /// For all scripts together; what has not begun by then is not run.
  std::chrono::milliseconds together{120'000};
  std::size_t scripts_max = 64;
  std::size_t classes_bytes_max = 2 << 20;  ///< Of all classes together, as sent.
};

/// What an administrator must know about one script.
struct ScriptProblem {
  std::string script;   ///< Its file name.
  std::string code;     ///< "custom.json", "script.timeout", …
  std::string message;  ///< One sentence.
};

/// Runs the executables of the folder in the order of their names and adds their classes to `into`.
///
/// Promise   A script that fails, in whatever way, makes no statement: no class of it is added, the others are, and `problems`
///           says why. What is not executable, or begins with a dot, is no script.
/// Limits    CustomInventoryConfig. A script runs only if it and the folder belong to root or to us and nobody else may write them;
///           links are not followed. Class names that greengate-agent itself reports, or an earlier script, are refused.
/// Threads   Any one thread; blocks for at most `together` and one script's patience.
/// Errors    In `problems`: custom.folder, custom.owner, custom.collision, custom.too_large, custom.time, those of run_script and of
///           read_custom_classes.
/// Source    docs/guide/custom_inventory.md
void collect_custom_inventory(const CustomInventoryConfig& config, v1::HardwareInventory& into, std::vector<ScriptProblem>& problems);

/// How the collecting process tells the agent of problems: lines of script, code and message, parted by tabs.
std::string problems_text(const std::vector<ScriptProblem>& problems);
std::vector<ScriptProblem> problems_from_text(std::string_view text);

}  // namespace greengate::agent
