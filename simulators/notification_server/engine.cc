#include "simulators/notification_server/engine.h"

#include "core/log.h"
#include "core/random.h"

#include <boost/asio/post.hpp>

#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace asio = boost::asio;
namespace json = boost::json;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t evidence_text_max = 64 * 1024;  // of xml and of raw bytes, per line
constexpr int reads_per_turn = 64;                    // then others get their turn
constexpr milliseconds flush_every{50};
constexpr milliseconds split_pause{5};  // so that the halves arrive apart
constexpr milliseconds held_frames_limit{500};
const Log log("notify-simulator");

std::string iso_millis(WallTime time) {
  const std::int64_t millis = to_millis(time);
  std::string text = timestamp(millis / 1000);
  const std::string part = std::to_string(1000 + millis % 1000);
  text.back() = '.';
  return text + part.substr(1) + "Z";
}

std::string hex(std::span<const std::byte> bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    out += digits[std::to_integer<unsigned>(b) >> 4];
    out += digits[std::to_integer<unsigned>(b) & 15U];
  }
  return out;
}

std::string make_guid() {
  std::string bytes = random_bytes(16);
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  std::string text = hex(std::as_bytes(std::span(bytes)));
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (const std::size_t at : {8U, 13U, 18U, 23U}) text.insert(at, "-");
  return text;
}

bool any_of(const Findings& findings, Severity severity) {
  return std::ranges::any_of(findings, [&](const Finding& f) { return f.severity == severity; });
}

FrameRules with_encoding(FrameRules rules, std::string_view name) {
  rules.utf16 = name.starts_with("utf-16le");
  rules.bom = name.ends_with("+bom");
  rules.nul = name.ends_with("+nul");
  return rules;
}

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
        std::pair{&report_lines_, "reports.jsonl"}}) {
    auto opened = file->open(config_.dir / name, config_.evidence_bytes_max);
    if (!opened) return opened;
  }

  ServerIdentity identity{.certificate_file = config_.certificate_file,
                          .key_file = config_.key_file,
                          .name = config_.server_name,
                          .state = config_.certificate_state,
                          .make = config_.certificate_file.empty(),
                          .tls13_only = config_.tls_min == "1.3"};
  if (identity.make) {
    identity.certificate_file = config_.dir / "server-certificate.pem";
    identity.key_file = config_.dir / "server-key.pem";
  }
  auto context =
      make_context(identity, config_.check_certificate && config_.refuse_as == "tls-alert");
  if (!context) return pass(context);
  context_ = std::move(*context);

  boost::system::error_code refused;
  const auto address = asio::ip::make_address(config_.bind_address, refused);
  const asio::ip::tcp::endpoint endpoint(address, config_.port);
  if (!refused) acceptor_.open(endpoint.protocol(), refused);
  if (!refused) acceptor_.set_option(asio::socket_base::reuse_address(true), refused);
  if (!refused) acceptor_.bind(endpoint, refused);
  if (!refused) acceptor_.listen(4096, refused);
  if (refused)
    return fail(Remedy::retry, "notify.bind",
                "Cannot listen on " + config_.bind_address + ":" + std::to_string(config_.port) +
                    ": " + refused.message() + ".");
  port_ = acceptor_.local_endpoint(refused).port();
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
  timer_.cancel();
  agenda_ = {};
  session_lines_.close();
  message_lines_.close();
  report_lines_.close();
}

// ---- time ---------------------------------------------------------------------------------------

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
      return report_lines_.flush();
    case Due::accept_again:
      return accept();
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

// ---- the line -----------------------------------------------------------------------------------

void NotifyEngine::accept() {
  acceptor_.async_accept(
      [self = shared_from_this()](boost::system::error_code failed, asio::ip::tcp::socket socket) {
        if (!self->running_) return;
        if (failed) {
          ++self->counts_["accept_failed"];  // out of descriptors, most likely: give some time back
          return self->remind(milliseconds(100), Due::accept_again);
        }
        self->accepted(std::move(socket));
        self->accept();
      });
}

void NotifyEngine::accepted(asio::ip::tcp::socket socket) {
  ++counts_["accepted"];
  boost::system::error_code failed;
  if (static_cast<std::int64_t>(sessions_.size()) >= config_.sessions_max) {
    ++counts_["refused_full"];
    return;
  }
  const FaultRule* rule = pick(Moment::accept, "");
  if (rule != nullptr && rule->fault == Fault::accept_close) return;
  socket.native_non_blocking(true, failed);
  socket.set_option(asio::ip::tcp::no_delay(true), failed);
  socket.set_option(asio::socket_base::keep_alive(true), failed);
  auto session = std::make_shared<Session>(std::move(socket));
  session->id = next_session_++;
  session->since = clock_.wall();
  session->ssl = make_ssl(context_.get(), session->socket.native_handle());
  if (!session->ssl) return;
  sessions_.emplace(session->id, session);
  if (rule != nullptr) return go_dark(session);
  remind(milliseconds(config_.handshake_timeout_ms), Due::handshake_limit, session->id);
  wait_read(session);
}

NotifyEngine::SessionPtr NotifyEngine::find_session(SessionId id) const {
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : found->second;
}

void NotifyEngine::wait_read(const SessionPtr& session) {
  if (session->reading || session->phase == Phase::closed || session->phase == Phase::black_hole)
    return;
  session->reading = true;
  session->socket.async_wait(asio::socket_base::wait_read, [self = shared_from_this(), session](
                                                               boost::system::error_code failed) {
    session->reading = false;
    if (failed || session->phase == Phase::closed || session->phase == Phase::black_hole) return;
    self->on_readable(session);
  });
}

