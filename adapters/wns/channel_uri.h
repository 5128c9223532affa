#pragma once

#include "core/result.h"

#include <string>
#include <string_view>

namespace greengate::adapters {

/// Where a push goes, taken from a ChannelURI that was found fit.
struct ChannelUri {
  std::string host;    ///< Lower case; for connecting, TLS and Host.
  std::string target;  ///< Path and query, byte for byte as the device gave them.
};

constexpr std::size_t channel_uri_octets_max = 4'096;

/// Takes a ChannelURI, which a device reported and which is therefore hostile, apart. Whoever got a foreign one would be sent our token.
///
/// Promise   Taken only: https, no user, host notify.windows.com or below it, port 443 or none, 1 to 4 096 visible ASCII octets without
///           \ and #. Nothing is put in order first: what is odd is refused.
/// Errors    wns.channel_uri (reject), without the URI in its message.
/// Source    wns-mdm-push
Result<ChannelUri> parse_channel_uri(std::string_view uri);

/// How a channel is named in logs: HMAC-SHA256 under the installation's key, eight octets as 16 hex digits.
std::string channel_fingerprint(std::string_view install_key, std::string_view uri);

/// The host a refused URI names, fit for a log line: no user, path or query, odd characters as '?', at most 100 of them.
std::string claimed_host(std::string_view uri);

}  // namespace greengate::adapters
