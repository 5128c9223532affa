#include "ctl/table.h"

#include "ctl/terminal.h"

#include <algorithm>

namespace greengate::ctl {
namespace {

// Columns a UTF-8 text takes, near enough: one a code point.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += tamed(row[i], Lines::flatten);
      if (i + 1 < row.size()) line.append(widths[i] - width_of(row[i]) + 2, ' ');
    }
    text += line + "\n";
  }
  return text;
}

std::string facts(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::size_t widest = 0;
  for (const auto& [name, value] : pairs) widest = std::max(widest, width_of(name));
  std::string text;
  for (const auto& [name, value] : pairs) {
    text += name + std::string(widest - width_of(name) + 2, ' ') + tamed(value, Lines::flatten) + "\n";
  }
  return text;
}

}  // namespace greengate::ctl