void NotifyEngine::wait_write(const SessionPtr& session) {
  if (session->writing || session->phase == Phase::closed) return;
  session->writing = true;
  session->socket.async_wait(asio::socket_base::wait_write, [self = shared_from_this(), session](
                                                                boost::system::error_code failed) {
    session->writing = false;
    if (failed || session->phase == Phase::closed) return;
    if (session->phase == Phase::handshaking) return self->on_readable(session);
    self->flush(session);
  });
}

void NotifyEngine::handshake(const SessionPtr& session) {
  ERR_clear_error();
  const int done = SSL_do_handshake(session->ssl.get());
  if (done == 1) {
    session->key = peer_key_hash(session->ssl.get());
    const FaultRule* rule = pick(Moment::tls, "");
    json::object line{{"tls", SSL_get_version(session->ssl.get())},
                      {"cipher", SSL_get_cipher_name(session->ssl.get())}};
    if (session->key) line["key_sha256"] = hex(std::as_bytes(std::span(*session->key)));
    session->phase = Phase::signing_in;
    write_session_line(*session, "opened", std::move(line));
    if (rule != nullptr) return close(session, "fault tls-close");
    return remind(milliseconds(config_.signin_timeout_ms), Due::signin_limit, session->id);
  }
  const int why = SSL_get_error(session->ssl.get(), done);
  if (why == SSL_ERROR_WANT_READ) return wait_read(session);
  if (why == SSL_ERROR_WANT_WRITE) return wait_write(session);
  const std::string reason = why == SSL_ERROR_SYSCALL ? "connection lost" : take_ssl_error();
  ++counts_["handshakes_failed"];
  write_session_line(*session, "handshake_failed", {{"reason", reason}});
  close(session, "handshake failed", false);
}

void NotifyEngine::on_readable(const SessionPtr& session) {
  if (session->phase == Phase::handshaking) {
    handshake(session);
    if (session->phase == Phase::handshaking || session->phase == Phase::closed) return;
  }
  for (int reads = 0; reads < reads_per_turn; ++reads) {
    ERR_clear_error();
    const int got = SSL_read(session->ssl.get(), scratch_.data(), int(scratch_.size()));
    if (got > 0) {
      session->bytes_in += static_cast<std::uint64_t>(got);
      feed(session, std::span(scratch_).first(static_cast<std::size_t>(got)));
      if (session->phase == Phase::closed || session->phase == Phase::black_hole) return;
      continue;
    }
    const int why = SSL_get_error(session->ssl.get(), got);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
      wait_read(session);
      if (!session->out.empty() || why == SSL_ERROR_WANT_WRITE) flush(session);
      return;
    }
    if (!session->in.empty()) {
      const Findings findings{
          {"frame.truncated", "2.3", Severity::fatal, "the connection ended inside a frame"}};
      write_frame_line(*session, true, Kind::unknown, nullptr, "", "fatal", findings,
                       std::as_bytes(std::span(session->in)), nullptr);
      note(*session, findings);
    }
    if (why == SSL_ERROR_ZERO_RETURN) return close(session, "client closed");
    if (why == SSL_ERROR_SSL && !session->leaving) {
      const std::string reason = take_ssl_error();
      return close(session,
                   reason == "unexpected eof while reading" ? "client closed without close_notify"
                                                            : "tls: " + reason,
                   false);
    }
    return close(session, "connection lost", false);
  }
  // Much to read: the others first, then on.
  asio::post(io_, [self = shared_from_this(), session] {
    if (session->phase != Phase::closed && session->phase != Phase::black_hole)
      self->on_readable(session);
  });
}

void NotifyEngine::feed(const SessionPtr& session, std::span<const std::byte> bytes) {
  const bool begun = !session->in.empty();
  std::string joined;
  if (begun) {
    joined = std::exchange(session->in, {});
    joined.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    bytes = std::as_bytes(std::span(joined));
  }
  bool first = true;
  while (!bytes.empty()) {
    const Cut cut = cut_frame(rules_, bytes);
    if (cut.status == Cut::Status::need_more) break;
    if (cut.status == Cut::Status::bad) return on_bad_stream(session, cut, bytes);
    on_frame(session, cut, bytes.first(cut.frame_bytes));
    if (session->phase == Phase::closed || session->phase == Phase::black_hole) return;
    bytes = bytes.subspan(cut.frame_bytes);
    first = false;
  }
  if (bytes.empty()) return;
  if (begun && first) {
    session->in = std::move(joined);  // still the same frame
    return;
  }
  session->in.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  session->frame_since = now();
  watch_frame(*session, milliseconds(config_.frame_timeout_ms));
}

void NotifyEngine::watch_frame(Session& session, milliseconds in) {
  if (session.frame_watched) return;  // one appointment per session, however many frames it begins
  session.frame_watched = true;
  remind(in, Due::frame_limit, session.id);
}

void NotifyEngine::push_chunk(const SessionPtr& session, Chunk chunk) {
  if (session->phase == Phase::closed || session->phase == Phase::black_hole) return;
  session->out_bytes += chunk.bytes.size();
  session->out.push_back(std::move(chunk));
  flush(session);
  if (session->phase == Phase::closed ||
      session->out_bytes <= static_cast<std::size_t>(config_.out_bytes_max))
    return;
  ++counts_["slow_readers"];
  close(session, "reads too slowly");
}

