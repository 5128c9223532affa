#pragma once

#include "simulators/notification_server/finding.h"
#include "simulators/notification_server/frame.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace greengate::sim::notify {

/// The one frame in the body of a request: fixed part, an XML header that HeaderSize counts, payload (3).
struct HttpBody {
  Cut cut;  ///< Where the payload is; `whole` unless a finding is fatal.
  std::string header_xml;
  std::string source_id, source_type;
  std::string hook_name, property_name, property_value;  ///< Of the first hook; empty without one.
  Findings findings;

  bool fatal() const;
};

/// Errors: findings http.body, http.header_size, http.header, http.source, http.hooks, and those of frames, texts and XML.
HttpBody read_http_body(const FrameRules& rules, std::string_view client_type, std::span<const std::byte> body);

/// What a hook's signature is made of (settings hook_signs, hook_text, hook_byte_order).
struct HookRules {
  std::string_view signs = "payload";      ///< payload | client_id | nothing
  std::string_view text = "base64";        ///< base64 | hex
  std::string_view byte_order = "little";  ///< little | big | either
};

/// Empty when the hook is a right signature by the certificate's key; else what is wrong with it.
std::string hook_complaint(const HookRules& rules, const HttpBody& body, std::string_view payload,
                           const std::string& certificate_der);

}  // namespace greengate::sim::notify
