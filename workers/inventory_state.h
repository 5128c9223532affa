#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace google::protobuf {
class Arena;
}
namespace greengate::v1 {
class HardwareInventory;
class InventoryClass;
class InventoryInstance;
class SoftwareFile;
class SoftwareInventory;
class Value;
}  // namespace greengate::v1

namespace greengate::workers {

constexpr int inventory_classes_max = 1'024;
constexpr int inventory_columns_max = 1'024;
/// Everything a parse makes an object of: classes, instances, values, items of lists, files.
constexpr std::size_t inventory_parts_max = 2'000'000;

/// A full state in the one form deltas rely on: one table a class, every instance named by its keys and named once.
template <class State>
struct ParsedState {
  State* state = nullptr;      ///< In the arena.
  std::uint32_t dropped = 0;   ///< Instances left out: not named, or named like one before them.
  bool as_it_came = true;      ///< The bytes it was read from are its canonical form: nothing was dropped or joined.
};

/// Where a state comes from: an agent may send anything; a baseline was in its form when we wrote it, so its keys are not looked at again.
enum class StateOrigin { agent, baseline };

/// Reads a state into `arena`.
///
/// Promise   Of instances with the same keys the first stays. An instance that lacks a key is left out: no delta could ever speak of it.
///           Tables of one class and one shape are joined; the same class in two shapes is refused, as neither could be preferred.
/// Limits    inventory_classes_max, inventory_columns_max, inventory_parts_max: counted before anything is allocated for them.
/// Threads   Any; pure.
/// Errors    report.malformed; inventory.too_large, inventory.shape, inventory.class_conflict (all reject).
Result<ParsedState<v1::HardwareInventory>> parse_hardware(std::string_view body, google::protobuf::Arena& arena,
                                                          StateOrigin origin = StateOrigin::agent);
Result<ParsedState<v1::SoftwareInventory>> parse_software(std::string_view body, google::protobuf::Arena& arena,
                                                          StateOrigin origin = StateOrigin::agent);

/// The columns of a parsed class that name an instance, in the order of their names: a table may move its columns.
std::vector<int> key_columns(const v1::InventoryClass& shape);
/// What names the instance among those of its class, as the site will read it; empty for a class without keys.
std::string key_of(std::span<const int> key_columns, const v1::InventoryInstance& instance);
std::string key_of(const v1::SoftwareFile& file);

/// Is there nothing in it that reaches the site?
bool is_absent(const v1::Value& value);
/// Do both read the same at the site?
bool same_value(const v1::Value& a, const v1::Value& b);

/// The value at `column`; the default, which is absent, where the instance has none.
const v1::Value& value_at(const v1::InventoryInstance& instance, int column);

/// Instances or files in all.
std::size_t rows_of(const v1::HardwareInventory& state);
std::size_t rows_of(const v1::SoftwareInventory& state);

}  // namespace greengate::workers