void NotifyEngine::flush(const SessionPtr& session) {
  while (!session->out.empty() && session->phase != Phase::closed &&
         session->phase != Phase::black_hole && session->phase != Phase::handshaking) {
    Chunk& chunk = session->out.front();
    if (chunk.wait.count() > 0) {
      chunk.not_before = now() + chunk.wait;
      remind(chunk.wait, Due::chunk, session->id);
      chunk.wait = milliseconds(0);
    }
    if (chunk.not_before > now()) return;
    std::size_t want = std::min<std::size_t>(chunk.bytes.size() - chunk.sent, 16 * 1024);
    if (chunk.byte_by_byte) want = std::min<std::size_t>(want, 1);
    if (want > 0) {
      ERR_clear_error();
      const int sent = SSL_write(session->ssl.get(), chunk.bytes.data() + chunk.sent, int(want));
      if (sent <= 0) {
        const int why = SSL_get_error(session->ssl.get(), sent);
        if (why == SSL_ERROR_WANT_WRITE) return wait_write(session);
        if (why == SSL_ERROR_WANT_READ) return wait_read(session);
        take_ssl_error();
        return close(session, "connection lost", false);
      }
      chunk.sent += static_cast<std::size_t>(sent);
    }
    if (chunk.sent < chunk.bytes.size()) continue;
    const bool done = chunk.close_after;
    session->out_bytes -= chunk.bytes.size();
    session->out.pop_front();
    if (done) return close(session, "fault close-mid-frame");
  }
}

void NotifyEngine::close(const SessionPtr& session, std::string_view reason, bool orderly) {
  if (session->phase == Phase::closed) return;
  const Phase was = session->phase;
  session->phase = Phase::closed;
  const int fd = session->socket.native_handle();
  if (orderly && was != Phase::handshaking && was != Phase::black_hole) {
    ERR_clear_error();
    SSL_shutdown(session->ssl.get());
    ERR_clear_error();
    // What we said must not be lost to a reset, which unread bytes would cause.
    ::shutdown(fd, SHUT_WR);
    for (int i = 0; i < 16; ++i)
      if (::recv(fd, scratch_.data(), scratch_.size(), MSG_DONTWAIT) <= 0) break;
  }
  boost::system::error_code ignored;
  session->socket.close(ignored);
  session->ssl.reset();
  session->out.clear();
  session->in = {};
  write_session_line(*session, "closed",
                     {{"reason", reason},
                      {"frames_in", session->frames_in},
                      {"frames_out", session->frames_out},
                      {"bytes_in", session->bytes_in}});
  if (session->client != nobody) {
    Client& client = clients_[session->client];
    std::erase(client.sessions, session->id);
    if (client.sessions.empty()) client.socket_lost = now();
  }
  sessions_.erase(session->id);
}

void NotifyEngine::go_dark(const SessionPtr& session) {
  session->phase = Phase::black_hole;
  write_session_line(*session, "black_hole");
  remind(milliseconds(config_.black_hole_ms), Due::close_session, session->id);
}

// ---- the conversation ---------------------------------------------------------------------------

void NotifyEngine::on_bad_stream(const SessionPtr& session, const Cut& cut,
                                 std::span<const std::byte> stream) {
  write_frame_line(*session, true, Kind::unknown, cut.header_read ? &cut.header : nullptr, "",
                   "fatal", cut.findings, stream, nullptr);
  note(*session, cut.findings);
  close(session, cut.findings.front().code);
}

