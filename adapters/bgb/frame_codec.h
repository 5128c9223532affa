#pragma once

#include "adapters/bgb/message.h"
#include "adapters/bgb/profile.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace greengate::adapters::bgb {

/// One frame taken off the stream. The views live as long as the input and the scratch string do.
struct Frame {
  Kind kind_hint = Kind::unknown;  ///< What the header's type field says; the XML root has the last word.
  VersionPair version;
  std::string_view xml_utf8;  ///< Empty when the frame had no payload.
};

struct Decoded {
  enum class Status : std::uint8_t { need_more, ok, bad };
  Status status = Status::need_more;
  std::size_t bytes = 0;  ///< need_more: how many bytes must be there before it is worth asking again. ok: consumed.
  Frame frame;
  const char* code = "";  ///< bad: a stable code.
  const char* why = "";   ///< bad: a sentence.
};

/// The one frame codec: reads and writes any layout a profile can describe.
///
/// Promise   Stateless per frame; the same bytes give the same answer however they arrive in pieces. Decoding is liberal about
///           text (BOM, UTF-16 or UTF-8, zlib, trailing NULs); encoding is the profile's alone.
/// Limits    Profile::header_bytes_max, payload_bytes_max, checked before anything is allocated; text after inflation is bounded
///           by payload_bytes_max too. need_more never allocates.
/// Threads   decode() and encode() are const and need no lock; the scratch string is the caller's.
/// Errors    bgb.frame_header, bgb.frame_oversize, bgb.frame_text, bgb.frame_compression. All end the session.
/// Source    bgb-protocol 2.3, 8.2
class FrameCodec {
 public:
  explicit FrameCodec(Profile profile);

  Decoded decode(std::span<const std::byte> bytes, std::string& scratch) const;
  /// Appends one frame to `out`. `xml_utf8` may be empty (Disconnect, NegotiationNeeded).
  Result<void> encode(Kind kind, VersionPair version, std::string_view xml_utf8, std::string& out) const;

  /// The payload bytes of a message in the profile's own encoding, as encode() writes them.
  Result<std::string> payload_bytes(std::string_view xml_utf8) const;
  /// A frame whose HeaderSize counts an XML header between the fixed part and `payload`, which is
  /// payload_bytes() of something or empty. Only for a profile with HeaderSizeMeans::xml_header.
  Result<void> encode_with_header(Kind kind, VersionPair version, std::string_view header_utf8,
                                  std::string_view payload, std::string& out) const;

  const Profile& profile() const { return profile_; }

 private:
  Result<std::string> text_bytes(std::string_view xml_utf8) const;
  Result<void> put_frame(Kind kind, VersionPair version, std::string_view xml_header,
                         std::string_view payload, std::string& out) const;

  Profile profile_;
};

}  // namespace greengate::adapters::bgb
