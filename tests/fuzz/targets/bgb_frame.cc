// The notification server's stream, in every shipped layout: frames cut anywhere, then the XML in them. With the first byte's upper bit
// set, what it says over HTTP: a reply's body, or its cookies and Retry-After.
#include "adapters/bgb/frame_codec.h"
#include "adapters/bgb/http_binding.h"
#include "adapters/bgb/message_schema.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

using namespace greengate::adapters::bgb;

namespace {
struct Layout {
  FrameCodec codec;
  MessageSchema schema;
  HttpBinding binding;
};
std::vector<Layout> layouts() {
  std::vector<Layout> made;
  for (const char* name : {"A", "B", "C", "A8", "A16"}) {
    auto profile = load_profile(name);
    if (!profile) std::abort();
    made.push_back({FrameCodec(*profile), MessageSchema(*profile), HttpBinding(*profile)});
  }
  return made;
}

const greengate::WallTime noon = greengate::from_millis(1'768'478'400'000);

void read_body(const HttpBinding& binding, std::string_view text) {
  greengate::adapters::HttpResponse reply;
  reply.status = 200;
  reply.body = std::string(text);
  const HttpMeaning meaning = binding.read(reply, noon);
  const bool fine = meaning.verdict == HttpVerdict::messages || meaning.verdict == HttpVerdict::empty;
  if (meaning.messages.size() > HttpBinding::messages_max || (meaning.verdict == HttpVerdict::messages) == meaning.messages.empty()) std::abort();
  if (!fine && (meaning.verdict != HttpVerdict::strange || *meaning.error.code == 0)) std::abort();
}

// What the jar gives back is one line, whatever was put into it.
void read_headers(std::string_view text) {
  CookieJar jar;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\0'), text.size());
    const std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    jar.take({{"Set-Cookie", line}});
    const auto wait = retry_after_of(line, noon);
    if (wait < std::chrono::milliseconds(0) || wait > std::chrono::hours(1)) std::abort();
  }
  if (jar.size() > CookieJar::cookies_max) std::abort();
  for (const char c : jar.header())
    if (c < 0x20 || c > 0x7e) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<Layout> all = layouts();
  if (size == 0) return 0;
  const Layout& layout = all[data[0] % 0x40 % all.size()];
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] >= 0xC0) return read_headers(text), 0;
  if (data[0] >= 0x80) return read_body(layout.binding, text), 0;
  std::span<const std::byte> rest(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  std::string scratch;
  while (!rest.empty()) {
    const Decoded decoded = layout.codec.decode(rest, scratch);
    if (decoded.status != Decoded::Status::ok) {
      if (decoded.status == Decoded::Status::need_more && decoded.bytes <= rest.size()) std::abort();
      break;
    }
    if (decoded.bytes == 0 || decoded.bytes > rest.size()) std::abort();
    (void)layout.schema.parse(decoded.frame);
    rest = rest.subspan(decoded.bytes);
  }
  return 0;
}
