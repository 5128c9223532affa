#include "agent/tasks/agent_tasks.h"

#include "core/log.h"

#include <unistd.h>

#include <filesystem>

namespace greengate::agent {
namespace {

CollectionWork::Hooks hooks_for(Collection what, const AgentTasks::Hooks& hooks, bool enabled) {
  return {[what, want = hooks.want] { want(what); }, [what, is_collecting = hooks.is_collecting] { return is_collecting(what); }, enabled};
}

LogWork::Config log_config(const AgentConfig& config, const std::string& executable, const std::string& host_name) {
  LogWork::Config made;
  made.packer = {executable, "collect", "logs", "--config", config.file, "--output"};
  std::error_code unknown;
  // The sender of files follows no links, and /var may be one.
  const auto folder = std::filesystem::weakly_canonical(config.state_directory, unknown);
  made.folder = unknown ? config.state_directory : folder.string();
  made.host_name = host_name;
  return made;
}

TaskDeskConfig desk_config(const TaskSettings& settings) {
  TaskDeskConfig made;
  made.refuse = settings.refuse;
  return made;
}

RestartWork::Machine this_machine() {
  RestartWork::Machine machine;
  machine.privileged = geteuid() == 0;
  return machine;
}

}  // namespace

AgentTasks::AgentTasks(const AgentConfig& config, const std::string& executable, const std::string& host_name, Hooks hooks, Notebook& notebook,
                       const Clock& clock)
    : discovery_(Collection::discovery, hooks_for(Collection::discovery, hooks, true)),
      hardware_(Collection::inventory, hooks_for(Collection::inventory, hooks, true)),
      software_(Collection::software,
                hooks_for(Collection::software, hooks, config.software.enabled && !config.software.paths.empty() && !config.file.empty())),
      scan_(config.tasks.scan, [] { return local_file_systems(Machine(MachineView())); }, clock),
      signatures_(config.tasks.scan, clock),
      restart_(config.tasks.restart, this_machine(), clock),
      verbose_log_(config.tasks.verbose_log_for, config.log_level, set_log_level, notebook, clock),
      logs_(log_config(config, executable, host_name), hooks.send_file, clock),
      scripts_(config.scripts, clock),
      desk_(desk_config(config.tasks), notebook, clock) {
  // For policy the machine says that it is there; the gateway asks the site.
  desk_.add(v1::TASK_MACHINE_POLICY, discovery_);
  desk_.add(v1::TASK_DISCOVERY, discovery_);
  desk_.add(v1::TASK_HARDWARE_INVENTORY, hardware_);
  desk_.add(v1::TASK_SOFTWARE_INVENTORY, software_);
  desk_.add(v1::TASK_FULL_SCAN, scan_);
  desk_.add(v1::TASK_QUICK_SCAN, scan_);
  desk_.add(v1::TASK_UPDATE_SIGNATURES, signatures_);
  desk_.add(v1::TASK_RESTART, restart_);
  desk_.add(v1::TASK_VERBOSE_LOG_ON, verbose_log_);
  desk_.add(v1::TASK_VERBOSE_LOG_OFF, verbose_log_);
  desk_.add(v1::TASK_RUN_SCRIPT, scripts_);
  if (!config.file.empty()) desk_.add(v1::TASK_COLLECT_LOGS, logs_);
}

void AgentTasks::collected(Collection what, const Result<void>& kept) {
  for (CollectionWork* work : {&discovery_, &hardware_, &software_}) {
    if (work->what() == what) work->finished(kept);
  }
}

}  // namespace greengate::agent
