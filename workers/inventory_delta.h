#pragma once

#include "core/config_reader.h"

#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::v1 {
class HardwareInventory;
class InventoryClass;
class InventoryInstance;
class SoftwareFile;
class SoftwareInventory;
}  // namespace greengate::v1

namespace greengate::workers {

/// Properties that change by themselves, beyond those an agent marks: a change in these alone is no change. Hardware inventory only.
class Churn {
 public:
  Churn() = default;
  /// Each "Class.Property".
  explicit Churn(const std::vector<std::string>& properties);
  bool has(std::string_view class_name, std::string_view property) const {
    return !properties_.empty() && properties_.contains(std::pair(std::string(class_name), std::string(property)));
  }

 private:
  std::set<std::pair<std::string, std::string>> properties_;
};
/// What is wrong with such a list, for `key` of the configuration.
std::vector<ConfigProblem> churn_problems(const std::string& key, const std::vector<std::string>& properties);

/// What became of one class's instances. They live in the two states compared.
struct ClassChanges {
  const v1::InventoryClass* was = nullptr;  ///< The shape of what was deleted; null when the class is new.
  const v1::InventoryClass* is = nullptr;   ///< The shape of what was added or updated.
  std::vector<const v1::InventoryInstance*> deleted, updated, added;
};

/// From one hardware state to the next.
struct HardwareChanges {
  /// False: no delta can say it. A class has other keys or another namespace; a class without keys lost its instance, or has several and
  /// they changed. Then `classes` is not whole.
  bool can_be_told = true;
  std::vector<ClassChanges> classes;  ///< Only those with changes, in the new state's order.
  std::size_t rows = 0;               ///< Instances in all.
};

/// Compares two parsed states (workers/inventory_state.h) by the names of properties, never by their places.
///
/// Promise   A class absent from `is` is not spoken of: no change. One that is there without instances lost them all. Rows are the same when
///           every property that is not churning reads the same at the site; a churning property that only one of the two tables has
///           counts like any other. Keys never churn.
/// Order     Within a class what was deleted follows the old order, what was updated or added the new.
/// Threads   Any; pure. Takes memory for the keys of one class at a time.
HardwareChanges compare(const v1::HardwareInventory& was, const v1::HardwareInventory& is, const Churn& churn);

struct SoftwareChanges {
  bool can_be_told = true;  ///< Always: every file is named.
  std::vector<const v1::SoftwareFile*> deleted, updated, added;
  std::size_t rows = 0;
};
SoftwareChanges compare(const v1::SoftwareInventory& was, const v1::SoftwareInventory& is, const Churn& churn);

/// Would `is`, with the classes of `was` that it does not speak of, still be within inventory_classes_max and 32 MiB? An agent that names
/// other classes every time is the only one whose would not; what it no longer speaks of is then forgotten, with a whole inventory.
bool fits_together(const v1::HardwareInventory& was, const v1::HardwareInventory& is);
bool fits_together(const v1::SoftwareInventory& was, const v1::SoftwareInventory& is);

/// Moves into `is` the classes of `was` that it does not speak of: the site keeps them. Answers how many.
/// Both in one arena; `was` is spent.
std::size_t keep_unspoken(v1::HardwareInventory& was, v1::HardwareInventory& is);
std::size_t keep_unspoken(v1::SoftwareInventory& was, v1::SoftwareInventory& is);

/// Makes `is` what the site has after a delta from `was` to it: rows whose churning values alone differ were not sent, so the site
/// still has the old ones. Answers how many rows. Both in one arena; `was` is spent.
std::size_t keep_unsent(v1::HardwareInventory& was, v1::HardwareInventory& is, const Churn& churn);
std::size_t keep_unsent(v1::SoftwareInventory& was, v1::SoftwareInventory& is, const Churn& churn);

}  // namespace greengate::workers