void NotifyEngine::on_frame(const SessionPtr& session, const Cut& cut,
                            std::span<const std::byte> frame) {
  ++session->frames_in;
  Findings findings;
  const auto wrong = [&](const char* code, const char* section, Severity severity,
                         std::string detail) {
    findings.push_back({code, section, severity, std::move(detail)});
  };
  if (session->client != nobody) {
    clients_[session->client].last_message = now();
    clients_[session->client].last_seen = clock_.wall();
  }

  const Kind hint = kind_of_channel(rules_, cut.header.channel);
  Kind kind = hint;
  std::string xml;
  ClientMessage message;

  if (!cut.version_supported) {
    wrong("frame.version", "2.5", Severity::refused,
          "version " + std::to_string(cut.header.major) + "." + std::to_string(cut.header.minor));
  } else {
    if (rules_.channel_is_constant ? cut.header.channel != rules_.channel_constant
                                   : hint == Kind::unknown)
      wrong("frame.channel", "2.3", Severity::refused,
            "Channel " + std::to_string(cut.header.channel));
    if (cut.payload_bytes == 0) {
      if (hint == Kind::sign_in || hint == Kind::keep_alive || hint == Kind::response ||
          hint == Kind::unknown)
        wrong("frame.empty", "2.2", Severity::refused, "this message needs a payload");
    } else {
      if (hint == Kind::disconnect || hint == Kind::negotiation_needed || hint == Kind::none)
        wrong("frame.unexpected_payload", "2.1", Severity::refused, "this message has no payload");
      Text text = read_text(rules_, frame.subspan(cut.payload_at, cut.payload_bytes));
      xml = std::move(text.utf8);
      findings.insert(findings.end(), text.findings.begin(), text.findings.end());
      if (text.findings.empty()) {
        const Document document = parse_xml(xml);
        findings.insert(findings.end(), document.findings.begin(), document.findings.end());
        if (document.findings.empty()) {
          const SchemaRules schema{.client_type = config_.client_type,
                                   .allow_unknown_members = config_.allow_unknown_members,
                                   .check_smsid_form = config_.check_smsid_form,
                                   .now_unix_seconds = to_millis(clock_.wall()) / 1000,
                                   .skew_warn_seconds = config_.timestamp_skew_warn_ms / 1000};
          message = check_message(document, schema, findings);
          kind = message.kind;
          if (kind != hint && kind != Kind::unknown && hint != Kind::unknown)
            wrong("frame.kind_mismatch", "8.2", Severity::refused,
                  std::string("Channel says ") + kind_name(hint) + ", the root " + kind_name(kind));
        }
      }
    }

    const bool readable = !any_of(findings, Severity::fatal);
    const bool early = session->phase == Phase::unconfirmed;
    if (session->phase == Phase::refused) {
      // Nothing more is expected of it and nothing more is held against it.
    } else if (session->phase == Phase::signing_in && kind != Kind::sign_in) {
      if (readable)
        wrong("session.first_message", "2.5", Severity::fatal,
              std::string("the first message is ") + kind_name(kind));
    } else if (kind == Kind::sign_in) {
      if (session->phase != Phase::signing_in)
        wrong("session.second_signin", "2.5", Severity::refused, "signed in already");
      else if (readable)
        judge_sign_in(*session, message, findings);
    } else if (kind == Kind::keep_alive) {
      if (early) wrong("session.early", "2.5", Severity::refused, "KeepAlive before confirmation");
      if (readable && message.client_id != sms_id_of(*session) && !message.client_id.empty())
        wrong("keepalive.other_client", "9.1", Severity::fatal,
              "KeepAlive names " + message.client_id);
    } else if (kind == Kind::response) {
      if (early) wrong("session.early", "2.5", Severity::refused, "Response before confirmation");
      if (readable && !any_of(findings, Severity::refused))
        judge_response(*session, message, findings);
    } else if (kind == Kind::disconnect) {
      if (config_.client_disconnect != "accept")
        wrong("session.client_disconnect", "2.1", Severity::refused, "only a server disconnects");
    } else if (kind != Kind::unknown) {
      wrong("session.direction", "2.1", Severity::fatal,
            std::string("a client never sends ") + kind_name(kind));
    }
  }

  const bool fatal = any_of(findings, Severity::fatal);
  const bool refused = any_of(findings, Severity::refused);
  const char* verdict = session->phase == Phase::refused ? "ignored"
                        : fatal                          ? "fatal"
                        : refused                        ? "refused"
                                                         : "accepted";
  if (session->client == nobody && kind == Kind::sign_in) session->claimed = message.client_id;
  write_frame_line(*session, true, kind, &cut.header, xml, verdict, findings,
                   refused || fatal ? frame : std::span<const std::byte>{}, nullptr);
  if (session->phase == Phase::refused) return;
  note(*session, findings);
  if (fatal) {
    const auto worst = std::ranges::find(findings, Severity::fatal, &Finding::severity);
    return close(session, worst->code);
  }
  if (!cut.version_supported)
    return ask_to_leave(session, Kind::negotiation_needed, config_.negotiation_open_ms);
  if (refused) {
    const auto worst = std::ranges::find(findings, Severity::refused, &Finding::severity);
    if (session->phase == Phase::signing_in) return refuse(session, worst->code);
    if (config_.close_on_schema_violation) return close(session, worst->code);
    return;
  }
  if (kind == Kind::sign_in) return sign_in(session, message);
  if (kind == Kind::response) return answer(*session, message);
  if (kind == Kind::keep_alive) ++clients_[session->client].keep_alives;
  if (kind == Kind::disconnect) close(session, "client sent Disconnect");
}

void NotifyEngine::judge_sign_in(Session& session, const ClientMessage& message,
                                 Findings& findings) {
  const auto wrong = [&](const char* code, std::string detail) {
    findings.push_back({code, "4.1", Severity::refused, std::move(detail)});
  };
  if (config_.check_certificate && !session.key)
    wrong("signin.no_certificate", "no client certificate in the handshake");
  if (directory_ != nullptr) {
    const auto known = directory_->find(message.client_id);
    if (!known) {
      if (config_.check_key) wrong("signin.unknown_client", "not registered");
    } else {
      if (config_.check_key && session.key && key_hash(known->certificate_der) != session.key)
        wrong("signin.key_mismatch", "the certificate's key is not the registered one");
      if (config_.check_blocked && known->blocked) wrong("signin.blocked", "blocked");
      if (config_.check_approved && !known->approved) wrong("signin.not_approved", "not approved");
    }
  }
  const ClientNumber number = number_of(message.client_id, false);
  const bool second = number != nobody && !clients_[number].sessions.empty();
  if (second && config_.duplicate_signin == "reject")
    findings.push_back({"signin.duplicate", "1.5", Severity::refused, "has a session already"});
  else if (second)
    findings.push_back({"signin.second_session", "1.5", Severity::warning,
                        "has a session already (" + config_.duplicate_signin + ")"});
  if (number == nobody && static_cast<std::int64_t>(clients_.size()) >= config_.clients_max)
    findings.push_back({"signin.full", "7.1", Severity::refused, "too many clients"});
}

