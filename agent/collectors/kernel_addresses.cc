#include "agent/collectors/machine.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace greengate::agent {
namespace {

constexpr std::uint32_t forever = 0xFFFF'FFFF;  // ifa_cacheinfo: a lifetime without end

// One RTM_NEWADDR message, or nothing when it holds no address we understand.
std::optional<InterfaceAddress> one_address(const nlmsghdr& header) {
  if (header.nlmsg_len < NLMSG_LENGTH(sizeof(ifaddrmsg))) return std::nullopt;
  ifaddrmsg about;
  std::memcpy(&about, NLMSG_DATA(&header), sizeof about);
  if (about.ifa_family != AF_INET && about.ifa_family != AF_INET6) return std::nullopt;
  const std::size_t address_bytes = about.ifa_family == AF_INET ? 4 : 16;

  InterfaceAddress found;
  found.interface_index = about.ifa_index;
  found.prefix_length = about.ifa_prefixlen;
  bool local_seen = false;
  std::size_t left = header.nlmsg_len - NLMSG_LENGTH(sizeof(ifaddrmsg));
  const char* at = static_cast<const char*>(NLMSG_DATA(&header)) + NLMSG_ALIGN(sizeof(ifaddrmsg));
  while (left >= sizeof(rtattr)) {
    rtattr attribute;
    std::memcpy(&attribute, at, sizeof attribute);
    if (attribute.rta_len < sizeof(rtattr) || attribute.rta_len > left) break;
    const char* data = at + RTA_LENGTH(0);
    const std::size_t bytes = attribute.rta_len - RTA_LENGTH(0);
    // IFA_LOCAL is ours; on a point-to-point link IFA_ADDRESS is the peer's.
    const bool local = attribute.rta_type == IFA_LOCAL;
    if ((local || (attribute.rta_type == IFA_ADDRESS && !local_seen)) && bytes >= address_bytes) {
      char text[INET6_ADDRSTRLEN] = {};
      if (inet_ntop(about.ifa_family, data, text, sizeof text)) found.address = text;
      local_seen = local_seen || local;
    } else if (attribute.rta_type == IFA_CACHEINFO && bytes >= sizeof(ifa_cacheinfo)) {
      ifa_cacheinfo lifetime;
      std::memcpy(&lifetime, data, sizeof lifetime);
      found.leased = lifetime.ifa_valid != forever;
    }
    const std::size_t step = std::min<std::size_t>(RTA_ALIGN(attribute.rta_len), left);
    at += step;
    left -= step;
  }
  char name[IF_NAMESIZE] = {};
  if (if_indextoname(about.ifa_index, name)) found.interface = name;
  return complete_address(found) ? std::optional(std::move(found)) : std::nullopt;
}

}  // namespace

bool complete_address(InterfaceAddress& address) {
  std::array<std::uint8_t, 16> bytes{};
  address.v6 = address.address.find(':') != std::string::npos;
  const int family = address.v6 ? AF_INET6 : AF_INET;
  const std::uint32_t bits = address.v6 ? 128 : 32;
  if (inet_pton(family, address.address.c_str(), bytes.data()) != 1 || address.prefix_length > bits)
    return false;
  const bool link_local = address.v6 ? bytes[0] == 0xFE && (bytes[1] & 0xC0) == 0x80
                                     : bytes[0] == 169 && bytes[1] == 254;
  const bool loopback = address.v6 ? address.address == "::1" : bytes[0] == 127;
  const bool unspecified =
      std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
  address.global = !link_local && !loopback && !unspecified;
  for (std::uint32_t bit = address.prefix_length; bit < bits; ++bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] & ~(0x80u >> bit % 8));
  }
  char text[INET6_ADDRSTRLEN] = {};
  if (inet_ntop(family, bytes.data(), text, sizeof text)) address.subnet = text;
  return true;
}

std::vector<InterfaceAddress> kernel_addresses() {
  std::vector<InterfaceAddress> found;
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return found;
  const timeval patience{2, 0};  // the kernel answers at once or not at all
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  struct {
    nlmsghdr header;
    ifaddrmsg about;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_GETADDR;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  bool more = send(fd, &request, sizeof request, 0) == static_cast<ssize_t>(sizeof request);
  alignas(nlmsghdr) std::array<char, 16'384> buffer;
  while (more && found.size() < limits::addresses) {
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) break;
    std::size_t left = static_cast<std::size_t>(got);
    const char* at = buffer.data();
    while (more && left >= sizeof(nlmsghdr)) {
      nlmsghdr header;
      std::memcpy(&header, at, sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > left) break;
      more = header.nlmsg_type != NLMSG_DONE && header.nlmsg_type != NLMSG_ERROR;
      if (header.nlmsg_type == RTM_NEWADDR) {
        std::optional<InterfaceAddress> address =
            one_address(*reinterpret_cast<const nlmsghdr*>(at));
        if (address && found.size() < limits::addresses) found.push_back(std::move(*address));
      }
      const std::size_t step = std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), left);
      at += step;
      left -= step;
    }
  }
  close(fd);
  return found;
}

}  // namespace greengate::agent
