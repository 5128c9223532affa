#include "adapters/mdm/syncml.h"

#include <pugixml.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>

namespace greengate::adapters {
namespace {

constexpr std::string_view syncml_namespace = "SYNCML:SYNCML1.2";
constexpr std::string_view meta_namespace = "syncml:metinf";

constexpr std::array<std::pair<DmVerb, std::string_view>, 10> verbs{{{DmVerb::add, "Add"},
                                                                     {DmVerb::alert, "Alert"},
                                                                     {DmVerb::atomic, "Atomic"},
                                                                     {DmVerb::exec, "Exec"},
                                                                     {DmVerb::get, "Get"},
                                                                     {DmVerb::remove, "Delete"},
                                                                     {DmVerb::replace, "Replace"},
                                                                     {DmVerb::results, "Results"},
                                                                     {DmVerb::sequence, "Sequence"},
                                                                     {DmVerb::status, "Status"}}};

tl::unexpected<Error> refuse(const std::string& why) {
  return fail(Remedy::reject, "mdm.syncml", "The device's message " + why + ".");
}

/// The length of the UTF-8 character that begins here and is allowed in XML; 0: none.
std::size_t character_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return first >= 0x20 || first == '\t' || first == '\n' || first == '\r' ? 1 : 0;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() - at < length) return 0;
  char32_t c = first & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    c = (c << 6) | (byte(i) & 0x3Fu);
  }
  const bool shortest = length == 2 || c >= (length == 3 ? 0x800u : 0x10000u);
  const bool allowed = !(c >= 0xD800 && c < 0xE000) && c != 0xFFFE && c != 0xFFFF && c < 0x110000;
  return shortest && allowed ? length : 0;
}

/// Is what begins with this ampersand one of XML's own five, or a number of a character XML allows?
bool known_entity(std::string_view text) {
  for (const std::string_view known : {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"}) {
    if (text.starts_with(known)) return true;
  }
  if (!text.starts_with("&#")) return false;
  text.remove_prefix(2);
  const int base = text.starts_with("x") ? 16 : 10;
  if (base == 16) text.remove_prefix(1);
  std::uint32_t c = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), c, base);
  if (error != std::errc() || end == text.data() || end == text.data() + text.size() || *end != ';') return false;
  return (c >= 0x20 || c == '\t' || c == '\n' || c == '\r') && !(c >= 0xD800 && c < 0xE000) && c != 0xFFFE && c != 0xFFFF && c < 0x110000;
}

/// Everything that can be judged before a tree is built: the encoding, entities, a document type, how many elements there can be at most.
Result<void> look_over(std::string_view text, const SyncmlLimits& limits) {
  std::size_t elements = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = character_at(text, at);
    if (length == 0) return refuse("is not UTF-8 text fit for XML");
    const std::string_view rest = text.substr(at);
    if (rest.starts_with("<!--") || rest.starts_with("<![CDATA[")) {
      const std::string_view closing = rest[2] == '-' ? "-->" : "]]>";
      const std::size_t end = rest.find(closing, rest[2] == '-' ? 4 : 9);
      if (end == std::string_view::npos) return refuse("is cut short");
      if (++elements > limits.elements_max) return refuse("has too many elements");
      for (std::size_t i = 0; i < end;) {
        const std::size_t inner = character_at(rest, i);
        if (inner == 0) return refuse("is not UTF-8 text fit for XML");
        i += inner;
      }
      at += end + closing.size();
      continue;
    }
    if (rest.starts_with("<!")) return refuse("has a document type, which none has");
    if (rest[0] == '<' && !rest.starts_with("</") && ++elements > limits.elements_max) return refuse("has too many elements");
    if (rest[0] == '&' && !known_entity(rest)) return refuse("uses an entity that XML itself does not have");
    at += length;
  }
  return {};
}

/// Nesting and attributes, walked without recursion so that no input can exhaust the stack.
Result<void> walk(const pugi::xml_document& document, const SyncmlLimits& limits) {
  std::size_t depth = 0;
  pugi::xml_node node = document;
  for (;;) {
    std::size_t attributes = 0;
    for (auto each = node.attributes_begin(); each != node.attributes_end(); ++each) ++attributes;
    if (attributes > limits.attributes_max) return refuse("has an element with too many attributes");
    if (node.first_child()) {
      node = node.first_child();
      if (++depth > limits.depth_max) return refuse("nests its elements too deep");
      continue;
    }
    while (node && !node.next_sibling()) {
      node = node.parent();
      if (depth == 0 || !node) return {};
      --depth;
    }
    if (!node || depth == 0) return {};
    node = node.next_sibling();
  }
}