void NotifyEngine::judge_response(Session& session, const ClientMessage& message,
                                  Findings& findings) {
  const auto wrong = [&](const char* code, const char* section, std::string detail) {
    findings.push_back({code, section, Severity::refused, std::move(detail)});
  };
  const std::string named = "push " + std::to_string(message.push_id);
  const auto push = pushes_.find(message.push_id);
  if (push == pushes_.end()) return wrong("response.unknown_push", "6.1", named + " never was");
  if (push->second.task_id != message.task_id)
    return wrong("response.task_mismatch", "6.1",
                 named + " is task " + std::to_string(push->second.task_id) + ", not " +
                     std::to_string(message.task_id));
  const auto found = push->second.deliveries.find(session.client);
  if (found == push->second.deliveries.end() || found->second.sends == 0)
    return wrong("response.not_pushed", "6.1", named + " was not sent to this client");
  Delivery& delivery = found->second;
  if (delivery.session != session.id)
    return wrong("response.other_session", "2.5", named + " was sent on another session");
  if (delivery.answers_here >= delivery.sends_here)
    return wrong("response.repeated", "6.1", named + " is answered already");
  if (delivery.ever_answered && delivery.return_code != message.return_code)
    return wrong("response.changed_code", "2.6",
                 named + " was answered " + std::to_string(delivery.return_code) + " before");
  if (delivery.expect_failure && message.return_code == 1)
    findings.push_back({"response.unknown_type", "2.6", Severity::warning,
                        named + " has a TaskType nobody knows and is answered with success"});
  if (message.return_code != 0 && message.return_code != 1)
    findings.push_back({"response.return_code", "6.1", Severity::warning,
                        "ReturnCode " + std::to_string(message.return_code) + " is not known"});
  if (!delivery.late && delivery.fault == nullptr &&
      now() - delivery.sent > milliseconds(config_.response_limit_ms)) {
    delivery.late = true;
    findings.push_back({"response.late", "7.2", Severity::warning, named + " is answered late"});
  }
}

void NotifyEngine::sign_in(const SessionPtr& session, const ClientMessage& message) {
  const ClientNumber number = number_of(message.client_id, true);
  if (config_.duplicate_signin == "replace") {
    const auto old = clients_[number].sessions;
    for (const SessionId id : old)
      if (const SessionPtr other = find_session(id)) close(other, "replaced by a newer session");
  }
  Client& client = clients_[number];
  client.version = message.client_version;
  client.last_message = now();
  client.last_seen = clock_.wall();
  ++client.sign_ins;
  client.sessions.push_back(session->id);
  session->client = number;
  session->claimed = {};
  session->phase = Phase::unconfirmed;
  ++counts_["sign_ins"];
  write_session_line(*session, "signed_in", {{"client_version", client.version}});

  if (FaultRule* rule = pick(Moment::sign_in, client.sms_id)) {
    switch (rule->fault) {
      case Fault::no_confirmation:
        return;
      case Fault::negotiation_needed:
        return ask_to_leave(session, Kind::negotiation_needed, config_.negotiation_open_ms);
      case Fault::disconnect:
        return ask_to_leave(session, Kind::disconnect, config_.client_close_limit_ms);
      case Fault::black_hole:
        return go_dark(session);
      case Fault::push_before_confirmation: {
        if (client.waiting.empty()) {
          auto push = make_push(1, "", "");
          if (push) owe(**push, number);
        }
        send_pending(session);
        break;
      }
      default:
        break;
    }
  }
  if (session->phase == Phase::unconfirmed) confirm(session);
}

void NotifyEngine::confirm(const SessionPtr& session) {
  Client& client = clients_[session->client];
  session->phase = Phase::online;
  client.ever_online = true;
  send_frame(session, Kind::sign_in_confirm, confirm_xml(own_seconds(), config_.message_version),
             pick(Moment::confirm, client.sms_id));
  if (session->phase != Phase::online) return;
  const auto most = static_cast<std::uint64_t>(config_.pending_push_delay_max_ms);
  remind(milliseconds(dice_() % (most + 1)), Due::pending_pushes, session->id);
}

void NotifyEngine::refuse(const SessionPtr& session, std::string_view code) {
  ++counts_["sign_ins_refused"];
  write_session_line(*session, "refused", {{"code", code}, {"as", config_.refuse_as}});
  if (config_.refuse_as == "silence") {
    session->phase = Phase::refused;
  } else if (config_.refuse_as == "disconnect-frame") {
    session->phase = Phase::refused;
    ask_to_leave(session, Kind::disconnect, config_.client_close_limit_ms);
  } else if (config_.refuse_as == "tls-alert") {
    poison_next_read(session->ssl.get());
    std::byte none;
    ERR_clear_error();
    SSL_read(session->ssl.get(), &none, 1);
    take_ssl_error();
    close(session, "refused");
  } else {
    close(session, "refused");
  }
}

void NotifyEngine::answer(Session& session, const ClientMessage& message) {
  Push& push = pushes_.at(message.push_id);
  Delivery& delivery = push.deliveries.at(session.client);
  Client& client = clients_[session.client];
  ++client.responses;
  ++counts_["responses"];
  ++delivery.answers_here;
  if (delivery.ever_answered) return;  // a second send, answered alike
  delivery.ever_answered = true;
  delivery.state = Delivered::answered;
  delivery.answered_at = clock_.wall();
  delivery.return_code = message.return_code;
  delivery.round_trip_ms = std::chrono::duration<double, std::milli>(now() - delivery.sent).count();
  std::erase(client.waiting, push.id);
  ++push.answered;
  if (message.return_code != 1) ++push.failed;
  push.news.push_back(session.client);
  if (!push.report_due) {
    push.report_due = true;
    remind(milliseconds(config_.task_report_ms), Due::task_report, push.id);
  }
}

