#pragma once

#include <string>
#include <vector>

namespace greengate::ctl {

/// Rows in aligned columns for people: a header line, two spaces between columns, widths by display column.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// "name   value" lines for one thing.
std::string facts(const std::vector<std::pair<std::string, std::string>>& pairs);

}  // namespace greengate::ctl
