#include "simulators/management_point/report.h"

#include "simulators/common/text.h"
#include "simulators/common/xml.h"

#include <algorithm>
#include <array>
#include <set>

namespace greengate::sim {
namespace {

constexpr std::size_t instances_max = 500'000;
constexpr std::size_t states_max = 100'000;

/// What section 5 asks of each kind's header.
struct KindRules {
  ReportKind kind;
  std::string_view content, format;
  std::string_view action_id;  ///< Empty: no InventoryAction.
  bool delta_allowed, update_time_required;
};
constexpr KindRules kinds[] = {
    {ReportKind::discovery, "Inventory Data", "1.1", "{00000000-0000-0000-0000-000000000003}",
     false, true},
    {ReportKind::hardware, "Inventory Data", "1.1", "{00000000-0000-0000-0000-000000000001}", true,
     true},
    {ReportKind::software, "Inventory Data", "1.1", "{00000000-0000-0000-0000-000000000002}", true,
     false},
    {ReportKind::files, "Inventory Data", "1.1", "", false, false},
    {ReportKind::state, "State Message Data", "1.0", "", false, false},
    {ReportKind::metering, "Software Metering Data", "1.0", "", false, false},
};

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

void read_states(const pugi::xml_node& body, Report& report, Findings& findings) {
  std::size_t number = 0;
  for (const auto& node : body.children()) {
    if (std::string_view(node.name()) != "StateMessage") {
      findings.add("report.unexpected_element",
                   "ReportBody holds something else than state messages.");
      continue;
    }
    if (++number > states_max) {
      findings.add_unreadable(
          "state.no_messages",
          "There are more than " + std::to_string(states_max) + " state messages.");
      return;
    }
    const std::string place = "State message " + std::to_string(number);
    StateMessage message;
    message.time = node.attribute("MessageTime").value();
    if (!parse_cim_utc(message.time))
      findings.add("state.message_time", place + " has the MessageTime " + shown(message.time) +
                                             "; it is a CIM time in UTC.");
    if (const auto serial = node.attribute("SerialNumber")) {
      message.serial = parse_number(serial.value());
      if (!message.serial)
        findings.add("state.serial_form",
                     place + " has the SerialNumber " + shown(serial.value()) + ".");
    }
    const auto topic = node.child("Topic");
    message.topic_id = topic.attribute("ID").value();
    const auto type = parse_number(topic.attribute("Type").value()),
               id_type = parse_number(topic.attribute("IDType").value());
    if (message.topic_id.empty() || !type || !id_type || !topic.attribute("User") ||
        !topic.attribute("UserSID"))
      findings.add("state.topic",
                   place + " needs a Topic with ID, Type, IDType, User and UserSID.");
    message.topic_type = type.value_or(0);
    const auto state = parse_number(node.child("State").attribute("ID").value());
    if (!state || !parse_number(node.child("State").attribute("Criticality").value()))
      findings.add("state.state", place + " needs a State with the numbers ID and Criticality.");
    message.state_id = state.value_or(0);
    if (const auto parameters = node.child("UserParameters")) {
      const auto children = parameters.children("Param");
      const auto count = parse_number(parameters.attribute("Count").value());
      if (!count ||
          *count != static_cast<std::uint64_t>(std::distance(children.begin(), children.end())) ||
          !parse_number(parameters.attribute("Flags").value()))
        findings.add("state.user_parameters", place +
                                                  " has UserParameters whose Count is not the "
                                                  "number of its Param elements, or no Flags.");
    } else {
      findings.add("state.user_parameters", place + " has no UserParameters.");
    }
    if (message.serial && !report.states.empty() && report.states.back().serial &&
        *message.serial <= *report.states.back().serial)
      findings.add("state.serial_order", place + " has the serial number " +
                                             std::to_string(*message.serial) + " after " +
                                             std::to_string(*report.states.back().serial) + ".");
    report.states.push_back(std::move(message));
  }
  if (number == 0) findings.add("state.no_messages", "The state report has no state message.");
}

void read_metering(const pugi::xml_node& body, Findings& findings) {
  bool any = false;
  for (const auto& product : body.children()) {
    any = true;
    bool whole = std::string_view(product.name()) == "ProductInfo";
    for (const char* name : {"CompanyName", "ProductName", "ProductVersion", "ProductLanguage"})
      whole = whole && product.attribute(name);
    const auto file = product.child("SoftwareFileInfo");
    for (const char* name : {"FileDescription", "FileVersion", "FileName", "FileSize"})
      whole = whole && file.attribute(name);
    if (!whole || !file.child("HistoricalMeterData"))
      findings.add(
          "metering.product",
          "A ProductInfo lacks one of its attributes, SoftwareFileInfo or HistoricalMeterData.");
  }
  if (!any) findings.add("metering.product", "The metering report has no ProductInfo.");
}

void read_files(const pugi::xml_node& header, const pugi::xml_node& body, const Envelope& envelope,
                Report& report, Findings& findings) {
  const auto action = header.child("FileCollectionAction");
  if (child_text(action, "FileCollectionActionID") != "{00000000-0000-0000-0000-000000000010}")
    findings.add("files.action",
                 "FileCollectionAction/FileCollectionActionID is not the one of file collection.");
  std::string sum;
  for (const auto& node : body.children()) {
    const std::string_view name = node.name();
    if (name == "CollectedFileSum") {
      sum = node.text().get();
    } else if (name == "CollectedFile") {
      ++report.collected_files;
      if (!parse_cim_utc(child_text(node, "LastWriteDate")) || child_text(node, "Name").empty() ||
          child_text(node, "Path").empty() || !parse_number(child_text(node, "Size")))
        findings.add("files.entry", "A CollectedFile needs LastWriteDate, Name, Path and Size.");
    } else {
      findings.add("report.unexpected_element",
                   "ReportBody holds " + shown(name) + " beside its collected files.");
    }
  }
  if (sum != std::to_string(report.collected_files))
    findings.add("files.sum", "CollectedFileSum is " + shown(sum) + "; there are " +
                                  std::to_string(report.collected_files) + " files.");
  if (envelope.attachments.size() < report.collected_files)
    findings.add("files.attachments", "There are fewer attachments than collected files.");
}

void read_machine(const pugi::xml_node& machine, Report& report, Findings& findings) {
  if (const auto text = child_text(machine, "ClientInstalled"); text != "0" && text != "1")
    findings.add("report.client_installed",
                 "ClientInstalled is " + shown(text) + "; it is 1 for a managed client.");
  if (const auto text = child_text(machine, "ClientType"); text != "1")
    findings.add("report.client_type", "ClientType is " + shown(text) + "; it is 1.");
  report.client_id = child_text(machine, "ClientID");
  report.client_version = child_text(machine, "ClientVersion");
  report.netbios_name = child_text(machine, "NetBIOSName");
  if (report.client_version.empty())
    findings.add("report.client_version", "ClientVersion is missing.");
  if (report.netbios_name.empty()) findings.add("report.netbios_name", "NetBIOSName is missing.");
  if (!parse_number(child_text(machine, "CodePage")))
    findings.add("report.code_page", "CodePage is no number.");
  if (!parse_number(child_text(machine, "SystemDefaultLCID")))
    findings.add("report.lcid", "SystemDefaultLCID is no number.");
  if (const auto priority = machine.child("Priority")) {
    const std::string text = priority.text().get();
    if (!text.empty() && (text.size() != 1 || text[0] < '0' || text[0] > '5'))
      findings.add("report.priority", "Priority is " + shown(text) + "; it is empty or 0 to 5.");
    if (priority.next_sibling())
      findings.add("report.priority", "Priority is not the last child of Machine.");
  }
}

void read_action(const pugi::xml_node& header, const KindRules& kind, const ReportRules& rules,
                 Findings& findings) {
  const auto action = header.child("InventoryAction");
  if (!action) {
    findings.add("report.action_missing", "InventoryAction is missing.");
    return;
  }
  if (std::string_view(action.attribute("ActionType").value()) != "Predefined")
    findings.add(
        "report.action_type",
        "ActionType is " + shown(action.attribute("ActionType").value()) + "; it is Predefined.");
  if (const auto id = child_text(action, "InventoryActionID"); id != kind.action_id)
    findings.add("report.action_id", "InventoryActionID is " + shown(id) +
                                         "; this endpoint takes " + std::string(kind.action_id) +
                                         ".");
  const std::string updated = child_text(action, "InventoryActionLastUpdateTime");
  if (updated.empty()) {
    if (kind.update_time_required)
      findings.add("report.update_time_missing", "InventoryActionLastUpdateTime is missing.");
    return;
  }
  const auto time = parse_cim_utc(updated);
  if (!time)
    findings.add("report.update_time_form", "InventoryActionLastUpdateTime is " + shown(updated) +
                                                "; it is a CIM time in UTC.");
  else if (*time > rules.now)
    findings.add("report.update_time_future",
                 "InventoryActionLastUpdateTime is " + updated + ", which is still to come.");
  else if (*time > rules.hardware_policy_date)
    findings.add("report.update_time_policy", "InventoryActionLastUpdateTime is " + updated +
                                                  ", later than the inventory policy's date " +
                                                  to_cim_utc(rules.hardware_policy_date) +
                                                  "; the report would wait in the retry queue.");
}

void read_details(const pugi::xml_node& details, const KindRules& kind, const ReportRules& rules,
                  Report& report, Findings& findings) {
  if (const auto text = child_text(details, "ReportContent"); text != kind.content)
    findings.add("report.content", "ReportContent is " + shown(text) + "; it is \"" +
                                       std::string(kind.content) + "\".");
  const std::string type = child_text(details, "ReportType");
  report.delta = type == "Delta";
  if (type != "Full" && !(report.delta && kind.delta_allowed))
    findings.add("report.type", "ReportType is " + shown(type) + "; this kind is Full" +
                                    (kind.delta_allowed ? " or Delta." : "."));
  const auto date = parse_cim_utc(child_text(details, "Date"));
  constexpr std::chrono::minutes skew_max{5};
  if (!date)
    findings.add("report.date",
                 "Date is " + shown(child_text(details, "Date")) + "; it is a CIM time in UTC.");
  else if (*date > rules.now + skew_max)
    findings.add("report.date_future", "Date is still to come.");
  const auto version = parse_version(child_text(details, "Version"));
  if (!version)
    findings.add("report.version_form", "Version is " + shown(child_text(details, "Version")) +
                                            "; it is <major>.<minor>.");
  report.version = version.value_or(ReportVersion{});
  if (version && kind.delta_allowed && !report.delta && version->minor != 0)
    findings.add("report.version_order",
                 "A full report has the version " + to_text(*version) + "; its minor number is 0.");
  if (version && report.delta && version->minor == 0)
    findings.add("report.version_order", "A delta report has the version " + to_text(*version) +
                                             "; its minor number begins at 1.");
  if (version && kind.kind == ReportKind::discovery && version->minor != 0)
    findings.add("report.version_order", "Discovery data has the version " + to_text(*version) +
                                             "; its minor number is 0.");
  if (const auto text = child_text(details, "Format"); text != kind.format)
    findings.add("report.format",
                 "Format is " + shown(text) + "; it is " + std::string(kind.format) + ".");
}

void read_status(const pugi::xml_node& root, Report& report, Findings& findings) {
  bool whole = std::string_view(root.name()) == "Status" &&
               std::string_view(root.attribute("SchemaVersion").value()) == "1.0" &&
               parse_number(root.attribute("CodePage").value()) &&
               parse_number(root.attribute("LocaleID").value()) &&
               !child_text(root, "Type").empty() && root.child("Properties") &&
               root.child("Qualifiers");
  for (const auto& property : root.child("Properties").children())
    whole = whole && std::string_view(property.name()) == "Property" && property.attribute("Name");
  if (!whole)
    findings.add("status.shape",
                 "A status message is Status with SchemaVersion 1.0, CodePage, LocaleID, Type, "
                 "Properties and Qualifiers.");
  report.kind = ReportKind::status;
}

std::optional<ReportKind> kind_for(const Envelope& envelope) {
  const std::string& endpoint = envelope.target_endpoint;
  if (endpoint == "MP_DdrEndpoint") return ReportKind::discovery;
  if (endpoint == "MP_HinvEndpoint") return ReportKind::hardware;
  if (endpoint == "MP_SinvEndpoint") return ReportKind::software;
  if (endpoint == "MP_SinvCollFileEndpoint") return ReportKind::files;
  if (endpoint == "StatusReceiver") return ReportKind::status;
  if (envelope.file_type == "SMX") return ReportKind::state;
  if (envelope.file_type == "SWM") return ReportKind::metering;
  if (envelope.file_type == "MIF") return ReportKind::mif;
  return std::nullopt;
}

std::optional<std::string> attachment_text(const Attachment& attachment, std::string_view stream) {
  const ByteRange range = attachment.range;
  if (range.offset > stream.size() || range.length > stream.size() - range.offset)
    return std::nullopt;
  std::string_view bytes = stream.substr(range.offset, range.length);
  if (bytes.ends_with(std::string_view("\0\0", 2))) bytes.remove_suffix(2);
  return utf8_from_utf16le(bytes);
}

// Section 2.2: the attachment named as the action holds the report; else a body that is not empty;
// else any attachment.
std::optional<std::string> report_in_attachment(const Envelope& envelope, std::string_view stream,
                                                std::string_view action_id, bool body_is_empty) {
  for (const Attachment& attachment : envelope.attachments)
    if (attachment.name == action_id) return attachment_text(attachment, stream);
  if (!body_is_empty) return std::nullopt;
  for (const Attachment& attachment : envelope.attachments) {
    auto text = attachment_text(attachment, stream);
    if (text && text->find("<Report>") != std::string::npos &&
        text->find("<Instance") != std::string::npos)
      return text;
  }
  return std::nullopt;
}

}  // namespace

const char* name_of(ReportKind kind) {
  switch (kind) {
    case ReportKind::discovery:
      return "discovery";
    case ReportKind::hardware:
      return "hardware";
    case ReportKind::software:
      return "software";
    case ReportKind::files:
      return "files";
    case ReportKind::state:
      return "state";
    case ReportKind::metering:
      return "metering";
    case ReportKind::mif:
      return "mif";
    case ReportKind::status:
      return "status";
  }
  return "status";
}

std::string to_text(const ReportVersion& version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor);
}

