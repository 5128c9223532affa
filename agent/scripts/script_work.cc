#include "agent/scripts/script_work.h"

#include "agent/scripts/command.h"
#include "agent/scripts/result_rows.h"
#include "greengate/v1/report.pb.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <utility>

namespace greengate::agent {
namespace {

tl::unexpected<Error> refuse(const char* code, std::string message) { return fail(Remedy::reject, code, std::move(message)); }

bool same_without_case(const std::string& a, const std::string& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// What an end means: the number for the site, and for the gateway a code and a sentence when it was none of the command's own.
struct Meaning {
  int result = 0;
  const char* code = "";
  std::string message = {};
};

Meaning meaning_of(const RunEnd& end) {
  switch (end.how) {
    case RunEnd::How::exited:
      return {end.number};
    case RunEnd::How::signalled:
      return {128 + end.number, "task.script_signal", "The command was ended by signal " + std::to_string(end.number) + "."};
    case RunEnd::How::timeout:
      return {result_timeout, "task.script_timeout", "The command did not end in the time it has."};
    case RunEnd::How::output:
      return {result_output, "task.script_output", "The command printed more than it may."};
    case RunEnd::How::not_started:
      return {result_not_started, "task.script_start", std::string("The system did not run the command: ") + std::strerror(end.number) + "."};
    case RunEnd::How::lost:
      break;
  }
  return {result_lost, "task.script_lost", "The process that watched the command was ended."};
}

}  // namespace

ScriptWork::ScriptWork(ScriptSettings settings, const Clock& clock)
    : settings_(std::move(settings)), clock_(clock), audit_(settings_.audit_file, settings_.audit_bytes_max, clock) {}

ScriptWork::~ScriptWork() { stop(); }

Result<void> ScriptWork::check(const v1::Notification& asked) {
  auto order = order_for(asked);
  if (order) return {};
  AuditRecord record = record_of("refused", asked);
  record.code = order.error().code;
  write_down(record);
  return pass(order);
}

Result<void> ScriptWork::start(const v1::Notification& task) {
  // Anew: the machine may have changed since the task was accepted.
  auto order = order_for(task);
  if (!order) {
    AuditRecord record = record_of("refused", task);
    record.code = order.error().code;
    write_down(record);
    return pass(order);
  }
  if (auto written = audit_.write(record_of("started", task)); !written) {
    log_.error("script task not audited and therefore not run", kv("why", written.error().message));
    return pass(written);
  }
  auto run = SupervisedRun::start(*order, clock_);
  if (!run) {
    AuditRecord record = record_of("ended", task);
    record.code = run.error().code;
    write_down(record);
    return pass(run);
  }
  run_ = std::move(*run);
  task_ = task;
  entry_ = *entry_for(task.run_script());
  log_.info("script task's command started", kv("script", task.run_script().script_guid()), kv("program", entry_->command.front()));
  return {};
}

std::optional<TaskEnd> ScriptWork::poll() {
  if (!run_) return std::nullopt;
  const auto end = run_->poll();
  if (!end) return std::nullopt;
  run_.reset();
  const Meaning meaning = meaning_of(*end);
  AuditRecord record = record_of("ended", task_);
  record.code = meaning.code;
  if (end->how == RunEnd::How::exited) record.exit = end->number;
  if (end->how == RunEnd::How::signalled) record.signal = end->number;
  record.took_ms = end->took.count();
  record.output_bytes = end->output_bytes;
  if (end->left_some) {
    record.code = "task.script_left_some";
    log_.error("script task's command left processes that cannot be ended", kv("script", task_.run_script().script_guid()), kv("program", entry_->command.front()));
  }
  write_down(record);
  log_.info("script task's command ended", kv("script", task_.run_script().script_guid()), kv("outcome", meaning.result), kv("code", meaning.code),
            kv("took_ms", end->took), kv("bytes", end->output_bytes));
  return told(task_, *end, entry_->rows == "table");
}

// Whatever ran ended with the agent: its supervisor sees to that.
std::optional<TaskEnd> ScriptWork::resume(const v1::Notification& task, const std::string&) {
  AuditRecord record = record_of("interrupted", task);
  record.code = "task.interrupted";
  write_down(record);
  RunEnd end;
  end.how = RunEnd::How::lost;
  TaskEnd made = told(task, end, false);
  made.code = "task.interrupted";
  made.message = "The agent was ended before the command was.";
  return made;
}

void ScriptWork::stop() {
  run_.reset();
}

Result<const AllowedScript*> ScriptWork::entry_for(const v1::RunScript& asked) const {
  bool known = false;
  for (const AllowedScript& script : settings_.allowed) {
    if (!same_without_case(script.script_guid, asked.script_guid())) continue;
    known = true;
    if (same_without_case(script.script_hash, asked.script_hash())) return &script;
  }
  if (known) return refuse("task.script_changed", "This script is allowed with another hash only: it was changed at the site.");
  return refuse("task.script_not_allowed", "This machine's administrator has not allowed this script.");
}

Result<RunOrder> ScriptWork::order_for(const v1::Notification& task) {
  if (!settings_.enabled) return refuse("task.scripts_off", "This machine's administrator has not turned script tasks on.");
  auto entry = entry_for(task.run_script());
  if (!entry) return pass(entry);
  auto order = order_of(**entry, task.run_script(), static_cast<std::size_t>(settings_.shown_bytes_max));
  return order;
}

AuditRecord ScriptWork::record_of(const char* event, const v1::Notification& task) const {
  const v1::RunScript& asked = task.run_script();
  AuditRecord record;
  record.event = event;
  record.notification = task.notification_id();
  record.site_task = task.site_task_id();
  record.task_guid = asked.task_guid();
  record.script_guid = asked.script_guid();
  record.script_hash = asked.script_hash();
  for (const v1::ScriptParameter& parameter : asked.parameters()) record.parameters.push_back(parameter.name());
  if (const auto entry = entry_for(asked)) {
    record.name = (*entry)->name;
    record.user = (*entry)->run_as;
  }
  return record;
}

void ScriptWork::write_down(const AuditRecord& record) {
  if (auto written = audit_.write(record); !written) {
    log_.error("script task not audited", kv("script", record.script_guid), kv("state", record.event), kv("why", written.error().message));
  }
}

TaskEnd ScriptWork::told(const v1::Notification& task, const RunEnd& end, bool as_table) const {
  const Meaning meaning = meaning_of(end);
  TaskEnd made{end.how == RunEnd::How::exited, meaning.code, meaning.message};
  if (settings_.topic_type == 0) return made;
  v1::StateMessages messages;
  v1::StateMessage& message = *messages.add_messages();
  message.set_time_ms(to_millis(clock_.wall()));
  message.set_topic_type(settings_.topic_type);
  message.set_topic_id(task.run_script().script_guid());
  message.set_state_id(settings_.state_id);
  v1::ScriptResult& result = *message.mutable_script_result();
  result.set_task_guid(task.run_script().task_guid());
  result.set_result_code(meaning.result);
  if (!fill_rows(result, end.output, as_table) && made.completed) {
    made.code = "task.script_rows";
    made.message = "The command's first line names no columns; its output was told as lines.";
  }
  made.reports.push_back({v1::LANE_STATE, v1::KIND_STATE_MESSAGES, messages.SerializeAsString()});
  return made;
}

}  // namespace greengate::agent
