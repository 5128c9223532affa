#include "agent/collectors/collectors.h"

#include "agent/collectors/classes.h"
#include "agent/collectors/table.h"
#include "agent/collectors/text.h"

namespace greengate::agent {

void collect_hardware_inventory(const MachineView& view, const Clock& clock,
                                v1::HardwareInventory& into) {
  const Machine machine(view);
  const WallTime now = clock.wall();
  const Facts facts = look_at_facts(machine);
  into.Clear();
  into.set_collected_at_ms(to_millis(now));
  collect_firmware(machine, facts, into);
  collect_computer_system(machine, facts, now, into);
  collect_disks(machine, facts, into);
  collect_network(machine, facts, into);
  collect_operating_system(machine, facts, now, into);
  collect_processes(machine, facts, into);
  collect_services(machine, facts, into);
  collect_packages(machine, facts, into);
  collect_logical_disks(machine, facts, into);
  collect_processors(machine, facts, into);
  for (v1::InventoryClass& one : *into.mutable_classes()) keep_named_once(one);
}

v1::HardwareInventory collect_hardware_inventory(const MachineView& view, const Clock& clock) {
  v1::HardwareInventory inventory;
  collect_hardware_inventory(view, clock, inventory);
  return inventory;
}

v1::Discovery collect_discovery(const MachineView& view, const Clock&) {
  const Machine machine(view);
  Facts facts = look_at_facts(machine);
  v1::Discovery discovery;
  discovery.set_host_name(facts.host_name);
  discovery.set_fqdn(facts.fqdn);
  discovery.set_domain(facts.domain);
  discovery.set_operating_system(facts.os_name);
  if (!facts.kernel.empty()) discovery.set_kernel("Linux " + facts.kernel);
  discovery.set_architecture(facts.architecture);
  discovery.set_manufacturer(facts.manufacturer);
  discovery.set_model(facts.model);
  discovery.set_serial_number(facts.serial_number);
  discovery.set_system_uuid(facts.uuid);
  discovery.set_product_version(facts.product_version);
  discovery.set_agent_version("greengate-agent " GREENGATE_VERSION);
  for (const InterfaceAddress& address : facts.addresses) {
    if (!address.global) continue;
    v1::NetworkAddress& out = *discovery.add_addresses();
    out.set_interface(clean_text(address.interface, limits::text_bytes));
    out.set_index(address.interface_index);
    out.set_address(address.address);
    out.set_subnet(address.subnet);
    out.set_prefix_length(address.prefix_length);
    const std::string mac = machine.value("/sys/class/net/" + address.interface + "/address");
    if (mac.size() == 17) out.set_mac(upper(clean_text(mac, 17)));
  }
  return discovery;
}

}  // namespace greengate::agent
