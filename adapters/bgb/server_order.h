#pragma once

#include "core/ids.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters::bgb {

/// In which order an agent prefers the servers: rendezvous hashing, the first is its home and the others follow when it fails.
///
/// Promise   The same in every process and for any order of `servers`. A server that joins or leaves moves only the agents that
///           prefer it: one part in as many as there are servers.
/// Source    bgb-protocol 1.5
std::vector<std::size_t> server_order(const AgentId& agent, const std::vector<std::string_view>& servers);
std::vector<std::size_t> server_order(const AgentId& agent, const std::vector<std::string>& servers);

}  // namespace greengate::adapters::bgb
