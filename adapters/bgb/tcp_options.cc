#include "adapters/bgb/tcp_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace greengate::adapters::bgb {

using boost::asio::ip::tcp;

namespace {

void set_option(int fd, int level, int option, int value) { (void)setsockopt(fd, level, option, &value, sizeof value); }

}  // namespace

void set_tcp_options(tcp::socket& socket) {
  const int fd = socket.native_handle();
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(DeadPeer::idle.count()));
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(DeadPeer::between_probes.count()));
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, DeadPeer::probes);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(DeadPeer::user_timeout.count()));
}

boost::system::error_code SourceAddresses::bind(tcp::socket& socket, const tcp& family) {
  boost::system::error_code wrong;
  for (std::size_t tried = 0; tried < addresses_.size(); ++tried) {
    const auto& source = addresses_[next_++ % addresses_.size()];
    if (source.is_v4() != (family == tcp::v4())) continue;
    set_option(socket.native_handle(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    socket.bind(tcp::endpoint(source, 0), wrong);
    break;
  }
  return wrong;
}

}  // namespace greengate::adapters::bgb