std::string_view local_name(pugi::xml_node node) {
  const std::string_view name = node.name();
  const auto colon = name.find(':');
  return colon == std::string_view::npos ? name : name.substr(colon + 1);
}

std::string_view namespace_of(pugi::xml_node node) {
  const std::string_view name = node.name();
  const auto colon = name.find(':');
  const std::string attribute = colon == std::string_view::npos ? "xmlns" : "xmlns:" + std::string(name.substr(0, colon));
  for (pugi::xml_node at = node; at; at = at.parent()) {
    if (const auto declared = at.attribute(attribute.c_str())) return declared.value();
  }
  return {};
}

bool is_element(pugi::xml_node node, std::string_view name, std::string_view space) {
  return node.type() == pugi::node_element && local_name(node) == name && namespace_of(node) == space;
}

std::string text_of(pugi::xml_node node) {
  std::string text;
  for (const pugi::xml_node child : node.children()) {
    if (child.type() == pugi::node_pcdata || child.type() == pugi::node_cdata) text += child.value();
  }
  return text;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const auto first = text.find_first_not_of(blank);
  return first == std::string_view::npos ? std::string_view{} : text.substr(first, text.find_last_not_of(blank) - first + 1);
}

class Reader {
 public:
  explicit Reader(const SyncmlLimits& limits) : limits_(limits) {}

  Result<DmMessage> message(pugi::xml_node root) {
    const auto header = only(root, "SyncHdr");
    const auto body = only(root, "SyncBody");
    if (!problem_ && (!header || !body)) complain("lacks SyncHdr or SyncBody");
    if (problem_) return refuse(*problem_);
    DmMessage read;
    read.header = header_of(header);
    for (const pugi::xml_node child : body.children()) {
      if (problem_) break;
      if (child.type() != pugi::node_element || namespace_of(child) != syncml_namespace) continue;
      if (local_name(child) == "Final") {
        read.final = true;
      } else if (read.final) {
        complain("goes on after Final");
      } else {
        read.commands.push_back(command_of(child));
      }
    }
    if (problem_) return refuse(*problem_);
    return read;
  }

 private:
  void complain(std::string what) {
    if (!problem_) problem_ = std::move(what);
  }

  /// The one child of this name; a second one is a mistake, not a choice.
  pugi::xml_node only(pugi::xml_node parent, std::string_view name, std::string_view space = syncml_namespace) {
    pugi::xml_node found;
    for (const pugi::xml_node child : parent.children()) {
      if (!is_element(child, name, space)) continue;
      if (found) complain("has " + std::string(name) + " twice in one place");
      found = child;
    }
    return found;
  }

  std::string word(pugi::xml_node parent, std::string_view name, std::string_view space = syncml_namespace) {
    std::string text(trimmed(text_of(only(parent, name, space))));
    if (text.size() > limits_.name_bytes_max) {
      complain("has a " + std::string(name) + " that is too long");
      text.clear();
    }
    return text;
  }

