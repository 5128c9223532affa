#include "adapters/http/url.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <charconv>

namespace greengate::adapters {
namespace {

constexpr std::size_t url_chars_max = 2048;

bool starts_without_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(), [](char a, char b) {
           return a == std::tolower(static_cast<unsigned char>(b));
         });
}

}  // namespace

std::string Url::authority() const {
  const bool bracketed = host.find(':') != std::string::npos;
  std::string out = bracketed ? "[" + host + "]" : host;
  if (port != (tls ? 443 : 80)) out += ":" + std::to_string(port);
  return out;
}

Result<Url> parse_url(std::string_view text) {
  const auto refuse = [](const char* why) {
    return fail(Remedy::reject, "http.url", std::string("The address is not usable: ") + why + ".");
  };
  if (text.size() > url_chars_max) return refuse("it is too long");
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; }))
    return refuse("it has characters an address cannot have");
  Url url;
  if (starts_without_case(text, "https://")) {
    url.tls = true;
    url.port = 443;
    text.remove_prefix(8);
  } else if (starts_without_case(text, "http://")) {
    text.remove_prefix(7);
  } else {
    return refuse("it begins with neither http:// nor https://");
  }
  const std::size_t path = text.find_first_of("/?#");
  std::string_view authority = text.substr(0, path);
  if (path != std::string_view::npos) url.path = text.substr(path);
  if (url.path.find('#') != std::string::npos) return refuse("it has a fragment");
  if (authority.find('@') != std::string_view::npos) return refuse("it names a user");

  std::string_view port;
  if (authority.starts_with("[")) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return refuse("its bracket is not closed");
    url.host = authority.substr(1, end - 1);
    in6_addr address{};
    if (inet_pton(AF_INET6, url.host.c_str(), &address) != 1) return refuse("what is in brackets is no IPv6 address");
    authority.remove_prefix(end + 1);
    if (!authority.empty() && authority.front() != ':')
      return refuse("something follows its bracket");
    if (!authority.empty()) port = authority.substr(1);
    if (!authority.empty() && port.empty()) return refuse("its port is missing");
  } else {
    const std::size_t colon = authority.find(':');
    url.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) {
      port = authority.substr(colon + 1);
      if (port.empty()) return refuse("its port is missing");
    }
    if (!std::all_of(url.host.begin(), url.host.end(), [](unsigned char c) {
          return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_';
        }))
      return refuse("its host name has characters a host name cannot have");
  }
  if (url.host.empty() || url.host.size() > 253) return refuse("it names no host");
  std::transform(url.host.begin(), url.host.end(), url.host.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (!port.empty()) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || end != port.data() + port.size() || url.port == 0)
      return refuse("its port is no port");
  }
  return url;
}

}  // namespace greengate::adapters
