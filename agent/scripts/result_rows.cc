#include "agent/scripts/result_rows.h"

#include "agent/collectors/text.h"
#include "agent/scripts/settings.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace greengate::agent {
namespace {

std::vector<std::string_view> parted(std::string_view line) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto tab = line.find('\t');
    parts.push_back(line.substr(0, tab));
    if (tab == std::string_view::npos) return parts;
    line.remove_prefix(tab + 1);
  }
}

std::string_view next_line(std::string_view& rest) {
  std::string_view line = rest.substr(0, rest.find('\n'));
  rest.remove_prefix(line.size() < rest.size() ? line.size() + 1 : line.size());
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// U+FFFD takes three bytes for one.
std::string fit(std::string_view raw) {
  const std::size_t indent = std::min(raw.find_first_not_of(' '), raw.size());
  const std::string clean = clean_text(raw, raw.size() * 3 + 3);
  return clean.empty() ? clean : std::string(indent, ' ') + clean;
}

bool fill_columns(v1::ScriptResult& into, std::string_view line) {
  std::set<std::string> seen;
  const std::vector<std::string_view> names = parted(line);
  if (names.size() > result_columns_max) return false;
  for (const std::string_view raw : names) {
    const std::string name(trimmed(raw));
    if (!is_parameter_name(name) || !seen.insert(name).second) return false;
  }
  for (const std::string_view raw : names) into.add_columns(std::string(trimmed(raw)));
  return true;
}

}  // namespace

bool fill_rows(v1::ScriptResult& into, std::string_view output, bool as_table) {
  into.clear_columns();
  into.clear_rows();
  std::string_view rest = output;
  const bool table = as_table && fill_columns(into, next_line(rest));
  if (!table) {
    rest = output;
    into.add_columns("Output");
  }
  while (!rest.empty() && into.rows_size() < result_rows_max) {
    const std::string_view line = next_line(rest);
    v1::ScriptRow& row = *into.add_rows();
    if (!table) {
      row.add_values(fit(line));
      continue;
    }
    for (const std::string_view value : parted(line)) {
      if (row.values_size() < into.columns_size()) row.add_values(fit(value));
    }
  }
  return table || !as_table;
}

}  // namespace greengate::agent
