#include "gateway/ingest.h"

#include "adapters/agents/router_socket.h"
#include "core/channel.h"
#include "core/check.h"
#include "core/log.h"
#include "core/wakeup.h"
#include "gateway/admission.h"
#include "gateway/enrolment.h"
#include "gateway/ingest_probe.h"
#include "gateway/keeper.h"
#include "gateway/receipts.h"
#include "gateway/session_table.h"
#include "gateway/slots.h"

#include "greengate/v1/frame.pb.h"

#include <google/protobuf/arena.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

namespace greengate::gateway {
namespace {

using namespace std::chrono_literals;
using adapters::ReceivedFrame;
using adapters::RoutingId;
using adapters::Sent;

constexpr std::uint32_t protocol_version = 1;

// One round reads this much before it turns to receipts and other business.
constexpr std::size_t round_frames_max = 1'024;
constexpr std::int64_t round_bytes_max = 8 << 20;

constexpr auto sweep_interval = 1'000ms;
constexpr auto tell_again_interval = 10'000ms;  // to one that was cut off and keeps talking
constexpr auto warn_interval = 10'000ms;        // one line a code
constexpr auto full_table_retry = 60'000ms;
constexpr auto store_retry_min = 2'000ms;
constexpr std::size_t arena_start_bytes = 256 * 1024;

// An agent silent for this many ping intervals is gone.
constexpr int silent_pings_max = 3;

// Collecting times beyond these are the agent's mistake and would overflow the clock's nanoseconds.
constexpr std::int64_t collected_ms_max = 4'102'444'800'000;  // the year 2100

std::uint32_t seconds(std::chrono::milliseconds time) {
  return static_cast<std::uint32_t>(time.count() / 1'000);
}
std::uint32_t millis(std::chrono::milliseconds time) {
  return static_cast<std::uint32_t>(time.count());
}

/// A bell any thread may ring and the ingest thread hears; a thousand rings in a row cost one system call.
class Bell {
 public:
  void ring() {
    if (!rung_.exchange(true)) wakeup_.wake();
  }
  /// Before looking at what it was rung for.
  void answer() {
    wakeup_.clear();
    rung_.store(false);
  }
  int fd() const { return wakeup_.fd(); }

 private:
  Wakeup wakeup_;
  std::atomic<bool> rung_{false};
};

/// What other threads want sent to an agent: one of the two.
struct Outgoing {
  AgentId agent;
  std::string frame;
  std::optional<v1::Receipt> receipt;
};

AdmissionConfig admission_of(const AgentsConfig& config) {
  AdmissionConfig made;
  made.frame_bytes_max = config.frame_bytes_max;
  made.report_bytes_max = config.report_bytes_max;
  made.reports_per_frame_max = config.reports_per_frame_max;
  made.in_flight_max = config.in_flight_max;
  made.in_flight_bytes_max = config.in_flight_bytes_max;
  made.memory_bytes_max = config.memory_bytes_max;
  made.reports_per_second = config.reports_per_second;
  made.reports_burst = config.reports_burst;
  return made;
}

EnrolmentConfig enrolment_of(const AgentsConfig& config) {
  EnrolmentConfig made;
  made.enrolments_per_second = config.enrolments_per_second;
  made.enrol_interval = config.enrol_interval;
  made.pending_retry = config.pending_retry;
  return made;
}

Standing standing_of(const std::optional<store::Device>& device) {
  if (!device) return Standing::unknown;
  switch (device->state) {
    case store::DeviceState::pending: return Standing::pending;
    case store::DeviceState::active: return Standing::greeting;
    case store::DeviceState::revoked: return Standing::revoked;
  }
  return Standing::unknown;
}

std::string_view outcome_name(store::Kept kept) {
  switch (kept) {
    case store::Kept::stored: return "stored";
    case store::Kept::duplicate: return "duplicate";
    case store::Kept::out_of_order: return "out_of_order";
    case store::Kept::full: return "full";
  }
  return "stored";
}

}  // namespace

class Ingest::Loop {
 public:
  Loop(AgentsConfig config, store::ReportQueue& queue, store::DeviceRegistry& devices,
       const Clock& clock, Metrics& metrics);

  Result<void> start();
  void drain(SteadyTime until);
  void stop();
  bool send(Outgoing message);
  void state_changed(const AgentId& agent);

  Presence presence;
  TaskResultListener task_result;
  AskListener ask;
  std::string endpoint, public_key;

 private:
  void run();
  void round();

