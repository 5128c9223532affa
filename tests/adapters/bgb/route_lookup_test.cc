// The kernel's own word on the way to an address.
#include "adapters/bgb/route_lookup.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

namespace greengate::test {
namespace {

using adapters::bgb::RouteLookup;

std::size_t descriptors() {
  std::size_t found = 0;
  for ([[maybe_unused]] const auto& one : std::filesystem::directory_iterator("/proc/self/fd")) ++found;
  return found;
}

void set_address(sockaddr& into, const char* text) {
  auto& in = reinterpret_cast<sockaddr_in&>(into);
  in.sin_family = AF_INET;
  inet_pton(AF_INET, text, &in.sin_addr);
}

// An interface that leads nowhere, up, with an address of a /24.
bool bring_up(int fd, const char* address) {
  const int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);  // it lives as long as this process
  ifreq interface{};
  std::strcpy(interface.ifr_name, "gg0");
  interface.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (tun < 0 || ioctl(tun, TUNSETIFF, &interface) != 0) return false;
  set_address(interface.ifr_addr, address);
  if (ioctl(fd, SIOCSIFADDR, &interface) != 0) return false;
  set_address(interface.ifr_netmask, "255.255.255.0");
  if (ioctl(fd, SIOCSIFNETMASK, &interface) != 0) return false;
  interface.ifr_flags = IFF_UP | IFF_RUNNING;
  return ioctl(fd, SIOCSIFFLAGS, &interface) == 0;
}

bool change_route(int fd, unsigned long how, const char* network, const char* gateway) {
  rtentry route{};
  set_address(route.rt_dst, network);
  set_address(route.rt_genmask, "255.255.255.0");
  set_address(route.rt_gateway, gateway);
  route.rt_flags = RTF_UP | RTF_GATEWAY;
  return ioctl(fd, how, &route) == 0;
}

// In a process and a network of its own. 0: as expected; 77: no such network may be made here; else which step was wrong.
int in_a_network_of_its_own() {
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 && unshare(CLONE_NEWNET) != 0) return 77;
  RouteLookup lookup;
  if (!lookup.way_to("192.0.2.1").empty()) return 1;  // no route at all
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (!bring_up(fd, "10.1.1.1")) return 77;
  if (!lookup.way_to("192.0.2.1").empty()) return 2;  // still none to there
  const std::string device = "dev " + std::to_string(if_nametoindex("gg0"));
  if (lookup.way_to("10.1.1.9") != device + " from 10.1.1.1") return 3;
  if (!change_route(fd, SIOCADDRT, "192.0.2.0", "10.1.1.2")) return 77;
  if (lookup.way_to("192.0.2.1") != device + " via 10.1.1.2 from 10.1.1.1") return 4;
  if (!change_route(fd, SIOCDELRT, "192.0.2.0", "10.1.1.2") || !lookup.way_to("192.0.2.1").empty()) return 5;
  if (!change_route(fd, SIOCADDRT, "192.0.2.0", "10.1.1.3")) return 77;
  if (lookup.way_to("192.0.2.1") != device + " via 10.1.1.3 from 10.1.1.1") return 6;
  return 0;
}

TEST(BgbRouteLookup, KnowsTheWayToThisMachineAndSaysTheSameAgain) {
  RouteLookup lookup;
  const std::string way = lookup.way_to("127.0.0.1");
  EXPECT_NE(way.find("from 127.0.0.1"), std::string::npos) << way;
  const std::size_t before = descriptors();
  for (int i = 0; i < 1'000; ++i) ASSERT_EQ(lookup.way_to("127.0.0.1"), way);
  EXPECT_EQ(descriptors(), before) << "one socket for all questions";
}

TEST(BgbRouteLookup, HasNoWayToWhatIsNoAddress) {
  RouteLookup lookup;
  for (const char* text : {"", "mp.example.com", "10.0.0", "1.2.3.4.5", "::g", "%lo", "fe80::1%no-such-interface-here"})
    EXPECT_NO_FATAL_FAILURE((void)lookup.way_to(text)) << text;
  EXPECT_EQ(lookup.way_to("mp.example.com"), "");
  EXPECT_EQ(lookup.way_to(""), "");
}

TEST(BgbRouteLookup, TellsGatewaysApartAndNoWayFromAWay) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(in_a_network_of_its_own());
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no network of our own may be made here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace greengate::test
