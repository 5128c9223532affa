#pragma once

#include "simulators/management_point/checks.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim {

/// The two parts of a request's body, as ranges of it (mp-protocol 1.3).
struct Parts {
  std::string_view header;   ///< Part 1: UTF-16LE with BOM.
  std::string_view payload;  ///< Part 2: exactly the bytes that are signed.
};
/// Nothing when the parts cannot be told apart; the findings say why.
std::optional<Parts> split_parts(std::string_view content_type, std::string_view body,
                                 Findings& findings);

struct ByteRange {
  std::uint64_t offset = 0, length = 0;
};
struct Attachment {
  std::string name;
  ByteRange range;
};

/// Part 1, read (mp-protocol 2).
struct Envelope {
  std::string xml;  ///< UTF-8, for the evidence.
  std::string id, source_id, source_host, target_endpoint, target_address, target_host, reply_to,
      reply_mode;
  std::string reply_compression, file_type;
  std::optional<ByteRange> body;
  std::vector<Attachment> attachments;
  bool zlib = false;
  bool client_auth = false;
  std::map<std::string, std::string> auth;  ///< The clientauth properties by name.
};

/// Where relay messages carry FileType (mp-protocol Q12).
enum class FileTypeForm { element, hook_property, either };

struct EnvelopeRules {
  std::string host_name;  ///< Ours, for TargetHost.
  FileTypeForm file_type_form = FileTypeForm::element;
  std::int64_t now_millis = 0;
};
std::optional<Envelope> read_envelope(std::string_view part, const EnvelopeRules& rules,
                                      Findings& findings);

/// The payload stream, inflated where the hook says so. Nothing when it cannot be had.
std::optional<std::string> open_payload(std::string_view payload, bool zlib_hook,
                                        std::size_t inflated_bytes_max, Findings& findings);

/// Cuts `Offset`..`Offset+Length` out of the stream and makes it UTF-8, its NUL taken off
/// (mp-protocol 1.4).
std::optional<std::string> read_body(std::string_view stream, const Envelope& envelope,
                                     Findings& findings);

/// An endpoint of the management point's table.
struct Endpoint {
  std::string_view name;
  bool invoke;     ///< Sync with a reply; otherwise a Post.
  bool is_signed;  ///< Needs clientauth.
};
const Endpoint* find_endpoint(std::string_view name);

/// The TargetEndpoint alone, for faults that hit one endpoint only; empty when it cannot be read.
std::string peek_endpoint(std::string_view content_type, std::string_view body);

}  // namespace greengate::sim
