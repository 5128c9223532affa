// What the agent collects and tells, on its way into the outbox.
#include "agent/agent_parts.h"
#include "greengate/v1/report.pb.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

tl::unexpected<Error> not_kept() {
  return fail(Remedy::retry, "outbox.disk", "The report could not be put into the outbox.");
}

// Which report a collection becomes. What the files become, FileSender knows.
std::pair<v1::Lane, v1::Kind> report_of(Collection what) {
  switch (what) {
    case Collection::discovery:
      return {v1::LANE_DISCOVERY, v1::KIND_DISCOVERY};
    case Collection::inventory:
      return {v1::LANE_INVENTORY, v1::KIND_HARDWARE_INVENTORY};
    default:
      return {v1::LANE_INVENTORY, v1::KIND_SOFTWARE_INVENTORY};
  }
}

Fact last_of(Collection what) {
  switch (what) {
    case Collection::discovery:
      return Fact::last_discovery_ms;
    case Collection::inventory:
      return Fact::last_inventory_ms;
    case Collection::software:
      return Fact::last_software_ms;
    case Collection::files:
      break;
  }
  return Fact::last_files_ms;
}

}  // namespace

void Agent::collect_what_is_due() {
  if (!collecting_ || runner_.running()) return;
  // Discovery first: it is small, and says who the inventory is about.
  for (const Collection what : all_collections) {
    if (!schedule_.due(what)) continue;
    if (what == Collection::inventory) unlink(config_.custom_problems_file().c_str());
    auto started = runner_.start(what);
    if (started) return;
    schedule_.failed(what);
    log_.error("collection not started", kv("code", started.error().code),
               kv("why", started.error().message));
    tasks_.collected(what, started);
  }
}

Result<void> Agent::keep_collected(CollectionRunner::Finished finished) {
  if (finished.what == Collection::inventory) tell_custom_problems();
  if (!finished.body) {
    schedule_.failed(finished.what);
    log_.error("collection failed", kv("what", name_of(finished.what)),
               kv("code", finished.body.error().code),
               kv("why", finished.body.error().message));
    return pass(finished.body);
  }
  if (finished.what == Collection::files) {
    take_file_plan(*finished.body, finished.took);
    return {};
  }
  if (finished.what == Collection::discovery) {
    v1::Discovery discovery;
    if (discovery.ParseFromString(*finished.body) && !discovery.fqdn().empty()) {
      conversation_.set_fqdn(discovery.fqdn());
      remember(Fact::fqdn, discovery.fqdn());
    }
    converse_from_ = clock_.steady();
  }
  const auto [lane, kind] = report_of(finished.what);
  if (!keep(lane, kind, *finished.body)) {
    schedule_.failed(finished.what);
    return not_kept();
  }
  schedule_.finished(finished.what);
  remember(last_of(finished.what), std::to_string(to_millis(clock_.wall())));
  log_.info("collected", kv("what", name_of(finished.what)), kv("bytes", finished.body->size()),
            kv("took_ms", finished.took));
  if (finished.what == Collection::inventory) {
    keep_state(config_.inventory_topic_type, "greengate:hardware-inventory",
               config_.inventory_state_id, {});
  }
  rest_at_ = clock_.steady() + rest_after;
  return {};
}

// What matches and has changed; sending it is another matter and may take long.
void Agent::take_file_plan(const std::string& body, milliseconds took) {
  auto plan = FilePlan::decode(body);
  if (!plan) {
    schedule_.failed(Collection::files);
    log_.error("collection failed", kv("what", name_of(Collection::files)),
               kv("code", "files.plan"), kv("why", "The collecting process told no plan."));
    return;
  }
  const auto changed = std::count_if(plan->files.begin(), plan->files.end(),
                                     [](const PlannedFile& file) { return file.changed; });
  log_.info("collected", kv("what", name_of(Collection::files)), kv("files", plan->files.size()),
            kv("changed", changed), kv("left", plan->left), kv("unreadable", plan->unreadable),
            kv("too_large", plan->too_large), kv("took_ms", took));
  schedule_.finished(Collection::files);
  plan_asked_ = false;
  files_.take(std::move(*plan));
}

void Agent::send_files() {
  if (clock_.steady() < disk_pause_) return;
  if (files_.needs_plan() && !plan_asked_) {
    plan_asked_ = true;
    schedule_.wanted(Collection::files);
    // Nothing is collected any more: an empty plan forgets what was half-sent.
    if (config_.files.collect.empty()) files_.take({});
  }
  if (clock_.steady() < files_.next_due()) return;
  const auto progress = files_.work();
  if (!progress) {
    log_.error("report not kept", kv("code", progress.error().code),
               kv("why", progress.error().message));
    disk_pause_ = clock_.steady() + disk_patience;
    return;
  }
  if (progress->put) {
    conversation_.given(*progress->put);
    look_ = true;
  }
  if (progress->own_over) tasks_.file_sent(*progress->own_over);
  if (!progress->run_over) return;
  if (progress->again) {
    schedule_.failed(Collection::files);
  } else {
    remember(Fact::last_files_ms, std::to_string(to_millis(clock_.wall())));
  }
  log_.info("files sent", kv("files", progress->files), kv("bytes", progress->bytes));
  rest_at_ = clock_.steady() + rest_after;
}

