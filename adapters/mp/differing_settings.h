#pragma once

#include "adapters/mp/settings.h"

#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// A protocol setting that is not as the specification has it; docs/reference/compatibility.md tells what each is for.
struct SettingDifference {
  std::string_view key;        ///< As in the file, below [site]: "inventory_layout".
  std::string value;           ///< As set.
  std::string usual;           ///< The default.
  std::string_view grade;      ///< Evidence of the default: D, M, S or I.
};

/// Every protocol setting that differs from its default, in the file's order. What a site must give (its code, its addresses) and what
/// only bounds us is not among them.
std::vector<SettingDifference> differing_settings(const MpSettings& settings);

/// The keys differing_settings() looks at.
std::vector<std::string_view> protocol_setting_keys();

}  // namespace greengate::adapters
