#include "agent/collectors/custom_inventory.h"

#include "agent/collectors/text.h"
#include "core/log.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>

namespace greengate::agent {
namespace {

using std::chrono::steady_clock;  // scripts live in real time, like every helper

constexpr std::size_t names_looked_at = 1'024;
constexpr std::size_t problem_bytes_max = 600;
constexpr std::size_t problems_max = 128;

// What greengate-agent reports itself, also where this machine happens to have none of it.
constexpr std::string_view own_classes[] = {
    "Win32_BIOS",           "Win32_ComputerSystem", "Win32_DiskDrive", "Win32_DiskPartition",
    "Win32_NetworkAdapter", "Win32_NetworkAdapterConfiguration", "Win32_OperatingSystem", "Win32_Process",
    "Win32_Service",        "Win32Reg_AddRemovePrograms", "SMS_LogicalDisk", "SMS_Processor"};

// Why we would not run what lies here; empty when we would.
std::string distrust(const struct stat& of) {
  if (of.st_uid != 0 && of.st_uid != geteuid()) return "belongs to neither root nor the agent's user";
  if ((of.st_mode & (S_IWGRP | S_IWOTH)) != 0) return "may be written by others than its owner";
  return "";
}

struct Script {
  std::string name, path;
};

std::vector<Script> scripts_in(const CustomInventoryConfig& config, std::vector<ScriptProblem>& problems) {
  std::vector<Script> found;
  struct stat folder {};
  if (lstat(config.folder.c_str(), &folder) != 0) return found;  // most machines have none
  const auto refuse_all = [&](const std::string& why) {
    problems.push_back({"", "custom.folder", "The folder " + config.folder + " " + why + ", so nothing in it is run."});
    return std::vector<Script>();
  };
  if (!S_ISDIR(folder.st_mode)) return refuse_all("is no folder");
  if (const std::string why = distrust(folder); !why.empty()) return refuse_all(why);
  DIR* open = opendir(config.folder.c_str());
  if (!open) return refuse_all(std::string("cannot be read: ") + std::strerror(errno));
  std::set<std::string> names;
  while (const dirent* entry = readdir(open)) {
    if (entry->d_name[0] != '.' && names.size() < names_looked_at) names.insert(entry->d_name);
  }
  closedir(open);
  for (const std::string& name : names) {
    const std::string path = config.folder + "/" + name;
    struct stat file {};
    if (lstat(path.c_str(), &file) != 0 || S_ISDIR(file.st_mode)) continue;
    if (!S_ISREG(file.st_mode)) {
      problems.push_back({name, "custom.owner", "It is a link or a device, not a file of its own."});
      continue;
    }
    if ((file.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0) continue;
    if (const std::string why = distrust(file); !why.empty()) {
      problems.push_back({name, "custom.owner", "It " + why + "."});
      continue;
    }
    if (found.size() >= config.scripts_max) {
      problems.push_back({name, "custom.too_many", "There are more than " + std::to_string(config.scripts_max) + " scripts; it was not run."});
      break;
    }
    found.push_back({name, path});
  }
  return found;
}

}  // namespace

void collect_custom_inventory(const CustomInventoryConfig& config, v1::HardwareInventory& into, std::vector<ScriptProblem>& problems) {
  if (config.folder.empty()) return;
  std::set<std::string> taken;
  for (const std::string_view name : own_classes) taken.insert(upper(name));
  for (const v1::InventoryClass& one : into.classes()) taken.insert(upper(one.name()));
  static const Log log("inventory");
  const auto begun = steady_clock::now();
  std::size_t bytes = 0;
  const std::size_t before = problems.size();
  for (const Script& script : scripts_in(config, problems)) {
    const auto problem = [&](const char* code, std::string message) {
      problems.push_back({script.name, code, std::move(message)});
    };
    const auto left = config.together - std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - begun);
    if (left <= std::chrono::milliseconds(0)) {
      problem("custom.time", "It was not run: the scripts before it took all the time there is.");
      continue;
    }
    ScriptBounds bounds = config.script;
    bounds.patience = std::min(bounds.patience, left);
    std::string output;
    const ScriptEnd end = run_script(script.path, bounds, output);
    if (!end.well) {
      problem(end.code, end.message + (end.first_line.empty() ? "" : " It said: " + end.first_line));
      continue;
    }
    auto classes = read_custom_classes(output);
    if (!classes) {
      problem(classes.error().code, classes.error().message);
      continue;
    }
    std::size_t size = 0;
    const auto collision = std::find_if(classes->begin(), classes->end(), [&](const v1::InventoryClass& one) {
      size += one.ByteSizeLong();
      return taken.contains(upper(one.name()));
    });
    if (collision != classes->end()) {
      problem("custom.collision", "Class " + collision->name() + " is already reported by the agent itself or by an earlier script.");
      continue;
    }
    if (bytes + size > config.classes_bytes_max) {
      problem("custom.too_large", "With it the custom classes would be larger than " + std::to_string(config.classes_bytes_max) + " bytes.");
      continue;
    }
    bytes += size;
    for (v1::InventoryClass& one : *classes) {
      taken.insert(upper(one.name()));
      *into.add_classes() = std::move(one);
    }
  }
  for (std::size_t i = before; i < problems.size(); ++i) {
    ScriptProblem& one = problems[i];
    one.message = clean_text(one.message, problem_bytes_max);
    log.warn("custom inventory script makes no statement", kv("file", one.script), kv("code", one.code), kv("why", one.message));
  }
}

std::string problems_text(const std::vector<ScriptProblem>& problems) {
  std::string text;
  for (const ScriptProblem& one : problems) {
    // clean_text leaves neither tabs nor line ends.
    text += clean_text(one.script, 255) + "\t" + one.code + "\t" + clean_text(one.message, problem_bytes_max) + "\n";
  }
  return text;
}

std::vector<ScriptProblem> problems_from_text(std::string_view text) {
  std::vector<ScriptProblem> problems;
  while (!text.empty() && problems.size() < problems_max) {
    std::string_view rest;
    std::string_view line = cut_at(text, '\n', &rest);
    text = rest;
    std::string_view after;
    const std::string_view script = cut_at(line, '\t', &after);
    std::string_view message;
    const std::string_view code = cut_at(after, '\t', &message);
    if (code.empty()) continue;
    problems.push_back({clean_text(script, 255), clean_text(code, 64), clean_text(message, problem_bytes_max)});
  }
  return problems;
}

}  // namespace greengate::agent
