#include "agent/agent.h"

#include "agent/agent_parts.h"
#include "agent/keys.h"
#include "agent/memory.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

constexpr int events_at_once = 256;  // from the link, before anything else gets its turn
constexpr milliseconds first_names_patience{15'000};

}  // namespace

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

void Agent::remember(Fact which, const std::string& value) {
  if (auto kept = outbox_->remember(which, value); !kept) {
    log_.error("outbox cannot be written", kv("code", kept.error().code),
               kv("why", kept.error().message));
  }
}

}  // namespace greengate::agent
