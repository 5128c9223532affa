#pragma once

#include "ctl/ask.h"

namespace CLI {
class App;
}

namespace greengate::ctl {

/// `greengatectl dead-letters list|show|diff|replay|export|discard`. `options` and `exit_code` outlive the parsing.
void add_dead_letter_commands(CLI::App& app, const Options& options, int& exit_code);

}  // namespace greengate::ctl
