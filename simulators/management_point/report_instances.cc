#include "simulators/common/text.h"
#include "simulators/management_point/report_parts.h"

#include <algorithm>
#include <set>

namespace greengate::sim {
namespace {

constexpr std::size_t instances_max = 500'000;

struct ClassKey {
  std::string_view class_name, key;  ///< No key: one row.
};
// Key properties of the Linux client's classes; the Windows classes' own keys (5.6).
constexpr ClassKey class_keys[] = {
    {"Win32_BIOS", ""},
    {"Win32_ComputerSystem", ""},
    {"Win32_OperatingSystem", ""},
    {"Win32_DiskDrive", "DeviceID"},
    {"Win32_DiskPartition", "DeviceID"},
    {"Win32_NetworkAdapter", "DeviceID"},
    {"Win32_NetworkAdapterConfiguration", "Index"},
    {"Win32_Process", "Handle"},
    {"Win32_Service", "Name"},
    {"Win32Reg_AddRemovePrograms", "ProdID"},
    {"SMS_LogicalDisk", "DeviceID"},
    {"SMS_Processor", "DeviceID"},
};

std::string_view property_of(const Instance& instance, std::string_view name) {
  for (const auto& [property, value] : instance.properties)
    if (property == name) return value;
  return {};
}

// The row's key, or nothing when the class has one and the row does not give it.
std::optional<std::string> key_of(const Instance& instance) {
  for (const ClassKey& known : class_keys) {
    if (known.class_name != instance.class_name) continue;
    if (known.key.empty()) return std::string();
    const std::string_view value = property_of(instance, known.key);
    if (value.empty()) return std::nullopt;
    return std::string(value);
  }
  if (instance.class_name == "FileSystemFile")
    return std::string(property_of(instance, "Path")) + '\n' +
           std::string(property_of(instance, "Name"));
  for (const std::string_view name : {"DeviceID", "Name", "ID", "Index", "Handle", "ProdID"})
    if (const auto value = property_of(instance, name); !value.empty()) return std::string(value);
  std::string all;
  for (const auto& [name, value] : instance.properties) all += name + '\n' + value + '\n';
  return all;
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

std::string where(std::string_view class_name, std::size_t number) {
  return "Instance " + std::to_string(number) + " (" + shown(class_name) + ")";
}

void check_namespace(std::string_view space, std::string_view class_name, ReportKind kind,
                     std::string_view netbios_name, std::size_t number, Findings& findings) {
  const std::string place = where(class_name, number);
  if (!space.starts_with("\\\\")) {
    findings.add("instance.namespace",
                 place + " has the Namespace " + shown(space) + R"(; it is \\HOST\root\….)");
    return;
  }
  space.remove_prefix(2);
  const std::size_t slash = space.find('\\');
  const std::string_view host = space.substr(0, slash);
  const std::string_view path = slash == std::string_view::npos ? "" : space.substr(slash + 1);
  if (host.empty() || !to_lower(path).starts_with("root\\")) {
    findings.add("instance.namespace",
                 place + " has the Namespace " + shown(space) + R"(; it is \\HOST\root\….)");
    return;
  }
  if (!equals_ignoring_case(host, netbios_name))
    findings.add("instance.namespace_host", place + " names the host " + shown(host) +
                                                "; the report is of " + shown(netbios_name) + ".");
  std::string_view wanted;
  if (kind == ReportKind::discovery)
    wanted = "root\\ccm";
  else if (class_name.starts_with("Win32"))
    wanted = "root\\cimv2";
  else if (class_name == "SMS_LogicalDisk" || class_name == "SMS_Processor")
    wanted = "root\\cimv2\\sms";
  if (!wanted.empty() && !equals_ignoring_case(path, wanted))
    findings.add("instance.namespace", place + " is in " + shown(path) + "; the class belongs to " +
                                           std::string(wanted) + ".");
}

void read_instance(const pugi::xml_node& node, std::size_t number, Report& report,
                   Findings& findings) {
  Instance instance;
  instance.class_name = node.attribute("Class").value();
  const std::string place = where(instance.class_name, number);
  if (!is_name(instance.class_name)) {
    findings.add("instance.class", place + " has no class name, or an impossible one.");
    return;
  }
  if (instance.class_name != node.attribute("ParentClass").value())
    findings.add("instance.parent_class", place + " has the ParentClass " +
                                              shown(node.attribute("ParentClass").value()) +
                                              "; it repeats the class.");
  check_namespace(node.attribute("Namespace").value(), instance.class_name, report.kind,
                  report.netbios_name, number, findings);
  const std::string_view content = node.attribute("Content").value();
  if (content == "New")
    instance.content = 'N';
  else if (content == "Updated")
    instance.content = 'U';
  else if (content == "Deleted")
    instance.content = 'D';
  else
    findings.add("instance.content",
                 place + " has the Content " + shown(content) + "; it is New, Updated or Deleted.");
  if (!report.delta && instance.content != 'N')
    findings.add("instance.content_in_full",
                 place + " is " + shown(content) + " in a full report; there all are New.");

  std::size_t elements = 0;
  for (const auto& child : node.children()) {
    if (child.type() != pugi::node_element) {
      findings.add("instance.element", place + " holds text beside its element.");
      continue;
    }
    ++elements;
    if (instance.class_name != child.name())
      findings.add("instance.element", place + " holds an element " + shown(child.name()) +
                                           "; it is named as the class.");
    for (const auto& property : child.children()) {
      if (property.type() != pugi::node_element || !is_name(property.name())) {
        findings.add("instance.property", place + " holds something else than named properties.");
        continue;
      }
      for (const auto& inside : property.children())
        if (inside.type() == pugi::node_element) {
          findings.add("instance.property", place + " has the property " + shown(property.name()) +
                                                " with elements inside; it holds text only.");
          break;
        }
      instance.properties.emplace_back(property.name(), property.text().get());
    }
  }
  if (elements != 1)
    findings.add("instance.element",
                 place + " holds " + std::to_string(elements) + " elements; it is one.");
  if (instance.properties.empty()) findings.add("instance.property", place + " has no properties.");
  if (auto key = key_of(instance))
    instance.key = std::move(*key);
  else
    findings.add("instance.key_missing", place + " lacks its key property.");
  report.instances.push_back(std::move(instance));
}

}  // namespace

void read_instances(const pugi::xml_node& body, Report& report, Findings& findings) {
  std::size_t number = 0;
  for (const auto& node : body.children()) {
    if (node.type() != pugi::node_element || std::string_view(node.name()) != "Instance") {
      findings.add("report.unexpected_element",
                   "ReportBody holds " +
                       shown(node.type() == pugi::node_element ? node.name() : "text") +
                       " beside its instances.");
      continue;
    }
    if (++number > instances_max) {
      findings.add_unreadable(
          "report.unexpected_element",
          "ReportBody holds more than " + std::to_string(instances_max) + " instances.");
      return;
    }
    read_instance(node, number, report, findings);
  }
  if (number == 0) {
    if (report.delta)
      findings.add("report.delta_without_instances",
                   "A delta report without instances says nothing.");
    else
      findings.add("report.full_without_instances",
                   "A full report without instances would delete the inventory.");
  }
  if (report.kind == ReportKind::discovery) {
    const auto present = report.instances_by_class();
    for (const char* name :
         {"CCM_ComputerSystem", "CCM_Client", "SMS_Authority", "CCM_ADSiteInfo",
          "CCM_ExtNetworkAdapterConfiguration", "Win32_ComputerSystemProduct", "CCM_DiscoveryData",
          "CCM_NetworkAdapterConfiguration", "Win32_NetworkAdapterConfiguration"})
      if (!present.contains(name))
        findings.add("ddr.class_missing", std::string("The discovery data has no ") + name + ".");
    return;
  }
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const Instance& instance : report.instances)
    if (!seen.emplace(instance.class_name, instance.key).second)
      findings.add("instance.duplicate", "The class " + shown(instance.class_name) +
                                             " has the key " + shown(instance.key) + " twice.");
}

}  // namespace greengate::sim
