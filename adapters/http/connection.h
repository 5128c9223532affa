// A connection of the client's, and what a deadline ends on it.
#pragma once

#include <openssl/crypto.h>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <vector>

namespace greengate::adapters {

namespace asio = boost::asio;

constexpr std::size_t read_buffer_bytes = 16 * 1024;

/// One connection to one server; busy in one exchange, or kept.
struct Connection {
  explicit Connection(asio::io_context& context) : socket(context) {}
  ~Connection() { OPENSSL_cleanse(buffer.data(), buffer.size()); }  // replies can hold tokens
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  asio::ip::tcp::socket socket;
  std::optional<asio::ssl::stream<asio::ip::tcp::socket&>> tls;
  std::vector<char> buffer = std::vector<char>(read_buffer_bytes);
  std::size_t buffered = 0;
  std::chrono::steady_clock::time_point idle_since{};
  bool used_before = false;
  bool untrusted = false;  ///< The peer's certificate does not prove its name.
};

/// What the deadline ends: whatever the exchange waits for right now.
struct Attempt {
  bool expired = false;
  bool abandoned = false;
  Connection* connection = nullptr;
  asio::steady_timer* resolving = nullptr;

  void expire() {
    expired = true;
    boost::system::error_code ignored;
    if (connection)
      connection->socket.close(ignored);  // whoever waits on it is told; nothing is left to report
    if (resolving) resolving->cancel();
  }
};

}  // namespace greengate::adapters
