#include "gateway/ingest_probe.h"

namespace greengate::gateway {

IngestProbe::IngestProbe(Metrics& metrics)
    : metrics_(metrics),
      frames_(metrics.counter("greengate_ingest_frames_total", "Frames received from agents.")),
      bytes_(metrics.counter("greengate_ingest_report_bytes_total",
                             "Bodies of reports that were stored.")),
      receipts_(metrics.counter("greengate_ingest_receipts_total",
                                "Receipts sent; one may speak of many reports.")),
      allowed_(metrics.counter("greengate_ingest_handshakes_total", "Connections by key.",
                               {{"outcome", "allowed"}})),
      refused_(metrics.counter("greengate_ingest_handshakes_total", "Connections by key.",
                               {{"outcome", "refused"}})),
      keep_(metrics.histogram("greengate_ingest_keep_seconds",
                              "From handing a batch to the store until it is synced.",
                              {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5})),
      active_(metrics.gauge("greengate_ingest_sessions", "Connections by where they stand.",
                            {{"standing", "active"}})),
      unknown_(metrics.gauge("greengate_ingest_sessions", "Connections by where they stand.",
                             {{"standing", "unknown"}})),
      other_(metrics.gauge("greengate_ingest_sessions", "Connections by where they stand.",
                           {{"standing", "other"}})),
      held_(metrics.gauge("greengate_ingest_held_bytes",
                          "Memory of reports on their way to the store.")) {}

Counter& IngestProbe::counted(std::map<std::string, Counter, std::less<>>& series,
                              const char* name, const char* help, const char* label,
                              std::string_view value) {
  const auto found = series.find(value);
  if (found != series.end()) return found->second;
  const std::string text(value);
  return series.emplace(text, metrics_.counter(name, help, {{label, text}})).first->second;
}

void IngestProbe::frame_refused(std::string_view code) {
  counted(refused_frames_, "greengate_ingest_frames_refused_total",
          "Frames that were not accepted, by reason.", "code", code)
      .add();
}

void IngestProbe::reports(std::string_view outcome, std::size_t count) {
  counted(reports_, "greengate_ingest_reports_total", "Reports received, by what became of them.",
          "outcome", outcome)
      .add(static_cast<double>(count));
}

void IngestProbe::session_ended(std::string_view why) {
  counted(ended_, "greengate_ingest_sessions_ended_total", "Connections given up, by reason.",
          "why", why)
      .add();
}

void IngestProbe::enrolment(std::string_view outcome) {
  counted(enrolments_, "greengate_ingest_enrolments_total", "Requests to enrol, by outcome.",
          "outcome", outcome)
      .add();
}

void IngestProbe::handshakes(std::uint64_t allowed, std::uint64_t refused) {
  allowed_.add(static_cast<double>(allowed - allowed_seen_));
  refused_.add(static_cast<double>(refused - refused_seen_));
  allowed_seen_ = allowed;
  refused_seen_ = refused;
}

void IngestProbe::standing(std::size_t active, std::size_t unknown, std::size_t all,
                           std::int64_t held_bytes) {
  active_.set(static_cast<double>(active));
  unknown_.set(static_cast<double>(unknown));
  other_.set(static_cast<double>(all - active - unknown));
  held_.set(static_cast<double>(held_bytes));
}

}  // namespace greengate::gateway
