#pragma once

#include "simulators/notification_server/finding.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace greengate::sim::notify {

/// The documented message types, in declaration order (2.1).
enum class Kind : std::uint8_t {
  sign_in,
  sign_in_confirm,
  keep_alive,
  request,
  response,
  disconnect,
  negotiation_needed,
  none,
  unknown,
};
const char* kind_name(Kind kind);

/// Where one header field sits.
struct Slot {
  std::uint8_t offset;
  std::uint8_t bytes;
};

/// One hypothesis about the fixed header (2.3). Layouts are rows of a table, not classes.
struct Layout {
  const char* name;
  std::uint8_t bytes;
  Slot payload_size, major, minor, header_size, channel;
};
/// Null when there is none of that name.
const Layout* find_layout(std::string_view name);

/// One choice per switch of 2.3.
struct FrameRules {
  const Layout* layout = nullptr;
  bool big_endian = false;
  bool header_size_is_xml = false;     ///< HeaderSize counts an XML header, so it is 0 on TCP.
  bool payload_size_is_frame = false;  ///< PayloadSize counts the header too.
  bool channel_is_constant = false;
  std::uint32_t channel_constant = 0;
  std::uint32_t type_numbers_from = 0;
  std::uint32_t major = 1;
  std::uint32_t minor = 0;
  bool utf16 = true;
  bool bom = false;
  bool nul = false;
  bool zlib = false;
  std::size_t payload_bytes_max = 1 << 20;
};

struct Header {
  std::uint32_t payload_size = 0;
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint32_t header_size = 0;
  std::uint32_t channel = 0;
};

/// What the front of a stream is.
struct Cut {
  enum class Status { need_more, whole, bad };
  Status status = Status::need_more;
  Header header;  ///< Valid from `whole` and, when it could be read, from `bad`.
  bool header_read = false;
  bool version_supported =
      true;  ///< False: answer NegotiationNeeded (2.5); the payload is skipped.
  std::size_t payload_at = 0;
  std::size_t payload_bytes = 0;
  std::size_t frame_bytes = 0;  ///< Whole: what to take off the stream.
  Findings findings;            ///< Bad: why.
};

/// The five fields as they stand; `stream` holds at least the layout's bytes.
Header read_header(const FrameRules& rules, std::span<const std::byte> stream);

/// Looks at the front of `stream`; nothing is copied or allocated while more is needed.
Cut cut_frame(const FrameRules& rules, std::span<const std::byte> stream);

/// The type that `channel` stands for; unknown when none, or when the channel is a constant.
Kind kind_of_channel(const FrameRules& rules, std::uint32_t channel);

struct Text {
  std::string utf8;
  Findings findings;  ///< Any makes the text unusable.
};
/// Payload bytes to UTF-8 text, strictly in the rules' one encoding.
Text read_text(const FrameRules& rules, std::span<const std::byte> payload);

/// UTF-8 text to payload bytes in the rules' encoding. The text is ours and valid.
std::string write_text(const FrameRules& rules, std::string_view utf8);

/// What a fault changes in a frame; nothing set writes it as it should be.
struct FrameTwist {
  enum class Size { right, zero, huge, larger } payload_size = Size::right;
  bool wrong_header_size = false;
};
/// `xml_header`: bytes between the fixed part and the payload, which HeaderSize counts; HTTP only (3).
std::string write_frame(const FrameRules& rules, Kind kind, std::string_view payload, FrameTwist twist = {},
                        std::string_view xml_header = {});

}  // namespace greengate::sim::notify