void NotifyEngine::ask_to_leave(const SessionPtr& session, Kind how, std::int64_t close_after_ms) {
  send_frame(session, how, "");
  if (session->phase == Phase::closed) return;
  const bool stays_longer = close_after_ms > config_.client_close_limit_ms;
  expect_leave(*session, !stays_longer);
  if (stays_longer) remind(milliseconds(close_after_ms), Due::close_session, session->id);
}

void NotifyEngine::expect_leave(Session& session, bool then_close) {
  if (session.leaving) return;
  session.leaving = true;
  remind(milliseconds(config_.client_close_limit_ms), Due::leave_limit, session.id,
         then_close ? 1 : 0);
}

// ---- pushing ------------------------------------------------------------------------------------

Result<NotifyEngine::Push*> NotifyEngine::make_push(std::uint32_t type, std::string param,
                                                    std::string guid) {
  forget_old_pushes();
  if (static_cast<std::int64_t>(pushes_.size()) >= config_.pushes_max)
    return fail(Remedy::retry, "notify.pushes_full", "Too many pushes are still open.");
  Push push;
  push.id = next_push_++;
  push.task_guid = guid.empty() ? make_guid() : std::move(guid);
  auto [task, is_new] = task_ids_.try_emplace(push.task_guid, next_task_);
  if (is_new) next_task_ += 2;
  push.task_id = task->second;
  push.task_type = type;
  push.task_param = std::move(param);
  push.made = clock_.wall();
  const milliseconds life(type == 15 ? config_.script_task_life_ms : config_.task_life_ms);
  push.expires = now() + life;
  const std::uint64_t id = push.id;
  remind(life, Due::push_expiry, id);
  ++counts_["pushes"];
  return &pushes_.emplace(id, std::move(push)).first->second;
}

bool NotifyEngine::owe(Push& push, ClientNumber number) {
  if (deliveries_ >= config_.deliveries_max) return false;
  if (!push.deliveries.try_emplace(number).second) return true;
  ++deliveries_;
  clients_[number].waiting.push_back(push.id);
  return true;
}

void NotifyEngine::enqueue(Push& push, ClientNumber number) {
  Delivery& delivery = push.deliveries.at(number);
  if (delivery.queued) return;
  delivery.queued = true;
  send_queue_.emplace_back(push.id, number);
}

void NotifyEngine::pump() {
  while (!send_queue_.empty()) {
    if (config_.throttle_sends > 0) {
      const SteadyTime when = now();
      const milliseconds slice(config_.throttle_slice_ms);
      if (when - slice_since_ >= slice) {
        slice_since_ = when;
        slice_sends_ = 0;
      }
      if (slice_sends_ >= config_.throttle_sends) {
        if (!slice_due_) {
          slice_due_ = true;
          agenda_.push({slice_since_ + slice, Due::slice});
          arm();
        }
        return;
      }
    }
    const auto [id, number] = send_queue_.front();
    send_queue_.pop_front();
    const auto push = pushes_.find(id);
    if (push == pushes_.end()) continue;
    Delivery& delivery = push->second.deliveries.at(number);
    delivery.queued = false;
    if (delivery.state == Delivered::answered || delivery.state == Delivered::expired) continue;
    if (clients_[number].sessions.empty()) continue;  // it waits for the next sign-in
    const SessionPtr session = find_session(clients_[number].sessions.back());
    if (!session || session->phase != Phase::online || session->leaving) continue;
    if (delivery.state == Delivered::sent && delivery.session == session->id) continue;
    ++slice_sends_;
    deliver(session, push->second, number, delivery);
  }
}

void NotifyEngine::send_pending(const SessionPtr& session) {
  if (session->client == nobody || session->leaving) return;
  const auto waiting = clients_[session->client].waiting;
  for (const std::uint64_t id : waiting) {
    const auto push = pushes_.find(id);
    if (push == pushes_.end()) {
      std::erase(clients_[session->client].waiting, id);
      continue;
    }
    Delivery& delivery = push->second.deliveries.at(session->client);
    if (session->phase == Phase::unconfirmed) {
      deliver(session, push->second, session->client, delivery);  // the fault: before confirmation
      if (session->phase == Phase::closed) return;
    } else {
      enqueue(push->second, session->client);
    }
  }
  pump();
}

void NotifyEngine::deliver(const SessionPtr& session, Push& push, ClientNumber number,
                           Delivery& delivery) {
  FaultRule* rule = pick(Moment::push, clients_[number].sms_id);
  RequestFields fields{.push_id = push.id,
                       .task_id = push.task_id,
                       .task_guid = push.task_guid,
                       .task_type = push.task_type,
                       .task_param = push.task_param,
                       .leave_out = {},
                       .extra = {}};
  if (rule != nullptr && rule->fault == Fault::missing_fields) fields.leave_out = rule->fields;
  if (rule != nullptr &&
      (rule->fault == Fault::unknown_elements || rule->fault == Fault::unknown_task_type))
    fields.extra = "<Future a=\"1\">x</Future>";  // sample 14
  if (rule != nullptr && rule->fault == Fault::unknown_task_type) fields.task_type = 999;

  if (delivery.session != session->id) {
    delivery.session = session->id;
    delivery.sends_here = delivery.answers_here = 0;
  }
  const bool twice = rule != nullptr && rule->fault == Fault::duplicate_push;
  // A frame that the client must answer all the same keeps its clock running.
  const bool answerable = rule == nullptr || twice || rule->fault == Fault::unknown_elements ||
                          rule->fault == Fault::unknown_task_type ||
                          rule->fault == Fault::byte_per_write ||
                          rule->fault == Fault::split_every_byte;
  delivery.state = Delivered::sent;
  delivery.fault = answerable ? nullptr : fault_name(rule->fault);
  delivery.expect_failure = rule != nullptr && rule->fault == Fault::unknown_task_type;
  delivery.late = false;
  delivery.sent = now();
  delivery.sent_at = clock_.wall();
  const std::uint64_t push_id = push.id;
  const std::string xml = request_xml(own_seconds(), fields);
  for (int copy = 0; copy < (twice ? 2 : 1); ++copy) {
    ++delivery.sends;
    ++delivery.sends_here;
    ++counts_["sends"];
    send_frame(session, Kind::request, xml, rule);
    if (session->phase == Phase::closed) return;
  }
  if (answerable)
    remind(milliseconds(config_.response_limit_ms), Due::response_late, push_id, number);
}

