#pragma once

#include "agent/collectors/machine.h"
#include "agent/software/cache.h"
#include "agent/trees/pace.h"

#include <cstdint>
#include <string>
#include <vector>

namespace greengate::agent {

/// What says that the package databases are as they were: their places and times. Cheap: a handful
/// of stats.
std::string package_stamp(const Machine& machine);

struct OwnersFound {
  std::vector<Owner> owners = {Owner()};  ///< The first is "no package".
  std::vector<std::uint32_t> owner_of;    ///< For each path asked for, its place in owners.
  std::uint64_t bytes_read = 0;
  bool whole = true;  ///< False when a database could be read only in part.
};

/// Which package each of `paths` belongs to: the first that claims it. dpkg's and apk's lists are
/// read once, as they stream by; rpm is asked once, when commands are allowed. Memory depends on
/// `paths`, not on the lists.
OwnersFound look_up_owners(const Machine& machine, const std::vector<std::string>& paths,
                           Pace& pace);

}  // namespace greengate::agent
