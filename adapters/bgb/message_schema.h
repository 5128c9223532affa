#pragma once

#include "adapters/bgb/frame_codec.h"
#include "adapters/bgb/message.h"
#include "adapters/bgb/profile.h"
#include "core/result.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace greengate::adapters::bgb {

/// A message and whether its header's type field disagreed with its XML root (the root wins; callers count it).
struct Parsed {
  Message message;
  bool kind_mismatch = false;
};

/// Messages to XML and back, by the profile's names.
///
/// Promise   Reading takes members in any order, ignores what it does not know, compares names without the case of a trailing Id
///           or Guid, and treats the text as hostile: no DTD, no processing instruction beyond a leading XML declaration, no
///           comment, no CDATA, no entity but the five, no recursion.
/// Limits    depth_max, members_max (elements and attributes together), value_bytes_max.
/// Threads   const after construction; any.
/// Errors    bgb.xml_malformed, bgb.xml_forbidden, bgb.xml_limit (reject). All end the session.
/// Source    bgb-protocol 2.2, 8.2
class MessageSchema {
 public:
  static constexpr std::size_t depth_max = 8;
  static constexpr std::size_t members_max = 64;
  static constexpr std::size_t value_bytes_max = 256 * 1024;

  explicit MessageSchema(Profile profile);

  /// Kind resolution: the XML root if there is a payload, else the header's type field.
  Result<Parsed> parse(const Frame& frame) const;
  /// Appends the message's one line of XML; nothing for the kinds without members.
  Result<void> write(const Message& message, std::string& xml_utf8) const;

 private:
  Profile profile_;
};

/// "2026-01-15T10:00:01Z" and back. Reading accepts a fraction and an offset; 0 when it is no time.
std::string timestamp_text(std::int64_t unix_seconds);
std::int64_t parse_timestamp(std::string_view text);

}  // namespace greengate::adapters::bgb
