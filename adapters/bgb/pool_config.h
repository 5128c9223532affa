// What the [bgb] section's texts mean: a server's address and how a server is checked.
#pragma once

#include "adapters/bgb/transport.h"

#include <optional>
#include <string>

namespace greengate::adapters::bgb {

/// A server as it is resolved; an IPv6 address without its brackets.
struct HostPort {
  std::string host;
  std::string port;
};

/// "host:port" or "[v6]:port"; nothing when it is neither.
std::optional<HostPort> parse_server(const std::string& text);
/// "pin", "pki" or "none-lab-only".
std::optional<ServerCheck> parse_check(const std::string& text);

}  // namespace greengate::adapters::bgb
