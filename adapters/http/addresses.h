// Where a connection may go instead, and where it may not go.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// "127.0.0.1:8443", "[::1]:443"
std::optional<boost::asio::ip::tcp::endpoint> endpoint_of(std::string_view text);

/// Where an override ("host suffix=address:port") leads the host, if one does.
std::optional<boost::asio::ip::tcp::endpoint> overridden(const std::vector<std::string>& overrides, const std::string& host);

/// Neither this machine nor a network of its own.
bool is_public(const boost::asio::ip::address& address);

}  // namespace greengate::adapters
