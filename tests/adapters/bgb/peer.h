#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace greengate::test {

/// A certificate and its key, made on the spot.
struct TestIdentity {
  std::string certificate_pem, certificate_der;
  std::string private_key_pem, private_key_der;  // the DER is PKCS#8
};
/// Self-signed; `san_ip` goes into the certificate as an address. A negative `days_valid` has expired. RSA-2048 takes a while to
/// make; P-256 does not.
TestIdentity make_identity(const std::string& common_name, const std::string& san_ip = "", int days_valid = 30, bool rsa = false);

/// What a client sent, and as whom its certificate says it came.
struct Heard {
  std::size_t session = 0;
  std::string certificate_name;
  std::string from;  // the address it came from
  std::uint32_t channel = 0;
  std::uint32_t major = 0, minor = 0;
  std::string xml;
  std::chrono::steady_clock::time_point at;
};

/// A strict notification server for tests: layout A, UTF-16LE, mutual TLS, its own few lines of codec. Anything a client may not
/// do (first message no SignIn, wrong header) is kept in complaints().
class Peer {
 public:
  struct Behaviour {
    bool accept_tls = true;  ///< false: accepts TCP and never says a word.
    bool confirm = true;     ///< false: takes the SignIn and stays silent.
    bool close_on_sign_in = false;
    bool negotiate_first = false;  ///< answers a SignIn of version 1.0 with NegotiationNeeded.
    bool one_byte_writes = false;
    bool deaf_after_sign_in = false;  ///< stops reading, with a small window.
    bool plain_text = false;          ///< answers TLS with a line of HTTP.
    bool tls12_only = false;          ///< With session ids and tickets, as TLS 1.3 has them too.
    std::string before_confirm;       ///< XML of a Request sent ahead of the confirmation.
    Behaviour() {}
  };

  explicit Peer(TestIdentity identity, Behaviour behaviour = {});
  ~Peer();

  std::string address() const;  ///< "127.0.0.1:port"
  void send(std::size_t session, std::uint32_t channel, const std::string& xml);
  void send_raw(std::size_t session, const std::string& bytes);
  void push(std::size_t session, const std::string& xml) { send(session, 3, xml); }
  void disconnect(std::size_t session) { send(session, 5, ""); }
  void cut(std::size_t session);
  /// A TLS 1.3 key update, both ways, with the next bytes written.
  void update_keys(std::size_t session);

  std::vector<Heard> heard() const;
  std::vector<Heard> heard(const std::string& root) const;  ///< Only those with this root element.
  std::vector<std::chrono::steady_clock::time_point> handshakes() const;
  std::size_t open_sessions() const;
  std::size_t resumptions_offered() const;  ///< Client hellos with a ticket or a pre-shared key.
  std::size_t resumed() const;              ///< Handshakes that resumed an earlier session.
  std::size_t accepted() const;
  std::vector<std::string> complaints() const;
  /// Session numbers with a SignIn, in order.
  std::vector<std::size_t> signed_in() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Waits until `condition` holds; false after `patience`. Looks every millisecond, so that no test sleeps longer than it must.
bool wait_until(const std::function<bool()>& condition, std::chrono::milliseconds patience = std::chrono::seconds(10));

std::string to_utf16le(const std::string& ascii);
std::string frame_a(std::uint32_t channel, const std::string& ascii_xml, std::uint8_t major = 1, std::uint8_t minor = 0);

}  // namespace greengate::test
