#include "adapters/mp/verdict.h"

#include "adapters/mp/compression.h"
#include "adapters/mp/multipart.h"
#include "adapters/mp/utf16.h"
#include "adapters/mp/wire_time.h"

#include <algorithm>

namespace greengate::adapters {
namespace {

/// The reply's XML: part 2, inflated unless it is plain UTF-16 already.
Result<std::string> reply_xml(const MpSettings& settings, const HttpOutcome& outcome) {
  const auto parts = parse_multipart(outcome.body, outcome.content_type, settings.boundary);
  if (!parts) return tl::unexpected(parts.error());
  // A zlib stream begins with 78 and a multiple of 31; UTF-16 text with a BOM or with "<" and NUL
  // (S 1.5).
  const std::string_view payload = parts->payload;
  const bool is_zlib = payload.size() >= 2 && payload[0] == '\x78' &&
                       (0x78 * 256 + static_cast<unsigned char>(payload[1])) % 31 == 0;
  std::string inflated;
  std::string_view text = payload;
  if (is_zlib) {
    auto plain = inflate_zlib(payload, settings.reply_bytes_max);
    if (!plain) return pass(plain);
    inflated = std::move(*plain);
    text = inflated;
  }
  // Clients strip what follows the text: one NUL, or all that cannot be printed (M 1.5).
  if (text.size() % 2 != 0 && text.back() == '\0') text.remove_suffix(1);
  if (text.size() % 2 == 0 && text.size() >= 4 &&
      text.substr(text.size() - 4) == std::string_view("\0\0\r\n", 4))
    text.remove_suffix(2);
  while (text.size() >= 2 && text.substr(text.size() - 2) == std::string_view("\0\0", 2))
    text.remove_suffix(2);
  return utf8_from_utf16(text);
}

}  // namespace

Result<Verdict> read_verdict(const MpSettings& settings, bool expects_reply,
                             const HttpOutcome& outcome, WallTime now) {
  const unsigned status = outcome.status;
  if (status >= 200 && status < 300) {
    if (!expects_reply) return Verdict{Verdict::Kind::delivered, {}};
    if (outcome.body.empty()) return Verdict{Verdict::Kind::refused, {}};
    auto xml = reply_xml(settings, outcome);
    if (!xml) {
      // An answer we cannot read says nothing about what was asked.
      xml.error().remedy = Remedy::retry;
      return pass(xml);
    }
    return Verdict{Verdict::Kind::reply, std::move(*xml)};
  }

  const auto wish = retry_after(outcome.retry_after, now, settings.retry_after_max);
  const std::string answered = "The management point answered " + std::to_string(status);
  if (status == 408 || status == 429) return fail(Remedy::retry, "mp.busy", answered + ".", wish);
  if (status >= 500 && status < 600)
    return fail(Remedy::retry, "mp.unavailable", answered + ".", wish);

  const auto later = std::max(wish, settings.configuration_retry);
  if (status == 401)
    return fail(Remedy::retry, "mp.unauthorized",
                answered + "; the request path wants Windows authentication.", later);
  if (status == 403)
    return fail(
        Remedy::retry, "mp.forbidden",
        answered +
            ": wrong scheme, or a client certificate that is missing, not trusted or revoked.",
        later);
  if (status == 404 || status == 405)
    return fail(Remedy::retry, "mp.not_there",
                answered + ": no management point there, or CCM_POST is filtered.", later);
  if (status >= 300 && status < 400)
    return fail(Remedy::retry, "mp.redirected", answered + "; redirects are not followed.", later);
  if (status >= 400 && status < 500) return fail(Remedy::reject, "mp.bad_request", answered + ".");
  return fail(Remedy::reject, "mp.status", answered + ", which no management point does.");
}

}  // namespace greengate::adapters