  // What came in.
  void receive_frames();
  void take(const ReceivedFrame& frame);
  Session* session_of(const ReceivedFrame& frame);
  void obey(Session& session, v1::Frame& frame);
  void hello(Session& session, const v1::Hello& hello);
  void enrol(Session& session, const v1::Enrol& enrol);
  void publish(Session& session, v1::Publish& publish);
  void hear_enrolments();
  void hear_state_changes();

  // What goes out.
  void settle();
  void settle_run(const KeptBatch& batch, const KeptRun& run, std::size_t first_entry);
  void note(Session& session, ReceiptNote note);
  void throttle(Session& session, std::uint64_t first, std::uint64_t last, const Refusal& why);
  void carry_out_messages();
  void send_receipts();
  void refuse(RoutingId route, Session* session, const Refusal& why);
  void want_full_state(Session& session, const char* reason);
  bool send(Session& session, const v1::Frame& frame);
  bool send_bytes(Session& session, std::string_view bytes);
  void give_up(Session& session, const char* why);

  void sweep();
  void finish_draining();
  void warn(const char* code, std::string_view message, const Session* session);

  const AgentsConfig config_;
  store::ReportQueue& queue_;
  store::DeviceRegistry& devices_;
  const Clock& clock_;
  IngestProbe probe_;
  const Log log_{"ingest"};
  const Admission admission_;
  const Slots slots_;
  std::shared_ptr<Bell> bell_;  // shared with the store's answers, which may come late

  // The ingest thread's own.
  std::unique_ptr<adapters::RouterSocket> socket_;
  SessionTable sessions_;
  Keeper keeper_;
  Enrolment enrolment_;
  SteadyTime now_{}, swept_at_{};
  std::vector<std::pair<RoutingId, std::uint64_t>> with_receipts_;  // route and serial
  std::vector<std::pair<RoutingId, std::uint64_t>> to_give_up_;
  struct Warned {
    SteadyTime at;
    std::uint64_t suppressed = 0;
  };
  std::map<std::string, Warned, std::less<>> warned_;
  std::vector<char> arena_start_;
  google::protobuf::Arena arena_;
  std::string out_;
  bool farewell_said_ = false;

