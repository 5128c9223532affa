#pragma once

#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/result.h"

#include <string>
#include <string_view>

namespace greengate::adapters {

/// What an exchange with a management point came to. A failure is an Error instead.
struct Verdict {
  enum class Kind {
    delivered,  ///< A Post got a 2xx. The wire cannot prove more (D 1.5).
    reply,      ///< An Invoke got an answer, in `xml`.
    refused,    ///< An Invoke got 200 and nothing: bad signature, unknown client, or not in the
                ///< database yet (M 1.5).
  };
  Kind kind = Kind::delivered;
  std::string xml;  ///< UTF-8, without BOM and NUL.
};

/// The HTTP side of an answer, as far as the verdict depends on it.
struct HttpOutcome {
  unsigned status = 0;
  std::string_view content_type;
  std::string_view retry_after;
  std::string_view body;
};

/// Reads an answer (mp-protocol 1.5, 1.8).
///
/// What is wrong with the site or its configuration is never held against the message: it is kept and tried again, seldom where a
/// person must act first. Only what is wrong with the message itself is rejected.
/// Errors    retry: mp.unavailable (5xx), mp.busy (408, 429), and after configuration_retry: mp.unauthorized (401), mp.forbidden
///           (403), mp.not_there (404, 405), mp.redirected (3xx). reject: mp.bad_request (other 4xx), mp.status (any other),
///           mp.multipart, mp.inflate, mp.inflate_too_large.
Result<Verdict> read_verdict(const MpSettings& settings, bool expects_reply,
                             const HttpOutcome& outcome, WallTime now);

}  // namespace greengate::adapters
