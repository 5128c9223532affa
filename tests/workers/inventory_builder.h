#pragma once

#include "greengate/v1/report.pb.h"

#include <initializer_list>
#include <string>
#include <tuple>

namespace greengate::test {

/// Writes a hardware inventory as a test reads it: a table and its rows of texts. "-" leaves a value out.
class InventoryBuilder {
 public:
  /// Properties named with a leading '*' are keys, with a leading '~' they churn.
  InventoryBuilder& table(const std::string& name, std::initializer_list<std::string> properties) {
    v1::InventoryClass& made = *state_.add_classes();
    made.set_name(name);
    for (const std::string& property : properties) {
      const auto column = static_cast<std::uint32_t>(made.properties_size());
      if (property[0] == '*') made.add_key_properties(column);
      if (property[0] == '~') made.add_churning_properties(column);
      made.add_properties(property[0] == '*' || property[0] == '~' ? property.substr(1) : property);
    }
    return *this;
  }
  InventoryBuilder& row(std::initializer_list<std::string> values) {
    v1::InventoryInstance& made = *state_.mutable_classes(state_.classes_size() - 1)->add_instances();
    for (const std::string& value : values) {
      v1::Value& into = *made.add_values();
      if (value != "-") into.set_text(value);
    }
    return *this;
  }
  const v1::HardwareInventory& state() const { return state_; }
  std::string body() const { return state_.SerializeAsString(); }

 private:
  v1::HardwareInventory state_;
};

/// A list of files, each "path name size".
inline v1::SoftwareInventory files(std::initializer_list<std::tuple<std::string, std::string, std::uint64_t>> given) {
  v1::SoftwareInventory state;
  for (const auto& [path, name, size] : given) {
    v1::SoftwareFile& file = *state.add_files();
    file.set_path(path);
    file.set_name(name);
    file.set_size(size);
  }
  return state;
}

}  // namespace greengate::test
