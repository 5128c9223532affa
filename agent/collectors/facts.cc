#include "agent/collectors/facts.h"

#include "agent/collectors/text.h"

#include <algorithm>

namespace greengate::agent {
namespace {

std::string clean(std::string_view raw) {
  return clean_text(raw, limits::text_bytes);
}

void look_at_names(const Machine& machine, Facts& facts) {
  std::string full = clean(machine.value("/proc/sys/kernel/hostname"));
  if (full.empty()) full = clean(machine.value("/etc/hostname"));
  std::string_view rest;
  facts.host_name = std::string(cut_at(full, '.', &rest));
  facts.domain = std::string(rest);
  if (facts.host_name.empty()) return;
  if (facts.domain.empty()) {
    // As a resolver with "files" first would answer, but without asking any server, which might
    // take forever.
    const std::string start = facts.host_name + ".";
    machine.lines("/etc/hosts", [&](std::string_view line) {
      line = cut_at(line, '#');
      next_word(line);
      for (std::string_view name = next_word(line); !name.empty(); name = next_word(line)) {
        if (name.starts_with(start) && !name.ends_with(".localdomain") && !name.ends_with(".local"))
          facts.domain = clean(name.substr(start.size()));
      }
      return facts.domain.empty();
    });
  }
  if (facts.domain.empty()) {
    const Resolver resolver = look_at_resolver(machine);
    if (!resolver.search.empty()) facts.domain = clean(resolver.search.front());
  }
  while (facts.domain.ends_with('.')) facts.domain.pop_back();
  facts.fqdn = facts.domain.empty() ? facts.host_name : facts.host_name + "." + facts.domain;
}

void look_at_system(const Machine& machine, Facts& facts) {
  for (const char* path : {"/etc/os-release", "/usr/lib/os-release"}) {
    const bool seen = machine.lines(path, [&](std::string_view line) {
      const auto take = [&](std::string_view key, std::string& into) {
        if (const auto value = assignment(line, key)) into = clean(*value);
      };
      take("ID", facts.os_id);
      take("PRETTY_NAME", facts.os_name);
      take("VERSION_ID", facts.os_version);
      take("VENDOR_NAME", facts.os_vendor);
      if (const auto name = assignment(line, "NAME"); name && facts.os_vendor.empty())
        facts.os_vendor = clean(*name);
      return true;
    });
    if (seen) break;
  }
  facts.kernel = clean(machine.value("/proc/sys/kernel/osrelease"));
  facts.architecture = clean(machine.architecture());
  if (facts.os_name.empty() && !facts.kernel.empty()) facts.os_name = "Linux " + facts.kernel;
  machine.lines("/proc/stat", [&](std::string_view line) {
    if (!line.starts_with("btime ")) return true;
    if (const auto seconds = to_number(line.substr(6));
        seconds && *seconds < 7'258'118'400)  // the year 2200
      facts.booted_at_ms = static_cast<std::int64_t>(*seconds) * 1'000;
    return false;
  });
}

// The order and the files are those of systemd-detect-virt, as far as they can be read without
// privileges.
std::string detect_container(const Machine& machine) {
  for (const char* path : {"/run/host/container-manager", "/run/systemd/container"}) {
    if (std::string name = clean(machine.value(path)); !name.empty()) return name;
  }
  std::string from_environment;
  if (const auto environment = machine.bytes("/proc/1/environ", 65'536)) {
    std::string_view rest = *environment;
    while (!rest.empty()) {
      const std::string_view entry = cut_at(rest, '\0', &rest);
      if (entry.starts_with("container=")) from_environment = clean(entry.substr(10));
    }
  }
  if (!from_environment.empty()) return from_environment;
  if (machine.exists("/run/.containerenv")) return "podman";
  if (machine.exists("/.dockerenv")) {
    // Disk images made from container images keep that file; a machine whose root is a whole file
    // system is no container.
    const std::vector<Mount> mounts = look_at_mounts(machine);
    const bool own_root = std::any_of(mounts.begin(), mounts.end(), [](const Mount& mount) {
      return mount.mount_point == "/" && mount.root == "/" && mount.source.starts_with("/dev/");
    });
    if (!own_root) return "docker";
  }
  return {};
}

// "raspberrypi,4-model-b\0brcm,bcm2711" → "raspberrypi": the device tree knows makers only as this
// prefix.
std::string device_tree_maker(const Machine& machine) {
  const std::string compatible = machine.value("/proc/device-tree/compatible");
  const std::string_view first = cut_at(compatible, '\0');
  return first.find(',') == std::string_view::npos ? std::string() : clean(cut_at(first, ','));
}

std::string hypervisor_name(std::string_view signature) {
  if (signature.starts_with("KVMKVMKVM")) return "KVM";
  if (signature.starts_with("VMwareVMware")) return "VMware";
  if (signature.starts_with("Microsoft Hv")) return "Microsoft Hyper-V";
  if (signature.starts_with("XenVMMXenVMM")) return "Xen";
  if (signature.starts_with("TCGTCGTCGTCG")) return "QEMU";
  if (signature.starts_with("bhyve")) return "bhyve";
  return std::string(signature);
}

void look_at_identity(const Machine& machine, Facts& facts) {
  facts.container = detect_container(machine);
  if (!facts.container.empty()) {
    facts.manufacturer = facts.container;
    facts.model = "Container";
    return;
  }
  const auto dmi = [&](const char* name) {
    return clean(machine.value(std::string("/sys/class/dmi/id/") + name));
  };
  facts.manufacturer = dmi("sys_vendor");
  facts.model = dmi("product_name");
  facts.serial_number = dmi("product_serial");
  facts.uuid = upper(dmi("product_uuid"));
  facts.product_version = dmi("product_version");
  if (facts.model.empty()) facts.model = clean(machine.value("/proc/device-tree/model"));
  if (facts.manufacturer.empty()) facts.manufacturer = device_tree_maker(machine);
  if (facts.serial_number.empty())
    facts.serial_number = clean(machine.value("/proc/device-tree/serial-number"));
  if (facts.model.empty()) {
    const std::string hypervisor = hypervisor_name(machine.hypervisor_signature());
    if (!hypervisor.empty()) {
      facts.manufacturer = hypervisor;
      facts.model = "Virtual machine";
    }
  }
}

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescaped(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      plain += static_cast<char>(
          ((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0')) & 0xFF);
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

}  // namespace

Facts look_at_facts(const Machine& machine) {
  Facts facts;
  look_at_names(machine, facts);
  look_at_system(machine, facts);
  look_at_identity(machine, facts);
  facts.addresses = machine.addresses();
  return facts;
}

Resolver look_at_resolver(const Machine& machine) {
  Resolver resolver;
  const auto read = [&](const char* path) {
    resolver = {};
    return machine.lines(path, [&](std::string_view line) {
      const std::string_view key = next_word(line);
      if (key == "nameserver") {
        resolver.servers.emplace_back(next_word(line));
      } else if (key == "search" || key == "domain") {
        resolver.search.clear();  // the last one counts
        for (std::string_view name = next_word(line); !name.empty(); name = next_word(line)) {
          if (name != "." && resolver.search.size() < limits::list_items)
            resolver.search.emplace_back(name);
        }
      }
      return resolver.servers.size() < limits::list_items;
    });
  };
  read("/etc/resolv.conf");
  const bool stub = std::any_of(resolver.servers.begin(), resolver.servers.end(),
                                [](const std::string& server) { return server == "127.0.0.53"; });
  if (stub) {
    Resolver local = resolver;
    if (!read("/run/systemd/resolve/resolv.conf") || resolver.servers.empty())
      resolver = std::move(local);
  }
  return resolver;
}

std::vector<Mount> look_at_mounts(const Machine& machine) {
  std::vector<Mount> mounts;
  machine.lines("/proc/self/mountinfo", [&](std::string_view line) {
    // id parent major:minor root mount-point options [optional…] - type source super-options
    Mount mount;
    next_word(line), next_word(line);
    mount.device_number = std::string(next_word(line));
    mount.root = unescaped(next_word(line));
    mount.mount_point = unescaped(next_word(line));
    const std::string options = "," + std::string(next_word(line)) + ",";
    mount.read_only = options.find(",ro,") != std::string::npos;
    std::string_view word = next_word(line);
    while (!word.empty() && word != "-") word = next_word(line);
    mount.type = std::string(next_word(line));
    mount.source = unescaped(next_word(line));
    if (!mount.type.empty()) mounts.push_back(std::move(mount));
    return mounts.size() < 4 * limits::file_systems;  // most mounts are not disks
  });
  return mounts;
}

std::vector<std::string> udev_notes(const Machine& machine, const std::string& device,
                                    const std::vector<std::string>& keys) {
  std::vector<std::string> notes(keys.size());
  machine.lines("/run/udev/data/" + device, [&](std::string_view line) {
    if (!line.starts_with("E:")) return true;
    std::string_view value;
    const std::string_view key = cut_at(line.substr(2), '=', &value);
    const auto found = std::find(keys.begin(), keys.end(), key);
    if (found != keys.end()) notes[static_cast<std::size_t>(found - keys.begin())] = clean(value);
    return true;
  });
  return notes;
}

}  // namespace greengate::agent