void NotifyEngine::send_frame(const SessionPtr& session, Kind kind, const std::string& xml,
                              FaultRule* rule) {
  if (session->phase == Phase::closed || session->phase == Phase::black_hole) return;
  FrameTwist twist;
  FrameRules rules = rules_;
  std::string text = xml;
  bool must_leave = false;
  if (rule != nullptr) {
    must_leave = true;
    switch (rule->fault) {
      case Fault::payload_size_zero:
        twist.payload_size = FrameTwist::Size::zero;
        break;
      case Fault::payload_size_huge:
        twist.payload_size = FrameTwist::Size::huge;
        break;
      case Fault::payload_size_larger:
        twist.payload_size = FrameTwist::Size::larger;
        must_leave = false;  // it cannot know: the rest may still come
        break;
      case Fault::wrong_header_size:
        twist.wrong_header_size = true;
        break;
      case Fault::other_encoding:
        rules = with_encoding(rules, !rule->encoding.empty() ? std::string_view(rule->encoding)
                                     : rules.utf16           ? "utf-8"
                                                             : "utf-16le");
        must_leave = false;  // a client may read what is plain to see (8.2 rule 5)
        break;
      case Fault::malformed_xml:
        text.resize(text.size() - 3);
        break;
      case Fault::entity:
        text.insert(text.find('>') + 1, "<Extra>&outside;</Extra>");
        break;
      case Fault::dtd:
        text.insert(0,
                    "<!DOCTYPE x [<!ENTITY outside \"aaaaaaaaaa\">"
                    "<!ENTITY more \"&outside;&outside;&outside;&outside;\">]>");
        break;
      default:
        must_leave = false;
        break;
    }
  }
  std::string frame = write_frame(rules, kind, text.empty() ? "" : write_text(rules, text), twist);
  ++session->frames_out;
  const Header header = read_header(rules, std::as_bytes(std::span(frame)));
  write_frame_line(*session, false, kind, &header, text, "sent", {},
                   rule != nullptr ? std::as_bytes(std::span(frame)) : std::span<const std::byte>{},
                   rule != nullptr ? fault_name(rule->fault) : nullptr);
  if (must_leave) expect_leave(*session, true);
  if (rule == nullptr) return push_chunk(session, {std::move(frame)});

  switch (rule->fault) {
    case Fault::black_hole:
      return go_dark(session);
    case Fault::close_mid_frame:
      frame.resize(frame.size() / 2);
      return push_chunk(session, {.bytes = std::move(frame), .close_after = true});
    case Fault::byte_per_write:
      return push_chunk(session, {.bytes = std::move(frame), .byte_by_byte = true});
    case Fault::split_every_byte: {
      if (rule->split_at >= frame.size()) rule->split_at = 1;
      const std::size_t at = rule->split_at++;
      push_chunk(session, {frame.substr(0, at)});
      return push_chunk(session, {.bytes = frame.substr(at), .wait = split_pause});
    }
    case Fault::many_frames_per_write:
      session->held += frame;
      if (++session->held_frames < rule->frames)
        return remind(held_frames_limit, Due::held_frames, session->id);
      session->held_frames = 0;
      return push_chunk(session, {std::exchange(session->held, {})});
    default:
      return push_chunk(session, {std::move(frame)});
  }
}

void NotifyEngine::expire(Push& push) {
  push.expired = true;
  for (auto& [number, delivery] : push.deliveries) {
    if (delivery.state == Delivered::answered) continue;
    delivery.state = Delivered::expired;
    std::erase(clients_[number].waiting, push.id);
  }
}

void NotifyEngine::forget_old_pushes() {
  for (auto push = pushes_.begin();
       push != pushes_.end() && static_cast<std::int64_t>(pushes_.size()) >= config_.pushes_max;) {
    const Push& one = push->second;
    if (!one.report_due && (one.expired || one.answered == one.deliveries.size())) {
      deliveries_ -= static_cast<std::int64_t>(one.deliveries.size());
      task_ids_.erase(one.task_guid);
      push = pushes_.erase(push);
    } else {
      ++push;
    }
  }
}

// ---- accounts and evidence ----------------------------------------------------------------------

NotifyEngine::ClientNumber NotifyEngine::number_of(const std::string& sms_id, bool may_add) {
  const auto found = client_numbers_.find(sms_id);
  if (found != client_numbers_.end()) return found->second;
  if (!may_add || static_cast<std::int64_t>(clients_.size()) >= config_.clients_max) return nobody;
  const auto number = static_cast<ClientNumber>(clients_.size());
  clients_.emplace_back().sms_id = sms_id;
  client_numbers_.emplace(sms_id, number);
  return number;
}

