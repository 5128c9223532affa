// The HTTP side: judges each request, signs clients in, holds those who wait and answers them with what is for them.
#include "simulators/notification_server/engine.h"
#include "simulators/notification_server/engine_words.h"
#include "simulators/notification_server/http_body.h"

#include "core/random.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace json = boost::json;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t holds_max = 250'000;

std::string_view query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view one = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (one.starts_with(name) && one.size() > name.size() && one[name.size()] == '=') return one.substr(name.size() + 1);
  }
  return {};
}

std::string_view cookie_value(std::string_view header, std::string_view name) {
  while (!header.empty()) {
    const std::size_t end = std::min(header.find(';'), header.size());
    std::string_view one = header.substr(0, end);
    header.remove_prefix(std::min(end + 1, header.size()));
    while (one.starts_with(' ')) one.remove_prefix(1);
    if (one.starts_with(name) && one.size() > name.size() && one[name.size()] == '=') return one.substr(name.size() + 1);
  }
  return {};
}

bool any_of(const Findings& findings, Severity severity) {
  return std::ranges::any_of(findings, [&](const Finding& f) { return f.severity == severity; });
}

}  // namespace

Result<void> NotifyEngine::open_http() {
  if (config_.http == "off") return {};
  door_ = std::make_shared<HttpDoor>(
      io_, [this]() -> SSL_CTX* { return config_.http == "https" ? context_.get() : nullptr; },
      static_cast<std::size_t>(config_.payload_bytes_max) + 8192,
      [weak = weak_from_this()](HttpCall call, std::shared_ptr<HttpHold> hold) {
        if (const auto self = weak.lock(); self && self->running_) return self->take_call(std::move(call), hold);
        hold->answer(HttpAnswer{.cut = true});
      });
  auto opened = door_->open(config_.bind_address, config_.http_port);
  if (opened) http_port_ = door_->port();
  return opened;
}

void NotifyEngine::close_http() {
  if (!door_) return;
  door_->close();
  for (const auto& [id, held] : std::exchange(holds_, {}))
    if (held.hold->answer) std::exchange(held.hold->answer, nullptr)(HttpAnswer{.cut = true});
}

void NotifyEngine::take_call(HttpCall call, const std::shared_ptr<HttpHold>& hold) {
  run_due();
  ++counts_["http_requests"];
  hold->id = next_hold_++;
  Held& held = holds_[hold->id];
  held.hold = hold;
  held.since = now();
  hold->gone = [weak = weak_from_this(), id = hold->id] {
    if (const auto self = weak.lock()) self->caller_gone(id);
  };
  const auto end = [&](unsigned status, const char* code, std::string detail) {
    Findings findings;
    if (code != nullptr) findings.push_back({code, "3", Severity::refused, std::move(detail)});
    note_call(held, findings);
    answer_call(hold->id, {.status = status});
  };
  if (holds_.size() > holds_max) return end(503, nullptr, "");

  const std::size_t mark = call.target.find('?');
  held.type = mark == std::string::npos ? "" : std::string(query_value(std::string_view(call.target).substr(mark + 1), "RequestType"));
  held.method = call.method;
  if (call.target.substr(0, mark) != "/bgb/handler.ashx") return end(404, "http.path", call.target.substr(0, 200));
  if (held.type != "LogIn" && held.type != "Continue")
    return end(400, "http.request_type", "RequestType is \"" + held.type.substr(0, 40) + "\"");
  if (call.method == "GET" && call.body.empty()) return end(200, nullptr, "");  // a health probe only looks at the number
  if (call.method != "POST") return end(405, "http.method", call.method);

  const auto bytes = std::as_bytes(std::span(call.body));
  HttpBody body = read_http_body(rules_, config_.client_type, bytes);
  held.source_id = body.source_id;
  const bool carries = body.cut.payload_bytes > 0;
  const Moment moment = held.type == "LogIn" ? Moment::http_sign_in : carries ? Moment::http_send : Moment::http_receive;
  if (FaultRule* rule = pick(moment, body.source_id)) {
    held.fault = fault_name(rule->fault);
    if (rule->fault == Fault::http_status) {
      HttpAnswer answer{.status = static_cast<unsigned>(rule->status)};
      if (rule->retry_after_s > 0) answer.headers.emplace_back("Retry-After", std::to_string(rule->retry_after_s));
      if (rule->status == 407) answer.headers.emplace_back("Proxy-Authenticate", "Basic realm=\"x\"");
      if (const SessionPtr session = http_session_of(body.source_id))  // it was told to wait, so it is waited for
        session->patience = milliseconds(rule->retry_after_s * 1000);
      note_call(held, {});
      return answer_call(hold->id, std::move(answer));
    }
    if (rule->fault == Fault::http_buffer) held.buffer = milliseconds(rule->delay_ms);
    if (rule->fault == Fault::http_cut) remind(milliseconds(rule->delay_ms), Due::http_cut, hold->id);
  }
  if (body.fatal()) {
    note_call(held, body.findings);
    return answer_call(hold->id, {.status = 400});
  }
  judge_hook(call, body, bytes);

  if (any_of(body.findings, Severity::refused) || (held.type == "LogIn" && !carries)) {
    if (held.type == "LogIn" && !carries)
      body.findings.push_back({"http.body", "3", Severity::refused, "a LogIn without a message"});
    note_call(held, body.findings);
    return answer_call(hold->id, {.status = static_cast<unsigned>(config_.http_refuse_status)});
  }
  note_call(held, body.findings);
  if (held.type == "LogIn") return log_in(hold->id, call, body, bytes);
  go_on(hold->id, call, body, bytes);
}

