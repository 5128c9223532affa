#pragma once

#include "agent/outbox.h"

#include <string>

namespace greengate::agent {

/// What `greengate-agent status` shows: the link, what waits in which lane, and the last `count`
/// reports with their times.
std::string status_text(Outbox& outbox, std::size_t count);
std::string status_json(Outbox& outbox, std::size_t count);

}  // namespace greengate::agent
