// What the agent calls itself and its machine.
#pragma once

#include <string>

namespace greengate::agent {

/// The name and number people see, also in Hello: "greengate-agent 0.1.0".
std::string agent_version();

/// What Hello says about this machine without asking the network.
struct MachineNames {
  std::string host_name, fqdn, operating_system;
};
MachineNames machine_names();

}  // namespace greengate::agent
