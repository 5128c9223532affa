#pragma once

#include "core/result.h"

#include <string>
#include <string_view>

namespace greengate::adapters {

/// The two parts of a management point message, as they lie in the HTTP body. Views into it.
struct MessageParts {
  std::string_view header;   ///< UTF-16LE with BOM: a <Msg>.
  std::string_view payload;  ///< Bytes, usually a zlib stream.
};

/// What stands before, between and behind the parts (mp-protocol 1.3).
std::string multipart_head(std::string_view boundary);
std::string multipart_middle(std::string_view boundary);
std::string multipart_tail(std::string_view boundary);

/// `multipart/mixed; boundary="…"`
std::string multipart_content_type(std::string_view boundary);

/// Cuts a body in two. The boundary is the one in `content_type`, or `default_boundary` where that names none; the second part
/// ends at the last closing boundary, since compressed bytes may contain anything.
/// Limits    Part headers 8 KiB each; boundary 70 characters.
/// Errors    mp.multipart (reject).
Result<MessageParts> parse_multipart(std::string_view body, std::string_view content_type,
                                     std::string_view default_boundary);

}  // namespace greengate::adapters