  std::uint32_t number(pugi::xml_node parent, std::string_view name, bool required) {
    const std::string text = word(parent, name);
    if (text.empty() && !required) return 0;
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) complain("lacks a number in " + std::string(name));
    return value;
  }

  DmMeta meta_of(pugi::xml_node parent) {
    DmMeta meta;
    const auto node = only(parent, "Meta");
    if (!node) return meta;
    meta.format = word(node, "Format", meta_namespace);
    meta.type = word(node, "Type", meta_namespace);
    meta.mark = word(node, "Mark", meta_namespace);
    meta.next_nonce = word(node, "NextNonce", meta_namespace);
    return meta;
  }

  std::string location(pugi::xml_node parent, std::string_view name) { return word(only(parent, name), "LocURI"); }

  std::optional<DmCred> credential_of(pugi::xml_node parent) {
    const auto node = only(parent, "Cred");
    if (!node) return std::nullopt;
    return DmCred{meta_of(node), word(node, "Data")};
  }

  DmHeader header_of(pugi::xml_node node) {
    DmHeader header;
    if (word(node, "VerDTD") != "1.2" || word(node, "VerProto") != "DM/1.2") complain("is not of SyncML 1.2 and DM/1.2");
    header.session_id = word(node, "SessionID");
    if (header.session_id.empty() || header.session_id.size() > 64) complain("lacks a SessionID of 1 to 64 characters");
    header.message_id = number(node, "MsgID", true);
    header.target = location(node, "Target");
    header.source = location(node, "Source");
    header.source_name = word(only(node, "Source"), "LocName");
    header.credential = credential_of(node);
    if (const auto meta = only(node, "Meta")) {
      const std::string size = word(meta, "MaxMsgSize", meta_namespace);
      std::uint32_t value = 0;
      const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), value);
      if (error == std::errc() && end == size.data() + size.size()) header.message_bytes_max = value;
    }
    return header;
  }

  DmItem item_of(pugi::xml_node node) {
    DmItem item;
    item.target = location(node, "Target");
    item.source = location(node, "Source");
    item.meta = meta_of(node);
    if (const auto data = only(node, "Data")) item.data = text_of(data);
    return item;
  }

  DmCommand command_of(pugi::xml_node node) {
    DmCommand command;
    if (++commands_ > limits_.commands_max) {
      complain("has too many commands");
      return command;
    }
    const auto known = std::find_if(verbs.begin(), verbs.end(), [&](const auto& verb) { return verb.second == local_name(node); });
    if (known != verbs.end()) {
      command.verb = known->first;
    } else {
      command.name = std::string(local_name(node).substr(0, 64));
    }
    command.id = number(node, "CmdID", true);
    if (!problem_ && command.id == 0) complain("has a CmdID of 0");
    if (!problem_ && !ids_.insert(command.id).second) complain("uses a CmdID twice");
    if (command.verb == DmVerb::unknown) return command;
    const bool answer = command.verb == DmVerb::status || command.verb == DmVerb::results;
    if (answer) {
      command.message_ref = number(node, "MsgRef", command.verb == DmVerb::status);
      command.command_ref = number(node, "CmdRef", true);
      command.command = word(node, "Cmd");
      command.target_refs = words(node, "TargetRef");
      command.source_refs = words(node, "SourceRef");
    }
    if (command.verb == DmVerb::status) {
      if (const auto challenge = only(node, "Chal")) command.challenge = meta_of(challenge);
    }
    if (command.verb == DmVerb::status || command.verb == DmVerb::alert) command.data = word(node, "Data");
    command.meta = meta_of(node);
    for (const pugi::xml_node child : node.children()) {
      if (problem_) break;
      if (is_element(child, "Item", syncml_namespace)) {
        if (++items_ > limits_.items_max) complain("has too many items");
        command.items.push_back(item_of(child));
      } else if ((command.verb == DmVerb::atomic || command.verb == DmVerb::sequence) && is_command(child)) {
        command.members.push_back(command_of(child));
      }
    }
    return command;
  }

  static bool is_command(pugi::xml_node node) {
    return node.type() == pugi::node_element && namespace_of(node) == syncml_namespace &&
           std::any_of(verbs.begin(), verbs.end(), [&](const auto& verb) { return verb.second == local_name(node); });
  }

  std::vector<std::string> words(pugi::xml_node parent, std::string_view name) {
    std::vector<std::string> found;
    for (const pugi::xml_node child : parent.children()) {
      if (!is_element(child, name, syncml_namespace)) continue;
      found.emplace_back(trimmed(text_of(child)));
      if (found.back().size() > limits_.name_bytes_max) complain("has a " + std::string(name) + " that is too long");
      if (found.size() > limits_.items_max) complain("has too many references");
    }
    return found;
  }

  const SyncmlLimits& limits_;
  std::set<std::uint32_t> ids_;
  std::size_t commands_ = 0, items_ = 0;
  std::optional<std::string> problem_;
};

class Writer {
 public:
  std::string take() { return std::move(text_); }

  void message(const DmMessage& message) {
    text_ = "<SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>";
    element("SessionID", message.header.session_id);
    element("MsgID", message.header.message_id);
    text_ += "<Target>";
    element("LocURI", message.header.target);
    text_ += "</Target><Source>";
    element("LocURI", message.header.source);
    if (!message.header.source_name.empty()) element("LocName", message.header.source_name);
    text_ += "</Source>";
    if (message.header.credential) {
      text_ += "<Cred>";
      meta(message.header.credential->meta);
      element("Data", message.header.credential->data);
      text_ += "</Cred>";
    }
    if (message.header.message_bytes_max > 0) {
      text_ += "<Meta><MaxMsgSize xmlns=\"syncml:metinf\">" + std::to_string(message.header.message_bytes_max) + "</MaxMsgSize></Meta>";
    }
    text_ += "</SyncHdr><SyncBody>";
    for (const DmCommand& each : message.commands) command(each);
    if (message.final) text_ += "<Final/>";
    text_ += "</SyncBody></SyncML>";
  }

