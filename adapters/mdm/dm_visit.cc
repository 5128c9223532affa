#include "adapters/mdm/dm_visit.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace greengate::adapters {
namespace {

constexpr std::string_view unenrol_type = "com.microsoft:mdm.unenrollment.userrequest";
constexpr std::size_t told_bytes_max = 200;
constexpr std::size_t kept_max = 64;

bool well(int status) { return status >= 200 && status < 300; }

std::string first_text(const DmAnswer& answer) { return answer.results.empty() ? std::string() : answer.results.front().data.value_or(""); }

std::string cut(const std::string& text) {
  if (text.size() <= told_bytes_max) return text;
  std::size_t end = told_bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace

DmVisit::DmVisit(const DmVisitRules& rules, DmDevice device, DmHost& host, std::vector<DmLatelyDone>& lately, const Clock& clock,
                 const DmHeader& first, std::string nonce)
    : rules_(rules),
      device_(std::move(device)),
      host_(host),
      lately_(lately),
      clock_(clock),
      nodes_(rules.provider),
      session_(rules.session, first, device_.credential, std::move(nonce), clock.steady()) {}

Result<std::string> DmVisit::answer(const DmMessage& message) {
  auto taken = session_.take(message, clock_.steady());
  if (!taken) return pass(taken);
  if (taken->admitted) begin();
  if (begun_) hear(*taken);
  if (taken->whole) gather();
  keep();
  return session_.reply();
}

void DmVisit::begin() {
  begun_ = true;
  auto recalled = host_.recall(device_);
  blind_ = !recalled.has_value();
  if (blind_) log_.warn("a device's memory could not be read, nothing is asked of it", kv("agent", device_.agent.raw()), kv("code", recalled.error().code));
  else memory_ = kept_ = std::move(*recalled);
  memory_.last_session = clock_.wall();
  memory_.unenrolled = false;  // a device that comes is managed, whatever was said before
  host_.visit_opened(device_);
  if (!blind_) {
    pfn_.emplace(nodes_, memory_.pfn);
    if (auto first = pfn_->begin(host_.pfn_to_set(device_), clock_.wall())) order(std::move(*first), For::pfn, 0);
    memory_.pfn = pfn_->record();
  }
  read_channel(For::uri, For::status);
  for (const DmWatch& watch : memory_.watches) {
    watched_.push_back(watch.notification);
    order(get_node(watch.node), For::watch, watched_.size() - 1);
  }
}

void DmVisit::read_channel(For uri, For status) {
  uri_heard_ = status_heard_ = false;
  channel_asked_ = true;
  channel_ = {};
  order(get_node(nodes_.channel_uri), uri, 0);
  order(get_node(nodes_.status), status, 0);
}

void DmVisit::order(DmCommand command, For what, std::size_t index) {
  const std::uint64_t ticket = next_ticket_++;
  waiting_[ticket] = {what, index};
  if (!session_.queue({ticket, std::move(command)})) waiting_.erase(ticket);
}

void DmVisit::hear(const DmTaken& taken) {
  for (const DmItem& item : taken.told) {
    const std::string text = cut(item.data.value_or(""));
    if (item.source == dm_node::manufacturer) memory_.manufacturer = text;
    if (item.source == dm_node::model) memory_.model = text;
  }
  for (const DmEvent& event : taken.events) {
    if (event.code != 1226 || event.type != unenrol_type) continue;
    memory_.unenrolled = true;
    log_.warn("a device's user ended its management", kv("agent", device_.agent.raw()));
    host_.unenrolled(device_);
  }
  for (const DmAnswer& answer : taken.answers) hear_answer(answer);
  if (taken.answers.empty()) return;
  // Only a whole package answers the reads, and the PFN procedure wants both.
  told_channel();
  if (pfn_answer_) go_on_with_pfn(*std::exchange(pfn_answer_, std::nullopt));
}

void DmVisit::hear_answer(const DmAnswer& answer) {
  const auto found = waiting_.find(answer.ticket);
  if (found == waiting_.end()) return;
  const Waiting waited = found->second;
  waiting_.erase(found);
  switch (waited.what) {
    case For::task: return hear_task(runs_[waited.index], answer);
    case For::before:
      if (well(answer.status)) runs_[waited.index].before = cut(first_text(answer));
      return;
    case For::watch: return hear_watch(watched_[waited.index], answer);
    case For::pfn: pfn_answer_ = answer; return;
    case For::uri:
    case For::extra_uri:
      // Absent or null: there is none. Anything else: we do not know.
      uri_heard_ = well(answer.status) || answer.status == 404;
      if (well(answer.status) && !first_text(answer).empty()) channel_.uri = first_text(answer);
      return;
    case For::status:
    case For::extra_status: {
      status_heard_ = well(answer.status) || answer.status == 404;
      const std::string text = first_text(answer);
      int value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (well(answer.status) && error == std::errc() && end == text.data() + text.size() && !text.empty()) channel_.push_status = value;
      return;
    }
  }
}

void DmVisit::told_channel() {
  if (!channel_asked_ || !uri_heard_ || !status_heard_ || memory_.unenrolled) return;
  channel_asked_ = false;
  host_.channel_read(device_, channel_);
}

void DmVisit::go_on_with_pfn(const DmAnswer& answer) {
  const bool was_busy = pfn_->busy();
  auto next = pfn_->answered(answer.status, first_text(answer), channel_.push_status, channel_.uri.has_value(), clock_.wall());
  memory_.pfn = pfn_->record();
  if (next) {
    order(std::move(*next), For::pfn, 0);
    read_channel(For::extra_uri, For::extra_status);
    return;
  }
  if (!was_busy) return;
  const std::string& outcome = memory_.pfn.outcome;
  const bool good = outcome == "set" || outcome == "channel_comes_later";
  host_.pfn_outcome(device_, outcome, good);
}

// New work is looked for after every package: what was posted while the device is here needs no push.
void DmVisit::gather() {
  if (memory_.unenrolled || blind_) return;
  if (seen_.size() < rules_.tasks_max) {
    for (const v1::Notification& task : host_.collect(device_, rules_.tasks_max)) {
      if (seen_.size() >= rules_.tasks_max) break;
      if (seen_.insert(task.notification_id()).second) take_on(task);
    }
  }
  bool last_words = waiting_.empty();
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    if (!runs_[i].sent && !runs_[i].over && !runs_[i].plan.at_end && send(i)) last_words = false;
  }
  // Restart and wipe end all else, so they go alone and last.
  for (std::size_t i = 0; last_words && i < runs_.size(); ++i) {
    if (!runs_[i].sent && !runs_[i].over && send(i)) break;
  }
}

void DmVisit::take_on(const v1::Notification& task) {
  const std::uint64_t id = task.notification_id();
  if (const auto refused = refused_for_windows(task, rules_.tasks)) {
    return tell(id, v1::TASK_OUTCOME_UNKNOWN_TASK, refused->code, refused->message);
  }
  const bool watched = std::any_of(memory_.watches.begin(), memory_.watches.end(), [&](const DmWatch& w) { return w.notification == id; });
  if (watched) return tell(id, v1::TASK_OUTCOME_ACCEPTED, "", "");  // begun before; its end is looked for
  if (std::find(memory_.sent_once.begin(), memory_.sent_once.end(), id) != memory_.sent_once.end()) {
    return tell(id, v1::TASK_OUTCOME_FAILED, "mdm.unclear",
                "It was sent once and its answer was lost; look at the device before asking again.");
  }
  if (task.expires_at_ms() > 0 && from_millis(task.expires_at_ms()) <= clock_.wall()) {
    return tell(id, v1::TASK_OUTCOME_FAILED, "task.expired", "Its time ended before the device came.");
  }
  std::erase_if(lately_, [&](const DmLatelyDone& done) { return clock_.steady() - done.at >= rules_.same_work_window; });
  for (const DmLatelyDone& done : lately_) {
    if (!is_same_work(done.task, task)) continue;
    if (done.result.outcome() != v1::TASK_OUTCOME_ACCEPTED) tell(id, v1::TASK_OUTCOME_ACCEPTED, "", "");
    tell(id, done.result.outcome(), done.result.code(), done.result.message());
    // An unfinished one is finished with the other.
    for (std::size_t i = 0; done.result.outcome() == v1::TASK_OUTCOME_ACCEPTED && i < memory_.watches.size(); ++i) {
      if (memory_.watches[i].notification != done.result.notification_id()) continue;
      DmWatch too = memory_.watches[i];
      too.notification = id;
      memory_.watches.push_back(std::move(too));
      break;
    }
    return;
  }
  for (Run& run : runs_) {
    if (run.over || !is_same_work(run.task, task)) continue;
    run.ids.push_back(id);
    return;
  }
  Run run;
  run.task = task;
  run.ids = {id};
  run.plan = plan_of(task);
  if (run.plan.commands.empty()) {  // the session itself is the work
    tell(run, v1::TASK_OUTCOME_ACCEPTED, "", "");
    tell(run, v1::TASK_OUTCOME_COMPLETED, "", "");
    return;
  }
  runs_.push_back(std::move(run));
}

bool DmVisit::send(std::size_t index) {
  Run& run = runs_[index];
  if (run.plan.once) {
    memory_.sent_once.insert(memory_.sent_once.end(), run.ids.begin(), run.ids.end());
    if (memory_.sent_once.size() > kept_max) memory_.sent_once.erase(memory_.sent_once.begin(), memory_.sent_once.end() - kept_max);
    if (auto noted = host_.remember(device_, memory_); !noted) {
      // Without the note it could be sent twice: it waits for the next session.
      std::erase_if(memory_.sent_once, [&](std::uint64_t id) { return std::find(run.ids.begin(), run.ids.end(), id) != run.ids.end(); });
      log_.warn("a task could not be noted and was not sent", kv("agent", device_.agent.raw()), kv("code", noted.error().code));
      run.over = true;
      return false;
    }
    kept_ = memory_;
  }
  run.sent = true;
  if (!run.plan.watched.empty()) order(get_node(run.plan.watched), For::before, index);
  run.left = run.plan.commands.size();
  for (const DmCommand& command : run.plan.commands) order(command, For::task, index);
  log_.info("task sent to a device", kv("agent", device_.agent.raw()), kv("task", v1::Task_Name(run.task.task())));
  return true;
}

void DmVisit::hear_task(Run& run, const DmAnswer& answer) {
  if (run.over) return;
  if (answer.status == 0) {  // not a word: it stays handed over, for the next session
    run.over = true;
    return;
  }
  const bool optional_read = run.plan.reads && answer.status == 404;
  if (run.plan.reads && well(answer.status)) {
    for (const DmItem& item : answer.results) {
      if (item.source == dm_node::manufacturer) memory_.manufacturer = cut(item.data.value_or(""));
      if (item.source == dm_node::model) memory_.model = cut(item.data.value_or(""));
      if (item.source == dm_node::software_version) memory_.version = cut(item.data.value_or(""));
    }
  }
  if (!optional_read && !verdict_of(answer.status).good && verdict_of(run.worst).good) run.worst = answer.status;
  if (run.left > 0 && --run.left > 0) return;
  run.over = true;
  const DmVerdict verdict = verdict_of(run.worst);
  if (!verdict.good) return tell(run, v1::TASK_OUTCOME_FAILED, verdict.code, verdict.message);
  if (run.plan.watched.empty() || !run.before) {
    tell(run, v1::TASK_OUTCOME_ACCEPTED, "", "");
    return tell(run, v1::TASK_OUTCOME_COMPLETED, "", "");
  }
  // Its status says only that it was begun: the device shows the end in a later session. On disk before anybody relies on it.
  for (const std::uint64_t id : run.ids) memory_.watches.push_back({id, run.plan.watched, *run.before, clock_.wall()});
  if (memory_.watches.size() > kept_max) memory_.watches.erase(memory_.watches.begin(), memory_.watches.end() - kept_max);
  tell(run, v1::TASK_OUTCOME_ACCEPTED, "", "");
}

void DmVisit::hear_watch(std::uint64_t notification, const DmAnswer& answer) {
  const auto watch = std::find_if(memory_.watches.begin(), memory_.watches.end(), [&](const DmWatch& w) { return w.notification == notification; });
  if (watch == memory_.watches.end()) return;
  if (well(answer.status) && !first_text(answer).empty() && cut(first_text(answer)) != watch->before) {
    tell(notification, v1::TASK_OUTCOME_COMPLETED, "", "");
  } else if (clock_.wall() - watch->since >= rules_.watch_for) {
    tell(notification, v1::TASK_OUTCOME_NOT_COMPLETED, "mdm.end_not_seen", "The device took it and never showed that it was done.");
  } else {
    return;
  }
  memory_.watches.erase(watch);
}

void DmVisit::tell(const Run& run, v1::TaskOutcome outcome, const std::string& code, const std::string& message) {
  for (const std::uint64_t id : run.ids) tell(id, outcome, code, message);
  note_lately(run, outcome, code, message);
}

void DmVisit::tell(std::uint64_t id, v1::TaskOutcome outcome, const std::string& code, const std::string& message) {
  v1::TaskResult result;
  result.set_notification_id(id);
  result.set_outcome(outcome);
  result.set_code(code);
  result.set_message(message);
  host_.task_result(device_, result);
}

void DmVisit::note_lately(const Run& run, v1::TaskOutcome outcome, const std::string& code, const std::string& message) {
  if (outcome == v1::TASK_OUTCOME_FAILED) return;  // that may be tried again at once
  std::erase_if(lately_, [&](const DmLatelyDone& done) { return is_same_work(done.task, run.task); });
  DmLatelyDone done;
  done.task = run.task;
  done.at = clock_.steady();
  done.result.set_notification_id(run.ids.front());
  done.result.set_outcome(outcome);
  done.result.set_code(code);
  done.result.set_message(message);
  lately_.push_back(std::move(done));
}

void DmVisit::keep() {
  if (!begun_ || blind_ || memory_ == kept_) return;
  if (auto noted = host_.remember(device_, memory_); !noted) {
    log_.warn("what a device told could not be kept", kv("agent", device_.agent.raw()), kv("code", noted.error().code));
    return;
  }
  kept_ = memory_;
}

void DmVisit::close(const std::string& how) {
  if (std::exchange(closed_, true) || !begun_) return;
  // A device that goes in the middle of setting its PFN is one more failure to remember.
  if (pfn_ && pfn_->busy()) memory_.pfn.again = true;
  memory_.last_end = how;
  memory_.last_messages = session_.messages();
  memory_.last_tasks = static_cast<std::uint32_t>(seen_.size());
  keep();
  host_.visit_closed(device_);
}

}  // namespace greengate::adapters
