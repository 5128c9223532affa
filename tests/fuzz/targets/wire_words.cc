// Short texts off the wire or out of a configuration: addresses, times, intervals, names. All readers read each.
#include "adapters/http/url.h"
#include "adapters/mp/bootstrap.h"
#include "adapters/mp/policy.h"
#include "adapters/mp/policy_body.h"
#include "adapters/mp/wire_time.h"
#include "tests/fuzz/targets/check.h"

#include <algorithm>

using namespace greengate;
using namespace greengate::adapters;
using fuzz::must;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  if (const auto url = parse_url(text)) {
    must(!url->host.empty() && url->host.size() <= 253 && url->port != 0, "an address has a host and a port");
    for (const std::string& part : {url->host, url->path})
      must(std::all_of(part.begin(), part.end(), [](char c) { return c > 0x20 && c < 0x7F; }), "nothing of an address can begin another header");
    must(url->path.empty() || url->path.front() == '/' || url->path.front() == '?', "what follows the host is a path or a query");
    const auto again = parse_url((url->tls ? "https://" : "http://") + url->authority() + url->path);
    must(again && *again == *url, "an address is read as it was written");
  }
  constexpr std::chrono::milliseconds cap = std::chrono::hours(1);
  const WallTime now = from_millis(1'768'472'430'000);
  const auto later = retry_after(text, now, cap);
  must(later.count() >= 0 && later <= cap, "a server's wish is bounded");
  if (const auto time = read_datetime(text)) {
    const auto again = read_datetime(cim_datetime(*time));
    must(again && *again <= *time && *time - *again < std::chrono::seconds(1), "a time is read as it was written");
  }
  if (const auto every = trigger_interval(text)) must(every->count() > 0 && *every <= std::chrono::days(366), "an interval is between a minute and a year");
  if (const auto target = policy_target(text))
    must(target->starts_with('/') && !target->starts_with("//") && target->find_first_of("\r\n ") == std::string::npos, "a target is a path of the same host");
  if (fit_for_learned_host(text)) must(text.size() <= 253 && text.find_first_of("/:@ ?#") == std::string_view::npos, "a learned host is only a host");
  return 0;
}
