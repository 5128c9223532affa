#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace greengate::sim {

std::string to_base64(std::string_view bytes);
/// Strict: padding where it belongs, nothing but the alphabet. Nothing otherwise.
std::optional<std::string> from_base64(std::string_view text);
/// MD5, for the one old scheme that still asks for it.
std::string md5(std::string_view bytes);

}  // namespace greengate::sim
