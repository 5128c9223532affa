// What the conversation decided, done.
#include "agent/agent_parts.h"

#include <algorithm>

namespace greengate::agent {

using std::chrono::milliseconds;

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