void NotifyEngine::judge_hook(const HttpCall& call, HttpBody& body, std::span<const std::byte> bytes) {
  if (!config_.check_hook || directory_ == nullptr) return;
  const auto known = directory_->find(body.source_id);
  if (!known) return;  // the sign-in says so
  const std::string_view payload(call.body.data() + body.cut.payload_at, body.cut.payload_bytes);
  static_cast<void>(bytes);
  const HookRules rules{.signs = config_.hook_signs, .text = config_.hook_text, .byte_order = config_.hook_byte_order};
  std::string why = hook_complaint(rules, body, payload, known->certificate_der);
  if (!why.empty()) body.findings.push_back({"http.hook", "3", Severity::refused, std::move(why)});
}

void NotifyEngine::log_in(std::uint64_t hold, const HttpCall& call, const HttpBody& body, std::span<const std::byte> bytes) {
  if (static_cast<std::int64_t>(sessions_.size()) >= config_.sessions_max) {
    ++counts_["refused_full"];
    return answer_call(hold, {.status = 503, .headers = {{"Retry-After", "60"}}});
  }
  auto session = std::make_shared<Session>(boost::asio::ip::tcp::socket(io_));
  session->id = next_session_++;
  session->since = clock_.wall();
  session->http = true;
  session->key = call.key;
  session->phase = Phase::signing_in;
  session->hold = hold;
  session->named = body.source_id;
  sessions_.emplace(session->id, session);
  holds_[hold].session = session->id;
  write_session_line(*session, "opened", {{"channel", "HTTP"}, {"tls", call.tls}});
  take_payload(session, body, bytes);
  if (session->phase == Phase::closed) return;  // refused, and answered
  if (!config_.http_cookie.empty() && session->cookie.empty()) {
    const std::string random = random_bytes(16);
    session->cookie = hex(std::as_bytes(std::span(random)));
  }
  if (session->phase == Phase::black_hole || (session->phase == Phase::refused && session->reply.empty())) return;  // silence
  say(session, true);
}

void NotifyEngine::go_on(std::uint64_t hold, const HttpCall& call, const HttpBody& body, std::span<const std::byte> bytes) {
  const SessionPtr session = http_session_of(body.source_id);
  if (!session || session->phase == Phase::refused) return answer_call(hold, {.status = static_cast<unsigned>(config_.http_lost_status)});
  const auto refuse = [&](const char* code, std::string detail) {
    const Findings findings{{code, "9.2", Severity::refused, std::move(detail)}};
    note(*session, findings);
    answer_call(hold, {.status = static_cast<unsigned>(config_.http_lost_status)});
  };
  if (!session->cookie.empty() && cookie_value(call.cookie, config_.http_cookie) != session->cookie)
    return refuse("http.cookie", "the request does not carry the session's cookie");
  if (session->key && call.key && *session->key != *call.key)
    return refuse("http.other_key", "the request comes under another certificate than the sign-in");
  if (session->leaving) ++session->calls_after_leave;
  if (session->phase == Phase::black_hole) return;

  if (body.cut.payload_bytes > 0) {
    // Whatever it leads to goes out with the request that waits, or, if none does, with this answer.
    take_payload(session, body, bytes);
    if (session->phase == Phase::closed) return answer_call(hold, {.status = static_cast<unsigned>(config_.http_lost_status)});
    HttpAnswer answer;
    if (session->hold == 0) answer.body = std::exchange(session->reply, {});
    return answer_call(hold, std::move(answer));
  }
  if (session->hold != 0) {
    note(*session, {{"http.second_hang", "3", Severity::warning, "a request hangs already; the older one is answered"}});
    answer_call(session->hold, {});
  }
  session->hold = hold;
  holds_[hold].session = session->id;
  if (!session->reply.empty()) return say(session, false);
  remind(milliseconds(config_.hang_ms), Due::http_hang, hold);
}

void NotifyEngine::take_payload(const SessionPtr& session, const HttpBody& body, std::span<const std::byte> bytes) {
  session->bytes_in += bytes.size();
  on_frame(session, body.cut, bytes);
}

