#include "agent/collectors/classes.h"
#include "agent/collectors/limits.h"
#include "agent/collectors/table.h"
#include "agent/collectors/text.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace greengate::agent {
namespace {

constexpr std::uint64_t interface_up = 0x1;        // IFF_UP
constexpr std::uint64_t interface_loopback = 0x8;  // IFF_LOOPBACK

struct Gateway {
  std::string interface, address;
  std::uint64_t metric = 0;
};

struct Lease {
  std::string server;
  std::optional<std::int64_t> obtained_ms, expires_ms;
};

struct Adapter {
  std::string name;
  std::uint64_t index = 0;
  std::string mac, driver, product, maker, pnp_id;
  std::vector<const InterfaceAddress*> addresses;
};

std::vector<Gateway> look_at_gateways(const Machine& machine) {
  std::vector<Gateway> gateways;
  const auto add = [&](Gateway gateway) {
    if (gateways.size() < limits::addresses) gateways.push_back(std::move(gateway));
  };
  machine.lines("/proc/net/route", [&](std::string_view line) {
    // Iface Destination Gateway Flags RefCnt Use Metric Mask…; numbers as the processor keeps them
    std::array<std::string_view, 8> words;
    for (auto& word : words) word = next_word(line);
    const auto destination = to_number_hex(words[1]), via = to_number_hex(words[2]),
               mask = to_number_hex(words[7]);
    if (destination != 0u || mask != 0u || !via || *via == 0 || *via > 0xFFFF'FFFF) return true;
    in_addr address;
    address.s_addr = static_cast<in_addr_t>(*via);
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &address, text, sizeof text);
    add({std::string(words[0]), text, to_number(words[6]).value_or(0)});
    return true;
  });
  machine.lines("/proc/net/ipv6_route", [&](std::string_view line) {
    // destination length source length next-hop metric refcount use flags interface, all
    // hexadecimal
    std::array<std::string_view, 10> words;
    for (auto& word : words) word = next_word(line);
    constexpr std::string_view nowhere = "00000000000000000000000000000000";
    if (words[0] != nowhere || words[1] != "00" || words[4].size() != 32 || words[4] == nowhere)
      return true;
    in6_addr address{};
    for (std::size_t i = 0; i < 16; ++i) {
      const auto byte = to_number_hex(words[4].substr(2 * i, 2));
      if (!byte) return true;
      address.s6_addr[i] = static_cast<std::uint8_t>(*byte);
    }
    char text[INET6_ADDRSTRLEN] = {};
    inet_ntop(AF_INET6, &address, text, sizeof text);
    add({std::string(words[9]), text, to_number_hex(words[5]).value_or(0)});
    return true;
  });
  return gateways;
}

// "6 2026/01/15 10:20:30;" as ISC dhclient writes UTC times.
std::optional<std::int64_t> dhclient_time(std::string_view text) {
  next_word(text);
  std::array<int, 6> numbers{};
  std::string spaced(text);
  for (char& c : spaced) {
    if (c == '/' || c == ':' || c == ';') c = ' ';
  }
  std::string_view rest = spaced;
  for (int& number : numbers) {
    const auto value = to_number(next_word(rest));
    if (!value || *value > 9'999) return std::nullopt;
    number = static_cast<int>(*value);
  }
  return utc_ms(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]);
}

// The last lease of `interface` in a file of ISC dhclient.
std::optional<Lease> dhclient_lease(const Machine& machine, const std::string& path,
                                    std::string_view interface) {
  std::optional<Lease> last;
  Lease current;
  bool ours = false;
  machine.lines(path, [&](std::string_view line) {
    line = trimmed(line);
    if (line.starts_with("lease")) {
      current = {};
      ours = false;
    } else if (line.starts_with("interface ")) {
      ours = line.find("\"" + std::string(interface) + "\"") != std::string_view::npos;
    } else if (line.starts_with("option dhcp-server-identifier ")) {
      current.server = std::string(cut_at(line.substr(30), ';'));
    } else if (line.starts_with("expire ")) {
      current.expires_ms = dhclient_time(line.substr(7));
    } else if (line.starts_with("}") && ours) {
      last = current;
    }
    return true;
  });
  return last;
}

// Whoever asked for the lease: systemd-networkd, NetworkManager's own client, or ISC dhclient.
std::optional<Lease> find_lease(const Machine& machine, const Adapter& adapter) {
  for (const std::string& path : {"/run/systemd/netif/leases/" + std::to_string(adapter.index),
                                  "/run/NetworkManager/devices/" + std::to_string(adapter.index)}) {
    Lease lease;
    std::optional<std::uint64_t> lifetime_s;
    bool is_lease = false;
    machine.lines(path, [&](std::string_view line) {
      if (const auto server = assignment(line, "SERVER_ADDRESS"))
        lease.server = *server, is_lease = true;
      if (const auto server = assignment(line, "dhcp_server_identifier"))
        lease.server = *server, is_lease = true;
      if (const auto lifetime = assignment(line, "LIFETIME")) lifetime_s = to_number(*lifetime);
      return true;
    });
    if (!is_lease) continue;
    if (path.starts_with("/run/systemd/")) {
      lease.obtained_ms = machine.modified_ms(path);  // rewritten at every renewal
      if (lease.obtained_ms && lifetime_s && *lifetime_s < 0xFFFF'FFFF)
        lease.expires_ms = *lease.obtained_ms + static_cast<std::int64_t>(*lifetime_s) * 1'000;
    }
    return lease;
  }
  for (const char* folder : {"/var/lib/dhcp", "/var/lib/dhclient", "/var/lib/NetworkManager"}) {
    for (const std::string& file :
         machine.list(folder, limits::adapters).value_or(std::vector<std::string>())) {
      if (!file.ends_with(".leases") && !file.ends_with(".lease")) continue;
      if (auto lease = dhclient_lease(machine, std::string(folder) + "/" + file, adapter.name))
        return lease;
    }
  }
  return std::nullopt;
}

// "iface eth0 inet dhcp" in Debian's own file; nothing when it does not speak of this interface.
std::optional<bool> configured_for_dhcp(const Machine& machine, std::string_view interface) {
  std::optional<bool> answer;
  machine.lines("/etc/network/interfaces", [&](std::string_view line) {
    if (next_word(line) == "iface" && next_word(line) == interface && next_word(line) == "inet")
      answer = next_word(line) == "dhcp";
    return true;
  });
  return answer;
}

std::string dotted_mask(std::uint32_t prefix_length) {
  in_addr mask;
  mask.s_addr = htonl(prefix_length == 0 ? 0 : ~0u << (32 - prefix_length));
  char text[INET_ADDRSTRLEN] = {};
  inet_ntop(AF_INET, &mask, text, sizeof text);
  return text;
}

std::optional<Adapter> look_at_adapter(const Machine& machine, const Facts& facts,
                                       const std::string& name) {
  const std::string sys = "/sys/class/net/" + name + "/";
  const auto index = machine.number(sys + "ifindex");
  const std::string flags_text = machine.value(sys + "flags");
  const std::uint64_t flags = to_number_hex(flags_text).value_or(0);
  if (!index || *index > 0x7FFF'FFFF || (flags & interface_loopback)) return std::nullopt;
  Adapter adapter;
  adapter.name = name;
  adapter.index = *index;
  bool reachable = false;
  for (const InterfaceAddress& address : facts.addresses) {
    if (address.interface_index != *index && address.interface != name) continue;
    adapter.addresses.push_back(&address);
    reachable = reachable || address.global;
  }
  // Of the many interfaces that exist only inside the machine, those that carry an address of its
  // own.
  if (!machine.exists(sys + "device") && !reachable) return std::nullopt;

  const std::string mac = machine.value(sys + "address");
  if (mac.size() == 17 && mac != "00:00:00:00:00:00") adapter.mac = upper(mac);
  adapter.driver = std::string(last_component(machine.link(sys + "device/driver")));
  const auto notes = udev_notes(machine, "n" + std::to_string(*index),
                                {"ID_MODEL_FROM_DATABASE", "ID_VENDOR_FROM_DATABASE"});
  adapter.product = notes[0];
  adapter.maker = notes[1];
  std::string pci_id;
  machine.lines(sys + "device/uevent", [&](std::string_view line) {
    if (const auto id = assignment(line, "PCI_ID")) pci_id = *id;
    if (const auto driver = assignment(line, "DRIVER"); driver && adapter.driver.empty())
      adapter.driver = *driver;
    return true;
  });
  std::string_view device;
  const std::string_view vendor = cut_at(pci_id, ':', &device);
  if (!device.empty())
    adapter.pnp_id = "PCI\\VEN_" + std::string(vendor) + "&DEV_" + std::string(device);
  return adapter;
}

std::string description(const Adapter& adapter) {
  if (!adapter.product.empty())
    return adapter.maker.empty() ? adapter.product : adapter.maker + " " + adapter.product;
  return adapter.driver.empty() ? adapter.name : adapter.name + " (" + adapter.driver + ")";
}

std::string caption(const Adapter& adapter) {
  char number[16];
  std::snprintf(number, sizeof number, "[%08u] ",
                static_cast<unsigned>(adapter.index));  // Windows' own form
  return number + description(adapter);
}

void add_adapter(const Machine& machine, const Facts& facts, const Adapter& adapter, Table& table) {
  std::optional<Row> added = table.add(limits::adapters);
  if (!added) return;
  Row& row = *added;
  const std::string sys = "/sys/class/net/" + adapter.name + "/";
  const bool wireless = machine.exists(sys + "wireless") || machine.exists(sys + "phy80211");
  row.text("DeviceID", std::to_string(adapter.index)).number("Index", adapter.index);
  if (wireless) {
    row.text("AdapterType", "Wireless");
  } else if (machine.number(sys + "type") == 1u) {  // ARPHRD_ETHER
    row.text("AdapterType", "Ethernet 802.3");
  }
  const std::string state = machine.value(sys + "operstate");
  if (state == "up") row.number("Availability", 3);                                 // running
  if (state == "down" || state == "lowerlayerdown") row.number("Availability", 8);  // off line
  row.text("Caption", caption(adapter))
      .text("Description", description(adapter))
      .flag("Installed", true);
  row.text("MACAddress", adapter.mac)
      .text("Manufacturer", adapter.maker)
      .text("Name", adapter.name);
  if (machine.number(sys + "addr_assign_type") == 0u) row.text("PermanentAddress", adapter.mac);
  row.text("PNPDeviceID", adapter.pnp_id)
      .text("ProductName", adapter.product)
      .text("ServiceName", adapter.driver);
  const auto megabits = to_signed(machine.value(sys + "speed"));
  if (megabits && *megabits > 0 && *megabits < 100'000'000)
    row.number("Speed", static_cast<std::uint64_t>(*megabits) * 1'000'000);
  const std::string flags_text = machine.value(sys + "flags");
  if (const auto flags = to_number_hex(flags_text))
    row.number("StatusInfo", *flags & interface_up ? 3 : 4);
  row.text("SystemName", facts.host_name);
}

// What is the same for every interface.
struct HostNetwork {
  std::vector<Gateway> gateways;
  Resolver resolver;
};

void add_configuration(const Machine& machine, const Facts& facts, const HostNetwork& host,
                       const Adapter& adapter, Table& table) {
  std::optional<Row> added = table.add(limits::adapters);
  if (!added) return;
  Row& row = *added;
  row.number("Index", adapter.index)
      .text("Caption", caption(adapter))
      .text("Description", description(adapter));
  row.text("SettingID", adapter.name)
      .text("ServiceName", adapter.driver)
      .text("MACAddress", adapter.mac);
  row.number("MTU", machine.number("/sys/class/net/" + adapter.name + "/mtu"));

  std::vector<std::string> addresses, masks;
  bool leased_v4 = false, has_v4 = false;
  for (const bool v6 : {false, true}) {  // Windows lists IPv4 first
    for (const InterfaceAddress* address : adapter.addresses) {
      if (address->v6 != v6) continue;
      addresses.push_back(address->address);
      masks.push_back(v6 ? std::to_string(address->prefix_length)
                         : dotted_mask(address->prefix_length));
      has_v4 = has_v4 || !v6;
      leased_v4 = leased_v4 || (!v6 && address->leased);
    }
  }
  row.flag("IPEnabled", !addresses.empty()).list("IPAddress", addresses).list("IPSubnet", masks);
  std::vector<std::string> gateways, metrics;
  for (const Gateway& gateway : host.gateways) {
    if (gateway.interface != adapter.name) continue;
    gateways.push_back(gateway.address);
    metrics.push_back(std::to_string(gateway.metric));
  }
  row.list("DefaultIPGateway", gateways).list("GatewayCostMetric", metrics);

  const std::optional<Lease> lease = find_lease(machine, adapter);
  std::optional<bool> dhcp = configured_for_dhcp(machine, adapter.name);
  if (lease || leased_v4) dhcp = true;
  row.flag("DHCPEnabled", dhcp);
  if (lease) {
    row.text("DHCPServer", lease->server).time("DHCPLeaseObtained", lease->obtained_ms);
    row.time("DHCPLeaseExpires", lease->expires_ms);
  }
  if (!addresses.empty()) {
    row.text("DNSDomain", facts.domain).text("DNSHostName", facts.host_name);
    row.list("DNSDomainSuffixSearchOrder", host.resolver.search)
        .list("DNSServerSearchOrder", host.resolver.servers);
  }

  const std::string ipv4 = "/proc/sys/net/ipv4/";
  row.number("DefaultTTL", machine.number(ipv4 + "ip_default_ttl"));
  const auto milliseconds = [&](const char* name) -> std::optional<std::uint64_t> {
    const auto seconds = machine.number(ipv4 + name);
    return seconds && *seconds < 4'000'000 ? std::optional(*seconds * 1'000) : std::nullopt;
  };
  row.number("KeepAliveTime", milliseconds("tcp_keepalive_time"));
  row.number("KeepAliveInterval", milliseconds("tcp_keepalive_intvl"));
  if (const auto off = machine.number(ipv4 + "ip_no_pmtu_disc"))
    row.flag("PMTUDiscoveryEnabled", *off == 0);
  row.number("TcpMaxConnectRetransmissions", machine.number(ipv4 + "tcp_syn_retries"));
  row.number("TcpMaxDataRetransmissions", machine.number(ipv4 + "tcp_retries2"));
}

}  // namespace

void collect_network(const Machine& machine, const Facts& facts, v1::HardwareInventory& inventory) {
  const auto names = machine.list("/sys/class/net");
  if (!names) return;
  std::vector<Adapter> adapters;
  for (const std::string& name : *names) {
    if (adapters.size() >= limits::adapters) break;
    if (auto adapter = look_at_adapter(machine, facts, name))
      adapters.push_back(std::move(*adapter));
  }
  std::stable_sort(adapters.begin(), adapters.end(),
                   [](const Adapter& a, const Adapter& b) { return a.index < b.index; });
  {
    Table table(inventory, "Win32_NetworkAdapter", cimv2, 1,
                {"DeviceID", "AdapterType", "Availability", "Caption", "Description", "Index",
                 "Installed", "MACAddress", "Manufacturer", "Name", "PermanentAddress",
                 "PNPDeviceID", "ProductName", "ServiceName", "Speed", "StatusInfo", "SystemName"});
    for (const Adapter& adapter : adapters) add_adapter(machine, facts, adapter, table);
  }
  const HostNetwork host{look_at_gateways(machine), look_at_resolver(machine)};
  Table table(inventory, "Win32_NetworkAdapterConfiguration", cimv2, 1,
              {"Index",
               "Caption",
               "DefaultIPGateway",
               "DefaultTTL",
               "Description",
               "DHCPEnabled",
               "DHCPLeaseExpires",
               "DHCPLeaseObtained",
               "DHCPServer",
               "DNSDomain",
               "DNSDomainSuffixSearchOrder",
               "DNSHostName",
               "DNSServerSearchOrder",
               "GatewayCostMetric",
               "IPAddress",
               "IPEnabled",
               "IPSubnet",
               "KeepAliveInterval",
               "KeepAliveTime",
               "MACAddress",
               "MTU",
               "PMTUDiscoveryEnabled",
               "ServiceName",
               "SettingID",
               "TcpMaxConnectRetransmissions",
               "TcpMaxDataRetransmissions"});
  table.churning({"DHCPLeaseExpires", "DHCPLeaseObtained"});
  for (const Adapter& adapter : adapters) add_configuration(machine, facts, host, adapter, table);
}

}  // namespace greengate::agent
