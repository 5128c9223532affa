#pragma once

#include "agent/collectors/machine.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace greengate::agent {

/// What several classes say alike, looked up once for each collection. Empty means not known.
struct Facts {
  std::string host_name;  ///< Without a domain.
  std::string domain;
  std::string fqdn;
  std::string architecture;  ///< "x86_64"
  std::string kernel;        ///< "6.1.0-18-amd64"
  std::string os_id;         ///< "debian"
  std::string os_name;       ///< PRETTY_NAME, or the kernel's name when there is no os-release.
  std::string os_version;    ///< VERSION_ID
  std::string os_vendor;
  std::string container;  ///< "docker", "lxc"…; empty on a machine of its own.

  /// DMI, or the device tree, or the hypervisor's signature. In a container all this is the host's,
  /// and so left empty: two clients with one serial number would be one computer to the site.
  std::string manufacturer;
  std::string model;
  std::string serial_number;
  std::string uuid;  ///< Upper case.
  std::string product_version;

  std::optional<std::int64_t> booted_at_ms;
  std::vector<InterfaceAddress> addresses;
};

Facts look_at_facts(const Machine& machine);

/// Where a service or a name resolver keeps its view of DNS: the real servers, not a local stub.
struct Resolver {
  std::vector<std::string> servers;
  std::vector<std::string> search;
};
Resolver look_at_resolver(const Machine& machine);

/// A line of /proc/self/mountinfo, escapes undone.
struct Mount {
  std::string device_number;  ///< "254:0"
  std::string root;           ///< Which part of the file system is mounted: "/" for all of it.
  std::string mount_point;
  std::string type;
  std::string source;
  bool read_only = false;
};
std::vector<Mount> look_at_mounts(const Machine& machine);

/// udev's notes on a device, such as "b8:1" or "n2": the values of `keys`, in their order, empty
/// where it has none.
std::vector<std::string> udev_notes(const Machine& machine, const std::string& device,
                                    const std::vector<std::string>& keys);

}  // namespace greengate::agent
