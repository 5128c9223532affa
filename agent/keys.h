#pragma once

#include "adapters/agents/dealer_link.h"
#include "core/result.h"

#include <string>

namespace greengate::agent {

/// The agent's CURVE pair: made once, kept in `path`, readable by its owner only. Who the agent is
/// hangs on this file.
/// Errors    keys.readable_by_others, keys.malformed (reject): a person must look; keys.file
///           (retry): the disk would not.
Result<adapters::CurvePair> load_or_make_keys(const std::string& path);

}  // namespace greengate::agent
