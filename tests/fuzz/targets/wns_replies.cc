// What devices, WNS and its token services say to the sender: the first byte picks the reader.
#include "adapters/http/retry_after.h"
#include "adapters/wns/channel_uri.h"
#include "adapters/wns/channels.h"
#include "adapters/wns/classify.h"
#include "adapters/wns/token_source.h"
#include "adapters/wns/wakes.h"
#include "tests/fuzz/targets/check.h"

#include <algorithm>
#include <array>
#include <charconv>

using namespace greengate;
using namespace greengate::adapters;
using fuzz::must;

namespace {

const WallTime now = from_millis(1'768'472'430'000);
constexpr std::chrono::milliseconds cap = std::chrono::hours(1);

bool visible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

void channel(std::string_view uri) {
  const std::string host = claimed_host(uri);
  must(host.size() <= 100 && visible(host) && host.find_first_of("/@?#=&") == std::string::npos, "a refused address is shown by its host alone");
  const auto parsed = parse_channel_uri(uri);
  if (!parsed) {
    must(uri.size() < 9 || parsed.error().message.find(uri) == std::string::npos, "an error does not repeat the address");
    return;
  }
  must(uri.size() <= channel_uri_octets_max && visible(uri), "what is taken is bounded and visible");
  must(parsed->host == "notify.windows.com" || parsed->host.ends_with(".notify.windows.com"), "no host but WNS's");
  must(parsed->host.find_first_of("@:%/?#\\[]_") == std::string::npos, "a host name is only that");
  must(parsed->target.starts_with('/') && visible(parsed->target), "what follows the host is a target");
  must(uri.ends_with(parsed->target.substr(uri.ends_with(parsed->target) ? 0 : 1)), "the target is the device's own octets");
}

void answer(std::string_view text) {
  unsigned status = 0;
  const std::string_view number = fuzz::piece(text, '\n');
  std::from_chars(number.data(), number.data() + number.size(), status);
  std::array<std::string_view, 6> words;
  for (std::string_view& word : words) word = fuzz::piece(text, '\n');
  PushReply reply;
  reply.status = status;
  reply.reason = words[0];
  reply.header = [&](std::string_view name) {
    return name == "X-WNS-Status" ? words[1] : name == "X-WNS-NotificationStatus" ? words[2] : name == "X-WNS-DeviceConnectionStatus" ? words[3]
         : name == "Retry-After" ? words[4] : name == "X-WNS-Error-Description" ? words[5] : std::string_view();
  };
  const Classified got = classify(reply, now, {});
  must(got.wait.count() >= 0 && got.wait <= cap, "a wish is bounded");
  must(got.retry != RetryWord::after || got.throttle_scope != ThrottleScope::none, "a wait has its scope");
  if (got.channel_action != ChannelAction::keep) must(got.retry == RetryWord::never, "what ends a channel is not tried again");
  const bool throttle = got.outcome == PushOutcome::app_throttled || got.outcome == PushOutcome::channel_throttled;
  if (throttle || status == 429 || status == 406 || status / 100 == 5)
    must(got.channel_action == ChannelAction::keep || got.outcome == PushOutcome::channel_revoked, "throttles and failures end no channel");
  must(outcome_name(got.outcome)[0] != '\0', "every outcome has a name");
  const std::string said = scrubbed(words[5], 200, words[0], words[1]);
  must(said.size() <= 200, "what a peer said is cut");
  for (std::size_t at = 0; said != "(withheld)" && at + 8 <= said.size(); ++at)
    must(said.find('?') != std::string::npos || words[0].find(said.substr(at, 8)) == std::string_view::npos, "no run of a secret is repeated");
}

void token(std::string_view text) {
  static const WnsSettings settings;
  static const WnsApp app;
  static const LegacyTokens legacy(app, settings);
  static const EntraTokens entra(app, settings);
  unsigned status = 0;
  const std::string_view number = fuzz::piece(text, '\n');
  std::from_chars(number.data(), number.data() + number.size(), status);
  for (const TokenSource* source : {static_cast<const TokenSource*>(&legacy), static_cast<const TokenSource*>(&entra)}) {
    const auto grant = source->read(status, "120", text, now);
    if (!grant) {
      must(grant.error().message.size() < 400, "an error is short");
      must(grant.error().retry_after <= cap, "a wish is bounded");
      continue;
    }
    must(status == 200, "only 200 brings a token");
    must(!grant->token.empty() && grant->token.reveal().size() <= 8'192 && visible(grant->token.reveal()), "a token fits a header");
    must(grant->life.count() >= 1 && grant->life <= std::chrono::hours(24), "a life is bounded");
    must(token_margin(grant->life, std::chrono::seconds(300)) <= grant->life, "a margin fits its life");
  }
}

void record(std::string_view text) {
  const auto read = decode_record(text);
  if (!read) return;
  const std::string written = encode_record(*read);
  const auto again = decode_record(written);
  must(again && encode_record(*again) == written, "a record is read as it was written");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = fuzz::text_of(data + 1, size - 1);
  switch (data[0] % 5) {
    case 0: channel(text); break;
    case 1:
      if (const auto wait = parse_retry_after(text, now, cap)) must(wait->count() >= 0 && *wait <= cap, "a wish is bounded");
      break;
    case 2: answer(text); break;
    case 3: token(text); break;
    default: record(text); break;
  }
  return 0;
}
