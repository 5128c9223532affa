#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim {

/// What a TLS client says before anything is agreed.
struct ClientHello {
  std::string server_name;              ///< Lower case; empty when it sent none.
  std::vector<std::string> protocols;   ///< ALPN, in its order.
};

/// Bytes that the first record of a connection has in all, or 0 while `begin` is too short to say.
std::size_t first_record_bytes(std::string_view begin);
/// Nothing when `record` holds no ClientHello. Never reads beyond `record`.
std::optional<ClientHello> read_client_hello(std::string_view record);

}  // namespace greengate::sim
