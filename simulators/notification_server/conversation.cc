// The conversation with one client: judges each frame it sends, signs it in or refuses it, takes
// its answers and asks it to leave.
#include "simulators/notification_server/engine.h"

#include <openssl/err.h>

#include <algorithm>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
using std::chrono::milliseconds;

namespace {

bool any_of(const Findings& findings, Severity severity) {
  return std::ranges::any_of(findings, [&](const Finding& f) { return f.severity == severity; });
}

}  // namespace

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
  // Over plain HTTP there is no handshake that could show one; the hook says who it is.
  if (config_.check_certificate && !session.key && !session.http)
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
  if (session.http && message.client_id != session.named)
    findings.push_back({"http.other_client", "9.1", Severity::refused,
                        "the header names " + session.named + ", the message " + message.client_id});
  const ClientNumber number = number_of(message.client_id, false);
  // By HTTP a client leaves without a word: a session that nobody waits for any more is no second one.
  const bool second =
      number != nobody && std::ranges::any_of(clients_[number].sessions, [&](SessionId id) {
        const SessionPtr other = find_session(id);
        return other && !(other->http && other->hold == 0);
      });
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
  client.by_http = session->http;
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
  FaultRule* const rule = pick(Moment::confirm, client.sms_id);
  send_frame(session, Kind::sign_in_confirm, confirm_xml(seconds_under(rule), config_.message_version), rule);
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
  } else if (config_.refuse_as == "tls-alert" && !session->http) {
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

}  // namespace greengate::sim
