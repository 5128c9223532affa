#include "adapters/mdm/nodes.h"

namespace greengate::adapters {
namespace {

std::string encoded(std::string_view name) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string text;
  for (const char c : name) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      text += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    text += '%';
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

DmCommand on(DmVerb verb, const std::string& uri) {
  DmCommand command;
  command.verb = verb;
  command.items.emplace_back().target = uri;
  return command;
}

void put_text(DmCommand& command, const std::string& text) {
  command.items.front().meta.format = "chr";
  command.items.front().meta.type = "text/plain";
  command.items.front().data = text;
}

}  // namespace

PushNodes::PushNodes(std::string_view provider)
    : push("./Device/Vendor/MSFT/DMClient/Provider/" + encoded(provider) + "/Push"),
      pfn(push + "/PFN"),
      channel_uri(push + "/ChannelURI"),
      status(push + "/Status") {}

DmCommand get_node(const std::string& uri) { return on(DmVerb::get, uri); }
DmCommand exec_node(const std::string& uri) { return on(DmVerb::exec, uri); }
DmCommand delete_node(const std::string& uri) { return on(DmVerb::remove, uri); }

DmCommand exec_node(const std::string& uri, const std::string& text) {
  DmCommand command = on(DmVerb::exec, uri);
  put_text(command, text);
  return command;
}

DmCommand set_node(DmVerb verb, const std::string& uri, const std::string& text) {
  DmCommand command = on(verb, uri);
  put_text(command, text);
  return command;
}

}  // namespace greengate::adapters
