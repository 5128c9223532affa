#pragma once

#include "ctl/ask.h"

namespace CLI {
class App;
}

namespace greengate::ctl {

/// `greengatectl notify send|list|show|cancel`. `options` and `exit_code` outlive the parsing.
void add_notify_commands(CLI::App& app, const Options& options, int& exit_code);

}  // namespace greengate::ctl
