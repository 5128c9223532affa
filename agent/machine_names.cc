#include "agent/machine_names.h"

#include <sys/utsname.h>

#include <fstream>
#include <string_view>

namespace greengate::agent {
namespace {

std::string os_release_name() {
  for (const char* path : {"/etc/os-release", "/usr/lib/os-release"}) {
    std::ifstream file(path);
    std::string line;
    for (int lines = 0; lines < 100 && std::getline(file, line); ++lines) {
      constexpr std::string_view label = "PRETTY_NAME=";
      if (!line.starts_with(label)) continue;
      std::string name = line.substr(label.size());
      if (name.size() >= 2 && (name.front() == '"' || name.front() == '\''))
        name = name.substr(1, name.size() - 2);
      return name;
    }
  }
  return "";
}

}  // namespace

std::string agent_version() {
  return "greengate-agent " GREENGATE_VERSION;
}

MachineNames machine_names() {
  utsname system{};
  uname(&system);
  MachineNames names;
  names.fqdn = system.nodename;
  names.host_name = names.fqdn.substr(0, names.fqdn.find('.'));
  names.operating_system = os_release_name();
  if (names.operating_system.empty())
    names.operating_system = std::string(system.sysname) + " " + system.release;
  return names;
}

}  // namespace greengate::agent