bool NotifyEngine::is_online(const Client& client) const {
  if (!client.ever_online) return false;
  if (config_.offline_rule == "silence")
    return now() - client.last_message < milliseconds(config_.silence_ms);
  return !client.sessions.empty() || now() - client.socket_lost < milliseconds(config_.grace_ms);
}

void NotifyEngine::account(bool full) {
  std::size_t online = 0, changed = 0;
  json::array came, left;
  for (Client& client : clients_) {
    const bool is = is_online(client);
    online += is ? 1 : 0;
    const bool differs = is != client.reported_online;
    changed += differs ? 1 : 0;
    client.reported_online = is;
    if (is && (full || differs)) came.emplace_back(client.sms_id);
    if (!is && differs) left.emplace_back(client.sms_id);
  }
  if (!full && changed == 0 && online_version_ > 0) {
    // The count is taken every time; a delta without news is not a report.
    ++counts_["accountings_without_news"];
    return;
  }
  online_full_due_ = false;
  write_line(report_lines_, {{"at", iso_millis(clock_.wall())},
                             {"report", "online"},
                             {"form", full ? "FULL" : "DELTA"},
                             {"version", ++online_version_},
                             {"TCP", online},
                             {"HTTP", 0},
                             {"changed", changed},
                             {"online", std::move(came)},
                             {"offline", std::move(left)}});
}

void NotifyEngine::report_task(Push& push) {
  push.report_due = false;
  json::array clients;
  std::size_t failed = 0;
  for (const ClientNumber number : push.news) {
    const Delivery& delivery = push.deliveries.at(number);
    failed += delivery.return_code != 1 ? 1 : 0;
    clients.push_back(
        {{"ClientID", clients_[number].sms_id}, {"ReturnCode", delivery.return_code}});
  }
  write_line(report_lines_, {{"at", iso_millis(clock_.wall())},
                             {"report", "task"},
                             {"PushID", push.id},
                             {"TaskID", push.task_id},
                             {"TaskGUID", push.task_guid},
                             {"TaskType", push.task_type},
                             {"ReportedClients", push.news.size()},
                             {"FailedClients", failed},
                             {"clients", std::move(clients)}});
  push.news.clear();
}

std::string NotifyEngine::sms_id_of(const Session& session) const {
  if (session.client != nobody) return clients_[session.client].sms_id;
  return session.claimed;
}

void NotifyEngine::note(const Session& session, const Findings& findings) {
  for (const Finding& finding : findings) {
    ++violation_total_;
    ++violation_counts_[finding.code];
    if (session.client != nobody) ++clients_[session.client].violations;
    if (static_cast<std::int64_t>(violations_.size()) >= config_.violations_kept)
      violations_.pop_front();
    violations_.push_back({clock_.wall(), session.id, sms_id_of(session), finding});
  }
}

void NotifyEngine::note_frameless(const Session& session, Finding finding) {
  write_session_line(
      session, "violation",
      {{"code", finding.code}, {"section", finding.section}, {"detail", finding.detail}});
  note(session, {std::move(finding)});
}

void NotifyEngine::write_frame_line(const Session& session, bool in, Kind kind,
                                    const Header* header, std::string_view xml,
                                    std::string_view verdict, const Findings& findings,
                                    std::span<const std::byte> raw, const char* fault) {
  ++counts_[in ? "frames_in" : "frames_out"];
  if (config_.evidence == "violations" && findings.empty() && fault == nullptr) return;
  json::object line{{"at", iso_millis(clock_.wall())},
                    {"session", session.id},
                    {"sms_id", sms_id_of(session)},
                    {"direction", in ? "in" : "out"},
                    {"kind", kind_name(kind)}};
  if (header != nullptr)
    line["header"] = {{"PayloadSize", header->payload_size},
                      {"MajorVersion", header->major},
                      {"MinorVersion", header->minor},
                      {"HeaderSize", header->header_size},
                      {"Channel", header->channel}};
  if (!xml.empty()) line["xml"] = xml.substr(0, evidence_text_max);
  line["verdict"] = verdict;
  json::array all;
  for (const Finding& finding : findings)
    all.push_back({{"code", finding.code},
                   {"section", finding.section},
                   {"severity", severity_name(finding.severity)},
                   {"detail", finding.detail}});
  line["violations"] = std::move(all);
  if (fault != nullptr) line["fault"] = fault;
  if (!raw.empty()) {
    line["raw_hex"] = hex(raw.first(std::min(raw.size(), evidence_text_max)));
    line["raw_bytes"] = raw.size();
  }
  write_line(message_lines_, line);
}

void NotifyEngine::write_session_line(const Session& session, std::string_view event,
                                      json::object more) {
  json::object line{{"at", iso_millis(clock_.wall())},
                    {"session", session.id},
                    {"sms_id", sms_id_of(session)},
                    {"event", event}};
  for (auto& [key, value] : more) line[key] = std::move(value);
  write_line(session_lines_, line);
}

void NotifyEngine::write_line(EvidenceFile& file, const json::object& line) {
  file.write(json::serialize(line));
  if (flush_due_) return;
  flush_due_ = true;
  remind(flush_every, Due::flush);
}

FaultRule* NotifyEngine::pick(Moment moment, std::string_view sms_id) {
  const SteadyTime when = now();
  for (FaultRule& rule : faults_) {
    if (rule.at != moment || rule.count == 0 || when < rule.from || when >= rule.until) continue;
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