std::optional<ReportVersion> parse_version(std::string_view text) {
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos || text.size() > 20) return std::nullopt;
  const auto major = parse_number(text.substr(0, dot)), minor = parse_number(text.substr(dot + 1));
  if (!major || !minor) return std::nullopt;
  return ReportVersion{*major, *minor};
}

std::map<std::string, std::size_t> Report::instances_by_class() const {
  std::map<std::string, std::size_t> counts;
  for (const Instance& instance : instances) ++counts[instance.class_name];
  return counts;
}

bool parse_body(std::string_view body, Declaration declaration, pugi::xml_document& document,
                Findings& findings) {
  if (auto parsed = parse_xml(body, document); !parsed) {
    const std::string_view code = parsed.error().code;
    findings.add_unreadable(code == "xml.dtd" || code == "xml.entity" ? "body.dtd" : "body.xml",
                            "Body: " + parsed.error().message);
    return false;
  }
  const bool declared = document.first_child().type() == pugi::node_declaration;
  if (declared && declaration == Declaration::forbidden)
    findings.add("body.declaration_forbidden",
                 "The body begins with an XML declaration; this message has none.");
  if (!declared && declaration == Declaration::required)
    findings.add("body.declaration_missing",
                 "The body has no XML declaration; relay messages begin with one.");
  if (declared &&
      !equals_ignoring_case(document.first_child().attribute("encoding").value(), "UTF-16"))
    findings.add("body.declaration_encoding",
                 "The XML declaration says the encoding is " +
                     shown(document.first_child().attribute("encoding").value()) +
                     "; it is UTF-16.");
  return true;
}

