#include "adapters/bgb/xml_text.h"

namespace greengate::adapters::bgb {

void append_escaped(std::string& out, std::string_view text, XmlPlace place) {
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += place == XmlPlace::anywhere ? "&apos;" : "'";
        break;
      default:
        out += c;
    }
  }
}

}  // namespace greengate::adapters::bgb
