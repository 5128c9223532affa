// The notification server's stream, in every shipped layout: frames cut anywhere, then the XML in them.
#include "adapters/bgb/frame_codec.h"
#include "adapters/bgb/message_schema.h"

#include <array>
#include <cstdint>
#include <cstdlib>

using namespace greengate::adapters::bgb;

namespace {
struct Layout {
  FrameCodec codec;
  MessageSchema schema;
};
std::vector<Layout> layouts() {
  std::vector<Layout> made;
  for (const char* name : {"A", "B", "C", "A8", "A16"}) {
    auto profile = load_profile(name);
    if (!profile) std::abort();
    made.push_back({FrameCodec(*profile), MessageSchema(*profile)});
  }
  return made;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<Layout> all = layouts();
  if (size == 0) return 0;
  const Layout& layout = all[data[0] % all.size()];
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