// The bytes of a frame for a client that comes by HTTP: with the request that waits, or the next.
void NotifyEngine::push_bytes(const SessionPtr& session, std::string bytes, bool then_cut) {
  session->reply += bytes;
  if (session->reply.size() > static_cast<std::size_t>(config_.out_bytes_max)) {
    ++counts_["slow_readers"];
    return close(session, "fetches too slowly");
  }
  if (then_cut) {
    if (session->hold != 0) answer_call(std::exchange(session->hold, 0), {.cut = true});
    return close(session, "fault close-mid-frame");
  }
  if (session->hold != 0 && session->phase != Phase::signing_in && holds_[session->hold].type == "Continue") say(session, false);
}

void NotifyEngine::say(const SessionPtr& session, bool with_cookie) {
  HttpAnswer answer;
  if (with_cookie && !session->cookie.empty())
    answer.headers.emplace_back("Set-Cookie", config_.http_cookie + "=" + session->cookie + "; Path=/bgb; HttpOnly");
  answer.body = std::exchange(session->reply, {});
  answer_call(session->hold, std::move(answer));
}

void NotifyEngine::answer_call(std::uint64_t id, HttpAnswer answer) {
  const auto found = holds_.find(id);
  if (found == holds_.end()) return;
  Held& held = found->second;
  if (const SessionPtr session = find_session(held.session); session && session->hold == id) {
    session->hold = 0;
    session->idle_since = now();
    remind(milliseconds(config_.http_gone_ms) + session->patience, Due::http_gone, session->id);
  }
  if (held.buffer.count() > 0) {  // a proxy keeps it for a while
    held.late = std::move(answer);
    return remind(std::exchange(held.buffer, milliseconds(0)), Due::http_late, id);
  }
  const auto reply = std::exchange(held.hold->answer, nullptr);
  write_call_line(held, answer);
  holds_.erase(found);
  if (reply) reply(std::move(answer));
}

void NotifyEngine::caller_gone(std::uint64_t id) {
  const auto found = holds_.find(id);
  if (found == holds_.end()) return;
  ++counts_["http_callers_gone"];
  const SessionPtr session = find_session(found->second.session);
  holds_.erase(found);
  if (!session || session->hold != id) return;
  session->hold = 0;
  session->idle_since = now();
  remind(milliseconds(config_.http_gone_ms) + session->patience, Due::http_gone, session->id);
}

void NotifyEngine::keep_http(const Appointment& what) {
  if (what.due == Due::http_gone) {
    const SessionPtr session = find_session(what.a);
    if (!session || session->hold != 0 || now() - session->idle_since < milliseconds(config_.http_gone_ms) + session->patience) return;
    return close(session, "no request comes any more");
  }
  const auto found = holds_.find(what.a);
  if (found == holds_.end()) return;
  if (what.due == Due::http_late) return answer_call(what.a, std::exchange(found->second.late, {}));
  answer_call(what.a, {.cut = what.due == Due::http_cut});
}

// What the end of a session means to a request that waits: it is told to sign in again.
void NotifyEngine::close_http_session(const SessionPtr& session, Phase was) {
  if (session->hold == 0) return;
  const std::uint64_t hold = std::exchange(session->hold, 0);
  if (was == Phase::black_hole) return answer_call(hold, {.cut = true});
  if (!session->reply.empty()) return answer_call(hold, {.body = std::exchange(session->reply, {})});
  const bool refused = was == Phase::signing_in || was == Phase::refused;
  answer_call(hold, {.status = static_cast<unsigned>(refused ? config_.http_refuse_status : config_.http_lost_status)});
}

NotifyEngine::SessionPtr NotifyEngine::http_session_of(const std::string& sms_id) const {
  const auto number = client_numbers_.find(sms_id);
  if (number == client_numbers_.end()) return nullptr;
  const auto& ids = clients_[number->second].sessions;
  for (auto id = ids.rbegin(); id != ids.rend(); ++id)
    if (SessionPtr session = find_session(*id); session && session->http) return session;
  return nullptr;
}

void NotifyEngine::note_call(Held& held, const Findings& findings) {
  for (const Finding& finding : findings) held.codes.emplace_back(finding.code);
  Session nameless{boost::asio::ip::tcp::socket(io_)};
  nameless.claimed = held.source_id;
  note(nameless, findings);
}

void NotifyEngine::write_call_line(const Held& held, const HttpAnswer& answer) {
  json::array codes;
  for (const std::string& code : held.codes) codes.emplace_back(code);
  const auto spent = std::chrono::duration_cast<milliseconds>(now() - held.since);
  json::object line{{"at", to_millis(clock_.wall())},
                    {"method", held.method},
                    {"request_type", held.type},
                    {"sms_id", held.source_id},
                    {"session", held.session},
                    {"held_ms", spent.count()},
                    {"status", answer.cut ? 0 : static_cast<int>(answer.status)},
                    {"reply_bytes", answer.body.size()},
                    {"violations", std::move(codes)}};
  if (held.fault != nullptr) line["fault"] = held.fault;
  write_line(call_lines_, line);
}

}  // namespace greengate::sim
