#pragma once

#include "core/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim::notify {

/// One explanation of captured frames in the words of a profile file.
struct Explanation {
  std::array<std::uint8_t, 5> order{0, 1, 2, 3, 4};  ///< Places of payload_size, major, minor, header_size, channel.
  std::array<std::uint8_t, 5> widths{4, 1, 1, 2, 4};  ///< By field, not by place.
  std::string row;                                    ///< "A" … when it is a row of the known layouts.
  bool big_endian = false;
  bool header_size_is_xml = false;
  bool payload_size_is_frame = false;
  bool channel_is_constant = false;
  std::uint32_t sign_in_channel = 0;
  std::optional<std::uint32_t> keep_alive_channel;
  std::uint32_t major = 1, minor = 0;
  bool utf16 = true, bom = false, nul = false, zlib = false;
  std::size_t xml_header_bytes = 0;
};

/// What solving came to.
struct Calibration {
  Explanation best;
  std::vector<Explanation> also;  ///< Everything else that explains the bytes, worse or as well.
  std::vector<std::string> open;  ///< Keys of the profile on which the explanations differ, each with the values that remain.
  std::vector<std::string> unlikely;  ///< The same with widths that no known row has; the profile does not follow them.
  std::vector<std::string> xml;   ///< The messages, in order.
  std::string profile_json;       ///< A profile file, `basis: captured` for what was seen.
  std::string golden_json;        ///< The frames with another SMSID, for tests.
};

/// Solves the layout of a stream that begins with a SignIn and, better, goes on with a KeepAlive (8.3); more may follow. No guess is silent: what
/// the bytes leave open is in `open`.
///
/// Limits    The first 4 KiB of a frame are searched for its text; a stream of 1 MiB.
/// Errors    calibrate.no_text (no message is to be seen), calibrate.no_layout (nothing explains the bytes), calibrate.ambiguous
///           (two explanations are equally good; the message names them): reject.
/// Source    bgb-protocol 8.3
Result<Calibration> calibrate(std::string_view stream, std::string_view name);

/// The bytes of a capture: hexadecimal text, a frame a line, `#` begins a comment; or the bytes themselves.
Result<std::string> read_capture(std::string_view file);

/// A frame in the explanation's form, for answering a client whose SignIn was just solved.
std::string frame_like(const Explanation& form, std::uint32_t channel, std::string_view xml);

/// The SMSID that stands in golden frames; as long as any other, so that no size changes.
inline constexpr std::string_view golden_sms_id = "GUID:00000000-0000-4000-8000-000000000001";

}  // namespace greengate::sim::notify
