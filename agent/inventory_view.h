#pragma once

#include "greengate/v1/report.pb.h"

#include <string>

namespace greengate::agent {

/// What to show of an inventory.
struct InventoryViewOptions {
  bool full = false;  ///< Every instance and every property; otherwise long lists are shortened,
                      ///< with a count.
  /// Only this class ("Win32_Service", case does not matter); empty for all.
  std::string class_name = {};
  std::size_t columns = 100;  ///< Width to keep to.
};

/// For people: the machine in a few lines, then each class: one instance as a list, many as aligned
/// columns. Times in UTC.
std::string inventory_table(const v1::HardwareInventory& inventory, const v1::Discovery& discovery,
                            const InventoryViewOptions& options = {});

/// For scripts: {"collected_at": …, "discovery": {…}, "classes": {"Win32_BIOS": [{…}]} and, when one class is asked for, "shapes": {"Win32_BIOS":
/// {"class": …, "namespace": …, "keys": […], "properties": {name: type}}}}, which `greengatectl mof --from` reads. Numbers,
/// booleans and lists keep their type; times are ISO 8601 in UTC; empty properties are left out; a
/// class that could not be looked at is absent.
std::string inventory_json(const v1::HardwareInventory& inventory, const v1::Discovery& discovery,
                           const InventoryViewOptions& options = {});

}  // namespace greengate::agent
