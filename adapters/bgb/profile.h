#pragma once

#include "adapters/bgb/http_profile.h"
#include "adapters/bgb/message.h"
#include "core/result.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::adapters::bgb {

/// How a value of the profile is known. Every `guessed` one in use is logged at start.
enum class Basis : std::uint8_t { captured, documented, guessed };

/// One message as the XML has it: root element and members in writing order.
struct MessageShape {
  std::string root;
  std::vector<std::pair<Member, std::string>> members;
};

struct VersionPair {
  std::uint32_t major = 1, minor = 0;
  friend bool operator==(const VersionPair&, const VersionPair&) = default;
};

/// Everything about BGB's bytes that no public source settles, as data: one file per kind of management point.
///
/// Limits    header_bytes_max ≤ 64 KiB, payload_bytes_max ≤ 16 MiB, whatever a file says.
/// Errors    bgb.profile (reject) from loading.
/// Source    bgb-protocol 2.2, 2.3, 8.2; docs/adr/0011-bgb-behind-profiles.md
struct Profile {
  enum class HeaderSizeMeans : std::uint8_t { fixed_part, xml_header };
  enum class PayloadSizeMeans : std::uint8_t { payload, frame };
  enum class ChannelMeans : std::uint8_t { message_type, constant };
  enum class Encoding : std::uint8_t { utf16le, utf8 };

  std::string name;
  std::uint32_t format = 1;  ///< Of the profile file itself.

  // The fixed header part. The five fields and their declaration order are documented (D); that the wire has them in this order,
  // their widths in bytes (0, 1, 2 or 4) and everything below are guesses (I) until captured. Spec 2.3.
  enum class Field : std::uint8_t { payload_size, major, minor, header_size, channel };
  static constexpr std::size_t field_count = 5;
  std::array<Field, field_count> order{Field::payload_size, Field::major, Field::minor, Field::header_size, Field::channel};
  std::array<std::uint8_t, field_count> widths{4, 1, 1, 2, 4};  ///< By Field, not by place.
  bool little_endian = true;
  HeaderSizeMeans header_size_means = HeaderSizeMeans::fixed_part;
  PayloadSizeMeans payload_size_means = PayloadSizeMeans::payload;
  ChannelMeans channel_means = ChannelMeans::message_type;
  std::uint32_t channel_constant = 0;                                          ///< Written when Channel is a constant.
  std::array<std::uint32_t, kind_count> type_numbers{0, 1, 2, 3, 4, 5, 6, 7};  ///< By Kind; `unknown` is "None".
  std::vector<VersionPair> versions{{1, 0}};  ///< The first is spoken; the next after NegotiationNeeded.

  Encoding encoding = Encoding::utf16le;
  bool write_bom = false;
  bool write_nul = false;
  bool compress_zlib = false;

  std::uint32_t header_bytes_max = 4 * 1024;
  std::uint32_t payload_bytes_max = 1024 * 1024;

  std::string timestamp_name = "TimeStamp";     ///< Attribute of the root; D from the published response.
  std::array<MessageShape, kind_count> shapes;  ///< By Kind; the empty kinds have a root for reading only.
  std::string client_type = "SCCM";
  std::int64_t success_code = 1;  ///< D: every published log.
  std::int64_t failure_code = 0;  ///< I: no other code than 1 was ever published.

  HttpProfile http;  ///< How the same messages travel in HTTP; looked at only when they do.

  /// Each value in use that is only guessed: key and value, for the log at start.
  std::vector<std::pair<std::string, std::string>> guesses;

  std::uint32_t fixed_header_bytes() const {
    std::uint32_t bytes = 0;
    for (const std::uint8_t one : widths) bytes += one;
    return bytes;
  }
  std::uint8_t width(Field field) const { return widths[static_cast<std::size_t>(field)]; }
};

/// A built-in row: "A" (default), "B", "C", "A8", "A16".
Result<Profile> built_in_profile(std::string_view name);
/// A profile from JSON text; `name_in_messages` is the file's name.
Result<Profile> parse_profile(std::string_view json, const std::string& name_in_messages);
/// A built-in row's name, or the path of a JSON file.
Result<Profile> load_profile(const std::string& name_or_file);

}  // namespace greengate::adapters::bgb
