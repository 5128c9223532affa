#include "gateway/admission.h"

#include <cstddef>

namespace greengate::gateway {
namespace {

using namespace std::chrono_literals;

// Everything but Publish is small; who has not said Hello sends nothing else.
constexpr std::size_t control_frame_bytes_max = 64 * 1024;

// Fields we know, and as many again from a newer agent.
constexpr std::uint32_t fields_per_frame_max = 16;
constexpr std::uint32_t fields_per_report_max = 64;

// Retries of what passes by itself, usually within one commit.
constexpr auto credits_retry = 200ms;
constexpr auto busy_retry = 1'000ms;

// What a report needs around its body: the structs, three strings, its share of a batch.
constexpr std::int64_t report_overhead_bytes = 256;

/// Walks protobuf's wire form without allocating (protobuf.dev, "Encoding"): tag varint, then a varint, 8 bytes, a length
/// and its bytes, or 4 bytes. Groups, which proto3 does not have, count as malformed.
class WireWalk {
 public:
  explicit WireWalk(std::string_view bytes) : rest_(bytes) {}

  /// The next field; false at the end or when the bytes make no sense.
  bool next(std::uint32_t& field, std::string_view& content) {
    if (rest_.empty()) return false;
    std::uint64_t tag = 0, length = 0;
    if (!varint(tag) || (tag >> 3) == 0 || (tag >> 3) > 0x1fffffff) return broken();
    field = static_cast<std::uint32_t>(tag >> 3);
    content = {};
    switch (tag & 7) {
      case 0: return varint(length) || broken();
      case 1: length = 8; break;
      case 2:
        if (!varint(length)) return broken();
        break;
      case 5: length = 4; break;
      default: return broken();
    }
    if (length > rest_.size()) return broken();
    if ((tag & 7) == 2) content = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return true;
  }
  bool sound() const { return sound_; }

 private:
  bool broken() {
    sound_ = false;
    rest_ = {};
    return false;
  }
  bool varint(std::uint64_t& value) {
    value = 0;
    for (std::size_t i = 0; i < 10 && i < rest_.size(); ++i) {
      const auto byte = static_cast<unsigned char>(rest_[i]);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * i);
      if (byte < 0x80) {
        rest_.remove_prefix(i + 1);
        return true;
      }
    }
    return false;
  }

  std::string_view rest_;
  bool sound_ = true;
};

Refusal malformed() { return {"frame.malformed", "These bytes are not a greengate.v1.Frame."}; }

ReportVerdict rejected(const char* code, std::string message) {
  return {ReportVerdict::Kind::reject, {code, std::move(message), 0ms}, 0};
}
ReportVerdict throttled(const char* code, std::string message,
                        std::chrono::milliseconds retry_after) {
  return {ReportVerdict::Kind::throttle, {code, std::move(message), retry_after}, 0};
}

}  // namespace

v1::Lane lane_of(const v1::Report& report) {
  switch (report.kind()) {
    case v1::KIND_DISCOVERY: return v1::LANE_DISCOVERY;
    case v1::KIND_HARDWARE_INVENTORY:
    case v1::KIND_SOFTWARE_INVENTORY: return v1::LANE_INVENTORY;
    case v1::KIND_FILE_CHUNK:
    case v1::KIND_IDMIF: return v1::LANE_FILES;
    default: return report.lane();
  }
}

std::int64_t report_cost_bytes(std::size_t body_bytes) {
  return static_cast<std::int64_t>(body_bytes) + report_overhead_bytes;
}

std::optional<Refusal> Admission::shape(Standing standing, std::string_view frame) const {
  if (standing == Standing::revoked)
    return Refusal{"agent.revoked", "This agent was revoked by an operator."};
  if (standing == Standing::replaced)
    return Refusal{"agent.replaced", "A newer connection with the same key has taken over."};
  const bool large = frame.size() > control_frame_bytes_max;
  if (large && standing != Standing::active) {
    // A report sent too early is the honest reason for a large frame, so say that.
    if (standing == Standing::greeting) return kind(standing, v1::Frame::kPublish);
    return Refusal{"frame.too_large", "Before it is enrolled an agent may send frames of 64 KiB."};
  }
  if (static_cast<std::int64_t>(frame.size()) > config_.frame_bytes_max)
    return Refusal{"frame.too_large", "The frame has " + std::to_string(frame.size()) +
                                          " bytes; " + std::to_string(config_.frame_bytes_max) +
                                          " are accepted."};

  std::uint32_t frame_fields = 0, publish_fields = 0, number = 0;
  std::string_view content;
  bool only_publish = true;
  WireWalk outer(frame);
  while (outer.next(number, content)) {
    if (++frame_fields > fields_per_frame_max) return malformed();
    if (number != v1::Frame::kPublishFieldNumber) {
      only_publish = false;
      continue;
    }
    WireWalk publish(content);
    std::uint32_t publish_field = 0;
    std::string_view report;
    while (publish.next(publish_field, report)) {
      if (++publish_fields > config_.reports_per_frame_max)
        return Refusal{"frame.too_many_reports",
                       "A frame may carry " + std::to_string(config_.reports_per_frame_max) +
                           " reports."};
      if (publish_field != v1::Publish::kReportsFieldNumber) continue;
      WireWalk fields(report);
      std::uint32_t report_fields = 0, ignored = 0;
      std::string_view value;
      while (fields.next(ignored, value))
        if (++report_fields > fields_per_report_max) return malformed();
      if (!fields.sound()) return malformed();
    }
    if (!publish.sound()) return malformed();
  }
  if (!outer.sound()) return malformed();
  if (large && !only_publish)
    return Refusal{"frame.too_large", "Only a Publish may have more than 64 KiB."};
  return std::nullopt;
}

