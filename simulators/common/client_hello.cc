#include "simulators/common/client_hello.h"

#include "simulators/common/text.h"

#include <cstdint>

namespace greengate::sim {
namespace {

/// Takes big-endian numbers and blocks off the front; once short, always short.
class Bytes {
 public:
  explicit Bytes(std::string_view text) : rest_(text) {}
  bool good() const { return good_; }
  bool empty() const { return rest_.empty(); }
  std::size_t number(int bytes) {
    std::size_t value = 0;
    for (const char c : block(static_cast<std::size_t>(bytes))) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  std::string_view block(std::size_t bytes) {
    if (!good_ || bytes > rest_.size()) {
      good_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }

 private:
  std::string_view rest_;
  bool good_ = true;
};

}  // namespace

std::size_t first_record_bytes(std::string_view begin) {
  if (begin.size() < 5) return 0;
  return 5 + (static_cast<std::size_t>(static_cast<unsigned char>(begin[3])) << 8 | static_cast<unsigned char>(begin[4]));
}

std::optional<ClientHello> read_client_hello(std::string_view record) {
  Bytes in(record);
  if (in.number(1) != 22) return std::nullopt;
  in.number(2);
  Bytes handshake(in.block(in.number(2)));
  if (handshake.number(1) != 1) return std::nullopt;
  Bytes hello(handshake.block(handshake.number(3)));
  hello.block(2 + 32);
  hello.block(hello.number(1));
  hello.block(hello.number(2));
  hello.block(hello.number(1));
  if (!hello.good()) return std::nullopt;
  ClientHello found;
  if (hello.empty()) return found;
  Bytes extensions(hello.block(hello.number(2)));
  while (extensions.good() && !extensions.empty()) {
    const std::size_t kind = extensions.number(2);
    Bytes content(extensions.block(extensions.number(2)));
    if (kind == 0) {
      Bytes names(content.block(content.number(2)));
      if (names.number(1) == 0) found.server_name = to_lower(names.block(names.number(2)));
    } else if (kind == 16) {
      Bytes protocols(content.block(content.number(2)));
      while (protocols.good() && !protocols.empty()) found.protocols.emplace_back(protocols.block(protocols.number(1)));
    }
  }
  if (!hello.good() || !extensions.good()) return std::nullopt;
  return found;
}

}  // namespace greengate::sim
