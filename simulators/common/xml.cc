#include "simulators/common/xml.h"

#include "simulators/common/text.h"

#include <set>

namespace greengate::sim {
namespace {

bool known_entity(std::string_view name) {
  if (name == "lt" || name == "gt" || name == "amp" || name == "quot" || name == "apos")
    return true;
  if (name.size() < 2 || name.size() > 8 || name[0] != '#') return false;
  const bool hex = name[1] == 'x';
  const std::string_view number = name.substr(hex ? 2 : 1);
  if (number.empty()) return false;
  std::uint32_t code = 0;
  for (const char c : number) {
    std::uint32_t digit = 0;
    if (c >= '0' && c <= '9')
      digit = static_cast<std::uint32_t>(c - '0');
    else if (hex && c >= 'a' && c <= 'f')
      digit = static_cast<std::uint32_t>(c - 'a' + 10);
    else if (hex && c >= 'A' && c <= 'F')
      digit = static_cast<std::uint32_t>(c - 'A' + 10);
    else
      return false;
    code = code * (hex ? 16 : 10) + digit;
    if (code > 0x10FFFF) return false;
  }
  if (code >= 0xD800 && code < 0xE000) return false;
  return code >= 0x20 || code == 9 || code == 10 || code == 13;
}

// What the parser would let pass, found in the raw text before it allocates anything.
Result<void> scan(std::string_view text) {
  std::size_t tags = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r')
      return fail(Remedy::reject, "xml.character", "The text holds a control character.");
    if (c == '&') {
      const std::size_t end = text.find(';', i);
      if (end == std::string_view::npos || end - i > 12 ||
          !known_entity(text.substr(i + 1, end - i - 1)))
        return fail(Remedy::reject, "xml.entity",
                    "The text uses an entity other than the five of XML.");
    }
    if (c != '<') continue;
    if (++tags > xml_tags_max)
      return fail(Remedy::reject, "xml.too_big", "The text has too many tags.");
    const std::string_view rest = text.substr(i);
    const auto skip_to = [&](std::string_view end) {
      const std::size_t at = text.find(end, i);
      if (at == std::string_view::npos) return false;
      i = at + end.size() - 1;
      return true;
    };
    if (rest.starts_with("<![CDATA[")) {
      if (!skip_to("]]>"))
        return fail(Remedy::reject, "xml.not_well_formed", "A CDATA section does not end.");
    } else if (rest.starts_with("<!--")) {
      if (!skip_to("-->"))
        return fail(Remedy::reject, "xml.not_well_formed", "A comment does not end.");
    } else if (rest.starts_with("<!")) {
      return fail(Remedy::reject, "xml.dtd", "The text has a document type declaration.");
    }
  }
  return {};
}

Result<void> walk(const pugi::xml_document& document) {
  int roots = 0, depth = 0;
  std::set<std::string_view> names;
  pugi::xml_node node = document.first_child();
  while (node) {
    if (node.type() == pugi::node_doctype)
      return fail(Remedy::reject, "xml.dtd", "The text has a document type declaration.");
    if (node.type() == pugi::node_element) {
      if (depth == 0) ++roots;
      if (depth >= xml_depth_max)
        return fail(Remedy::reject, "xml.too_big", "The elements nest too deep.");
      if (node.first_attribute().next_attribute()) {
        names.clear();
        for (const auto& attribute : node.attributes())
          if (!names.insert(attribute.name()).second)
            return fail(Remedy::reject, "xml.not_well_formed", "An attribute comes twice.");
      }
    } else if (depth == 0 &&
               (node.type() == pugi::node_pcdata || node.type() == pugi::node_cdata) &&
               !trimmed(node.value()).empty()) {
      return fail(Remedy::reject, "xml.not_well_formed", "There is text outside the root element.");
    }
    if (node.first_child()) {
      node = node.first_child();
      ++depth;
      continue;
    }
    while (node && !node.next_sibling()) {
      node = node.parent();
      if (--depth < 0)
        return roots == 1 ? Result<void>{}
                          : fail(Remedy::reject, "xml.not_well_formed",
                                 "There is not exactly one root element.");
    }
    node = node.next_sibling();
  }
  if (roots != 1)
    return fail(Remedy::reject, "xml.not_well_formed", "There is not exactly one root element.");
  return {};
}

}  // namespace

Result<void> parse_xml(std::string_view utf8, pugi::xml_document& into) {
  if (auto scanned = scan(utf8); !scanned) return scanned;
  const pugi::xml_parse_result parsed = into.load_buffer(
      utf8.data(), utf8.size(),
      pugi::parse_default | pugi::parse_declaration | pugi::parse_doctype | pugi::parse_fragment,
      pugi::encoding_utf8);
  if (!parsed)
    return fail(Remedy::reject, "xml.not_well_formed",
                std::string("The text is not well-formed: ") + parsed.description() + " at byte " +
                    std::to_string(parsed.offset) + ".");
  return walk(into);
}

std::string child_text(const pugi::xml_node& parent, const char* name) {
  return parent.child(name).text().get();
}

}  // namespace greengate::sim
