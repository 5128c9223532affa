#pragma once

#include "agent/processes/supervised_run.h"
#include "agent/scripts/settings.h"
#include "core/clock.h"
#include "greengate/v1/notification.pb.h"
#include "tests/agent/scratch.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <string>

namespace greengate::test {

inline const char* const guid = "3F0E9A54-2D61-4C77-9B18-6E5D4C3B2A19";
inline const char* const hash = "e2d7550e8c36f89af671fb4465413998cf5d5277e1d45ccf1cdc7ae3e73f9979";
inline const char* const task_guid = "7A1B2C3D-4E5F-4061-8293-A4B5C6D7E8F9";

/// A user a command may run as here: nobody where we are root, else we ourselves.
inline std::string some_user() {
  if (geteuid() == 0) return "nobody";
  const passwd* own = getpwuid(geteuid());
  return own ? own->pw_name : "";
}

inline std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A scratch folder that other users can look into, as commands run as somebody else.
class OpenScratch : public Scratch {
 public:
  OpenScratch() { chmod(path().c_str(), 0755); }
  std::string script(const std::string& name, const std::string& body, mode_t mode = 0755) {
    std::ofstream(file(name)) << "#!/bin/sh\n" << body;
    chmod(file(name).c_str(), mode);
    return file(name);
  }
};

/// True as soon as `probe` is, false when it never was.
inline bool becomes_true(const std::function<bool()>& probe, int patience_ms = 20'000) {
  for (int waited = 0; waited < patience_ms; waited += 5) {
    if (probe()) return true;
    poll(nullptr, 0, 5);
  }
  return probe();
}

inline bool alive(pid_t pid) {
  if (kill(pid, 0) != 0) return false;
  // A zombie is dead, and whose it is nobody's affair here.
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const auto after = line.rfind(") ");
  return after != std::string::npos && line[after + 2] != 'Z';
}

inline v1::Notification asked_for(const std::vector<std::pair<std::string, std::string>>& parameters = {}) {
  v1::Notification task;
  task.set_notification_id(42);
  task.set_task(v1::TASK_RUN_SCRIPT);
  task.set_site_task_id(task_guid);
  v1::RunScript& script = *task.mutable_run_script();
  script.set_script_guid(guid);
  script.set_script_version("1");
  script.set_script_hash(hash);
  script.set_task_guid(task_guid);
  for (const auto& [name, value] : parameters) {
    v1::ScriptParameter& one = *script.add_parameters();
    one.set_name(name);
    one.set_value(value);
  }
  return task;
}

inline agent::AllowedScript allowed(std::vector<std::string> command) {
  agent::AllowedScript script;
  script.name = "example";
  script.script_guid = guid;
  script.script_hash = hash;
  script.command = std::move(command);
  script.run_as = some_user();
  script.patience = std::chrono::seconds(60);
  script.processes_max = 0;
  return script;
}

}  // namespace greengate::test
