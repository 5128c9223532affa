#include "adapters/mdm/dm_commands.h"

#include "adapters/mdm/nodes.h"

namespace greengate::adapters {
namespace {

constexpr std::uint32_t restart_grace_max_s = 300;  ///< RebootNow acts within five minutes of the session.

Error refusal(const char* code, const char* why) { return Error{Remedy::reject, code, why, {}}; }

}  // namespace

std::optional<Error> refused_for_windows(const v1::Notification& task, const DmTaskRules& rules) {
  switch (task.task()) {
    case v1::TASK_MACHINE_POLICY:
    case v1::TASK_DISCOVERY:
    case v1::TASK_FULL_SCAN:
    case v1::TASK_QUICK_SCAN:
    case v1::TASK_UPDATE_SIGNATURES: return std::nullopt;
    case v1::TASK_RESTART:
      if (task.restart().grace_s() > restart_grace_max_s)
        return refusal("task.restart_grace", "A Windows device restarts within five minutes of its session; a longer grace cannot be asked for.");
      return std::nullopt;
    case v1::TASK_WIPE:
      if (!rules.allow_wipe) return refusal("task.wipe_refused", "Wiping is not allowed here; mdm.allow_wipe would allow it.");
      // The site's own id: somebody's button there, which is no confirmation.
      if (!task.site_task_id().empty()) return refusal("task.wipe_refused", "A wipe is never taken from a push of the site.");
      return std::nullopt;
    default: return refusal("task.unsupported", "A Windows device cannot do this without an agent of its own.");
  }
}

DmPlan plan_of(const v1::Notification& task) {
  DmPlan plan;
  switch (task.task()) {
    case v1::TASK_DISCOVERY:
      plan.commands = {get_node(dm_node::manufacturer), get_node(dm_node::model), get_node(dm_node::software_version)};
      plan.reads = true;
      break;
    case v1::TASK_QUICK_SCAN:
      plan.commands = {exec_node(dm_node::defender_scan, "1")};
      plan.watched = dm_node::quick_scan_time;
      break;
    case v1::TASK_FULL_SCAN:
      plan.commands = {exec_node(dm_node::defender_scan, "2")};
      plan.watched = dm_node::full_scan_time;
      break;
    case v1::TASK_UPDATE_SIGNATURES: plan.commands = {exec_node(dm_node::defender_update)}; break;
    case v1::TASK_RESTART:
      plan.commands = {exec_node(dm_node::reboot_now)};
      plan.at_end = plan.once = true;
      break;
    case v1::TASK_WIPE:
      plan.commands = {exec_node(dm_node::wipe)};
      plan.at_end = plan.once = true;
      break;
    default: break;  // machine policy: the session is what was asked for
  }
  return plan;
}

DmVerdict verdict_of(int status) {
  if (status >= 200 && status < 300 && status != 214 && status != 215 && status != 216) return {true, "", ""};
  const auto failed = [&](const char* code, const char* why) {
    return DmVerdict{false, code, std::string(why) + " (status " + std::to_string(status) + ")"};
  };
  switch (status) {
    case 214: case 215: case 216: case 507: case 516: return failed("mdm.not_executed", "The device did not carry it out");
    case 401: case 403: case 407: case 425: return failed("mdm.denied", "The device does not permit it");
    case 404: return failed("mdm.no_node", "The device has no such function");
    case 405: return failed("mdm.not_allowed", "The device does not allow it now");
    case 406: return failed("mdm.not_supported", "This edition of the device does not support it");
    case 418: return failed("mdm.exists", "The device has it already");
    case 400: case 415: return failed("mdm.bad_command", "The device did not understand it");
    default: return failed("mdm.command_failed", "The device failed to do it");
  }
}

bool is_same_work(const v1::Notification& left, const v1::Notification& right) {
  return left.task() == right.task() && left.task() != v1::TASK_WIPE &&
         left.restart().SerializeAsString() == right.restart().SerializeAsString();
}

}  // namespace greengate::adapters
