#include "adapters/http/addresses.h"

#include <charconv>
#include <cstdint>

namespace greengate::adapters {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

std::optional<tcp::endpoint> endpoint_of(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string address(text.substr(0, colon));
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  boost::system::error_code no_address;
  const auto where = asio::ip::make_address(address, no_address);
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
  if (no_address || error != std::errc() || end != text.data() + text.size() || port == 0 || port > 65'535) return std::nullopt;
  return tcp::endpoint(where, static_cast<std::uint16_t>(port));
}

std::optional<tcp::endpoint> overridden(const std::vector<std::string>& overrides, const std::string& host) {
  for (const std::string& entry : overrides) {
    const auto equals = entry.find('=');
    const std::string_view suffix = std::string_view(entry).substr(0, equals);
    const bool fits = host == suffix || (host.size() > suffix.size() && host.ends_with(suffix) && host[host.size() - suffix.size() - 1] == '.');
    const auto to = equals == std::string::npos ? std::nullopt : endpoint_of(std::string_view(entry).substr(equals + 1));
    if (fits && to) return to;
  }
  return std::nullopt;
}

bool is_public(const asio::ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) return is_public(asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()));
  if (address.is_unspecified() || address.is_loopback() || address.is_multicast()) return false;
  if (address.is_v6()) {
    const auto bytes = address.to_v6().to_bytes();
    return !address.to_v6().is_link_local() && !address.to_v6().is_site_local() && (bytes[0] & 0xfe) != 0xfc;
  }
  const auto bytes = address.to_v4().to_bytes();
  const bool shared = bytes[0] == 100 && (bytes[1] & 0xc0) == 64;
  return bytes[0] != 0 && bytes[0] != 10 && !(bytes[0] == 172 && (bytes[1] & 0xf0) == 16) && !(bytes[0] == 192 && bytes[1] == 168) &&
         !(bytes[0] == 169 && bytes[1] == 254) && !shared && bytes[0] < 240;
}

}  // namespace greengate::adapters
