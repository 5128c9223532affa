#pragma once

#include "core/clock.h"
#include "greengate/v1/report.pb.h"

#include <chrono>
#include <filesystem>

namespace greengate::agent {

/// Where the machine is looked at.
///
/// With root "/" this is the machine we run on: files, netlink, statvfs, and commands if allowed.
/// With any other root it is a recording: only files below it are read, no link leads out of it, no
/// command runs, and what a file cannot hold (free space, addresses, command output) is read from
/// `<root>/recorded/` (tests/data/machines/README.md).
struct MachineView {
  std::filesystem::path root = "/";
  bool may_run_commands = true;
  std::chrono::milliseconds command_patience{
      10'000};  ///< For each command, and for each look at free space.
};

/// The twelve classes of Microsoft's Linux client, with every property of the site's default classes that Linux can answer, under
/// Windows' names and in Windows' units.
///
/// Promise   Never fails as a whole: what cannot be seen is an empty property; a class whose source cannot be opened at all is
///           absent. Every text is valid UTF-8 without control characters.
/// Limits    collectors/limits.h: each list, line, file and text is bounded; a list cut at its bound is logged.
/// Threads   Any one thread; blocks for at most a few command_patience. Starts short-lived helper processes.
/// Source    docs/reference/inventory.md; names and keys from Microsoft's "Resource Explorer default inventory classes".
v1::HardwareInventory collect_hardware_inventory(const MachineView& view, const Clock& clock);
/// The same into a message of the caller's, which may live on an arena.
void collect_hardware_inventory(const MachineView& view, const Clock& clock,
                                v1::HardwareInventory& into);

/// Who and where this machine is. `installed_at_ms` is left to the caller, who knows when the
/// identity was made.
v1::Discovery collect_discovery(const MachineView& view, const Clock& clock);

}  // namespace greengate::agent
