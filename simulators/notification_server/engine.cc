// The server as a whole: starts and stops it, keeps its one agenda of waits, and says which fault
// rule strikes.
#include "simulators/notification_server/engine.h"

#include "core/log.h"
#include "core/random.h"
#include "simulators/notification_server/engine_words.h"

#include <algorithm>
#include <filesystem>
#include <utility>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace asio = boost::asio;
using std::chrono::milliseconds;

namespace {

const Log log("notify-simulator");

}  // namespace

NotifyEngine::NotifyEngine(asio::io_context& io, NotifyConfig config,
                           const ClientDirectory* directory)
    : io_(io),
      config_(std::move(config)),
      directory_(directory),
      clock_(config_.clock != nullptr ? *config_.clock : system_clock_),
      acceptor_(io),
      timer_(io),
      dice_(random_u64()) {}

// ---- start and stop -----------------------------------------------------------------------------

Result<void> NotifyEngine::start() {
  auto checked = notify_config_from_json("{}", config_);
  if (!checked) return pass(checked);
  rules_.layout = find_layout(config_.profile);
  rules_.big_endian = config_.byte_order == "big";
  rules_.header_size_is_xml = config_.header_size_means == "xml";
  rules_.payload_size_is_frame = config_.payload_size_means == "frame";
  rules_.channel_is_constant = config_.channel_means == "constant";
  rules_.channel_constant = static_cast<std::uint32_t>(config_.channel_constant);
  rules_.type_numbers_from = static_cast<std::uint32_t>(config_.type_numbers_from);
  rules_.major = static_cast<std::uint32_t>(config_.major);
  rules_.minor = static_cast<std::uint32_t>(config_.minor);
  rules_ = with_encoding(rules_, config_.text);
  rules_.zlib = config_.compression == "zlib";
  rules_.payload_bytes_max = static_cast<std::size_t>(config_.payload_bytes_max);

  std::error_code failed;
  std::filesystem::create_directories(config_.dir, failed);
  for (auto [file, name] :
       {std::pair{&session_lines_, "sessions.jsonl"}, std::pair{&message_lines_, "messages.jsonl"},
        std::pair{&report_lines_, "reports.jsonl"}, std::pair{&call_lines_, "http.jsonl"}}) {
    auto opened = file->open(config_.dir / name, config_.evidence_bytes_max);
    if (!opened) return opened;
  }

  ServerIdentity identity{.certificate_file = config_.certificate_file,
                          .key_file = config_.key_file,
                          .name = config_.server_name,
                          .state = config_.certificate_state,
                          .make = config_.certificate_file.empty(),
                          .tls13_only = config_.tls_min == "1.3",
                          .tls12_only = config_.tls_max == "1.2"};
  if (identity.make) {
    identity.certificate_file = config_.dir / "server-certificate.pem";
    identity.key_file = config_.dir / "server-key.pem";
  }
  auto context =
      make_context(identity, config_.check_certificate && config_.refuse_as == "tls-alert");
  if (!context) return pass(context);
  context_ = std::move(*context);

  if (auto listening = listen(); !listening) return listening;
  if (auto opened = open_http(); !opened) return opened;
  running_ = true;
  log.info("listening", kv("port", port_), kv("profile", config_.profile),
           kv("text", config_.text));
  remind(milliseconds(config_.accounting_ms), Due::accounting);
  accept();
  return {};
}

void NotifyEngine::stop() {
  if (!running_) return;
  running_ = false;
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  std::vector<SessionPtr> all;
  for (const auto& [id, session] : sessions_) all.push_back(session);
  for (const auto& session : all) {
    if (session->phase == Phase::online) send_frame(session, Kind::disconnect, "");
    close(session, "server stopped");
  }
  close_http();
  timer_.cancel();
  agenda_ = {};
  session_lines_.close();
  message_lines_.close();
  report_lines_.close();
  call_lines_.close();
}

// ---- time ---------------------------------------------------------------------------------------

std::int64_t NotifyEngine::seconds_under(const FaultRule* rule) const {
  return own_seconds() + (rule != nullptr && rule->fault == Fault::clock_skew ? rule->offset_ms / 1000 : 0);
}

std::int64_t NotifyEngine::own_seconds() const {
  return (to_millis(clock_.wall()) + config_.timestamp_offset_ms) / 1000;
}

void NotifyEngine::remind(milliseconds in, Due due, std::uint64_t a, std::uint64_t b) {
  agenda_.push({now() + in, due, a, b});
  arm();
}

void NotifyEngine::arm() {
  if (!running_ || agenda_.empty() || agenda_.top().at >= timer_set_for_) return;
  timer_set_for_ = agenda_.top().at;
  const auto wait = std::max(SteadyTime::duration{}, timer_set_for_ - now());
  timer_.expires_after(wait);
  timer_.async_wait([self = shared_from_this()](boost::system::error_code canceled) {
    if (canceled || !self->running_) return;
    self->timer_set_for_ = SteadyTime::max();
    self->run_due();
  });
}

