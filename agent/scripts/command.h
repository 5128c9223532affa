#pragma once

#include "agent/processes/supervised_run.h"
#include "agent/scripts/settings.h"
#include "core/result.h"

#include "greengate/v1/notification.pb.h"

#include <string>

namespace greengate::agent {

/// The user an allowed command runs as, looked up now.
/// Errors    task.script_user (reject): there is none of this name, it is root or in root's group, or we may not become it.
Result<RunUser> find_run_user(const std::string& name);

/// The file that `program` is, links followed, if nobody but root and we could have put it there: it and every folder above it belong to root
/// or us, and nobody else may write them (a folder everybody may write must be sticky).
/// Errors    task.script_command (reject).
Result<std::string> trusted_program(const std::string& program);

/// What is run for this task: values put where the allow-list wants them, and nowhere interpreted.
/// Errors    task.script_parameter, task.script_user, task.script_command (reject).
Result<RunOrder> order_of(const AllowedScript& script, const v1::RunScript& asked, std::size_t output_kept_max);

}  // namespace greengate::agent
