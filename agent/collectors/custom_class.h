#pragma once

#include "core/result.h"
#include "greengate/v1/report.pb.h"

#include <string>
#include <string_view>
#include <vector>

namespace greengate::agent {

/// What one script's output may hold.
struct CustomClassBounds {
  std::size_t classes = 16;
  std::size_t instances = 2'000;  ///< Of one class.
  std::size_t properties = 128;   ///< Of one class.
};

/// The classes in what a script printed: one JSON object, or several after each other (a line each, or not).
///
///     {"class": "Contoso_Thing", "namespace": "root\\cimv2", "keys": ["Id"],
///      "properties": {"Id": "string", "Bought": "datetime"}, "instances": [{"Id": "1", …}, …]}
///
/// `namespace` and `properties` may be left out. Types are string, integer, unsigned, boolean, datetime and list; where
/// `properties` does not say, they follow from the values, which must then agree. Columns: the keys, then as declared, else by name.
///
/// Promise   All or nothing: output with one mistake is no statement about any class. Texts are cleaned and cut like every other.
/// Limits    CustomClassBounds; limits.h for texts and lists; nesting no deeper than the format has.
/// Errors    custom.json, custom.class, custom.property, custom.instance, custom.too_many (reject); the message names the place.
Result<std::vector<v1::InventoryClass>> read_custom_classes(std::string_view output, const CustomClassBounds& bounds = {});

}  // namespace greengate::agent
