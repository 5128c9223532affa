#include "agent/agent.h"

#include "agent/keys.h"
#include "agent/memory.h"
#include "core/random.h"
#include "greengate/v1/report.pb.h"

#include <sys/inotify.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

constexpr int events_at_once = 256;            // from the link, before anything else gets its turn
constexpr milliseconds rest_after{3'000};      // of quiet, before memory is given back
constexpr milliseconds disk_patience{10'000};  // after the outbox failed
constexpr milliseconds first_names_patience{15'000};

ConversationConfig conversation_config(const AgentConfig& config, Outbox& outbox,
                                       const MachineNames& names) {
  ConversationConfig made;
  made.endpoints = config.endpoints.size();
  made.enrolled = !outbox.fact(Fact::agent_id).empty();
  made.token = enrolment_token(config);
  made.agent_version = agent_version();
  made.host_name = names.host_name;
  made.fqdn = names.fqdn;
  made.operating_system = names.operating_system;
  made.incarnation = outbox.incarnation();
  made.reconnect = {config.reconnect_min, config.reconnect_max};
  made.seed = random_u64();
  return made;
}

ScheduleConfig schedule_config(const AgentConfig& config) {
  ScheduleConfig made;
  made.heartbeat_interval = config.heartbeat_interval;
  made.inventory_interval = config.inventory_interval;
  made.software_interval = config.software_inventory_interval;
  made.files_interval = config.files.interval;
  made.software = config.software.enabled && !config.software.paths.empty() && !config.file.empty();
  made.files = !config.files.collect.empty() && !config.file.empty();
  made.seed = random_u64();
  return made;
}

FileSenderConfig sender_config(const AgentConfig& config) {
  FileSenderConfig made;
  made.ledger_file = config.ledger_file();
  // A small outbox is not for files alone.
  made.window_bytes = std::min(made.window_bytes, config.outbox_bytes_max / 4);
  made.chunk_bytes = static_cast<std::size_t>(std::min(config.files.chunk_bytes, made.window_bytes));
  made.bytes_per_second = static_cast<std::uint64_t>(config.files.bytes_per_second);
  return made;
}

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

CollectionRunnerConfig runner_config(const AgentConfig& config, const std::string& executable,
                                     Outbox& outbox) {
  CollectionRunnerConfig made;
  made.command = {executable,
                  "collect",
                  "--command-patience-ms",
                  std::to_string(config.command_patience.count()),
                  "--installed-at-ms",
                  std::to_string(outbox.number(Fact::installed_at_ms))};
  // The rest of what they need to know, they read where we did.
  if (!config.file.empty()) made.command.insert(made.command.end(), {"--config", config.file});
  if (!config.may_run_commands) made.command.emplace_back("--no-commands");
  made.command.insert(made.command.end(), {"--custom-problems", config.custom_problems_file()});
  made.patience = config.collection_patience;
  return made;
}

adapters::DealerLinkConfig link_config(const AgentConfig& config, const adapters::CurvePair& keys) {
  adapters::DealerLinkConfig made;
  made.public_key = keys.public_key;
  made.secret_key = keys.secret_key;
  made.gateway_key = config.gateway_key;
  return made;
}

std::string os_release_name() {
  for (const char* path : {"/etc/os-release", "/usr/lib/os-release"}) {
    std::ifstream file(path);
    std::string line;
    for (int lines = 0; lines < 100 && std::getline(file, line); ++lines) {
      constexpr std::string_view label = "PRETTY_NAME=";
      if (!line.starts_with(label)) continue;
      std::string name = line.substr(label.size());
      if (name.size() >= 2 && (name.front() == '"' || name.front() == '\''))
        name = name.substr(1, name.size() - 2);
      return name;
    }
  }
  return "";
}

}  // namespace

std::string agent_version() {
  return "greengate-agent " GREENGATE_VERSION;
}

MachineNames machine_names() {
  utsname system{};
  uname(&system);
  MachineNames names;
  names.fqdn = system.nodename;
  names.host_name = names.fqdn.substr(0, names.fqdn.find('.'));
  names.operating_system = os_release_name();
  if (names.operating_system.empty())
    names.operating_system = std::string(system.sysname) + " " + system.release;
  return names;
}

Result<std::unique_ptr<Agent>> Agent::make(AgentConfig config, std::string executable,
                                           const Clock& clock) {
  auto directory = StateDirectory::hold(config.state_directory);
  if (!directory) return pass(directory);
  auto keys = load_or_make_keys(config.keys_file());
  if (!keys) return pass(keys);
  OutboxConfig outbox_config;
  outbox_config.path = config.outbox_file();
  outbox_config.bytes_max = config.outbox_bytes_max;
  auto outbox = Outbox::open(std::move(outbox_config), clock);
  if (!outbox) return pass(outbox);
  for (const std::string& file : {config.keys_file(), config.outbox_file()}) {
    StateDirectory::hand_over(config.state_directory, file);
  }
  return std::unique_ptr<Agent>(new Agent(std::move(config), std::move(executable),
                                          std::move(*directory), std::move(*keys),
                                          std::move(*outbox), clock));
}

Agent::Agent(AgentConfig config, std::string executable, StateDirectory directory,
             adapters::CurvePair keys, std::unique_ptr<Outbox> outbox, const Clock& clock)
    : config_(std::move(config)),
      clock_(clock),
      directory_(std::move(directory)),
      outbox_(std::move(outbox)),
      names_(machine_names()),
      conversation_(conversation_config(config_, *outbox_, names_), clock),
      schedule_(schedule_config(config_), outbox_->number(Fact::last_discovery_ms),
                outbox_->number(Fact::last_inventory_ms), clock,
                outbox_->number(Fact::last_software_ms), outbox_->number(Fact::last_files_ms)),
      runner_(runner_config(config_, executable, *outbox_), clock),
      files_(sender_config(config_), *outbox_, clock),
      link_(link_config(config_, keys)),
      watchers_(config_.watchers, *this, clock),
      tasks_(config_, executable, names_.host_name,
             {[this](Collection what) { schedule_.wanted(what); },
              [this](Collection what) { return runner_.running() && runner_.what() == what; },
              [this](PlannedFile file) { files_.send_own(std::move(file)); }},
             *this, clock),
      watch_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
  // Only another process closes the file after writing: our own handle stays open.
  if (watch_ < 0 || inotify_add_watch(watch_, config_.outbox_file().c_str(), IN_CLOSE_WRITE) < 0) {
    log_.warn("outbox is not watched",
              kv("consequence", "what send-state puts waits for the next report"));
  }
  if (!outbox_->set_aside().empty()) {
    log_.error("damaged outbox set aside", kv("file", outbox_->set_aside()));
  }
  conversation_.given(outbox_->last_sequence());
}

Agent::~Agent() {
  if (watch_ >= 0) close(watch_);
}

void Agent::run(int stop_fd) {
  tell_start();
  // The very first Enrol and Hello should carry the full name, which only a discovery finds out.
  const std::string known = outbox_->fact(Fact::fqdn);
  converse_from_ = clock_.steady() + (known.empty() ? first_names_patience : milliseconds(0));
  if (!known.empty()) conversation_.set_fqdn(known);
  auto door = Door::open(config_.door_file(), clock_);
  if (door) {
    door_ = std::move(*door);
  } else {
    log_.warn("no door for commands", kv("code", door.error().code), kv("why", door.error().message));
  }
  tasks_.desk().begin();
  while (!stopping_) turn(stop_fd, SteadyTime::max());
  tasks_.desk().close();
  watchers_.close();
  log_.info("stopping", kv("reports_waiting", outbox_->count().reports));
}

Result<EnrolmentEnded> Agent::enrol(int stop_fd, milliseconds patience) {
  collecting_ = false;
  converse_from_ = clock_.steady();
  const SteadyTime until = clock_.steady() + patience;
  while (!stopping_ && clock_.steady() < until && !enrolment_ && !conversation_.publishing())
    turn(stop_fd, until);
  if (enrolment_) return *enrolment_;
  if (conversation_.publishing()) {
    return EnrolmentEnded{v1::ENROL_STATE_ACTIVE, outbox_->fact(Fact::agent_id), "",
                          "It was enrolled before."};
  }
  return fail(Remedy::retry, "enrol.no_answer",
              "No gateway answered" + (told_.empty() ? std::string(" in time.") : ": " + told_));
}

void Agent::turn(int stop_fd, SteadyTime until) {
  if (!conversing_ && clock_.steady() >= converse_from_) {
    conversing_ = true;
    conversation_.start();
  }
  conversation_.tick();
  carry_out();
  if (collecting_) {
    tasks_.desk().tick();
    tell_results();
    send_files();
  }
  publish_what_waits();
  collect_what_is_due();
  if (collecting_) watchers_.tick();
  if (door_) hear_door();
  if (clock_.steady() >= rest_at_) {
    rest_at_ = SteadyTime::max();
    give_back_memory();
  }

  SteadyTime due = std::min({until, rest_at_, conversation_.next_due(), runner_.next_due()});
  if (!conversing_) due = std::min(due, converse_from_);
  if (collecting_ && !runner_.running()) due = std::min(due, schedule_.next_due());
  if (collecting_) due = std::min({due, watchers_.next_due(), tasks_.desk().next_due()});
  if (door_) due = std::min(due, door_->next_due());
  if (collecting_ && disk_pause_ <= clock_.steady()) due = std::min(due, files_.next_due());
  if (disk_pause_ > clock_.steady()) due = std::min(due, disk_pause_);
  const auto now = clock_.steady();
  // A minute at most: the wait is measured on a clock that stands still while the machine sleeps.
  // Rounded up, or we would turn idly.
  const auto patience = due <= now
                            ? milliseconds(0)
                            : std::min<milliseconds>(std::chrono::ceil<milliseconds>(due - now),
                                                     std::chrono::minutes(1));
  const std::array<int, 3> others{stop_fd, watch_, runner_.fd()};
  std::vector<int> present;
  for (const int fd : others) {
    if (fd >= 0) present.push_back(fd);
  }
  if (door_) {
    for (const int fd : door_->descriptors()) present.push_back(fd);
  }
  for (const int fd : tasks_.desk().descriptors()) present.push_back(fd);
  const std::vector<bool> readable = link_.wait(present, patience);
  for (std::size_t i = 0; i < present.size(); ++i) {
    if (!readable[i]) continue;
    if (present[i] == stop_fd) stopping_ = true;
    if (present[i] == watch_) {
      std::array<char, 4096> events{};
      while (read(watch_, events.data(), events.size()) > 0) look_ = true;
      conversation_.given(outbox_->last_sequence());
    }
  }
  hear_link();
  if (auto finished = runner_.poll()) {
    const Collection what = finished->what;
    tasks_.collected(what, keep_collected(std::move(*finished)));
  }
}

void Agent::tell_results() {
  const std::vector<v1::TaskResult> results = tasks_.desk().take_results(conversation_.publishing());
  if (results.empty()) return;
  for (const v1::TaskResult& result : results) conversation_.tell(result);
  carry_out();
  rest_at_ = clock_.steady() + rest_after;
}

void Agent::hear_link() {
  for (int i = 0; i < events_at_once; ++i) {
    auto event = link_.next();
    if (!event) return;
    switch (event->kind) {
      case adapters::LinkEvent::Kind::connected:
        conversation_.connected();
        break;
      case adapters::LinkEvent::Kind::lost:
        conversation_.connection_lost(event->error);
        break;
      case adapters::LinkEvent::Kind::frame: {
        v1::Frame frame;
        if (frame.ParseFromString(event->frame)) {
          conversation_.received(frame);
        } else {
          log_.warn("frame from the gateway is no frame", kv("bytes", event->frame.size()));
        }
      }
    }
    carry_out();
  }
}

void Agent::carry_out() {
  for (;;) {
    const std::vector<Decision> decisions = conversation_.take_decisions();
    if (decisions.empty()) return;
    for (const Decision& decision : decisions)
      std::visit([this](const auto& what) { act(what); }, decision);
  }
}

void Agent::publish_what_waits() {
  while (look_ && clock_.steady() >= disk_pause_) {
    const auto wanted = conversation_.wanted();
    if (!wanted) return;
    auto reports = outbox_->next(wanted->after, wanted->count_max, wanted->bytes_max);
    if (!reports) {
      log_.error("outbox cannot be read", kv("code", reports.error().code),
                 kv("why", reports.error().message));
      disk_pause_ = clock_.steady() + disk_patience;
      return;
    }
    look_ = !reports->empty();
    if (look_ && !conversation_.publish(std::move(*reports))) return;
    carry_out();
  }
}

// ---- collections ----

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

void Agent::hear_door() {
  for (const v1::Ask& ask : door_->poll()) {
    if (conversation_.ask(ask)) continue;
    v1::Answer answer;
    answer.set_code(conversation_.publishing() ? "ask.busy" : "ask.not_connected");
    answer.set_message(conversation_.publishing() ? "Too many questions wait already; try again."
                                                  : "The agent is not connected to a gateway; `greengate-agent status` tells why.");
    door_->answer(ask.nonce(), answer);
  }
  carry_out();
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

void Agent::remember(Fact which, const std::string& value) {
  if (auto kept = outbox_->remember(which, value); !kept) {
    log_.error("outbox cannot be written", kv("code", kept.error().code),
               kv("why", kept.error().message));
  }
}

// ---- decisions ----

void Agent::act(const OpenLink& open) {
  if (auto opened = link_.open(config_.endpoints[open.endpoint]); !opened)
    conversation_.connection_lost(opened.error());
}

void Agent::act(const CloseLink&) {
  link_.close();
  rest_at_ = clock_.steady() + rest_after;
}

void Agent::act(const SendFrame& send) {
  if (!link_.is_open()) return;  // lost in the same round; what mattered is sent again
  auto sent = link_.send(send.frame.SerializeAsString());
  if (!sent) return conversation_.connection_lost(sent.error());
  const std::int64_t now = to_millis(clock_.wall());
  for (const v1::Report& report : send.frame.publish().reports())
    outbox_->note_sent(report.sequence(), now);
}

void Agent::act(const ReportsStored& reports) {
  look_ = true;
  files_.outbox_changed();
  rest_at_ = clock_.steady() + rest_after;
  const std::int64_t at = reports.at_ms ? reports.at_ms : to_millis(clock_.wall());
  if (auto kept = outbox_->stored(reports.first, reports.last, at); !kept) {
    // The copies stay and go out again; the gateway knows them and says so.
    log_.error("receipt not kept", kv("code", kept.error().code),
               kv("why", kept.error().message));
  }
}

void Agent::act(const ReportsSettled& reports) {
  look_ = true;
  const std::int64_t at = reports.at_ms ? reports.at_ms : to_millis(clock_.wall());
  if (reports.status == "rejected") {
    log_.error("report rejected", kv("first_sequence", reports.first),
               kv("last_sequence", reports.last), kv("code", reports.code),
               kv("why", reports.message));
  }
  if (auto kept = outbox_->settled(reports.first, reports.last, reports.status, reports.code,
                                   reports.message, at);
      !kept) {
    log_.error("receipt not kept", kv("code", kept.error().code),
               kv("why", kept.error().message));
    disk_pause_ = clock_.steady() + disk_patience;
    return;
  }
  files_.outbox_changed();
  if (reports.status == "rejected" || reports.status == "expired")
    files_.rejected(reports.first, reports.last);
}

void Agent::act(const TaskAsked& task) {
  // `enrol` does nothing; who is not answered is asked again.
  if (!collecting_) return;
  tasks_.desk().asked(task.asked);
}

void Agent::act(const SendFullState& wanted) {
  log_.info("full state wanted", kv("why", wanted.reason));
  // What waits already answers the wish.
  if (!outbox_->has_waiting(v1::KIND_DISCOVERY)) schedule_.wanted(Collection::discovery);
  if (!outbox_->has_waiting(v1::KIND_HARDWARE_INVENTORY)) schedule_.wanted(Collection::inventory);
  if (!outbox_->has_waiting(v1::KIND_SOFTWARE_INVENTORY)) schedule_.wanted(Collection::software);
}

void Agent::act(const Directed& directed) {
  // Within reason, whatever the site says: neither every second nor never.
  const auto bounded = [](std::uint32_t interval_s) {
    if (interval_s == 0) return std::chrono::seconds(0);
    return std::clamp<std::chrono::seconds>(std::chrono::seconds(interval_s),
                                            std::chrono::minutes(15), std::chrono::hours(24 * 366));
  };
  const v1::Directions& directions = directed.directions;
  schedule_.directed(bounded(directions.heartbeat_interval_s()),
                     bounded(directions.inventory_interval_s()),
                     bounded(directions.software_inventory_interval_s()));
}

void Agent::act(const Welcomed& welcomed) {
  look_ = true;
  if (!welcomed.agent_id.empty()) remember(Fact::agent_id, welcomed.agent_id);
  schedule_.welcomed(milliseconds(welcomed.welcome.report_slot_ms()),
                     std::chrono::seconds(welcomed.welcome.heartbeat_interval_s()),
                     std::chrono::seconds(welcomed.welcome.inventory_interval_s()));
  tasks_.desk().welcomed(welcomed.welcome.gateway_time_ms());
}

void Agent::act(const RenewIncarnation&) {
  if (auto renewed = outbox_->begin_new_incarnation(); !renewed) {
    log_.error("outbox cannot be written", kv("code", renewed.error().code),
               kv("why", renewed.error().message));
    return;
  }
  files_.outbox_changed();
  conversation_.renewed(outbox_->incarnation());
  conversation_.given(outbox_->last_sequence());
  log_.warn("outbox was an old copy", kv("new_incarnation", outbox_->incarnation()));
}

void Agent::act(const StateChanged& change) {
  const std::string told = change.code.empty()
                               ? change.state
                               : change.state + " (" + change.code + ") " + change.message;
  const bool step =
      change.state == "connecting" || change.state == "greeting" || change.state == "enrolling";
  if (step) {
    log_.debug("link", kv("state", change.state));
    return;
  }
  if (told == told_) return;
  told_ = told;
  if (change.code.empty()) {
    log_.info("link", kv("state", change.state));
  } else {
    log_.warn("link", kv("state", change.state), kv("code", change.code),
              kv("why", change.message));
  }
  remember(Fact::link_state, change.state);
  remember(Fact::link_error, change.code.empty() ? "" : change.code + ": " + change.message);
  remember(Fact::link_since_ms, std::to_string(to_millis(clock_.wall())));
}

void Agent::act(const Answered& answered) {
  if (door_) door_->answer(answered.answer.nonce(), answered.answer);
}

void Agent::act(const AsksLost&) {
  if (door_) door_->answer_all("ask.disconnected", "The connection to the gateway was lost before it answered; try again.");
}

void Agent::act(const EnrolmentEnded& ended) {
  if (ended.state == v1::ENROL_STATE_ACTIVE) {
    remember(Fact::agent_id, ended.agent_id);
    log_.info("enrolled", kv("agent", ended.agent_id));
  } else if (ended.state == v1::ENROL_STATE_REFUSED) {
    log_.error("enrolment refused", kv("code", ended.code), kv("why", ended.message));
  } else if (!enrolment_ || enrolment_->state != ended.state) {
    log_.info("enrolment waits for an operator", kv("agent", ended.agent_id),
              kv("why", ended.message));
  }
  enrolment_ = ended;
}

}  // namespace greengate::agent
