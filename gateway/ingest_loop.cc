#include "gateway/ingest_loop.h"

#include <algorithm>

namespace greengate::gateway {
namespace {

using namespace std::chrono_literals;

constexpr auto sweep_interval = 1'000ms;
constexpr auto warn_interval = 10'000ms;  // one line a code
constexpr std::size_t arena_start_bytes = 256 * 1024;

// An agent silent for this many ping intervals is gone.
constexpr int silent_pings_max = 3;

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

}  // namespace

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

}  // namespace greengate::gateway
