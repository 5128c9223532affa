#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::adapters::bgb {

/// The message catalogue of client notification. Declaration order is the SDK's (D); the numbers on the wire are the profile's
/// affair. Source: bgb-protocol 2.1.
enum class Kind : std::uint8_t {
  sign_in,
  sign_in_confirm,
  keep_alive,
  request,
  response,
  disconnect,
  negotiation_needed,
  unknown,
};
inline constexpr std::size_t kind_count = 8;

/// "sign_in" and so on: the name in profiles, logs and metrics.
std::string_view kind_name(Kind kind);

/// The members a message can have, whatever the profile calls them on the wire.
enum class Member : std::uint8_t {
  client_id,
  client_type,
  client_version,
  message_version,
  push_id,
  task_id,
  task_guid,
  task_type,
  task_param,
  return_code,
};
inline constexpr std::size_t member_count = 10;

/// Which members a received message really had: a missing PushID and a PushID of 0 are different things.
class Members {
 public:
  bool has(Member member) const { return (bits_ & bit(member)) != 0; }
  void add(Member member) { bits_ = static_cast<std::uint16_t>(bits_ | bit(member)); }
  friend bool operator==(const Members&, const Members&) = default;

 private:
  static std::uint16_t bit(Member member) { return static_cast<std::uint16_t>(1u << static_cast<unsigned>(member)); }
  std::uint16_t bits_ = 0;
};

/// One message, free of offsets, element names and encodings: the only form the session logic sees.
struct Message {
  Kind kind = Kind::unknown;
  std::int64_t unix_seconds = 0;  ///< TimeStamp; 0 when the peer sent none that could be read.
  Members present;                ///< Filled by parsing; writing takes what the profile lists for the kind.
  std::string client_id, client_type, client_version, message_version;
  std::uint64_t push_id = 0, task_id = 0;
  std::uint32_t task_type = 0;
  std::int64_t return_code = 0;
  std::string task_guid, task_param;  ///< task_param stays base64, as carried.
  /// Members nobody knows, by name, kept for logs; at most as many as a message may have members.
  std::vector<std::pair<std::string, std::string>> extra;
};

}  // namespace greengate::adapters::bgb
