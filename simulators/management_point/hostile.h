#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim {

/// Answers no honest management point gives, as raw HTTP; the connection closes behind each.
///
/// doctype, entities, deep (100,000 elements), bomb (256 MiB of blanks in 256 KiB), wrong_charset, no_zlib, cut (no closing boundary),
/// huge_length (1 GiB announced), flood (64 MiB without a length), redirect (to a metadata address), long_header, garbage.
std::optional<std::string> hostile_answer(std::string_view form);
const std::vector<std::string_view>& hostile_forms();

}  // namespace greengate::sim
