#include "agent/scripts/command.h"

#include "agent/collectors/text.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

namespace greengate::agent {
namespace {

constexpr std::size_t lookup_bytes = 16 * 1024;
constexpr int groups_max = 256;
constexpr const char* path_of_commands = "PATH=/usr/local/bin:/usr/bin:/bin";

tl::unexpected<Error> refuse(const char* code, std::string message) { return fail(Remedy::reject, code, std::move(message)); }

bool foreign(const struct stat& of) { return of.st_uid != 0 && of.st_uid != geteuid(); }
bool others_write(const struct stat& of) { return (of.st_mode & (S_IWGRP | S_IWOTH)) != 0; }

Result<std::map<std::string, std::string>> values_of(const AllowedScript& script, const v1::RunScript& asked) {
  std::map<std::string, std::string> values;  // by the allow-list's spelling
  for (const v1::ScriptParameter& parameter : asked.parameters()) {
    const auto known = std::find_if(script.parameters.begin(), script.parameters.end(),
                                    [&](const std::string& name) { return upper(name) == upper(parameter.name()); });
    // The site's name is not repeated: only names of our own list are known to be fit for a log.
    if (known == script.parameters.end()) return refuse("task.script_parameter", "The task has a parameter that scripts.allow." + script.name + " does not name.");
    if (static_cast<std::int64_t>(parameter.value().size()) > script.value_bytes_max)
      return refuse("task.script_parameter", "Parameter " + *known + " is longer than " + std::to_string(script.value_bytes_max) + " bytes.");
    if (parameter.value().find('\0') != std::string::npos) return refuse("task.script_parameter", "Parameter " + *known + " has a NUL in it.");
    if (!values.emplace(*known, parameter.value()).second) return refuse("task.script_parameter", "Parameter " + *known + " is there twice.");
  }
  return values;
}

Result<std::string> filled(const std::string& word, const std::map<std::string, std::string>& values) {
  std::string made;
  for (std::size_t at = 0;;) {
    const auto mark = word.find("{param:", at);
    made += word.substr(at, mark == std::string::npos ? mark : mark - at);
    if (mark == std::string::npos) return made;
    const auto end = word.find('}', mark);
    if (end == std::string::npos) return refuse("task.script_parameter", "A placeholder of the command does not end.");
    const std::string name = word.substr(mark + 7, end - mark - 7);
    const auto value = values.find(name);
    if (value == values.end()) return refuse("task.script_parameter", "Parameter " + name + " is missing.");
    // Not interpreted by us, and not by the program as one of its options either.
    if (made.empty() && mark == 0 && value->second.starts_with('-'))
      return refuse("task.script_parameter", "Parameter " + name + " begins with \"-\" and would be taken for an option.");
    made += value->second;
    at = end + 1;
  }
}

}  // namespace

Result<RunUser> find_run_user(const std::string& name) {
  std::string buffer(lookup_bytes, '\0');
  passwd entry{};
  passwd* found = nullptr;
  if (getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || !found)
    return refuse("task.script_user", "There is no user " + name + " on this machine.");
  if (found->pw_uid == 0 || found->pw_gid == 0) return refuse("task.script_user", "User " + name + " is root, or its group is.");
  if (geteuid() != 0 && geteuid() != found->pw_uid)
    return refuse("task.script_user", "The agent does not run as root and cannot become user " + name + ".");
  RunUser user{found->pw_uid, found->pw_gid, std::vector<gid_t>(groups_max)};
  int count = groups_max;
  if (getgrouplist(name.c_str(), found->pw_gid, user.groups.data(), &count) < 0)
    return refuse("task.script_user", "User " + name + " is in more than 256 groups.");
  user.groups.resize(static_cast<std::size_t>(count));
  if (std::find(user.groups.begin(), user.groups.end(), gid_t{0}) != user.groups.end())
    return refuse("task.script_user", "User " + name + " is in root's group.");
  return user;
}

Result<std::string> trusted_program(const std::string& program) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(program.c_str(), nullptr), &std::free);
  if (!real) return refuse("task.script_command", program + " cannot be found: " + std::strerror(errno) + ".");
  std::string path = real.get();
  struct stat at {};
  if (lstat(path.c_str(), &at) != 0 || !S_ISREG(at.st_mode) || (at.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0)
    return refuse("task.script_command", program + " is no file that can be run.");
  if (foreign(at) || others_write(at)) return refuse("task.script_command", program + " belongs to neither root nor the agent's user, or others may write it.");
  for (std::string folder = path; folder.size() > 1;) {
    folder.resize(std::max<std::size_t>(folder.rfind('/'), 1));
    if (lstat(folder.c_str(), &at) != 0 || foreign(at) || (others_write(at) && (at.st_mode & S_ISVTX) == 0))
      return refuse("task.script_command", program + " lies in a folder that others may write: " + folder + ".");
  }
  return path;
}

Result<RunOrder> order_of(const AllowedScript& script, const v1::RunScript& asked, std::size_t output_kept_max) {
  RunOrder order;
  auto values = values_of(script, asked);
  if (!values) return pass(values);
  for (const std::string& word : script.command) {
    auto made = order.arguments.empty() ? Result<std::string>(word) : filled(word, *values);
    if (!made) return pass(made);
    order.arguments.push_back(std::move(*made));
  }
  auto program = trusted_program(script.command.front());
  if (!program) return pass(program);
  order.program = std::move(*program);
  auto user = find_run_user(script.run_as);
  if (!user) return pass(user);
  if (geteuid() == 0) order.user = std::move(*user);

  order.environment = {path_of_commands, "LC_ALL=C.UTF-8", "HOME=/", "GREENGATE_SCRIPT_GUID=" + script.script_guid};
  for (const auto& [name, value] : *values) order.environment.push_back(parameter_prefix + upper(name) + "=" + value);
  order.patience = script.patience;
  order.limits.memory_bytes = static_cast<std::uint64_t>(script.memory_bytes_max);
  order.limits.cpu_seconds = static_cast<std::uint64_t>(script.patience.count() / 1'000 + 1);
  order.limits.processes = script.processes_max;
  order.output_bytes_max = static_cast<std::uint64_t>(script.output_bytes_max);
  order.output_kept_max = output_kept_max;
  order.errors_too = script.errors_too;
  return order;
}

}  // namespace greengate::agent