 private:
  void escape(std::string_view value) {
    for (const char c : value) {
      switch (c) {
        case '&': text_ += "&amp;"; break;
        case '<': text_ += "&lt;"; break;
        case '>': text_ += "&gt;"; break;
        case '\r': text_ += "&#13;"; break;
        default:
          if (static_cast<unsigned char>(c) >= 0x20 || c == '\t' || c == '\n') text_ += c;
      }
    }
  }
  void element(std::string_view name, std::string_view value, std::string_view space = {}) {
    text_.append("<").append(name);
    if (!space.empty()) text_.append(" xmlns=\"").append(space).append("\"");
    text_ += '>';
    escape(value);
    text_.append("</").append(name).append(">");
  }
  void element(std::string_view name, std::uint32_t value) { element(name, std::to_string(value)); }

  void meta(const DmMeta& meta) {
    if (meta.empty()) return;
    text_ += "<Meta>";
    for (const auto& [name, value] : {std::pair<std::string_view, const std::string&>{"Format", meta.format},
                                      {"Type", meta.type}, {"Mark", meta.mark}, {"NextNonce", meta.next_nonce}}) {
      if (!value.empty()) element(name, value, meta_namespace);
    }
    text_ += "</Meta>";
  }
  void place(std::string_view name, const std::string& uri) {
    if (uri.empty()) return;
    text_.append("<").append(name).append(">");
    element("LocURI", uri);
    text_.append("</").append(name).append(">");
  }

  void command(const DmCommand& command) {
    const std::string name(command.verb == DmVerb::unknown ? std::string_view(command.name) : verb_name(command.verb));
    const bool answer = command.verb == DmVerb::status || command.verb == DmVerb::results;
    text_.append("<").append(name).append(">");
    element("CmdID", command.id);
    if (answer) {
      element("MsgRef", command.message_ref);
      element("CmdRef", command.command_ref);
      if (!command.command.empty()) element("Cmd", command.command);
      if (command.verb == DmVerb::results) meta(command.meta);
      for (const std::string& each : command.target_refs) element("TargetRef", each);
      for (const std::string& each : command.source_refs) element("SourceRef", each);
    }
    if (command.challenge) {
      text_ += "<Chal>";
      meta(*command.challenge);
      text_ += "</Chal>";
    }
    if (command.verb == DmVerb::status || command.verb == DmVerb::alert) element("Data", command.data);
    if (!answer) meta(command.meta);
    for (const DmItem& item : command.items) {
      text_ += "<Item>";
      place("Target", item.target);
      place("Source", item.source);
      meta(item.meta);
      if (item.data) element("Data", *item.data);
      text_ += "</Item>";
    }
    for (const DmCommand& member : command.members) this->command(member);
    text_.append("</").append(name).append(">");
  }

  std::string text_;
};

}  // namespace

std::string_view verb_name(DmVerb verb) {
  for (const auto& [known, name] : verbs) {
    if (known == verb) return name;
  }
  return "";
}

Result<DmMessage> read_syncml(std::string_view utf8, const SyncmlLimits& limits) {
  if (utf8.size() > limits.bytes_max) return fail(Remedy::reject, "mdm.too_large", "The device's message is larger than this server takes.");
  if (utf8.starts_with("\xEF\xBB\xBF")) utf8.remove_prefix(3);
  if (auto fit = look_over(utf8, limits); !fit) return pass(fit);
  pugi::xml_document document;
  const pugi::xml_parse_result parsed =
      document.load_buffer(utf8.data(), utf8.size(), pugi::parse_escapes | pugi::parse_cdata | pugi::parse_doctype, pugi::encoding_utf8);
  if (!parsed) return refuse(std::string("is not XML: ") + parsed.description());
  if (auto fit = walk(document, limits); !fit) return pass(fit);
  pugi::xml_node root;
  for (const pugi::xml_node child : document.children()) {
    if (child.type() == pugi::node_doctype) return refuse("has a document type, which none has");
    if (child.type() != pugi::node_element) continue;
    if (root) return refuse("has more than one root element");
    root = child;
  }
  if (!root || !is_element(root, "SyncML", syncml_namespace)) return refuse("is no SyncML 1.2 document");
  return Reader(limits).message(root);
}

std::string write_syncml(const DmMessage& message) {
  Writer writer;
  writer.message(message);
  return writer.take();
}

}  // namespace greengate::adapters
