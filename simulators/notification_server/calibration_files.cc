#include "simulators/common/text.h"
#include "simulators/notification_server/calibration_parts.h"
#include "simulators/notification_server/frame.h"
#include "simulators/notification_server/message.h"

#include <boost/json.hpp>

#include <map>

namespace greengate::sim::notify {
namespace {

namespace json = boost::json;

json::object said(json::value value, const char* basis) {
  return {{"value", std::move(value)}, {"basis", basis}};
}

std::string member_of(const std::string& element) {
  static const std::map<std::string, std::string> known{{"clientid", "client_id"}, {"clienttype", "client_type"},
                                                        {"clientversion", "client_version"}};
  const auto found = known.find(to_lower(element));
  return found == known.end() ? "" : found->second;
}

json::value shape_of(const Document& document, json::array& strangers) {
  json::array members;
  for (std::size_t i = 1; i < document.elements.size(); ++i) {
    const Element& element = document.elements[i];
    const std::string member = element.depth == 2 ? member_of(element.name) : "";
    if (member.empty())
      strangers.emplace_back(document.elements.front().name + "/" + element.name);
    else
      members.push_back(json::array{json::string(member), json::string(element.name)});
  }
  return {{"root", document.elements.front().name}, {"members", std::move(members)}, {"basis", "captured"}};
}

json::value guessed_shape(const char* root, std::initializer_list<std::pair<const char*, const char*>> members, const char* basis) {
  json::array list;
  for (const auto& [member, element] : members) list.push_back(json::array{json::string(member), json::string(element)});
  return {{"root", root}, {"members", std::move(list)}, {"basis", basis}};
}

std::string indented(const json::object& file) {
  // A section a line group, a value a line: as a person would write it.
  std::string out = "{\n";
  std::size_t left = file.size();
  for (const auto& [key, value] : file) {
    --left;
    const json::object* section = value.if_object();
    if (section == nullptr) {
      out += "  " + json::serialize(json::string(key)) + ": " + json::serialize(value);
    } else {
      out += "  " + json::serialize(json::string(key)) + ": {\n";
      std::size_t inner = section->size();
      for (const auto& [name, entry] : *section)
        out += "    " + json::serialize(json::string(name)) + ": " + json::serialize(entry) + (--inner > 0 ? ",\n" : "\n");
      out += "  }";
    }
    out += left > 0 ? ",\n" : "\n";
  }
  return out + "}\n";
}

std::string with_golden_sms_id(std::string xml) {
  for (std::size_t at = 0; (at = xml.find("GUID:", at)) != std::string::npos; at += 5)
    if (at + golden_sms_id.size() <= xml.size() && is_guid(std::string_view(xml).substr(at + 5, 36), false))
      xml.replace(at, golden_sms_id.size(), golden_sms_id);
  return xml;
}

}  // namespace

std::string profile_of(const Calibration& solved, std::string_view name) {
  const Explanation& form = solved.best;
  const bool both = form.keep_alive_channel.has_value();
  const auto basis = [&](const char* key) {
    for (const std::string& open : solved.open)
      if (open.starts_with(std::string(key) + " ")) return "guessed";
    return "captured";
  };
  json::array order;
  json::object widths;
  for (const std::uint8_t field : form.order) order.emplace_back(field_names[field]);
  for (std::size_t field = 0; field < 5; ++field) widths[field_names[field]] = form.widths[field];
  static constexpr std::array<const char*, 7> kinds{"sign_in", "sign_in_confirm", "keep_alive",        "request",
                                                    "response", "disconnect",     "negotiation_needed"};
  // Only two numbers are ever seen of a client; the others are counted on from them.
  json::object numbers;
  const std::uint32_t base = form.channel_is_constant ? 0 : form.sign_in_channel;
  for (std::uint32_t i = 0; i < kinds.size(); ++i) numbers[kinds[i]] = base + i;
  if (both && !form.channel_is_constant) numbers["keep_alive"] = *form.keep_alive_channel;
  numbers["none"] = base > 0 ? base - 1 : 7;
  json::object type_numbers = said(std::move(numbers), "guessed");
  type_numbers["seen"] = both ? json::array{"sign_in", "keep_alive"} : json::array{"sign_in"};

  json::object frame{{"order", said(std::move(order), basis("frame.widths"))},
                     {"widths", said(std::move(widths), basis("frame.widths"))},
                     {"byte_order", said(form.big_endian ? "big" : "little", basis("frame.byte_order"))},
                     {"header_size_means", said(form.header_size_is_xml ? "xml_header" : "fixed_part", basis("frame.header_size_means"))},
                     {"payload_size_means", said(form.payload_size_is_frame ? "frame" : "payload", basis("frame.payload_size_means"))},
                     {"channel_means", said(form.channel_is_constant ? "constant" : "message_type", basis("frame.channel_means"))},
                     {"type_numbers", std::move(type_numbers)},
                     {"versions", said(json::array{json::array{form.major, form.minor}}, basis("frame.versions"))}};
  if (form.channel_is_constant) frame["channel_constant"] = said(form.sign_in_channel, basis("frame.channel_means"));

  json::array strangers;
  std::string client_type = "SCCM", timestamp = "TimeStamp";
  bool type_seen = false, time_seen = false;
  json::object messages;
  for (const std::string& xml : solved.xml) {
    const Document document = parse_xml(xml);
    if (!document.findings.empty()) continue;
    const bool sign_in = xml.starts_with("<BgbSignInMessage");
    messages[sign_in ? "sign_in" : "keep_alive"] = shape_of(document, strangers);
    for (const Element& element : document.elements)
      if (member_of(element.name) == "client_type" && !element.text.empty()) {
        client_type = element.text;
        type_seen = true;
      }
    if (!document.elements.front().attributes.empty()) {
      timestamp = document.elements.front().attributes.front().first;
      time_seen = true;
    }
  }
  if (!messages.contains("sign_in"))
    messages["sign_in"] = guessed_shape(
        "BgbSignInMessage", {{"client_type", "ClientType"}, {"client_version", "ClientVersion"}, {"client_id", "ClientID"}}, "guessed");
  if (!messages.contains("keep_alive"))
    messages["keep_alive"] =
        guessed_shape("BgbKeepAliveMessage", {{"client_type", "ClientType"}, {"client_id", "ClientID"}}, "guessed");
  messages["sign_in_confirm"] = guessed_shape("BgbSignInConfirmMessage", {{"message_version", "MessageVersion"}}, "guessed");
  messages["request"] = guessed_shape("BgbRequestMessage",
                                      {{"push_id", "PushID"},
                                       {"task_id", "TaskID"},
                                       {"task_guid", "TaskGUID"},
                                       {"task_type", "TaskType"},
                                       {"task_param", "TaskParam"}},
                                      "guessed");
  messages["response"] = guessed_shape(
      "BgbResponseMessage", {{"push_id", "PushID"}, {"task_id", "TaskID"}, {"return_code", "ReturnCode"}}, "documented");

  std::string note = "Solved from a captured SignIn";
  note += both ? " and KeepAlive." : " alone: capture a KeepAlive too.";
  if (!solved.open.empty()) note += " What the bytes leave open is guessed.";
  json::object file{{"format", 1},
                    {"name", name},
                    {"note", note},
                    {"frame", std::move(frame)},
                    {"limits", json::object{{"header_bytes_max", 4096}, {"payload_bytes_max", 1048576}}},
                    {"text", json::object{{"encoding", said(form.utf16 ? "utf-16le" : "utf-8", "captured")},
                                          {"bom", said(form.bom, basis("text.bom"))},
                                          {"nul", said(form.nul, basis("text.nul"))},
                                          {"compression", said(form.zlib ? "zlib" : "none", "captured")},
                                          {"timestamp_name", said(json::string(timestamp), time_seen ? "captured" : "documented")},
                                          {"client_type", said(json::string(client_type), type_seen ? "captured" : "documented")}}},
                    {"messages", std::move(messages)},
                    {"codes", json::object{{"success", said(1, "documented")}, {"failure", said(0, "guessed")}}}};
  if (!strangers.empty()) file["unknown_members"] = json::array(std::move(strangers));
  return indented(file);
}

std::string golden_of(const Calibration& solved, std::string_view name) {
  json::object frames;
  for (const std::string& xml : solved.xml) {
    const bool sign_in = xml.starts_with("<BgbSignInMessage");
    const Explanation& form = solved.best;
    const std::uint32_t number = sign_in ? form.sign_in_channel : form.keep_alive_channel.value_or(form.sign_in_channel);
    frames[sign_in ? "sign_in" : "keep_alive"] = to_hex_upper(frame_like(form, number, with_golden_sms_id(xml)));
  }
  return indented({{"profile", name}, {"sms_id", golden_sms_id}, {"frames", std::move(frames)}});
}

std::string frame_like(const Explanation& form, std::uint32_t number, std::string_view xml) {
  FrameRules text;
  text.utf16 = form.utf16;
  text.bom = form.bom;
  text.nul = form.nul;
  text.zlib = form.zlib;
  const std::string payload = xml.empty() ? "" : write_text(text, xml);
  std::size_t fixed = 0;
  for (const auto width : form.widths) fixed += width;
  const std::array<std::uint32_t, 5> values{static_cast<std::uint32_t>(payload.size() + (form.payload_size_is_frame ? fixed : 0)), form.major,
                                            form.minor, form.header_size_is_xml ? 0 : static_cast<std::uint32_t>(fixed),
                                            form.channel_is_constant ? form.sign_in_channel : number};
  std::string frame;
  for (const std::uint8_t field : form.order)
    for (std::uint8_t i = 0; i < form.widths[field]; ++i) {
      const unsigned shift = 8U * (form.big_endian ? form.widths[field] - 1U - i : i);
      frame += static_cast<char>(values[field] >> shift & 0xff);
    }
  return frame + payload;
}

}  // namespace greengate::sim::notify
