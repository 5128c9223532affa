#pragma once

#include "core/result.h"

#include <pugixml.hpp>
#include <string>
#include <string_view>

namespace greengate::sim {

/// Parses XML that a stranger sent. Stricter than its parser: one root, no DTD, no entities but the five and numeric ones, no
/// control characters, no attribute twice.
/// Limits    xml_tags_max tags, xml_depth_max levels.
/// Errors    xml.dtd, xml.entity, xml.character, xml.too_big, xml.not_well_formed (all reject).
inline constexpr std::size_t xml_tags_max = 2'000'000;
inline constexpr int xml_depth_max = 64;
Result<void> parse_xml(std::string_view utf8, pugi::xml_document& into);

/// Child element text, trimmed of nothing; empty when absent.
std::string child_text(const pugi::xml_node& parent, const char* name);

}  // namespace greengate::sim
