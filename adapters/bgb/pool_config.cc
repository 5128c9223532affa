// The settings of client notification: reads their texts and complains about every one that cannot
// serve.
#include "adapters/bgb/pool_config.h"

#include "adapters/bgb/session_pool.h"
#include "adapters/http/url.h"

#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

namespace greengate::adapters {

namespace bgb {

std::optional<HostPort> parse_server(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  HostPort parts{text.substr(0, colon), text.substr(colon + 1)};
  if (parts.host.size() > 2 && parts.host.front() == '[' && parts.host.back() == ']')
    parts.host = parts.host.substr(1, parts.host.size() - 2);
  else if (parts.host.find(':') != std::string::npos)
    return std::nullopt;
  unsigned port = 0;
  const char* end = parts.port.data() + parts.port.size();
  const auto [stop, wrong] = std::from_chars(parts.port.data(), end, port);
  if (wrong != std::errc() || stop != end || port == 0 || port > 65'535) return std::nullopt;
  return parts;
}

std::optional<ServerCheck> parse_check(const std::string& text) {
  if (text == "pin") return ServerCheck::pin;
  if (text == "pki") return ServerCheck::pki;
  if (text == "none-lab-only") return ServerCheck::none_lab_only;
  return std::nullopt;
}

}  // namespace bgb

namespace asio = boost::asio;
using boost::system::error_code;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds strict_online_keepalive{240'000};

}  // namespace

milliseconds BgbConfig::keepalive_interval() const {
  return keepalive_profile == "strict-online" ? std::min(keepalive, strict_online_keepalive) : keepalive;
}

std::vector<ConfigProblem> BgbConfig::problems() const {
  std::vector<ConfigProblem> found;
  if (!enabled) return found;
  const auto complain = [&](std::string key, std::string message) {
    found.push_back({"bgb." + std::move(key), std::move(message)});
  };
  const bool by_location = servers_from == "location";
  if (!by_location && servers_from != "settings")
    complain("servers_from", "is \"" + servers_from + "\"; it can be \"settings\" or \"location\".");
  if (servers.empty() && !by_location)
    complain(
        "servers",
        "is empty; name at least one notification server, such as \"mp01.example.test:10123\".");
  if (servers.size() > servers_max)
    complain("servers", "has more than " + std::to_string(servers_max) + " entries (bgb.servers_max); a site has at most 15 management points.");
  for (const auto& server : servers)
    if (!bgb::parse_server(server))
      complain("servers", "has \"" + server + "\"; each is \"host:port\".");
  const auto known = [&](const std::string& server) {
    return by_location ? bgb::parse_server(server).has_value() : std::find(servers.begin(), servers.end(), server) != servers.end();
  };
  const std::string which = by_location ? "" : " with one of bgb.servers";
  for (const auto& entry : server_profiles) {
    const auto equals = entry.find('=');
    if (equals == std::string::npos || !known(entry.substr(0, equals)))
      complain("server_profiles", "has \"" + entry + "\"; each is \"host:port=PROFILE\"" + which + ".");
  }
  if (http != "off" && http != "fallback" && http != "only")
    complain("http", "is \"" + http + "\"; it can be \"off\", \"fallback\" or \"only\".");
  for (const auto& entry : http_urls) {
    const auto equals = entry.find('=');
    const auto url = parse_url(equals == std::string::npos ? "" : entry.substr(equals + 1));
    if (!url || !url->path.empty() || !known(entry.substr(0, equals)))
      complain("http_urls", "has \"" + entry + "\"; each is \"host:port=https://host\"" + which + ", without a path.");
  }
  if (const auto proxy = parse_url(http_proxy); !http_proxy.empty() && (!proxy || proxy->tls))
    complain("http_proxy", "is \"" + http_proxy + "\"; it is written \"http://proxy:8080\".");
  const auto check = bgb::parse_check(server_check);
  if (!check)
    complain("server_check",
             "is \"" + server_check + "\"; it can be \"pin\", \"pki\" or \"none-lab-only\".");
  if (check == bgb::ServerCheck::pin && certificate_file.empty())
    complain("certificate_file",
             "is empty; bgb.server_check \"pin\" needs the server's certificate or its CA.");
  for (const auto& address : source_addresses) {
    error_code wrong;
    asio::ip::make_address(address, wrong);
    if (wrong) complain("source_addresses", "has \"" + address + "\", which is no IP address.");
  }
  if (client_version.empty() || client_version.size() > 64)
    complain("client_version", "needs 1 to 64 characters, such as \"5.00.9141.1000\".");
  if (sessions != "connected" && sessions != "always")
    complain("sessions", "is \"" + sessions + "\"; it can be \"connected\" or \"always\".");
  if (keepalive_profile != "default" && keepalive_profile != "strict-online")
    complain("keepalive_profile", "is \"" + keepalive_profile + "\"; it can be \"default\" or \"strict-online\".");
  const auto within = [&](const char* key, milliseconds value, milliseconds low,
                          milliseconds high) {
    if (value < low || value > high)
      complain(key, "is " + duration_text(value) + "; it can be " + duration_text(low) + " to " +
                        duration_text(high) + ".");
  };
  using std::chrono::hours;
  using std::chrono::seconds;
  within("keepalive", keepalive, milliseconds(100), hours(24));
  within("connect_timeout", connect_timeout, milliseconds(10), hours(1));
  within("tls_timeout", tls_timeout, milliseconds(10), hours(1));
  within("sign_in_timeout", sign_in_timeout, milliseconds(10), hours(1));
  within("answer_timeout", answer_timeout, milliseconds(10), seconds(60));
  within("backoff_base", backoff_base, milliseconds(1), hours(1));
  within("backoff_cap", backoff_cap, backoff_base, hours(24));
  within("stable_after", stable_after, milliseconds(0), hours(24));
  within("start_window", start_window, milliseconds(0), hours(24));
  within("push_memory", push_memory, seconds(1), hours(24 * 7));
  within("frame_timeout", frame_timeout, milliseconds(10), hours(1));
  within("identity_check", identity_check, milliseconds(10), seconds(30));
  within("tcp_retry", tcp_retry, milliseconds(10), hours(24));
  within("http_broken", http_broken, milliseconds(10), hours(24));
  within("tick", tick, milliseconds(1), seconds(5));
  const auto count = [&](const char* key, std::uint32_t value, std::uint32_t low,
                         std::uint32_t high) {
    if (value < low || value > high)
      complain(key, "is " + std::to_string(value) + "; it can be " + std::to_string(low) + " to " +
                        std::to_string(high) + ".");
  };
  within("servers_idle", servers_idle, milliseconds(10), hours(24 * 7));
  count("port", port, 1, 65'535);
  count("servers_max", servers_max, 1, 256);
  count("handshakes_per_second", handshakes_per_second, 1, 100'000);
  count("handshakes_per_second_all", handshakes_per_second_all, 1, 100'000);
  count("handshakes_in_flight_max", handshakes_in_flight_max, 1, 100'000);
  count("sessions_max", sessions_max, 1, 1'000'000);
  count("pending_pushes_max", pending_pushes_max, 1, 10'000);
  count("pushes_remembered_max", pushes_remembered_max, 1, 100'000'000);
  count("header_bytes_max", header_bytes_max, 32, 64 * 1024);
  count("payload_bytes_max", payload_bytes_max, 1'024, 16 * 1024 * 1024);
  return found;
}

}  // namespace greengate::adapters
