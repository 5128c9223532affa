#include "simulators/mdm_device/syncml.h"

#include "simulators/common/base64.h"
#include "simulators/common/text.h"
#include "simulators/common/xml.h"

#include <set>

namespace greengate::sim::mdm {
namespace {

constexpr const char* syncml_ns = "SYNCML:SYNCML1.2";
constexpr const char* metinf_ns = "syncml:metinf";

std::string text_of(const pugi::xml_node& parent, const char* first, const char* second = nullptr) {
  const pugi::xml_node node = second == nullptr ? parent.child(first) : parent.child(first).child(second);
  return node.text().get();
}

void look_at_meta(const pugi::xml_node& meta, SyncMessage& message) {
  for (const auto& each : meta.children())
    if (std::string_view(each.attribute("xmlns").value()) != metinf_ns && std::string_view(meta.attribute("xmlns").value()) != metinf_ns)
      message.breaches.push_back("Meta/" + std::string(each.name()) + " is not in the namespace syncml:metinf (12.2)");
}

SyncCommand read_command(const pugi::xml_node& node, SyncMessage& message, std::set<std::string>& ids, int depth) {
  SyncCommand command;
  command.verb = node.name();
  command.cmd_id = text_of(node, "CmdID");
  if (command.cmd_id.empty())
    message.breaches.push_back(command.verb + " has no CmdID (12.2)");
  else if (!ids.insert(command.cmd_id).second)
    message.breaches.push_back("CmdID " + command.cmd_id + " comes twice (12.2)");
  else if (command.cmd_id == "0" || !parse_number(command.cmd_id))
    message.breaches.push_back("CmdID \"" + command.cmd_id + "\" is no number above 0 (12.2)");
  command.msg_ref = text_of(node, "MsgRef");
  command.cmd_ref = text_of(node, "CmdRef");
  command.cmd = text_of(node, "Cmd");
  command.data = text_of(node, "Data");
  if (const auto chal = node.child("Chal").child("Meta")) {
    command.chal_type = text_of(chal, "Type");
    command.chal_format = text_of(chal, "Format");
    command.next_nonce = text_of(chal, "NextNonce");
    look_at_meta(chal, message);
  }
  for (const auto& each : node.children("Item")) {
    SyncItem item;
    item.target = text_of(each, "Target", "LocURI");
    item.source = text_of(each, "Source", "LocURI");
    item.format = text_of(each, "Meta", "Format");
    item.type = text_of(each, "Meta", "Type");
    item.data = text_of(each, "Data");
    if (each.child("Meta")) look_at_meta(each.child("Meta"), message);
    command.items.push_back(std::move(item));
  }
  if (depth < 3 && (command.verb == "Atomic" || command.verb == "Sequence"))
    for (const auto& each : node.children())
      if (each.type() == pugi::node_element && std::string_view(each.name()) != "CmdID" && std::string_view(each.name()) != "Meta")
        command.members.push_back(read_command(each, message, ids, depth + 1));
  return command;
}

}  // namespace

Result<SyncMessage> read_message(std::string_view xml) {
  pugi::xml_document document;
  if (auto parsed = parse_xml(xml, document); !parsed)
    return fail(Remedy::reject, "syncml.not_xml", std::string(parsed.error().code) + ": " + parsed.error().message);
  const pugi::xml_node root = document.document_element();
  if (std::string_view(root.name()) != "SyncML") return fail(Remedy::reject, "syncml.not_syncml", "The root element is not SyncML.");
  SyncMessage message;
  if (std::string_view(root.attribute("xmlns").value()) != syncml_ns) message.breaches.emplace_back("SyncML is not in the namespace SYNCML:SYNCML1.2 (12.2)");
  if (xml.find("<![CDATA[") != std::string_view::npos) message.breaches.emplace_back("CDATA is used (12.2)");
  // White space between elements has been answered with 400 by a peer.
  for (std::size_t at = xml.find('>'); at != std::string_view::npos; at = xml.find('>', at + 1)) {
    std::size_t next = at + 1;
    while (next < xml.size() && (xml[next] == ' ' || xml[next] == '\n' || xml[next] == '\r' || xml[next] == '\t')) ++next;
    if (next > at + 1 && next + 1 < xml.size() && xml[next] == '<' && xml[next + 1] != '/' && xml.substr(0, at).find("?") == std::string_view::npos) {
      message.breaches.emplace_back("there is white space between elements (12.2)");
      break;
    }
  }
  const pugi::xml_node header = root.child("SyncHdr"), body = root.child("SyncBody");
  if (!header || !body) return fail(Remedy::reject, "syncml.header", "SyncHdr or SyncBody is missing.");
  message.ver_dtd = text_of(header, "VerDTD");
  message.ver_proto = text_of(header, "VerProto");
  message.session_id = text_of(header, "SessionID");
  message.msg_id = text_of(header, "MsgID");
  message.target = text_of(header, "Target", "LocURI");
  message.source = text_of(header, "Source", "LocURI");
  if (const auto size = parse_number(text_of(header, "Meta", "MaxMsgSize"))) message.max_msg_size = *size;
  std::set<std::string> ids;
  for (const auto& each : body.children()) {
    if (each.type() != pugi::node_element) continue;
    if (std::string_view(each.name()) == "Final") {
      message.final = true;
      if (each.next_sibling()) message.breaches.emplace_back("Final is not the last element (12.2)");
    } else {
      message.commands.push_back(read_command(each, message, ids, 0));
    }
  }
  return message;
}

MessageWriter::MessageWriter(const Header& header, int first_cmd_id) : next_(first_cmd_id) {
  text_ = std::string("<SyncML xmlns=\"") + syncml_ns + "\"><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto><SessionID>" + header.session_id +
          "</SessionID><MsgID>" + std::to_string(header.msg_id) + "</MsgID><Target><LocURI>" + xml_escaped(header.target) +
          "</LocURI></Target><Source><LocURI>" + xml_escaped(header.source) + "</LocURI>";
  if (!header.loc_name.empty()) text_ += "<LocName>" + xml_escaped(header.loc_name) + "</LocName>";
  text_ += "</Source>";
  if (!header.credential.empty())
    text_ += std::string("<Cred><Meta><Format xmlns=\"") + metinf_ns + "\">b64</Format><Type xmlns=\"" + metinf_ns +
             "\">syncml:auth-md5</Type></Meta><Data>" + header.credential + "</Data></Cred>";
  text_ += "</SyncHdr><SyncBody>";
}

std::string MessageWriter::open(const char* verb) {
  return std::string("<") + verb + "><CmdID>" + std::to_string(next_++) + "</CmdID>";
}

int MessageWriter::alert(const std::string& code) {
  text_ += open("Alert") + "<Data>" + code + "</Data></Alert>";
  return next_ - 1;
}

int MessageWriter::alert(const std::string& code, const std::string& type, const std::string& data, const std::string& format,
                         const std::string& mark) {
  const auto meta = [](const char* name, const std::string& value) {
    return value.empty() ? std::string() : std::string("<") + name + " xmlns=\"" + metinf_ns + "\">" + xml_escaped(value) + "</" + name + ">";
  };
  text_ += open("Alert") + "<Data>" + code + "</Data><Item><Meta>" + meta("Type", type) + meta("Format", format) + meta("Mark", mark) +
           "</Meta><Data>" + xml_escaped(data) + "</Data></Item></Alert>";
  return next_ - 1;
}

int MessageWriter::dev_info(const std::vector<std::pair<std::string, std::string>>& nodes) {
  text_ += open("Replace");
  for (const auto& [uri, data] : nodes)
    text_ += "<Item><Source><LocURI>" + uri + "</LocURI></Source><Data>" + xml_escaped(data) + "</Data></Item>";
  text_ += "</Replace>";
  return next_ - 1;
}

int MessageWriter::status(const std::string& msg_ref, const std::string& cmd_ref, const std::string& cmd, int code, const std::string& target_ref) {
  text_ += open("Status") + "<MsgRef>" + xml_escaped(msg_ref) + "</MsgRef><CmdRef>" + xml_escaped(cmd_ref) + "</CmdRef><Cmd>" + xml_escaped(cmd) + "</Cmd>";
  if (!target_ref.empty()) text_ += "<TargetRef>" + xml_escaped(target_ref) + "</TargetRef>";
  text_ += "<Data>" + std::to_string(code) + "</Data></Status>";
  return next_ - 1;
}

int MessageWriter::results(const std::string& msg_ref, const std::string& cmd_ref, const std::vector<Found>& found) {
  text_ += open("Results") + "<MsgRef>" + xml_escaped(msg_ref) + "</MsgRef><CmdRef>" + xml_escaped(cmd_ref) + "</CmdRef>";
  for (const Found& each : found) {
    text_ += "<Item><Source><LocURI>" + xml_escaped(each.uri) + "</LocURI></Source>";
    if (!each.format.empty() && each.format != "chr")
      text_ += std::string("<Meta><Format xmlns=\"") + metinf_ns + "\">" + each.format + "</Format></Meta>";
    text_ += "<Data>" + xml_escaped(each.data) + "</Data></Item>";
  }
  text_ += "</Results>";
  return next_ - 1;
}

std::string MessageWriter::finish(bool with_final) {
  return text_ + (with_final ? "<Final/>" : "") + "</SyncBody></SyncML>";
}

std::string md5_credential(const std::string& user, const std::string& password, std::string_view nonce) {
  return to_base64(md5(to_base64(md5(user + ":" + password)) + ":" + std::string(nonce)));
}

}  // namespace greengate::sim::mdm
