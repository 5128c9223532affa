#include "ctl/terminal.h"

namespace greengate::ctl {

std::string tamed(std::string_view text, Lines lines) {
  std::string fit;
  fit.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    const bool line = text[i] == '\n' || text[i] == '\t';
    if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {
      fit += '?';
      ++i;
    } else if ((byte < 0x20 && !(line && lines == Lines::keep)) || byte == 0x7f) {
      fit += '?';
    } else {
      fit += text[i];
    }
  }
  return fit;
}

}  // namespace greengate::ctl
