#pragma once

#include <string>
#include <string_view>

namespace greengate::adapters {

/// The text of a small document as UTF-8: bootstrap answers and policy bodies come as UTF-16LE with BOM and often a NUL, some
/// servers send UTF-8 (readings 13, mp-protocol 5.3). BOM and trailing NULs and white space are cut; invalid bytes become U+FFFD.
std::string document_text(std::string_view bytes);

}  // namespace greengate::adapters
