#pragma once

#include <string_view>

namespace greengate::agent {

/// Whether `name` fits `pattern`: `*` is any characters, `?` one byte, everything else itself.
/// Costs at most pattern × name steps.
bool glob_matches(std::string_view pattern, std::string_view name);

/// The same for whole paths, component by component, so that `*` never spans a slash. A component
/// `**` is any number of folders, also none.
bool glob_path_matches(std::string_view pattern, std::string_view path);

bool has_wildcard(std::string_view text);

}  // namespace greengate::agent