std::optional<Report> read_report(const Envelope& envelope, std::string_view stream,
                                  std::string_view body, const ReportRules& rules,
                                  Findings& findings) {
  const auto kind = kind_for(envelope);
  if (!kind) {
    findings.add_unreadable("envelope.file_type_unknown",
                            "Without FileType the relay message's kind is not known.");
    return std::nullopt;
  }
  pugi::xml_document document;
  const bool relay_text = kind == ReportKind::state || kind == ReportKind::metering;
  if (!parse_body(body, relay_text ? Declaration::required : Declaration::free, document, findings))
    return std::nullopt;
  Report report;
  report.kind = *kind;
  if (kind == ReportKind::status) {
    read_status(document.document_element(), report, findings);
    return report;
  }
  const auto* const known = std::find_if(std::begin(kinds), std::end(kinds),
                                         [&](const KindRules& k) { return k.kind == *kind; });
  const bool has_rules = known != std::end(kinds);
  if (!envelope.attachments.empty() && has_rules && !known->action_id.empty()) {
    const bool empty = !document.document_element().child("ReportBody").first_child();
    if (const auto text = report_in_attachment(envelope, stream, known->action_id, empty))
      if (!parse_body(*text, Declaration::free, document, findings)) return std::nullopt;
  }
  const auto root = document.document_element();
  if (std::string_view(root.name()) != "Report") {
    findings.add_unreadable("report.root",
                            "The root element is " + shown(root.name()) + "; it is Report.");
    return std::nullopt;
  }
  const auto header = root.child("ReportHeader");
  const auto machine = header.child("Identification").child("Machine");
  const auto details = header.child("ReportDetails");
  if (!machine || !details) {
    findings.add_unreadable("report.header",
                            "ReportHeader needs Identification/Machine and ReportDetails.");
    return std::nullopt;
  }
  read_machine(machine, report, findings);
  if (!has_rules) return report;  // IDMIF: its header is not public beyond this
  read_details(details, *known, rules, report, findings);
  if (!known->action_id.empty()) read_action(header, *known, rules, findings);
  const auto report_body = root.child("ReportBody");
  if (!report_body) {
    findings.add("report.body_missing", "ReportBody is missing.");
    return report;
  }
  switch (*kind) {
    case ReportKind::discovery:
    case ReportKind::hardware:
    case ReportKind::software:
      read_instances(report_body, report, findings);
      break;
    case ReportKind::files:
      read_files(header, report_body, envelope, report, findings);
      break;
    case ReportKind::state:
      read_states(report_body, report, findings);
      break;
    case ReportKind::metering:
      read_metering(report_body, findings);
      break;
    case ReportKind::mif:
    case ReportKind::status:
      break;
  }
  return report;
}

}  // namespace greengate::sim
