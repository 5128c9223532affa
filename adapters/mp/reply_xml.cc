#include "adapters/mp/reply_xml.h"

#include <algorithm>

namespace greengate::adapters {
namespace {

/// How deep elements nest, walked without recursion so that no input can exhaust the stack.
std::size_t depth_of(const pugi::xml_document& document) {
  std::size_t depth = 0, deepest = 0;
  pugi::xml_node node = document;
  for (;;) {
    if (node.first_child()) {
      node = node.first_child();
      deepest = std::max(deepest, ++depth);
      continue;
    }
    while (node && !node.next_sibling()) {
      node = node.parent();
      if (depth == 0 || !node) return deepest;
      --depth;
    }
    if (!node || depth == 0) return deepest;
    node = node.next_sibling();
  }
}

}  // namespace

Result<void> parse_reply_xml(const MpSettings& settings, std::string_view utf8,
                             pugi::xml_document& document) {
  const auto refuse = [](const std::string& why) {
    return fail(Remedy::reject, "mp.reply_xml", "The management point's reply " + why + ".");
  };
  if (utf8.size() > settings.reply_bytes_max) return refuse("is too long to be read");
  constexpr unsigned flags =
      pugi::parse_escapes | pugi::parse_cdata | pugi::parse_doctype | pugi::parse_wconv_attribute;
  const pugi::xml_parse_result parsed =
      document.load_buffer(utf8.data(), utf8.size(), flags, pugi::encoding_utf8);
  if (!parsed) return refuse(std::string("is not XML: ") + parsed.description());
  for (const pugi::xml_node child : document.children())
    if (child.type() == pugi::node_doctype)
      return refuse("has a document type, which none of its replies has");
  if (depth_of(document) > settings.reply_depth_max) return refuse("nests its elements too deep");
  return {};
}

}  // namespace greengate::adapters
