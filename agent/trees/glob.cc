#include "agent/trees/glob.h"

#include <string>

namespace greengate::agent {
namespace {

std::string_view first_component(std::string_view path) {
  return path.substr(0, path.find('/'));
}
std::string_view after_first(std::string_view path) {
  const std::size_t slash = path.find('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
}
std::string_view without_slashes(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

}  // namespace

bool has_wildcard(std::string_view text) {
  return text.find_first_of("*?") != std::string_view::npos;
}

// Both go back only to the last star: what an earlier one took can stay as it is.
bool glob_matches(std::string_view pattern, std::string_view name) {
  std::size_t p = 0, n = 0;
  std::size_t star = std::string_view::npos, taken = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p, ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++taken;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool glob_path_matches(std::string_view pattern, std::string_view path) {
  pattern = without_slashes(pattern);
  path = without_slashes(path);
  std::string_view star_pattern, star_path;
  bool star = false;
  for (;;) {
    if (!pattern.empty() && first_component(pattern) == "**") {
      pattern = after_first(pattern);
      star = true, star_pattern = pattern, star_path = path;
      if (pattern.empty()) return true;
    } else if (!pattern.empty() && !path.empty() &&
               glob_matches(first_component(pattern), first_component(path))) {
      pattern = after_first(pattern), path = after_first(path);
      if (pattern.empty() && path.empty()) return true;
    } else if (star && !star_path.empty()) {
      star_path = after_first(star_path);
      pattern = star_pattern, path = star_path;
    } else {
      return pattern.empty() && path.empty();
    }
  }
}

}  // namespace greengate::agent
