#include "gateway/ingest_loop.h"

#include <algorithm>

namespace greengate::gateway {
namespace {

using namespace std::chrono_literals;
using adapters::ReceivedFrame;

constexpr std::uint32_t protocol_version = 1;

// One round reads this much before it turns to receipts and other business.
constexpr std::size_t round_frames_max = 1'024;
constexpr std::int64_t round_bytes_max = 8 << 20;

constexpr auto full_table_retry = 60'000ms;

// Collecting times beyond these are the agent's mistake and would overflow the clock's nanoseconds.
constexpr std::int64_t collected_ms_max = 4'102'444'800'000;  // the year 2100

}  // namespace

Standing standing_of(const std::optional<store::Device>& device) {
  if (!device) return Standing::unknown;
  switch (device->state) {
    case store::DeviceState::pending: return Standing::pending;
    case store::DeviceState::active: return Standing::greeting;
    case store::DeviceState::revoked: return Standing::revoked;
  }
  return Standing::unknown;
}

void Ingest::Loop::receive_frames() {
  ReceivedFrame frame;
  std::size_t frames = 0;
  std::int64_t bytes = 0;
  while (frames < round_frames_max && bytes < round_bytes_max && socket_->receive(frame)) {
    frames += 1;
    bytes += static_cast<std::int64_t>(frame.bytes.size());
    take(frame);
    // A round's worth for the store is enough to start its sync while we go on reading.
    if (frames % 256 == 0) keeper_.flush();
  }
  if (frames != 0) probe_.frames_received(frames);
}

void Ingest::Loop::take(const ReceivedFrame& frame) {
  now_ = clock_.steady();  // a round may be long, and rates are judged by when a frame is read
  if (!frame.well_formed) {
    probe_.frame_refused("frame.envelope");
    warn("frame.envelope", "A message of several parts, or a connection that named itself.", nullptr);
    return;
  }
  Session* session = session_of(frame);
  if (session == nullptr) return;
  session->heard_at = now_;

  if (auto refusal = admission_.shape(session->standing, frame.bytes))
    return refuse(session->route, session, *refusal);
  auto* parsed = google::protobuf::Arena::CreateMessage<v1::Frame>(&arena_);
  if (!parsed->ParseFromArray(frame.bytes.data(), static_cast<int>(frame.bytes.size())))
    refuse(session->route, session, {"frame.malformed", "These bytes are not a greengate.v1.Frame."});
  else if (auto refusal = admission_.kind(session->standing, parsed->kind_case()))
    refuse(session->route, session, *refusal);
  else
    obey(*session, *parsed);
  arena_.Reset();
}

Session* Ingest::Loop::session_of(const ReceivedFrame& frame) {
  if (Session* session = sessions_.find(frame.from)) {
    if (session->key.raw() == frame.key) return session;
    // libzmq's counter came round to a number we still knew: another connection, another key.
    give_up(*session, "number_reused");
  }
  const AgentKey key{std::string(frame.key)};
  const auto device = devices_.find_by_key(key);
  Session* opened = sessions_.open(
      frame.from, frame.key, standing_of(device), device ? device->id : AgentId(),
      [&](Session& older) {
        presence.left(older.agent);
        refuse(older.route, &older,
               {"agent.replaced", "A newer connection with the same key has taken over."});
        probe_.session_ended("replaced");
      });
  if (opened == nullptr) {
    refuse(frame.from, nullptr,
           {"gateway.sessions_full", "The gateway has no room for another connection.", full_table_retry});
    return nullptr;
  }
  opened->remote = frame.remote;
  return opened;
}

void Ingest::Loop::obey(Session& session, v1::Frame& frame) {
  switch (frame.kind_case()) {
    case v1::Frame::kHello: return hello(session, frame.hello());
    case v1::Frame::kEnrol: return enrol(session, frame.enrol());
    case v1::Frame::kPublish: return publish(session, *frame.mutable_publish());
    case v1::Frame::kTaskResult:
      if (auto refusal = admission_.task_result(session.account, now_)) return refuse(session.route, &session, *refusal);
      if (task_result) task_result(session.agent, frame.task_result());
      return;
    case v1::Frame::kAsk: {
      if (ask) return ask(session.agent, frame.ask());
      v1::Frame answer;
      answer.mutable_answer()->set_nonce(frame.ask().nonce());
      answer.mutable_answer()->set_code("ask.unavailable");
      answer.mutable_answer()->set_message("This gateway does not speak with the site.");
      send(session, answer);
      return;
    }
    case v1::Frame::kPing: {
      v1::Frame answer;
      answer.mutable_pong()->set_nonce(frame.ping().nonce());
      send(session, answer);
      return;
    }
    default: return;  // a kind from a newer agent
  }
}

void Ingest::Loop::hello(Session& session, const v1::Hello& hello) {
  if (hello.protocol_version() < protocol_version)
    return refuse(session.route, &session,
                  {"protocol.version", "This gateway speaks version 1 of the protocol."});
  if (hello.incarnation() == 0)
    return refuse(session.route, &session,
                  {"hello.incarnation", "An outbox's incarnation is a random number, never 0."});
  auto device = devices_.find(session.agent);
  if (!device) return;  // the registry never forgets an agent; were it so, the key is unknown next time

  device->host_name = hello.host_name();
  device->fqdn = hello.fqdn();
  device->operating_system = hello.operating_system();
  device->agent_version = hello.agent_version();
  device->last_seen = clock_.wall();
  devices_.note_seen(session.agent, device->last_seen, device->host_name, device->fqdn,
                     device->operating_system, device->agent_version);

  sessions_.stand(session, Standing::active, session.agent);
  session.incarnation = hello.incarnation();
  session.throttled_from = 0;
  session.account.rejected_count = 0;
  const std::uint64_t last = queue_.last_sequence(session.agent, session.incarnation);

  v1::Frame answer;
  v1::Welcome& welcome = *answer.mutable_welcome();
  welcome.set_protocol_version(protocol_version);
  welcome.set_agent_id(session.agent.raw());
  welcome.set_last_stored_sequence(last);
  welcome.set_frame_bytes_max(static_cast<std::uint32_t>(config_.frame_bytes_max));
  welcome.set_in_flight_max(config_.in_flight_max);
  welcome.set_report_slot_ms(millis(slots_.report(session.agent, device->last_seen)));
  welcome.set_reconnect_slot_ms(millis(slots_.reconnect(session.agent, devices_.size())));
  welcome.set_heartbeat_interval_s(seconds(config_.heartbeat_interval));
  welcome.set_inventory_interval_s(seconds(config_.inventory_interval));
  welcome.set_ping_interval_s(seconds(config_.ping_interval));
  welcome.set_full_state_wanted(last == 0);
  welcome.set_gateway_time_ms(to_millis(device->last_seen));
  if (last == 0) {
    session.full_state_ever_asked = true;
    session.full_state_asked_at = now_;
  }
  if (!send(session, answer)) return;
  presence.arrived(*device, device->last_seen, session.remote);
}

void Ingest::Loop::enrol(Session& session, const v1::Enrol& enrol) {
  v1::Frame answer;
  if (session.standing == Standing::greeting || session.standing == Standing::active ||
      (session.standing == Standing::pending && enrol.token().empty())) {
    if (const auto device = devices_.find(session.agent)) {
      *answer.mutable_enrol_result() = enrolment_.tell(*device);
      send(session, answer);
      return;
    }
  }
  if (session.enrolling) return;  // one answer is on its way
  if (auto refused = enrolment_.ask(session.key, enrol, now_)) {
    probe_.enrolment(refused->code());
    warn("enrol.rate", refused->message(), &session);
    *answer.mutable_enrol_result() = std::move(*refused);
    send(session, answer);
    return;
  }
  session.enrolling = true;
}

void Ingest::Loop::hear_enrolments() {
  for (Enrolment::Answer& told : enrolment_.answers()) {
    Session* session = sessions_.find_key(told.key);
    if (session != nullptr) session->enrolling = false;
    v1::Frame answer;
    if (told.outcome) {
      const store::Device& device = *told.outcome;
      *answer.mutable_enrol_result() = enrolment_.tell(device);
      const bool active = device.state == store::DeviceState::active;
      probe_.enrolment(active ? "active" : "pending");
      log_.info(active ? "agent enrolled" : "agent waits for approval", kv("agent", device.id.raw()),
                kv("host", device.host_name), kv("by", device.enrolled_by),
                kv("remote", session != nullptr ? session->remote : ""));
      // An operator may have been quicker than this answer; what the registry says now is what counts.
      if (session != nullptr && session->standing != Standing::active)
        sessions_.stand(*session, standing_of(device), device.id);
      state_changed(device.id);
    } else {
      *answer.mutable_enrol_result() = enrolment_.tell(told.outcome.error());
      probe_.enrolment(told.outcome.error().code);
      warn(told.outcome.error().code, told.outcome.error().message, session);
    }
    if (session != nullptr) send(*session, answer);
  }
}

void Ingest::Loop::hear_state_changes() {
  std::unordered_set<AgentId> changed;
  {
    std::lock_guard lock(mutex_);
    changed.swap(changed_);
  }
  for (const AgentId& agent : changed) {
    Session* session = sessions_.find_agent(agent);
    const auto device = devices_.find(agent);
    if (session == nullptr || !device) continue;
    const Standing before = session->standing;
    const Standing after = standing_of(device);
    if (before == after || (before == Standing::active && after == Standing::greeting)) continue;

    v1::Frame word;
    switch (after) {
      case Standing::greeting:
        log_.info("agent approved", kv("agent", agent.raw()), kv("host", device->host_name));
        sessions_.stand(*session, after, agent);
        *word.mutable_enrol_result() = enrolment_.tell(*device);
        send(*session, word);
        break;
      case Standing::pending:
        sessions_.stand(*session, after, agent);
        presence.left(agent);
        *word.mutable_enrol_result() = enrolment_.tell(*device);
        send(*session, word);
        break;
      default:
        log_.info("agent revoked", kv("agent", agent.raw()), kv("host", device->host_name));
        sessions_.stand(*session, Standing::revoked, agent);
        session->receipts.clear();
        session->told_at = SteadyTime{};
        presence.left(agent);
        refuse(session->route, session,
               {"agent.revoked", "This agent was revoked by an operator."});
        probe_.session_ended("revoked");
        break;
    }
  }
}

void Ingest::Loop::publish(Session& session, v1::Publish& publish) {
  std::optional<Refusal> throttled;
  std::uint64_t throttled_first = 0, throttled_last = 0;
  std::size_t throttled_count = 0, rejected = 0;
  bool gap = false;

  for (v1::Report& report : *publish.mutable_reports()) {
    if (throttled) {
      throttled_first = std::min(throttled_first, report.sequence());
      throttled_last = std::max(throttled_last, report.sequence());
      throttled_count += 1;
      continue;
    }
    ReportVerdict verdict = admission_.report(session.account, report, keeper_.held_bytes(), now_);
    switch (verdict.kind) {
      case ReportVerdict::Kind::throttle:
        throttled = std::move(verdict.why);
        throttled_first = throttled_last = report.sequence();
        throttled_count = 1;
        break;
      case ReportVerdict::Kind::reject:
        rejected += 1;
        note(session, {session.incarnation, report.sequence(), report.sequence(),
                       v1::RECEIPT_STATUS_REJECTED, verdict.why.code, verdict.why.message, 0ms, 0});
        warn(verdict.why.code, verdict.why.message, &session);
        break;
      case ReportVerdict::Kind::take: {
        gap = gap || report.skipped() != 0;
        store::NewReport kept;
        kept.name = {session.agent, session.incarnation, report.sequence()};
        kept.skipped = verdict.skipped;
        kept.lane = static_cast<store::Lane>(lane_of(report));
        kept.kind = static_cast<std::uint32_t>(report.kind());
        kept.collected_at = from_millis(
            std::clamp(report.collected_at_ms(), std::int64_t{0}, collected_ms_max));
        kept.time_to_live = std::chrono::seconds(report.ttl_s());
        kept.body = std::move(*report.mutable_body());
        keeper_.add(session.route, session.serial, std::move(kept));
        break;
      }
    }
  }
  if (rejected != 0) probe_.reports("rejected", rejected);
  if (throttled) {
    probe_.reports("throttled", throttled_count);
    throttle(session, throttled_first, throttled_last, *throttled);
  }
  if (gap) want_full_state(session, "Reports were dropped or superseded in the agent's outbox.");
}

}  // namespace greengate::gateway
