#include "gateway/task_parameters.h"

#include "adapters/bgb/script_task.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace greengate::gateway {
namespace {

Counter script_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_fanout_script_tasks_total", "Script tasks of the site by what became of them.", {{"outcome", outcome}});
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

// The task's own GUID, with or without braces; the result names it.
Result<std::string> task_guid(std::string text) {
  if (text.size() == 38 && text.front() == '{' && text.back() == '}') text = text.substr(1, 36);
  if (!adapters::bgb::is_guid(text))
    return fail(Remedy::reject, "notify.script_task_guid", "The push of a script task has no TaskGUID, which its result would name.");
  return upper(std::move(text));
}

}  // namespace

std::vector<ConfigProblem> TaskParametersConfig::problems() const {
  std::vector<ConfigProblem> found;
  const auto one_of = [&](const char* key, const std::string& value, std::string_view first, std::string_view second) {
    if (value == first || value == second) return;
    found.push_back({key, std::string(key) + " is \"" + value + "\"; it can be \"" + std::string(first) + "\" or \"" + std::string(second) + "\"."});
  };
  one_of("notifications.scripts", scripts, "refuse", "allow");
  one_of("notifications.live_queries", live_queries, "refuse", "allow");
  one_of("notifications.scripts_parameter_hash", scripts_parameter_hash, "strict", "loose");
  return found;
}

TaskParameters::TaskParameters(TaskParametersConfig config, Metrics& metrics)
    : config_(std::move(config)),
      passed_(script_counter(metrics, "passed")),
      refused_(script_counter(metrics, "refused")),
      invalid_(script_counter(metrics, "invalid")) {}

Result<std::string> TaskParameters::of(const AgentId& agent, v1::Task task, const adapters::BgbPush& push) const {
  // What the site may say with a restart is not known in public; without a word the agent's own grace counts.
  if (task != v1::TASK_RUN_SCRIPT) return std::string();
  auto script = this->script(agent, push);
  if (!script) {
    const std::string_view code = script.error().code;
    const bool unwanted = code == "notify.script_refused" || code == "notify.live_query_refused";
    (unwanted ? refused_ : invalid_).add();
    log_.warn("script task refused", kv("agent", agent.raw()), kv("push_id", push.push_id), kv("task_id", push.task_id),
              kv("task_guid", push.task_guid), kv("code", script.error().code), kv("why", script.error().message));
    return pass(script);
  }
  passed_.add();
  log_.info("script task passed on", kv("agent", agent.raw()), kv("push_id", push.push_id), kv("task_id", push.task_id),
            kv("task_guid", script->task_guid()), kv("script", script->script_guid()), kv("script_hash", script->script_hash()),
            kv("parameters", script->parameters_size()));
  v1::Notification notification;
  *notification.mutable_run_script() = std::move(*script);
  return notification.SerializeAsString();
}

// Parsed even where it is refused, so that the log says which script somebody asked for.
Result<v1::RunScript> TaskParameters::script(const AgentId& agent, const adapters::BgbPush& push) const {
  const auto check = config_.scripts_parameter_hash == "loose" ? adapters::bgb::ParametersHash::loose : adapters::bgb::ParametersHash::strict;
  auto task = adapters::bgb::parse_script_task(push.task_param, check);
  if (!task) return pass(task);
  auto guid = task_guid(push.task_guid);
  if (!guid) return pass(guid);
  if (!task->parameters_hash_right) {
    log_.warn("script task's parameters do not have their hash", kv("agent", agent.raw()), kv("push_id", push.push_id), kv("script", task->guid));
  }
  if (task->cmpivot && config_.live_queries != "allow")
    return fail(Remedy::reject, "notify.live_query_refused", "The site asks a live query; notifications.live_queries refuses them.");
  if (!task->cmpivot && config_.scripts != "allow")
    return fail(Remedy::reject, "notify.script_refused", "The site asks for script " + task->guid + "; notifications.scripts refuses them.");

  v1::RunScript script;
  script.set_script_guid(task->guid);
  script.set_script_version(task->version);
  script.set_script_type(task->type);
  script.set_script_hash(task->hash);
  script.set_task_guid(*guid);
  for (adapters::bgb::ScriptTask::Parameter& parameter : task->parameters) {
    v1::ScriptParameter& one = *script.add_parameters();
    one.set_name(std::move(parameter.name));
    one.set_value(std::move(parameter.value));
  }
  return script;
}

}  // namespace greengate::gateway
