// What the pool counts, for whoever reads the metrics.
#pragma once

#include "adapters/bgb/http_link.h"
#include "adapters/bgb/session.h"
#include "core/metrics.h"

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace greengate::adapters::bgb {

struct PoolProbe {
  explicit PoolProbe(Metrics& metrics) : metrics_(metrics) {
    for (std::size_t i = 0; i < states_.size(); ++i)
      states_[i].emplace(metrics.gauge("greengate_bgb_sessions", "Client notification sessions by state.",
                                       {{"state", std::string(state_name(static_cast<SessionState>(i)))}}));
    static constexpr std::array<const char*, session_note_count> notes{"push_delivered", "push_duplicate",    "push_incomplete",
                                                                       "push_refused",   "push_unanswered",   "answer_late",
                                                                       "confirm_again",  "unexpected_message"};
    for (std::size_t i = 0; i < notes.size(); ++i)
      notes_[i].emplace(
          metrics.counter("greengate_bgb_events_total", "What happened on sessions, by kind.", {{"event", notes[i]}}));
    static constexpr std::array<const char*, http_note_count> http{"held", "empty", "cut", "middlebox", "busy", "late_connection"};
    for (std::size_t i = 0; i < http.size(); ++i) http_notes_[i].emplace(http_event(http[i]));
  }

  void moved(SessionState from, SessionState to) {
    if (from == to) return;
    if (from != SessionState::off) states_[static_cast<std::size_t>(from)]->add(-1);
    if (to != SessionState::off) states_[static_cast<std::size_t>(to)]->add(1);
  }
  void note(SessionNote note) { notes_[static_cast<std::size_t>(note)]->add(); }
  void http_note(HttpNote note) { http_notes_[static_cast<std::size_t>(note)]->add(); }
  Counter http_event(const char* event) {
    return metrics_.counter("greengate_bgb_http_events_total", "What happened to sessions over HTTP, by kind.", {{"event", event}});
  }
  Gauge servers_from(const char* from) {
    return metrics_.gauge("greengate_bgb_servers", "Notification servers known, by where they come from.", {{"from", from}});
  }
  // Rare: only a new name can be refused.
  void server_refused(const char* code) {
    metrics_.counter("greengate_bgb_servers_refused_total", "Servers of location answers that were left out, by reason.", {{"code", code}}).add();
  }
  void ended(const char* code) {
    auto found = ends_.find(code);
    if (found == ends_.end())
      found = ends_
                  .emplace(code, metrics_.counter("greengate_bgb_session_ends_total",
                                                  "Sessions and attempts that ended, by reason.", {{"code", code}}))
                  .first;
    found->second.add();
  }

  Metrics& metrics_;
  std::array<std::optional<Gauge>, 8> states_;
  std::array<std::optional<Counter>, session_note_count> notes_;
  std::array<std::optional<Counter>, http_note_count> http_notes_;
  std::map<std::string, Counter, std::less<>> ends_;
  Gauge http_sessions = metrics_.gauge("greengate_bgb_http_sessions", "Sessions and attempts over HTTP.", {});
  Counter http_fallback = http_event("fallback");
  Counter http_back_to_tcp = http_event("back_to_tcp");
  Counter handshakes = metrics_.counter("greengate_bgb_handshakes_total", "TLS handshakes begun.");
  Counter frames = metrics_.counter("greengate_bgb_frames_total", "Frames received.");
  Counter answers = metrics_.counter("greengate_bgb_responses_total", "Answers to pushes sent.");
  Counter keepalives = metrics_.counter("greengate_bgb_keepalives_total", "Keep-alives sent.");
  Counter mismatches = metrics_.counter("greengate_bgb_kind_mismatch_total",
                                        "Frames whose type field and XML root disagreed; the root was believed.");
  Counter full = metrics_.counter("greengate_bgb_sessions_refused_total", "Sessions refused above sessions_max.");
  Gauge configured_servers = servers_from("settings");
  Gauge learned_servers = servers_from("location");
  Counter without_server =
      metrics_.counter("greengate_bgb_sessions_without_server_total", "Sessions refused because their agent had no server.");
  Counter forgotten =
      metrics_.counter("greengate_bgb_pushes_forgotten_total", "Pushes forgotten before their time, at pushes_remembered_max.");
  Counter alarm_refused =
      metrics_.counter("greengate_bgb_alarms_total", "Conditions a person should look at.", {{"alarm", "signin_refused"}});
  Counter alarm_version =
      metrics_.counter("greengate_bgb_alarms_total", "Conditions a person should look at.", {{"alarm", "no_version"}});
};

}  // namespace greengate::adapters::bgb
