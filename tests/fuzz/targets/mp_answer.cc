// The bytes a management point answers with: multipart, zlib, UTF-16. First byte: Invoke or Post, and which status.
#include "adapters/mp/verdict.h"

#include <array>
#include <cstdint>
#include <cstdlib>

using namespace greengate;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  constexpr std::array<unsigned, 8> statuses{200, 200, 200, 200, 302, 403, 500, 503};
  static const adapters::MpSettings settings = [] {
    adapters::MpSettings made;
    made.site_code = "P01";
    made.reply_bytes_max = 1 << 20;
    return made;
  }();
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  // The header's value ends at the first line feed; the body is the rest.
  const auto line = text.find('\n');
  adapters::HttpOutcome outcome;
  outcome.status = statuses[data[0] >> 1 & 7];
  outcome.content_type = line == std::string_view::npos ? std::string_view() : text.substr(0, line);
  outcome.retry_after = outcome.content_type;
  outcome.body = line == std::string_view::npos ? text : text.substr(line + 1);
  const auto verdict = adapters::read_verdict(settings, (data[0] & 1) != 0, outcome, WallTime{});
  // UTF-8 of at most reply_bytes_max UTF-16 bytes: three for two at worst.
  if (verdict && verdict->xml.size() > settings.reply_bytes_max * 3 / 2 + 16) std::abort();
  return 0;
}
