#pragma once

#include "core/clock.h"
#include "core/result.h"

#include <boost/json/fwd.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim::notify {

/// What can be made to go wrong (7.3).
enum class Fault : std::uint8_t {
  accept_close,
  tls_close,
  no_confirmation,
  negotiation_needed,
  disconnect,
  push_before_confirmation,
  black_hole,
  close_mid_frame,
  byte_per_write,
  many_frames_per_write,
  split_every_byte,
  payload_size_zero,
  payload_size_huge,
  payload_size_larger,
  wrong_header_size,
  other_encoding,
  malformed_xml,
  entity,
  dtd,
  duplicate_push,
  unknown_task_type,
  missing_fields,
  unknown_elements,
  clock_skew,
  mass_disconnect,
  tls_key_update,
  tls_renegotiation,
  http_status,
  http_cut,
  http_buffer,
};

/// When a rule is asked.
/// The last four are of the HTTP side: `http` stands for any of the three after it.
enum class Moment : std::uint8_t { accept, tls, sign_in, confirm, push, http, http_sign_in, http_receive, http_send };

struct FaultRule {
  std::uint64_t id = 0;
  Fault fault{};
  Moment at = Moment::push;
  std::string sms_id = "*";  ///< Pattern with * and ?; at accept and tls only "*" can match.
  std::int64_t count = 1;    ///< How often still; -1 for ever.
  double probability = 1.0;
  SteadyTime from{}, until{};
  std::int64_t frames = 8;          ///< many_frames_per_write: how many go together
  std::string encoding;             ///< other_encoding
  std::vector<std::string> fields;  ///< missing_fields
  std::int64_t status = 503;        ///< http_status
  std::int64_t retry_after_s = 0;   ///< http_status; 0 names none
  std::int64_t delay_ms = 30'000;   ///< http_cut, http_buffer: after how long
  std::int64_t offset_ms = 86'400'000;  ///< clock_skew: a day ahead
  std::uint64_t applied = 0;
  std::uint64_t split_at = 1;  ///< split_every_byte: the next place
};

const char* fault_name(Fault fault);
/// Errors: notify.fault (unknown name, member, moment or value).
Result<FaultRule> read_fault(const boost::json::value& from, SteadyTime now);
boost::json::object describe_fault(const FaultRule& rule);

/// Whether `text` fits `pattern`, in which * is any run and ? any one character.
bool fits(std::string_view pattern, std::string_view text);

}  // namespace greengate::sim::notify
