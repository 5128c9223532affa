// Text on its way into a message's XML.
#pragma once

#include <string>
#include <string_view>

namespace greengate::adapters::bgb {

/// Where the text will stand, and so which marks must not stand in it as they are.
enum class XmlPlace {
  element,   ///< Between tags; a double quote is escaped all the same.
  anywhere,  ///< A form of somebody else's may put it between quotes of either kind.
};

/// Appends the text as XML. Control characters, which XML 1.0 cannot say, are the caller's to refuse.
void append_escaped(std::string& out, std::string_view text, XmlPlace place);

}  // namespace greengate::adapters::bgb
