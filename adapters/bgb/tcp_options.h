#pragma once

#include <boost/asio/ip/tcp.hpp>

#include <chrono>
#include <cstddef>
#include <vector>

namespace greengate::adapters::bgb {

/// When the kernel gives a silent peer up. 120 + 3 × 20 = 180 s: a dead server is found within 200 s in spite of a ping every
/// quarter of an hour. The user timeout is not below that sum, as on Linux it overrides the count of probes (spec 1.4).
struct DeadPeer {
  static constexpr std::chrono::seconds idle{120};
  static constexpr std::chrono::seconds between_probes{20};
  static constexpr int probes = 3;
  static constexpr std::chrono::milliseconds user_timeout{180'000};
  static_assert(user_timeout >= idle + probes * between_probes);
};

/// Sets TCP keep-alive and user timeout as DeadPeer says, and no delay. A kernel without an option serves us all the same: the
/// dead peer is then found by the next keep-alive message.
void set_tcp_options(boost::asio::ip::tcp::socket& socket);

/// The local addresses connections are spread over, each in turn among those of the target's family.
///
/// Promise   With IP_BIND_ADDRESS_NO_PORT the port is chosen at connect(), so each address has its whole port range for each
///           server: two addresses are enough for 50,000 sessions to one (spec 7.2).
/// Threads   One.
class SourceAddresses {
 public:
  void add(const boost::asio::ip::address& address) { addresses_.push_back(address); }
  /// Binds an open, unconnected socket; without an address of that family it leaves the choice to the kernel.
  boost::system::error_code bind(boost::asio::ip::tcp::socket& socket, const boost::asio::ip::tcp& family);

 private:
  std::vector<boost::asio::ip::address> addresses_;
  std::size_t next_ = 0;
};

}  // namespace greengate::adapters::bgb
