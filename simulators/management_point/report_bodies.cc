#include "simulators/common/text.h"
#include "simulators/common/xml.h"
#include "simulators/management_point/report_parts.h"

namespace greengate::sim {
namespace {

constexpr std::size_t states_max = 100'000;

}  // namespace

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

}  // namespace greengate::sim
