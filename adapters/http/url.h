#pragma once

#include "core/result.h"

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace greengate::adapters {

/// "http://mp01.example.com", "https://[2001:db8::1]:8443/base". No user, no fragment.
struct Url {
  bool tls = false;
  std::string host;  ///< Lower case; an IPv6 address without its brackets.
  std::uint16_t port = 80;
  std::string path;  ///< With its query; empty when there is none.

  /// As the Host header wants it: without the scheme's own port.
  std::string authority() const;
  friend auto operator<=>(const Url&, const Url&) = default;
};

/// Errors    http.url (reject).
Result<Url> parse_url(std::string_view text);

}  // namespace greengate::adapters
