#include "adapters/http/messages.h"

#include <algorithm>
#include <cctype>

namespace greengate::adapters {

std::string_view header_in(const HttpHeaders& headers, std::string_view name) {
  for (const auto& [key, value] : headers)
    if (key.size() == name.size() &&
        std::equal(key.begin(), key.end(), name.begin(), [](unsigned char a, unsigned char b) {
          return std::tolower(a) == std::tolower(b);
        }))
      return value;
  return {};
}

}  // namespace greengate::adapters
