#include "agent/watchers/package_watch.h"

#include "agent/collectors/limits.h"
#include "agent/collectors/text.h"
#include "core/log.h"
#include "greengate/v1/report.pb.h"

#include <algorithm>

namespace greengate::agent {
namespace {

constexpr std::size_t piece_bytes = 256 << 10;
constexpr std::size_t events_at_once = 200;

const Log& watch_log() {
  static const Log log("watch");
  return log;
}

std::string note_name(const std::string& path) {
  return "packages " + path;
}

}  // namespace

PackageWatch::PackageWatch(PackageWatchConfig config, Notebook& notebook, const Clock& clock)
    : config_(std::move(config)), notebook_(notebook), clock_(clock), budget_(config_.per_hour_max, clock), due_(clock.steady()) {
  if (!config_.enabled || config_.logs.empty()) due_ = SteadyTime::max();
  for (const std::string& path : config_.logs) sources_.push_back({Tail(path), package_log_for(path), {}, 0, false});
}

std::string PackageWatch::note_text(const Source& source) const {
  return source.position.text() + " " + std::to_string(source.since_ms) + "\n" + source.log->state();
}

void PackageWatch::begin(Source& source) {
  const std::string note = notebook_.note(note_name(source.tail.path()));
  std::string_view rest;
  const std::string_view first = cut_at(note, '\n', &rest);
  if (const auto position = TailPosition::from_text(first)) {
    source.position = *position;
    std::string_view words = first;
    for (int i = 0; i < 4; ++i) next_word(words);
    source.since_ms = to_signed(next_word(words)).value_or(0);
    source.log->restore(rest);
    return;
  }
  source.position = config_.history.count() > 0 ? source.tail.beginning() : source.tail.end();
  source.since_ms = config_.history.count() > 0 ? to_millis(clock_.wall()) - config_.history.count() : 0;
  // Should this not be kept, the first look is still to come after a restart.
  notebook_.keep({}, {{note_name(source.tail.path()), note_text(source)}});
}

void PackageWatch::tick() {
  if (clock_.steady() < due_) return;
  if (!begun_) {
    for (Source& source : sources_) begin(source);
    begun_ = true;
  }
  bool more = false;
  for (Source& source : sources_) more = look_at(source) || more;
  due_ = clock_.steady() + config_.interval;
  if (more) due_ = budget_.left() > 0 ? clock_.steady() + std::chrono::milliseconds(200) : std::min(due_, budget_.renewed_at());
}

bool PackageWatch::look_at(Source& source) {
  if (budget_.left() == 0) return true;
  const auto piece = source.tail.next(source.position, piece_bytes);
  if (!piece) {
    if (!source.complained && source.tail.forbidden()) {
      source.complained = true;
      watch_log().warn("package log may not be read", kv("file", source.tail.path()),
                       kv("consequence", "installations are not reported from it"));
    }
    return false;
  }
  if (piece->gap) {
    watch_log().warn("package log was put aside unread", kv("file", source.tail.path()),
                     kv("consequence", "what happened in between may be missing"));
  }
  const std::string before = source.log->state();
  std::vector<Finding> findings;
  const std::size_t room = std::min<std::size_t>(events_at_once, budget_.left());
  std::size_t used = 0;
  bool full = false;
  while (used < piece->bytes.size()) {
    const std::size_t end = piece->bytes.find('\n', used);
    if (end == std::string::npos) {
      // Half a line waits for its other half, unless it is longer than any line or nothing will follow.
      if (piece->last || piece->bytes.size() - used >= limits::line_bytes) used = piece->bytes.size();
      break;
    }
    if (findings.size() >= room) {
      full = true;
      break;
    }
    const std::string_view line = std::string_view(piece->bytes).substr(used, end - used);
    used = end + 1;
    if (line.size() > limits::line_bytes) continue;
    auto event = source.log->line(line);
    if (!event || event->time_ms < source.since_ms) continue;
    event->time_ms = std::min(event->time_ms, to_millis(clock_.wall()));
    findings.push_back(finding(*event, source.log->system()));
  }
  const TailPosition from = source.position;
  source.position = Tail::after(*piece, used);
  if (!notebook_.keep(findings, {{note_name(source.tail.path()), note_text(source)}})) {
    source.position = from;
    source.log->restore(before);
    return false;
  }
  budget_.use(static_cast<std::uint32_t>(findings.size()));
  if (!findings.empty()) watch_log().info("package events kept", kv("reports", findings.size()), kv("file", source.tail.path()));
  return full || (piece->more && used > 0);
}

Finding PackageWatch::finding(const PackageEvent& event, const char* system) const {
  v1::StatusMessage message;
  message.set_time_ms(event.time_ms);
  message.set_type(event.what == PackageEvent::What::installed ? "package_installed"
                   : event.what == PackageEvent::What::removed ? "package_removed"
                                                               : "package_upgraded");
  const auto property = [&](const char* name, const std::string& value) {
    if (value.empty()) return;
    v1::NamedText& one = *message.add_properties();
    one.set_name(name);
    one.set_value(value);
  };
  property("package_name", event.name);
  property("package_version", event.version);
  if (config_.details) {
    property("previous_version", event.previous_version);
    property("architecture", event.architecture);
    property("package_system", system);
  }
  return {v1::LANE_STATE, v1::KIND_STATUS, message.SerializeAsString()};
}

}  // namespace greengate::agent
