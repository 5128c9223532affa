#pragma once

#include <pugixml.hpp>

#include <string_view>

namespace greengate::adapters {

/// The element after `node` in document order, for walking a small tree without recursion; none at its end.
inline pugi::xml_node next_element(pugi::xml_node node) {
  do {
    if (node.first_child()) {
      node = node.first_child();
    } else {
      while (node && !node.next_sibling()) node = node.parent();
      if (node) node = node.next_sibling();
    }
  } while (node && node.type() != pugi::node_element);
  return node;
}

/// Capabilities/Property SSLState below `node` is a number other than 0 (M 1.6).
inline bool ssl_state_of(const pugi::xml_node& node) {
  for (const pugi::xml_node property : node.child("Capabilities").children("Property"))
    if (std::string_view(property.attribute("Name").value()) == "SSLState")
      return property.attribute("Value").as_uint() != 0;
  return false;
}

}  // namespace greengate::adapters