  // Between threads.
  Channel<Outgoing> outgoing_;
  std::atomic<bool> draining_{false}, stopping_{false};
  std::mutex mutex_;  // guards everything below
  std::condition_variable drained_changed_;
  bool drained_ = false;
  std::unordered_set<AgentId> changed_;  // no more than there are agents
  std::thread thread_;                   // main thread only, apart from the mutex
};

Ingest::Loop::Loop(AgentsConfig config, store::ReportQueue& queue, store::DeviceRegistry& devices,
                   const Clock& clock, Metrics& metrics)
    : config_(std::move(config)),
      queue_(queue),
      devices_(devices),
      clock_(clock),
      probe_(metrics),
      admission_(admission_of(config_)),
      slots_(slots_of(config_)),
      bell_(std::make_shared<Bell>()),
      sessions_(config_.sessions_max, config_.unknown_peers_max, admission_of(config_)),
      keeper_(queue, clock, [bell = bell_] { bell->ring(); }),
      enrolment_(enrolment_of(config_), devices, [bell = bell_] { bell->ring(); }),
      arena_start_(arena_start_bytes),
      arena_([this] {
        google::protobuf::ArenaOptions options;
        options.initial_block = arena_start_.data();
        options.initial_block_size = arena_start_.size();
        return options;
      }()),
      outgoing_(config_.messages_out_max) {}

Result<void> Ingest::Loop::start() {
  auto key = adapters::load_or_make_server_key(config_.key_file);
  if (!key) return pass(key);
  public_key = key->public_key;

  adapters::RouterConfig router;
  router.bind = config_.bind;
  router.key = std::move(*key);
  router.io_threads = static_cast<int>(config_.io_threads);
  router.frame_bytes_max = config_.frame_bytes_max;
  auto socket = adapters::RouterSocket::open(router, [this](const AgentKey& asked) {
    const auto device = devices_.find_by_key(asked);
    return device && device->state == store::DeviceState::revoked;
  });
  if (!socket) return pass(socket);
  socket_ = std::move(*socket);
  endpoint = socket_->endpoint();
  now_ = swept_at_ = clock_.steady();
  thread_ = std::thread([this] { run(); });
  log_.info("agents' door open", kv("endpoint", endpoint), kv("public_key", public_key));
  return {};
}

void Ingest::Loop::drain(SteadyTime until) {
  if (!thread_.joinable()) return;
  draining_ = true;
  bell_->ring();
  std::unique_lock lock(mutex_);
  // The clock may be a test's, so its time is looked at now and then instead of slept through.
  while (!drained_ && clock_.steady() < until) drained_changed_.wait_for(lock, 20ms);
}

void Ingest::Loop::stop() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  bell_->ring();
  thread_.join();
}

bool Ingest::Loop::send(Outgoing message) {
  if (!presence.connected(message.agent) || !outgoing_.try_push(std::move(message))) return false;
  bell_->ring();
  return true;
}

void Ingest::Loop::state_changed(const AgentId& agent) {
  {
    std::lock_guard lock(mutex_);
    changed_.insert(agent);
  }
  bell_->ring();
}

void Ingest::Loop::run() {
  while (!stopping_) {
    const bool reading = !draining_;
    if (socket_->wait(bell_->fd(), reading, 100ms)) bell_->answer();
    now_ = clock_.steady();
    round();
  }
  if (draining_ && !farewell_said_) finish_draining();
  outgoing_.close();
  sessions_.for_each([&](Session& session) { presence.left(session.agent); });
  socket_.reset();
}

void Ingest::Loop::round() {
  settle();
  hear_enrolments();
  hear_state_changes();
  if (!draining_) receive_frames();
  keeper_.flush();
  carry_out_messages();
  send_receipts();
  for (const auto& [route, serial] : std::exchange(to_give_up_, {}))
    if (Session* session = sessions_.find_serial(route, serial)) give_up(*session, "not_reading");
  if (now_ - swept_at_ >= sweep_interval) sweep();
  if (draining_ && !farewell_said_ && keeper_.idle()) finish_draining();
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

void Ingest::Loop::settle() {
  for (KeptBatch& batch : keeper_.settled()) {
    probe_.keep_took(now_ - batch.handed_over_at);
    std::size_t entry = 0;
    for (const KeptRun& run : batch.runs) {
      settle_run(batch, run, entry);
      entry += run.entries;
    }
    if (!batch.results) {
      probe_.reports("failed", batch.entries.size());
      warn(batch.results.error().code, batch.results.error().message, nullptr);
      continue;
    }
    std::array<std::size_t, 4> counts{};
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < batch.entries.size(); ++i) {
      const store::Kept kept = (*batch.results)[i].kept;
      counts[static_cast<std::size_t>(kept)] += 1;
      if (kept == store::Kept::stored)
        bytes += batch.entries[i].cost_bytes - report_cost_bytes(0);
    }
    for (std::size_t i = 0; i < counts.size(); ++i)
      if (counts[i] != 0) probe_.reports(outcome_name(static_cast<store::Kept>(i)), counts[i]);
    if (bytes != 0) probe_.report_bytes(bytes);
  }
}

void Ingest::Loop::settle_run(const KeptBatch& batch, const KeptRun& run, std::size_t first_entry) {
  // Credits go back to the session that spent them; the receipts to whoever now speaks for the agent's same outbox.
  if (Session* spender = sessions_.find_serial(run.route, run.session_serial)) {
    spender->account.in_flight -= static_cast<std::uint32_t>(run.entries);
    for (std::size_t i = first_entry; i < first_entry + run.entries; ++i)
      spender->account.in_flight_bytes -= batch.entries[i].cost_bytes;
  }
  Session* session = sessions_.find_agent(run.agent);
  if (session == nullptr || session->standing != Standing::active ||
      session->incarnation != run.incarnation)
    return;

  const std::uint64_t last_entry = first_entry + run.entries - 1;
  if (!batch.results) {
    const Error& error = batch.results.error();
    if (error.remedy == Remedy::halt) return;  // going down: the agent keeps what has no receipt
    throttle(*session, batch.entries[first_entry].sequence, batch.entries[last_entry].sequence,
             {error.code, error.message,
              std::max(error.retry_after, std::chrono::milliseconds(store_retry_min))});
    return;
  }
  for (std::size_t i = first_entry; i <= last_entry; ++i) {
    const KeptEntry& entry = batch.entries[i];
    const store::KeepResult& result = (*batch.results)[i];
    switch (result.kept) {
      case store::Kept::stored:
      case store::Kept::duplicate:
        if (entry.sequence >= session->throttled_from) session->throttled_from = 0;
        note(*session, {run.incarnation, entry.sequence, entry.sequence,
                        v1::RECEIPT_STATUS_STORED, "", "", 0ms, 0});
        break;
      case store::Kept::full:
        throttle(*session, entry.sequence, entry.sequence,
                 {"queue.full", "The gateway has no room in this report's lane.",
                  config_.full_queue_retry});
        break;
      case store::Kept::out_of_order: {
        // After a throttled report everything is out of order; saying RESEND would only bring it back too early.
        const bool follows_throttled = session->throttled_from > result.last_sequence &&
                                       session->throttled_from < entry.sequence &&
                                       now_ < session->throttled_until;
        if (follows_throttled) {
          const auto rest = std::chrono::ceil<std::chrono::milliseconds>(session->throttled_until - now_);
          note(*session, {run.incarnation, entry.sequence, entry.sequence,
                          v1::RECEIPT_STATUS_THROTTLED, session->throttled_code,
                          "Earlier reports have to come first.", rest, 0});
        } else {
          note(*session, {run.incarnation, result.last_sequence + 1, entry.sequence,
                          v1::RECEIPT_STATUS_RESEND, "flow.gap",
                          "Earlier reports are missing.", 0ms, 0});
        }
        break;
      }
    }
  }
}

void Ingest::Loop::note(Session& session, ReceiptNote said) {
  if (session.receipts.empty()) with_receipts_.emplace_back(session.route, session.serial);
  said.at_ms = to_millis(clock_.wall());
  add_receipt(session.receipts, said);
}

void Ingest::Loop::throttle(Session& session, std::uint64_t first, std::uint64_t last,
                            const Refusal& why) {
  if (session.throttled_from == 0 || first < session.throttled_from || now_ >= session.throttled_until)
    session.throttled_from = first;
  session.throttled_until = now_ + why.retry_after;
  session.throttled_code = why.code;
  note(session, {session.incarnation, first, last, v1::RECEIPT_STATUS_THROTTLED, why.code,
                 why.message, why.retry_after, 0});
}

void Ingest::Loop::carry_out_messages() {
  for (Outgoing& message : outgoing_.drain()) {
    Session* session = sessions_.find_agent(message.agent);
    if (session == nullptr || session->standing != Standing::active) continue;
    if (!message.receipt) {
      send_bytes(*session, message.frame);
    } else if (message.receipt->incarnation() == session->incarnation) {
      if (session->receipts.empty())
        with_receipts_.emplace_back(session->route, session->serial);
      session->receipts.push_back(std::move(*message.receipt));
    }
  }
}

void Ingest::Loop::send_receipts() {
  std::size_t count = 0;
  for (const auto& [route, serial] : with_receipts_) {
    Session* session = sessions_.find_serial(route, serial);
    if (session == nullptr || session->receipts.empty()) continue;
    auto* frame = google::protobuf::Arena::CreateMessage<v1::Frame>(&arena_);
    auto& all = *frame->mutable_receipts()->mutable_receipts();
    all.Reserve(static_cast<int>(session->receipts.size()));
    for (v1::Receipt& receipt : session->receipts) *all.Add() = receipt;
    count += session->receipts.size();
    session->receipts.clear();
    send(*session, *frame);
    arena_.Reset();
  }
  with_receipts_.clear();
  if (count != 0) probe_.receipts_sent(count);
}

void Ingest::Loop::refuse(RoutingId route, Session* session, const Refusal& why) {
  probe_.frame_refused(why.code);
  const bool cut_off = session != nullptr && (session->standing == Standing::revoked ||
                                              session->standing == Standing::replaced);
  if (cut_off) {
    if (session->told_at != SteadyTime{} && now_ - session->told_at < tell_again_interval) return;
    session->told_at = now_;
  }
  warn(why.code, why.message, session);
  v1::Frame frame;
  v1::Refused& refused = *frame.mutable_refused();
  refused.set_code(why.code);
  refused.set_message(why.message);
  refused.set_retry_after_ms(millis(why.retry_after));
  frame.SerializeToString(&out_);
  if (session != nullptr)
    send_bytes(*session, out_);
  else
    socket_->send(route, out_);  // no session, nothing to keep true
}

void Ingest::Loop::want_full_state(Session& session, const char* reason) {
  if (session.full_state_ever_asked &&
      now_ - session.full_state_asked_at < config_.full_state_interval)
    return;
  session.full_state_ever_asked = true;
  session.full_state_asked_at = now_;
  v1::Frame frame;
  frame.mutable_full_state_wanted()->set_reason(reason);
  send(session, frame);
}

bool Ingest::Loop::send(Session& session, const v1::Frame& frame) {
  frame.SerializeToString(&out_);
  return send_bytes(session, out_);
}

bool Ingest::Loop::send_bytes(Session& session, std::string_view bytes) {
  if (socket_->send(session.route, bytes) == Sent::sent) return true;
  // Not now: callers still hold the session. An agent that comes back says Hello and learns where it stands.
  to_give_up_.emplace_back(session.route, session.serial);
  return false;
}

void Ingest::Loop::give_up(Session& session, const char* why) {
  if (session.standing == Standing::active) presence.left(session.agent);
  probe_.session_ended(why);
  log_.debug("session given up", kv("agent", session.agent.raw()), kv("why", why));
  sessions_.close(session);
}

void Ingest::Loop::sweep() {
  swept_at_ = now_;
  sessions_.close_silent(now_ - silent_pings_max * config_.ping_interval, [&](Session& session) {
    if (session.standing == Standing::active) presence.left(session.agent);
    probe_.session_ended("silent");
  });
  probe_.standing(sessions_.active(), sessions_.unknown(), sessions_.size(), keeper_.held_bytes());
  probe_.handshakes(socket_->authenticator().allowed(), socket_->authenticator().refused());
}

void Ingest::Loop::finish_draining() {
  farewell_said_ = true;
  std::vector<Session*> fleet;
  sessions_.for_each([&](Session& session) {
    if (session.standing != Standing::revoked && session.standing != Standing::replaced)
      fleet.push_back(&session);
  });
  std::sort(fleet.begin(), fleet.end(),
            [](const Session* a, const Session* b) { return a->key < b->key; });
  for (std::size_t rank = 0; rank < fleet.size(); ++rank) {
    v1::Frame frame;
    frame.mutable_drain()->set_reconnect_slot_ms(millis(slots_.reconnect(rank, fleet.size())));
    frame.mutable_drain()->set_reason("The gateway is going down.");
    send(*fleet[rank], frame);
  }
  log_.info("agents told to come back", kv("agents", fleet.size()),
            kv("window_ms", slots_.reconnect_window(fleet.size())));
  {
    std::lock_guard lock(mutex_);
    drained_ = true;
  }
  drained_changed_.notify_all();
}

void Ingest::Loop::warn(const char* code, std::string_view message, const Session* session) {
  auto [entry, is_new] = warned_.try_emplace(code);
  if (!is_new && now_ - entry->second.at < warn_interval) {
    entry->second.suppressed += 1;
    return;
  }
  const std::uint64_t suppressed = std::exchange(entry->second.suppressed, 0);
  entry->second.at = now_;
  log_.warn("not accepted", kv("code", code), kv("why", message),
            kv("agent", session != nullptr ? session->agent.raw() : ""),
            kv("remote", session != nullptr ? session->remote : ""), kv("suppressed", suppressed));
}

Ingest::Ingest(AgentsConfig config, store::ReportQueue& queue, store::DeviceRegistry& devices,
               const Clock& clock, Metrics& metrics)
    : loop_(std::make_unique<Loop>(std::move(config), queue, devices, clock, metrics)) {}
Ingest::~Ingest() { loop_->stop(); }

void Ingest::listen(PresenceListener& listener) { loop_->presence.listen(listener); }
void Ingest::on_task_result(TaskResultListener listener) {
  loop_->task_result = std::move(listener);
}
void Ingest::on_ask(AskListener listener) { loop_->ask = std::move(listener); }
const Presence& Ingest::presence() const { return loop_->presence; }
std::string Ingest::endpoint() const { return loop_->endpoint; }
std::string Ingest::public_key() const { return loop_->public_key; }

bool Ingest::send_notification(const AgentId& agent, const v1::Notification& notification) {
  v1::Frame frame;
  *frame.mutable_notification() = notification;
  return loop_->send({agent, frame.SerializeAsString(), std::nullopt});
}

bool Ingest::send_receipt(const AgentId& agent, const v1::Receipt& receipt) {
  return loop_->send({agent, {}, receipt});
}

bool Ingest::ask_full_state(const AgentId& agent, const std::string& reason) {
  v1::Frame frame;
  frame.mutable_full_state_wanted()->set_reason(reason);
  return loop_->send({agent, frame.SerializeAsString(), std::nullopt});
}

bool Ingest::send_answer(const AgentId& agent, const v1::Answer& answer) {
  v1::Frame frame;
  *frame.mutable_answer() = answer;
  return loop_->send({agent, frame.SerializeAsString(), std::nullopt});
}

bool Ingest::send_directions(const AgentId& agent, const v1::Directions& directions) {
  v1::Frame frame;
  *frame.mutable_directions() = directions;
  return loop_->send({agent, frame.SerializeAsString(), std::nullopt});
}

void Ingest::on_state_changed(const AgentId& agent) { loop_->state_changed(agent); }

Result<void> Ingest::start() { return loop_->start(); }
void Ingest::drain(SteadyTime until) { loop_->drain(until); }
void Ingest::stop() { loop_->stop(); }

}  // namespace greengate::gateway
