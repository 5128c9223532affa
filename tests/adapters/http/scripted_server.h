#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace greengate::test {

/// A server of raw bytes on a free loopback port: what each connection does is a plain function on
/// a thread of its own. It knows no HTTP beyond finding a request's end, so that it can send what
/// no real server would.
class ScriptedServer {
 public:
  /// One connection, seen from the server.
  class Peer {
   public:
    /// A whole request (its head and Content-Length bytes); empty when the client has closed.
    std::string read_request();
    void send(std::string_view bytes);
    /// Until the client closes, or stop().
    void wait_for_close();
    int number = 0;  ///< First connection: 0.

   private:
    friend class ScriptedServer;
    boost::asio::ip::tcp::socket* socket = nullptr;
    boost::asio::ssl::stream<boost::asio::ip::tcp::socket&>* tls = nullptr;
    std::string buffer;
  };
  using Script = std::function<void(Peer&)>;

  explicit ScriptedServer(Script script, boost::asio::ssl::context* tls = nullptr);
  ~ScriptedServer();

  std::uint16_t port() const { return port_; }
  std::string url() const {
    return (tls_ ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port_);
  }
  int connections() const { return connections_; }

 private:
  void serve(boost::asio::ip::tcp::socket socket, int number);

  Script script_;
  boost::asio::ssl::context* tls_;
  boost::asio::io_context context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::uint16_t port_;
  std::atomic<int> connections_{0};
  std::mutex mutex_;              // guards what follows
  std::vector<int> descriptors_;  // to shut down on stopping
  std::vector<std::thread> threads_;
  bool stopped_ = false;
  std::thread accepting_;
};

/// A key and self-signed certificate for these names, as PEM and as the pin a client would be given.
struct TestCertificate {
  std::string certificate_pem, key_pem, sha256_hex;
};
TestCertificate make_certificate(const std::string& names = "IP:127.0.0.1");

}  // namespace greengate::test
