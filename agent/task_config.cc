// The settings of what the site's administrator may ask for: [tasks], [scan], [restart], [logs]. Called by config.cc.
#include "agent/config.h"
#include "agent/tasks/task_book.h"
#include "core/config_reader.h"

#include <algorithm>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;
using namespace std::chrono_literals;

constexpr std::size_t list_max = 64;
constexpr std::size_t entry_bytes_max = 1'024;

void require_time(std::vector<ConfigProblem>& found, const std::string& key, milliseconds value, milliseconds least, milliseconds most) {
  if (value >= least && value <= most) return;
  found.push_back({key, key + " is \"" + duration_text(value) + "\"; it can be \"" + duration_text(least) + "\" to \"" + duration_text(most) + "\"."});
}

void require_list(std::vector<ConfigProblem>& found, const std::string& key, const std::vector<std::string>& list) {
  if (list.size() > list_max) found.push_back({key, key + " has " + std::to_string(list.size()) + " entries; give at most 64."});
  for (const std::string& entry : list) {
    if (entry.empty() || entry.size() > entry_bytes_max || entry.find('\0') != std::string::npos)
      found.push_back({key, key + " has an entry that is empty or longer than 1024 bytes."});
  }
}

void require_paths(std::vector<ConfigProblem>& found, const std::string& key, const std::vector<std::string>& list) {
  require_list(found, key, list);
  for (const std::string& path : list) {
    if (!path.starts_with('/')) found.push_back({key, key + " has \"" + path + "\"; give full paths, such as \"/usr/bin\"."});
  }
}

// A program and its arguments; none: there is no such command.
void require_command(std::vector<ConfigProblem>& found, const std::string& key, const std::vector<std::string>& command) {
  require_list(found, key, command);
  if (!command.empty() && !command.front().starts_with('/'))
    found.push_back({key, key + " begins with \"" + command.front() + "\"; give the program's full path, such as \"/usr/bin/wall\"."});
}

void check_tasks(std::vector<ConfigProblem>& found, const TaskSettings& tasks) {
  for (const std::string& name : tasks.refuse) {
    bool known = false;
    for (int number = v1::Task_MIN + 1; number <= v1::Task_MAX; ++number) known = known || task_name(static_cast<v1::Task>(number)) == name;
    if (!known) found.push_back({"tasks.refuse", "tasks.refuse has \"" + name + "\"; give names of tasks, such as \"restart\" or \"full_scan\"."});
  }
  require_time(found, "tasks.verbose_log_for", tasks.verbose_log_for, 1min, 24h * 7);
  require_paths(found, "scan.scanners", tasks.scan.scanners);
  require_paths(found, "scan.quick_paths", tasks.scan.quick_paths);
  require_paths(found, "scan.full_paths", tasks.scan.full_paths);
  require_list(found, "scan.arguments", tasks.scan.arguments);
  for (const std::string& argument : tasks.scan.arguments) {
    if (!argument.starts_with("--"))
      found.push_back({"scan.arguments", "scan.arguments has \"" + argument + "\"; give options, such as \"--max-filesize=200M\"."});
  }
  if (!tasks.scan.database.empty()) require_paths(found, "scan.database", {tasks.scan.database});
  require_time(found, "scan.time_max", tasks.scan.time_max, 1s, 24h * 7);
  require_command(found, "scan.updater", tasks.scan.updater);
  require_time(found, "scan.update_time_max", tasks.scan.update_time_max, 1s, 24h);
  require_command(found, "restart.command", tasks.restart.command);
  require_time(found, "restart.grace", tasks.restart.grace, 0s, 24h);
  if (!tasks.restart.veto_file.empty()) require_paths(found, "restart.veto_file", {tasks.restart.veto_file});
  require_command(found, "restart.warn_command", tasks.restart.warn_command);
  if (tasks.restart.warn_text.size() > entry_bytes_max)
    found.push_back({"restart.warn_text", "restart.warn_text is longer than 1024 bytes."});
  require_paths(found, "logs.files", tasks.logs.files);
  for (const std::string& pattern : tasks.logs.files) {
    const std::string folder = pattern.substr(0, pattern.rfind('/'));
    if (pattern.ends_with('/') || folder.find_first_of("*?") != std::string::npos)
      found.push_back({"logs.files", "logs.files has \"" + pattern + "\"; only the name at the end can hold \"*\" and \"?\"."});
  }
  require_command(found, "logs.command", tasks.logs.command);
  if (tasks.logs.bytes_max < 64 << 10 || tasks.logs.bytes_max > 24 << 20)
    found.push_back({"logs.bytes_max", "logs.bytes_max is " + std::to_string(tasks.logs.bytes_max) + " bytes; it can be \"64KiB\" to \"24MiB\"."});
}

}  // namespace

void read_task_settings(ConfigReader& reader, AgentConfig& config) {
  TaskSettings& tasks = config.tasks;
  reader.read("tasks.refuse", tasks.refuse);
  reader.read("tasks.verbose_log_for", tasks.verbose_log_for);
  reader.read("scan.scanners", tasks.scan.scanners);
  reader.read("scan.database", tasks.scan.database);
  reader.read("scan.quick_paths", tasks.scan.quick_paths);
  reader.read("scan.full_paths", tasks.scan.full_paths);
  reader.read("scan.arguments", tasks.scan.arguments);
  reader.read("scan.time_max", tasks.scan.time_max);
  reader.read("scan.updater", tasks.scan.updater);
  reader.read("scan.update_time_max", tasks.scan.update_time_max);
  reader.read("state_messages.scan_topic_type", tasks.scan.topic_type);
  reader.read("state_messages.scan_infected_state_id", tasks.scan.infected_state_id);
  reader.read("state_messages.scan_clean_state_id", tasks.scan.clean_state_id);
  reader.read("restart.command", tasks.restart.command);
  reader.read("restart.grace", tasks.restart.grace);
  reader.read("restart.veto_file", tasks.restart.veto_file);
  reader.read("restart.warn", tasks.restart.warn);
  reader.read("restart.warn_command", tasks.restart.warn_command);
  reader.read("restart.warn_text", tasks.restart.warn_text);
  reader.read("logs.files", tasks.logs.files);
  reader.read("logs.command", tasks.logs.command);
  reader.read_bytes("logs.bytes_max", tasks.logs.bytes_max);

  std::vector<ConfigProblem> found;
  check_tasks(found, tasks);
  reader.add(std::move(found));
}

}  // namespace greengate::agent
