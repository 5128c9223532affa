#include "simulators/notification_server/faults.h"

#include <boost/json.hpp>

#include <algorithm>
#include <array>

namespace greengate::sim::notify {
namespace {

struct FaultRow {
  const char* name;
  Fault fault;
  Moment at;          ///< When it happens unless the rule says.
  bool on_any_frame;  ///< "on" may choose the confirmation instead of the push.
};

constexpr std::array<FaultRow, 30> rows{{
    {"accept-close", Fault::accept_close, Moment::accept, false},
    {"tls-close", Fault::tls_close, Moment::tls, false},
    {"no-confirmation", Fault::no_confirmation, Moment::sign_in, false},
    {"negotiation-needed", Fault::negotiation_needed, Moment::sign_in, false},
    {"disconnect", Fault::disconnect, Moment::sign_in, false},
    {"push-before-confirmation", Fault::push_before_confirmation, Moment::sign_in, false},
    {"black-hole", Fault::black_hole, Moment::sign_in, true},
    {"close-mid-frame", Fault::close_mid_frame, Moment::push, true},
    {"byte-per-write", Fault::byte_per_write, Moment::push, true},
    {"many-frames-per-write", Fault::many_frames_per_write, Moment::push, false},
    {"split-every-byte", Fault::split_every_byte, Moment::push, true},
    {"payload-size-zero", Fault::payload_size_zero, Moment::push, true},
    {"payload-size-huge", Fault::payload_size_huge, Moment::push, true},
    {"payload-size-larger", Fault::payload_size_larger, Moment::push, true},
    {"wrong-header-size", Fault::wrong_header_size, Moment::push, true},
    {"other-encoding", Fault::other_encoding, Moment::push, true},
    {"malformed-xml", Fault::malformed_xml, Moment::push, true},
    {"entity", Fault::entity, Moment::push, true},
    {"dtd", Fault::dtd, Moment::push, true},
    {"duplicate-push", Fault::duplicate_push, Moment::push, false},
    {"unknown-task-type", Fault::unknown_task_type, Moment::push, false},
    {"missing-fields", Fault::missing_fields, Moment::push, false},
    {"unknown-elements", Fault::unknown_elements, Moment::push, false},
    {"clock-skew", Fault::clock_skew, Moment::push, true},
    {"mass-disconnect", Fault::mass_disconnect, Moment::push, true},
    {"tls-key-update", Fault::tls_key_update, Moment::push, true},
    {"tls-renegotiation", Fault::tls_renegotiation, Moment::push, true},
    {"http-status", Fault::http_status, Moment::http, false},
    {"http-cut", Fault::http_cut, Moment::http_receive, false},
    {"http-buffer", Fault::http_buffer, Moment::http_receive, false},
}};

constexpr std::array<std::pair<const char*, Moment>, 9> moments{{{"accept", Moment::accept},
                                                                 {"tls", Moment::tls},
                                                                 {"signin", Moment::sign_in},
                                                                 {"confirm", Moment::confirm},
                                                                 {"push", Moment::push},
                                                                 {"http", Moment::http},
                                                                 {"http-signin", Moment::http_sign_in},
                                                                 {"http-receive", Moment::http_receive},
                                                                 {"http-send", Moment::http_send}}};

constexpr std::array<std::int64_t, 9> statuses{401, 403, 404, 407, 408, 500, 502, 503, 504};

constexpr std::array<std::string_view, 6> encodings{"utf-16le",     "utf-8",     "utf-16le+bom",
                                                    "utf-16le+nul", "utf-8+bom", "utf-8+nul"};

const FaultRow& row_of(Fault fault) {
  return *std::ranges::find(rows, fault, &FaultRow::fault);
}

}  // namespace

const char* fault_name(Fault fault) {
  return row_of(fault).name;
}

Result<FaultRule> read_fault(const boost::json::value& from, SteadyTime now) {
  const auto wrong = [](std::string why) {
    return fail(Remedy::reject, "notify.fault", std::move(why));
  };
  const auto* object = from.if_object();
  if (object == nullptr) return wrong("A fault is a JSON object with a member \"fault\".");
  FaultRule rule;
  rule.from = now;
  rule.until = SteadyTime::max();
  const FaultRow* row = nullptr;
  const auto* named = object->if_contains("fault");
  if (named != nullptr && named->is_string()) {
    const std::string_view name(named->get_string());
    const auto found =
        std::ranges::find_if(rows, [&](const FaultRow& r) { return name == r.name; });
    if (found != rows.end()) row = &*found;
  }
  if (row == nullptr)
    return wrong("\"fault\" is none of the names in docs/reference/simulators-notify.md.");
  rule.fault = row->fault;
  rule.at = row->at;

  std::int64_t for_ms = 0;
  for (const auto& [key, value] : *object) {
    const auto* number = value.if_int64();
    const auto* text = value.if_string();
    if (key == "fault") {
      continue;
    } else if (key == "count" && number != nullptr && (*number == -1 || *number > 0)) {
      rule.count = *number;
    } else if (key == "sms_id" && text != nullptr && text->size() <= 64) {
      rule.sms_id = *text;
    } else if (key == "probability" && value.is_number()) {
      rule.probability = value.is_double() ? value.get_double() : double(value.to_number<double>());
      if (!(rule.probability > 0.0 && rule.probability <= 1.0))
        return wrong("\"probability\" is above 0 and at most 1.");
    } else if (key == "after_ms" && number != nullptr && *number >= 0 && *number < 1'000'000'000) {
      rule.from = now + std::chrono::milliseconds(*number);
    } else if (key == "for_ms" && number != nullptr && *number > 0 && *number < 1'000'000'000) {
      for_ms = *number;
    } else if (key == "on" && text != nullptr) {
      const auto moment = std::ranges::find_if(
          moments, [&](const auto& m) { return std::string_view(*text) == m.first; });
      const bool frame_moment = moment != moments.end() && (moment->second == Moment::push ||
                                                            moment->second == Moment::confirm);
      const bool hole_moment = rule.fault == Fault::black_hole && moment != moments.end() &&
                               moment->second != Moment::tls && moment->second != Moment::confirm;
      const bool http_fault = row->at >= Moment::http;
      const bool http_moment = moment != moments.end() && moment->second >= Moment::http;
      const bool allowed = http_fault                        ? http_moment
                           : rule.fault == Fault::black_hole ? hole_moment
                                                             : frame_moment && row->on_any_frame;
      if (!allowed) return wrong("\"on\" cannot be " + std::string(*text) + " for this fault.");
      rule.at = moment->second;
    } else if (key == "frames" && number != nullptr && *number >= 2 && *number <= 1000) {
      rule.frames = *number;
    } else if (key == "status" && rule.fault == Fault::http_status && number != nullptr &&
               std::ranges::find(statuses, *number) != statuses.end()) {
      rule.status = *number;
    } else if (key == "retry_after_s" && rule.fault == Fault::http_status && number != nullptr && *number >= 0 &&
               *number <= 86'400) {
      rule.retry_after_s = *number;
    } else if (key == "delay_ms" && (rule.fault == Fault::http_cut || rule.fault == Fault::http_buffer) &&
               number != nullptr && *number >= 0 && *number <= 3'600'000) {
      rule.delay_ms = *number;
    } else if (key == "offset_ms" && rule.fault == Fault::clock_skew && number != nullptr &&
               *number >= -2'592'000'000 && *number <= 2'592'000'000) {
      rule.offset_ms = *number;
    } else if (key == "encoding" && text != nullptr &&
               std::ranges::find(encodings, std::string_view(*text)) != encodings.end()) {
      rule.encoding = *text;
    } else if (key == "fields" && value.is_array() && value.get_array().size() <= 5) {
      for (const auto& field : value.get_array()) {
        if (!field.is_string()) return wrong("\"fields\" are names.");
        rule.fields.emplace_back(field.get_string());
      }
    } else {
      return wrong("\"" + std::string(key) + "\" is unknown or has a value that cannot be used.");
    }
  }
  if (for_ms > 0) rule.until = rule.from + std::chrono::milliseconds(for_ms);
  if (rule.fault == Fault::missing_fields && rule.fields.empty())
    rule.fields = {"TaskGUID", "TaskParam"};  // the two that a client must do without (2.6)
  return rule;
}

boost::json::object describe_fault(const FaultRule& rule) {
  const auto moment = std::ranges::find(moments, rule.at, &std::pair<const char*, Moment>::second);
  return {{"id", rule.id},
          {"fault", fault_name(rule.fault)},
          {"on", moment->first},
          {"sms_id", rule.sms_id},
          {"count_left", rule.count},
          {"probability", rule.probability},
          {"applied", rule.applied}};
}

bool fits(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*') {
      ++p, ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace greengate::sim::notify
