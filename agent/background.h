#pragma once

#include "agent/collectors/machine.h"
#include "agent/config.h"
#include "agent/software/scan.h"
#include "core/clock.h"
#include "core/result.h"

#include <string>

namespace greengate::agent {

/// What the agent's own helper processes do at low priority, from the configuration and the state
/// directory to the bytes they hand back.

/// The software inventory as a serialized v1::SoftwareInventory; reads and writes the cache.
Result<std::string> collect_software(const AgentConfig& config, const MachineView& view,
                                     const Clock& clock);
/// For people: without cache and at full speed.
Result<ScanResult> look_at_software(const AgentConfig& config, const MachineView& view,
                                    const Clock& clock);

/// The plan of a file collection (FilePlan::encode).
std::string collect_file_plan(const AgentConfig& config, const MachineView& view,
                              const Clock& clock);

}  // namespace greengate::agent