void NotifyEngine::run_due() {
  const SteadyTime when = now();
  while (running_ && !agenda_.empty() && agenda_.top().at <= when) {
    const Appointment what = agenda_.top();
    agenda_.pop();
    keep(what);
  }
  if (timer_set_for_ <= when) timer_set_for_ = SteadyTime::max();  // a clock was put forward
  arm();
}

void NotifyEngine::keep(const Appointment& what) {
  switch (what.due) {
    case Due::slice:
      slice_due_ = false;
      return pump();
    case Due::accounting:
      account(online_full_due_);
      return remind(milliseconds(config_.accounting_ms), Due::accounting);
    case Due::task_report:
      if (const auto push = pushes_.find(what.a); push != pushes_.end()) report_task(push->second);
      return;
    case Due::push_expiry:
      if (const auto push = pushes_.find(what.a); push != pushes_.end()) expire(push->second);
      return;
    case Due::flush:
      flush_due_ = false;
      session_lines_.flush();
      message_lines_.flush();
      call_lines_.flush();
      return report_lines_.flush();
    case Due::accept_again:
      return accept();
    case Due::restart_over:
      return restart_over(what.a);
    case Due::http_hang:
    case Due::http_cut:
    case Due::http_late:
    case Due::http_gone:
      return keep_http(what);
    case Due::response_late: {
      const auto push = pushes_.find(what.a);
      if (push == pushes_.end()) return;
      const auto number = static_cast<ClientNumber>(what.b);
      const auto found = push->second.deliveries.find(number);
      if (found == push->second.deliveries.end()) return;
      Delivery& delivery = found->second;
      const SessionPtr session = find_session(delivery.session);
      const bool due = now() - delivery.sent >= milliseconds(config_.response_limit_ms);
      if (delivery.state != Delivered::sent || delivery.late || delivery.fault != nullptr || !due ||
          !session || session->leaving)
        return;
      delivery.late = true;
      note_frameless(*session, {"response.late", "7.2", Severity::warning,
                                "push " + std::to_string(what.a) + " is not answered in time"});
      return;
    }
    default:
      break;
  }

  const SessionPtr session = find_session(what.a);
  if (!session) return;
  switch (what.due) {
    case Due::handshake_limit:
      if (session->phase == Phase::handshaking) close(session, "handshake timeout", false);
      return;
    case Due::signin_limit:
      if (session->phase != Phase::signing_in) return;
      note_frameless(*session, {"session.no_signin", "2.5", Severity::fatal, "no SignIn in time"});
      return close(session, "no sign-in");
    case Due::frame_limit: {
      session->frame_watched = false;
      if (session->in.empty()) return;
      const auto spent = std::chrono::duration_cast<milliseconds>(now() - session->frame_since);
      const milliseconds limit(config_.frame_timeout_ms);
      if (spent < limit) return watch_frame(*session, limit - spent);  // a later frame
      note_frameless(*session,
                     {"frame.stalled", "8.2", Severity::fatal, "a frame was begun and not ended"});
      return close(session, "stalled frame");
    }
    case Due::pending_pushes:
      return send_pending(session);
    case Due::chunk:
      return flush(session);
    case Due::held_frames:
      if (session->held.empty()) return;
      push_chunk(session, {std::exchange(session->held, {})});
      session->held_frames = 0;
      return;
    case Due::leave_limit:
      // By HTTP a client leaves by asking no more.
      if (session->http && session->calls_after_leave == 0) return close(session, "client asks no more");
      note_frameless(*session, {"session.not_closed", "2.5", Severity::warning,
                                "still open after it was told or given cause to leave"});
      if (what.b == 1) close(session, "did not leave");
      return;
    case Due::close_session:
      return close(session, "closed by the server");
    case Due::disconnect_frame:
      return ask_to_leave(session, Kind::disconnect, config_.client_close_limit_ms);
    default:
      return;
  }
}

// ---- faults -------------------------------------------------------------------------------------

FaultRule* NotifyEngine::pick(Moment moment, std::string_view sms_id) {
  const SteadyTime when = now();
  for (FaultRule& rule : faults_) {
    const bool any_call = rule.at == Moment::http && moment > Moment::http;
    if ((rule.at != moment && !any_call) || rule.count == 0 || when < rule.from || when >= rule.until) continue;
    if (!fits(rule.sms_id, sms_id)) continue;
    if (rule.probability < 1.0 &&
        std::uniform_real_distribution<double>(0.0, 1.0)(dice_) >= rule.probability)
      continue;
    if (rule.count > 0) --rule.count;
    ++rule.applied;
    return &rule;
  }
  return nullptr;
}

}  // namespace greengate::sim