std::optional<Refusal> Admission::kind(Standing standing, v1::Frame::KindCase kind) const {
  using Frame = v1::Frame;
  switch (kind) {
    case Frame::KIND_NOT_SET:  // from a newer agent, or empty: ignored by the protocol's promise
    case Frame::kEnrol: return std::nullopt;
    case Frame::kPing:
      if (standing == Standing::unknown) break;
      return std::nullopt;
    case Frame::kHello:
      if (standing == Standing::greeting || standing == Standing::active) return std::nullopt;
      break;
    case Frame::kPublish:
    case Frame::kTaskResult:
    case Frame::kAsk:
      if (standing == Standing::active) return std::nullopt;
      break;
    default:
      return Refusal{"frame.kind_unexpected", "Only the gateway sends frames of this kind."};
  }
  if (standing == Standing::unknown)
    return Refusal{"agent.unknown", "This key is not enrolled; send Enrol."};
  if (standing == Standing::pending)
    return Refusal{"agent.pending", "This agent waits for an operator's approval."};
  return Refusal{"agent.hello_first", "Say Hello first, after every connect."};
}

ReportVerdict Admission::report(Account& account, const v1::Report& report,
                                std::int64_t held_bytes, SteadyTime now) const {
  const std::uint64_t sequence = report.sequence();
  if (sequence == 0)
    return rejected("report.sequence_zero", "Sequences start with 1.");
  if (report.skipped() >= sequence)
    return rejected("report.skipped", "It says that more reports were skipped than there can be.");

  const auto reject = [&](const char* code, std::string message) {
    const bool next_to_last = account.rejected_count != 0 &&
                              sequence - report.skipped() == account.rejected_last + 1;
    account.rejected_count = (next_to_last ? account.rejected_count : 0) + report.skipped() + 1;
    account.rejected_last = sequence;
    return rejected(code, std::move(message));
  };
  if (report.lane() < v1::LANE_CONTROL || report.lane() > v1::LANE_FILES)
    return reject("report.lane_unknown", "This gateway does not know lane " +
                                             std::to_string(report.lane()) + ".");
  if (report.kind() == v1::KIND_UNSPECIFIED || !v1::Kind_IsValid(report.kind()))
    return reject("report.kind_unknown", "This gateway does not know reports of kind " +
                                             std::to_string(report.kind()) + ".");
  if (report.kind() == v1::KIND_RESYNC)
    return reject("report.kind_reserved", "Reports of this kind are the gateway's own; agents do not send them.");
  if (static_cast<std::int64_t>(report.body().size()) > config_.report_bytes_max)
    return reject("report.too_large",
                  "The report has " + std::to_string(report.body().size()) + " bytes; " +
                      std::to_string(config_.report_bytes_max) + " are accepted.");

  const std::int64_t cost = report_cost_bytes(report.body().size());
  // One report always fits, so that the largest allowed is never throttled for ever.
  const bool first = account.in_flight == 0;
  if (account.in_flight >= config_.in_flight_max ||
      (!first && account.in_flight_bytes + cost > config_.in_flight_bytes_max))
    return throttled("flow.credits", "More reports than allowed are waiting for their receipt.",
                     credits_retry);
  if (held_bytes != 0 && held_bytes + cost > config_.memory_bytes_max)
    return throttled("gateway.busy", "The gateway has no memory for more reports just now.",
                     busy_retry);
  if (!account.rate.take(now))
    return throttled("flow.rate", "More reports a second than agreed.", account.rate.next_in());

  ReportVerdict taken;
  taken.skipped = report.skipped();
  if (account.rejected_count != 0 && sequence - report.skipped() == account.rejected_last + 1)
    taken.skipped += account.rejected_count;
  account.in_flight += 1;
  account.in_flight_bytes += cost;
  return taken;
}

std::optional<Refusal> Admission::task_result(Account& account, SteadyTime now) const {
  if (account.task_results.take(now)) return std::nullopt;
  return Refusal{"flow.results", "More results of tasks a second than are taken; tell them again.", account.task_results.next_in()};
}

}  // namespace greengate::gateway
