#include "adapters/mp/discovery.h"

#include "adapters/mp/report_header.h"
#include "adapters/mp/wire_time.h"
#include "greengate/v1/report.pb.h"

#include <map>
#include <set>
#include <utility>

namespace greengate::adapters {
namespace {

constexpr int addresses_max = 4096;

using Properties = std::vector<std::pair<std::string_view, std::string_view>>;

/// One instance in root\ccm; nothing at all when no property is known.
void write_instance(XmlWriter& to, const MpIdentity& identity, std::string_view class_name,
                    const Properties& properties) {
  bool open = false;
  for (const auto& [name, value] : properties) {
    if (value.empty()) continue;
    if (!std::exchange(open, true)) {
      to.markup("<Instance ParentClass=\"");
      to.markup(class_name);
      to.markup("\" Class=\"");
      to.markup(class_name);
      to.markup("\" Namespace=\"\\\\");
      to.attribute(identity.netbios_name);
      to.markup("\\root\\ccm\" Content=\"New\"><");
      to.markup(class_name);
      to.markup(">");
    }
    to.element(name, value);
  }
  if (!open) return;
  to.markup("</");
  to.markup(class_name);
  to.markup("></Instance>");
}

/// platform_id with {kernel}, {os} and {arch} filled in.
std::string platform(const std::string& pattern, const v1::Discovery& discovery) {
  std::string out;
  for (std::size_t at = 0; at < pattern.size();) {
    const std::string_view rest = std::string_view(pattern).substr(at);
    const auto fill = [&](std::string_view key, const std::string& value) {
      if (!rest.starts_with(key)) return false;
      out += value;
      at += key.size();
      return true;
    };
    if (fill("{kernel}", discovery.kernel()) || fill("{os}", discovery.operating_system()) ||
        fill("{arch}", discovery.architecture()))
      continue;
    out.push_back(pattern[at++]);
  }
  return out;
}

/// What one network interface has, in the order the agent named them.
struct Interface {
  std::string index;
  std::string_view mac;
  std::vector<std::string_view> addresses;
};

std::vector<Interface> interfaces_of(const v1::Discovery& discovery) {
  std::vector<Interface> found;
  std::map<std::pair<std::uint32_t, std::string_view>, std::size_t> place;
  for (const auto& address : discovery.addresses()) {
    const auto [at, is_new] =
        place.try_emplace({address.index(), address.interface()}, found.size());
    if (is_new) found.push_back({std::to_string(address.index()), address.mac(), {}});
    if (!address.address().empty()) found[at->second].addresses.push_back(address.address());
  }
  return found;
}

}  // namespace

Result<OutgoingMessage> discovery_message(const MpSettings& settings, const MpIdentity& identity,
                                          const ReportFacts& facts,
                                          const v1::Discovery& discovery) {
  if (discovery.addresses_size() > addresses_max)
    return fail(Remedy::reject, "mp.discovery_addresses",
                "The discovery record names " + std::to_string(discovery.addresses_size()) +
                    " network addresses; at most " + std::to_string(addresses_max) + " are sent.");
  XmlWriter to(16 * 1024, settings.message_bytes_max);
  ReportHeader header;
  header.action = InventoryAction::discovery;
  const std::size_t full_begins = begin_inventory(to, settings, identity, facts, header);

  const std::string id_change =
      discovery.installed_at_ms() > 0 ? us_datetime(discovery.installed_at_ms()).value_or("") : "";
  const std::string authority = "SMS:" + settings.site_code;
  const std::string platform_id = platform(settings.platform_id, discovery);
  write_instance(to, identity, "CCM_ComputerSystem", {{"Domain", discovery.domain()}});
  write_instance(to, identity, "CCM_Client",
                 {{"ClientIdChangeDate", id_change},
                  {"ClientVersion", settings.client_version},
                  {"PreviousClientId", "Unknown"}});
  write_instance(to, identity, "SMS_Authority", {{"Name", authority}});
  write_instance(to, identity, "CCM_ADSiteInfo", {{"ADSiteName", settings.ad_site}});
  write_instance(to, identity, "CCM_ExtNetworkAdapterConfiguration", {{"FQDN", discovery.fqdn()}});
  write_instance(to, identity, "Win32_ComputerSystemProduct",
                 {{"IdentifyingNumber", discovery.serial_number()},
                  {"Name", discovery.model()},
                  {"UUID", discovery.system_uuid()},
                  {"Version", discovery.product_version()}});
  write_instance(to, identity, "CCM_DiscoveryData", {{"PlatformID", platform_id}});

  Properties subnets;
  std::set<std::string_view> seen;
  for (const auto& address : discovery.addresses())
    if (seen.insert(address.subnet()).second) subnets.emplace_back("IPSubnet", address.subnet());
  write_instance(to, identity, "CCM_NetworkAdapterConfiguration", subnets);

  for (const Interface& one : interfaces_of(discovery)) {
    Properties properties;
    for (const std::string_view address : one.addresses)
      properties.emplace_back("IPAddress", address);
    properties.emplace_back("Index", one.index);
    properties.emplace_back("MACAddress", one.mac);
    write_instance(to, identity, "Win32_NetworkAdapterConfiguration", properties);
  }
  return assemble(settings, identity, facts,
                  end_inventory(to, settings, header, "MP_DdrEndpoint", full_begins));
}

}  // namespace greengate::adapters