bool Agent::keep(v1::Lane lane, v1::Kind kind, const std::string& body) {
  auto kept = outbox_->put(lane, kind, body, to_millis(clock_.wall()), 0);
  if (!kept) {
    log_.error("report not kept", kv("code", kept.error().code),
               kv("why", kept.error().message), kv("bytes", body.size()));
    return false;
  }
  conversation_.given(*kept);
  look_ = true;
  return true;
}

bool Agent::keep(const std::vector<Finding>& findings, const Notes& notes) {
  std::vector<Draft> drafts;
  for (const Finding& finding : findings) drafts.push_back({finding.lane, finding.kind, finding.body});
  std::vector<OutboxNote> written;
  for (const auto& [name, value] : notes) written.push_back({name, value});
  const auto kept = outbox_->put_together(drafts, to_millis(clock_.wall()), written);
  if (!kept) {
    log_.error("report not kept", kv("code", kept.error().code), kv("why", kept.error().message));
    return false;
  }
  if (findings.empty()) return true;
  conversation_.given(*kept);
  look_ = true;
  return true;
}

// The site learns once that a script makes no statement, and once that it does again.
void Agent::tell_custom_problems() {
  std::ifstream file(config_.custom_problems_file(), std::ios::binary);
  if (!file || config_.custom_topic_type == 0) return;
  std::string text(256 << 10, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  const std::string before_text = note("custom");
  const auto now = problems_from_text(text), before = problems_from_text(before_text);
  const auto among = [](const std::vector<ScriptProblem>& all, const ScriptProblem& one, bool same_code) {
    return std::any_of(all.begin(), all.end(), [&](const ScriptProblem& other) {
      return other.script == one.script && (!same_code || other.code == one.code);
    });
  };
  v1::StateMessages messages;
  const auto tell = [&](const ScriptProblem& problem, bool failed) {
    v1::StateMessage& message = *messages.add_messages();
    message.set_time_ms(to_millis(clock_.wall()));
    message.set_topic_type(config_.custom_topic_type);
    message.set_topic_id("greengate:custom-inventory:" + problem.script);
    message.set_state_id(failed ? config_.custom_failed_state_id : config_.custom_mended_state_id);
    if (!failed) return;
    message.add_parameters(problem.code);
    message.add_parameters(problem.message);
  };
  for (const ScriptProblem& problem : now) {
    if (!among(before, problem, true)) tell(problem, true);
  }
  for (const ScriptProblem& problem : before) {
    if (!among(now, problem, false)) tell(problem, false);
  }
  if (messages.messages_size() == 0) return;
  keep({{v1::LANE_STATE, v1::KIND_STATE_MESSAGES, messages.SerializeAsString()}}, {{"custom", problems_text(now)}});
}

void Agent::keep_state(std::uint32_t topic_type, const std::string& topic_id,
                       std::uint32_t state_id, std::vector<std::string> parameters) {
  if (topic_type == 0) return;
  v1::StateMessages messages;
  v1::StateMessage& message = *messages.add_messages();
  message.set_time_ms(to_millis(clock_.wall()));
  message.set_topic_type(topic_type);
  message.set_topic_id(topic_id);
  message.set_state_id(state_id);
  for (std::string& parameter : parameters) message.add_parameters(std::move(parameter));
  keep(v1::LANE_STATE, v1::KIND_STATE_MESSAGES, messages.SerializeAsString());
}

// Once for each version: the site learns that the agent was installed or has changed.
void Agent::tell_start() {
  log_.info("started", kv("version", GREENGATE_VERSION), kv("incarnation", outbox_->incarnation()),
            kv("reports_waiting", outbox_->count().reports));
  if (!config_.token_file.empty() && outbox_->fact(Fact::agent_id).empty() &&
      enrolment_token(config_).empty()) {
    log_.warn("no token in token_file", kv("file", config_.token_file),
              kv("consequence", "an operator must approve this machine"));
  }
  if (outbox_->fact(Fact::started_version) == GREENGATE_VERSION) return;
  keep_state(config_.started_topic_type, "greengate:agent", config_.started_state_id,
             {GREENGATE_VERSION});
  schedule_.wanted(Collection::discovery);
  remember(Fact::started_version, GREENGATE_VERSION);
}

}  // namespace greengate::agent
