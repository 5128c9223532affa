#include "adapters/wns/channel_uri.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

namespace greengate::adapters {
namespace {

constexpr std::string_view domain = "notify.windows.com";
constexpr std::size_t host_octets_max = 253;
constexpr std::size_t label_octets_max = 63;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_label_octet(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }

bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > host_octets_max) return false;
  std::size_t label = 0;
  for (const char c : host) {
    if (c == '.') {
      if (label == 0) return false;
      label = 0;
    } else if (!is_label_octet(c) || ++label > label_octets_max) {
      return false;
    }
  }
  return label > 0;
}

}  // namespace

Result<ChannelUri> parse_channel_uri(std::string_view uri) {
  const auto refuse = [](const char* why) {
    return fail(Remedy::reject, "wns.channel_uri", std::string("The channel's address is refused: ") + why + ".");
  };
  if (uri.empty()) return refuse("it is empty");
  if (uri.size() > channel_uri_octets_max) return refuse("it is longer than 4096 octets");
  if (!std::all_of(uri.begin(), uri.end(), [](char c) { return c > 0x20 && c < 0x7f && c != '\\' && c != '#'; }))
    return refuse("it has octets an address cannot have");

  constexpr std::string_view scheme = "https://";
  if (uri.size() < scheme.size() ||
      !std::equal(scheme.begin(), scheme.end(), uri.begin(), [](char a, char b) { return a == lower(b); }))
    return refuse("it does not begin with https://");
  const std::string_view rest = uri.substr(scheme.size());
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, end);
  if (authority.find('@') != std::string_view::npos) return refuse("it names a user");
  if (const auto colon = authority.find(':'); colon != std::string_view::npos) {
    if (authority.substr(colon + 1) != "443") return refuse("its port is not 443");
    authority = authority.substr(0, colon);
  }

  ChannelUri channel;
  channel.host.assign(authority);
  std::transform(channel.host.begin(), channel.host.end(), channel.host.begin(), lower);
  if (!is_host_name(channel.host)) return refuse("what stands for its host is no host name");
  const bool below = channel.host.size() > domain.size() && channel.host.ends_with(domain) &&
                     channel.host[channel.host.size() - domain.size() - 1] == '.';
  if (channel.host != domain && !below) return refuse("its host is not one of WNS");

  const std::string_view target = rest.substr(end);
  channel.target = target.starts_with('/') ? std::string(target) : "/" + std::string(target);
  return channel;
}

std::string channel_fingerprint(std::string_view install_key, std::string_view uri) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  HMAC(EVP_sha256(), install_key.data(), static_cast<int>(install_key.size()), reinterpret_cast<const unsigned char*>(uri.data()), uri.size(),
       digest.data(), &length);
  constexpr char hex[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < 8; ++i) {
    text += hex[digest[i] >> 4];
    text += hex[digest[i] & 15];
  }
  return text;
}

std::string claimed_host(std::string_view uri) {
  const auto slashes = uri.find("//");
  std::string_view rest = slashes == std::string_view::npos ? uri : uri.substr(slashes + 2);
  rest = rest.substr(0, std::min(rest.find_first_of("/?#\\"), rest.size()));
  // What stands before the last @ may be a password; a host of two words without one is cut at its first odd octet anyway.
  if (const auto at = rest.rfind('@'); at != std::string_view::npos) rest = rest.substr(at + 1);
  std::string host(rest.substr(0, 100));
  for (char& c : host)
    if (!is_label_octet(lower(c)) && c != '.' && c != ':' && c != '[' && c != ']') c = '?';
  return host;
}

}  // namespace greengate::adapters
