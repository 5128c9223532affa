#include "adapters/mp/document.h"

#include "adapters/mp/utf16.h"

namespace greengate::adapters {

std::string document_text(std::string_view bytes) {
  std::string text;
  // Without a BOM, XML in UTF-16LE still gives itself away: its first character is ASCII.
  const bool wide = bytes.starts_with("\xFF\xFE") || (bytes.size() >= 2 && bytes[0] != '\0' && bytes[1] == '\0');
  if (wide) {
    text = utf8_from_utf16(bytes);
  } else {
    if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
    text = utf8_from_utf16(utf16_from_utf8(bytes));  // whatever it was, UTF-8 is what readers get
  }
  const auto last = text.find_last_not_of(std::string_view("\0 \t\r\n", 5));
  text.resize(last == std::string::npos ? 0 : last + 1);
  return text;
}

}  // namespace greengate::adapters
