#include "adapters/bgb/route_lookup.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace greengate::adapters::bgb {
namespace {

constexpr std::size_t reply_bytes = 4096;
constexpr int stale_replies_max = 8;  // of queries that were given up

struct Address {
  int family = AF_UNSPEC;
  std::array<unsigned char, 16> bytes{};
  unsigned size() const { return family == AF_INET ? 4 : 16; }
};

Address parse(const std::string& text) {
  Address address;
  if (inet_pton(AF_INET, text.c_str(), address.bytes.data()) == 1)
    address.family = AF_INET;
  else if (inet_pton(AF_INET6, text.substr(0, text.find('%')).c_str(), address.bytes.data()) == 1)
    address.family = AF_INET6;
  return address;
}

// "fe80::1%eth0": the way is out of that interface.
unsigned interface_of(const std::string& text) {
  const auto at = text.find('%');
  return at == std::string::npos ? 0 : if_nametoindex(text.c_str() + at + 1);
}

std::string shown(int family, const void* bytes) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family, bytes, text, sizeof text);
  return text;
}

// The local address the kernel would reach it from.
std::string local_address_to(const Address& address, unsigned interface) {
  sockaddr_storage target{};
  socklen_t size = 0;
  if (address.family == AF_INET) {
    auto& in = reinterpret_cast<sockaddr_in&>(target);
    in.sin_family = AF_INET;
    in.sin_port = htons(9);
    std::memcpy(&in.sin_addr, address.bytes.data(), address.size());
    size = sizeof in;
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(target);
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(9);
    in.sin6_scope_id = interface;
    std::memcpy(&in.sin6_addr, address.bytes.data(), address.size());
    size = sizeof in;
  }
  const int fd = ::socket(address.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return "";
  std::string text;
  sockaddr_storage own{};
  socklen_t own_size = sizeof own;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&target), size) == 0 &&
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_size) == 0)
    text = "from " + (own.ss_family == AF_INET ? shown(AF_INET, &reinterpret_cast<sockaddr_in&>(own).sin_addr)
                                               : shown(AF_INET6, &reinterpret_cast<sockaddr_in6&>(own).sin6_addr));
  ::close(fd);
  return text;
}

struct Query {
  nlmsghdr header;
  rtmsg route;
  std::array<unsigned char, RTA_SPACE(16) + RTA_SPACE(4)> attributes;
};

void append(Query& query, unsigned short type, const void* bytes, unsigned size) {
  rtattr attribute{};
  attribute.rta_type = type;
  attribute.rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
  unsigned char* const at = reinterpret_cast<unsigned char*>(&query) + NLMSG_ALIGN(query.header.nlmsg_len);
  std::memcpy(at, &attribute, sizeof attribute);
  std::memcpy(at + RTA_LENGTH(0), bytes, size);
  query.header.nlmsg_len = NLMSG_ALIGN(query.header.nlmsg_len) + RTA_SPACE(size);
}

// "dev 2 via 10.0.0.1 from 10.0.0.5", of the attributes of one route.
std::string way_of(const char* at, std::size_t left, int family) {
  std::string device, via, from;
  while (left >= sizeof(rtattr)) {
    rtattr attribute;
    std::memcpy(&attribute, at, sizeof attribute);
    if (attribute.rta_len < sizeof attribute || attribute.rta_len > left) break;
    const char* const value = at + RTA_LENGTH(0);
    const std::size_t size = attribute.rta_len - RTA_LENGTH(0);
    const std::size_t address_size = family == AF_INET ? 4 : 16;
    if (attribute.rta_type == RTA_OIF && size == sizeof(int)) {
      int index = 0;
      std::memcpy(&index, value, sizeof index);
      device = "dev " + std::to_string(index);
    } else if (attribute.rta_type == RTA_GATEWAY && size == address_size) {
      via = " via " + shown(family, value);
    } else if (attribute.rta_type == RTA_VIA && size > sizeof(rtvia) && size <= sizeof(rtvia) + 16) {
      via = " via";  // an address of the other family
      for (std::size_t i = sizeof(rtvia); i < size; ++i) via += " " + std::to_string(static_cast<unsigned char>(value[i]));
    } else if (attribute.rta_type == RTA_PREFSRC && size == address_size) {
      from = " from " + shown(family, value);
    }
    const std::size_t step = RTA_ALIGN(attribute.rta_len);
    if (step >= left) break;
    at += step;
    left -= step;
  }
  return device + via + from;
}

}  // namespace

RouteLookup::~RouteLookup() {
  if (fd_ >= 0) ::close(fd_);
}

bool RouteLookup::open() {
  if (fd_ >= 0) return true;
  if (closed_to_us_) return false;
  fd_ = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  closed_to_us_ = fd_ < 0 && errno != EMFILE && errno != ENFILE;  // a unit may forbid this family of sockets
  return fd_ >= 0;
}

std::string RouteLookup::way_to(const std::string& text) {
  const Address address = parse(text);
  if (address.family == AF_UNSPEC) return "";
  const unsigned interface = interface_of(text);
  if (!open()) return local_address_to(address, interface);

  Query query{};
  query.header.nlmsg_len = NLMSG_LENGTH(sizeof query.route);
  query.header.nlmsg_type = RTM_GETROUTE;
  query.header.nlmsg_flags = NLM_F_REQUEST;
  query.header.nlmsg_seq = ++sequence_;
  query.route.rtm_family = static_cast<unsigned char>(address.family);
  query.route.rtm_dst_len = static_cast<unsigned char>(address.size() * 8);
  append(query, RTA_DST, address.bytes.data(), address.size());
  if (interface != 0) append(query, RTA_OIF, &interface, sizeof interface);
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  // The kernel answers within this very call.
  if (::sendto(fd_, &query, query.header.nlmsg_len, 0, reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel) < 0)
    return local_address_to(address, interface);
  alignas(nlmsghdr) std::array<char, reply_bytes> reply;
  for (int i = 0; i < stale_replies_max; ++i) {
    const ssize_t got = ::recv(fd_, reply.data(), reply.size(), MSG_DONTWAIT);
    if (got < static_cast<ssize_t>(sizeof(nlmsghdr))) break;
    nlmsghdr header;
    std::memcpy(&header, reply.data(), sizeof header);
    if (header.nlmsg_seq != sequence_ || header.nlmsg_len > static_cast<std::size_t>(got)) continue;
    if (header.nlmsg_type == NLMSG_ERROR) return "";  // no route
    if (header.nlmsg_type != RTM_NEWROUTE || header.nlmsg_len < NLMSG_LENGTH(sizeof(rtmsg))) break;
    const std::size_t before = NLMSG_LENGTH(0) + NLMSG_ALIGN(sizeof(rtmsg));
    if (header.nlmsg_len < before) break;
    return way_of(reply.data() + before, header.nlmsg_len - before, address.family);
  }
  return local_address_to(address, interface);
}

}  // namespace greengate::adapters::bgb
