#pragma once

#include "core/result.h"

#include <boost/json/fwd.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace greengate::adapters::bgb {

/// How messages travel in HTTP, as data: the section "http" of a profile file. The defaults are the
/// working model "http-1"; every one of them is a guess (I) until a real exchange was captured.
///
/// Source    bgb-protocol 3
struct HttpProfile {
  enum class Signs : std::uint8_t { nothing, payload, client_id };
  enum class SignatureText : std::uint8_t { base64, hex };
  enum class ReplyHeader : std::uint8_t {
    xml_header,  ///< A reply's HeaderSize counts an XML header after the fixed part, 0 for none.
    fixed_part,  ///< It counts the fixed part, as on TCP.
  };

  HttpProfile();

  std::string name = "http-1";
  std::string method = "POST";
  std::string path = "/bgb/handler.ashx";
  std::string type_parameter = "RequestType";
  std::string sign_in_word = "LogIn";
  std::string receive_word = "Continue";
  std::string send_word = "Continue";
  std::string content_type = "application/octet-stream";
  /// With {source_id}, {source_type} and {hooks}, each replaced by escaped text or by the hook.
  std::string header_xml =
      "<BgbMessageHeaderHttp><SourceID>{source_id}</SourceID><SourceType>{source_type}</SourceType>"
      "<Hooks>{hooks}</Hooks></BgbMessageHeaderHttp>";
  /// With {signature}; left out when nothing is signed.
  std::string hook_xml =
      "<Hook Name=\"clientauth\"><Property Name=\"Token\">{signature}</Property></Hook>";
  /// What the hook's RSA-SHA256 signature covers: the payload's bytes as sent, or the UTF-16LE of the
  /// SMSID with its NUL. A request without a payload is signed over the SMSID either way.
  Signs signs = Signs::payload;
  SignatureText signature_text = SignatureText::base64;
  bool signature_little_endian = true;  ///< As CryptoAPI emits it, and MP messages have it (M there).
  ReplyHeader reply_header = ReplyHeader::xml_header;
  bool cookies = true;
  std::uint32_t hang_seconds = 300;  ///< How long a server is expected to hold a request.
  std::string hang_parameter;        ///< Query parameter asking for a shorter hold; empty: there is none.

  std::vector<std::pair<std::string, std::string>> guesses;
};

/// Errors    bgb.profile (reject): the first complaint.
Result<HttpProfile> read_http_profile(const boost::json::value& section, const std::string& file);

}  // namespace greengate::adapters::bgb
