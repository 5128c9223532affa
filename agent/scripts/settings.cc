#include "agent/scripts/settings.h"

#include <algorithm>
#include <cctype>

namespace greengate::agent {

bool is_parameter_name(const std::string& text) {
  return !text.empty() && text.size() <= 64 && std::isdigit(static_cast<unsigned char>(text.front())) == 0 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

}  // namespace greengate::agent
