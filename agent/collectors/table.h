#pragma once

#include "greengate/v1/report.pb.h"

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::agent {

/// One instance being filled. Setting a property to nothing, or to an empty text, leaves it empty.
/// Texts are cleaned and cut here and nowhere else.
class Row {
 public:
  Row(const v1::InventoryClass& columns, v1::InventoryInstance& row)
      : columns_(columns), row_(row) {}

  Row& text(std::string_view property, std::string_view raw);
  Row& number(std::string_view property, std::optional<std::uint64_t> value);
  Row& signed_number(std::string_view property, std::optional<std::int64_t> value);
  Row& flag(std::string_view property, std::optional<bool> value);
  Row& time(std::string_view property, std::optional<std::int64_t> unix_ms);
  Row& date(std::string_view property, std::optional<std::int64_t> unix_ms);
  Row& list(std::string_view property, const std::vector<std::string>& raw);

 private:
  v1::Value& value(std::string_view property);
  const v1::InventoryClass& columns_;
  v1::InventoryInstance& row_;
};

/// One class of the inventory. The first `keys` properties name an instance.
class Table {
 public:
  Table(v1::HardwareInventory& inventory, std::string_view name, std::string_view name_space,
        std::uint32_t keys, std::initializer_list<std::string_view> properties);

  /// Properties that change by themselves: a change in these alone is none, and is not sent for its own sake.
  void churning(std::initializer_list<std::string_view> properties);

  /// The next instance, or nothing when the class is at its bound; that is logged once.
  std::optional<Row> add(std::size_t rows_max);

 private:
  v1::InventoryClass& class_;
  bool cut_ = false;
};

/// Drops instances that their key properties do not name, and all but the first of those they name
/// alike: the site could not tell them apart, and a delta neither.
void keep_named_once(v1::InventoryClass& one);

constexpr std::string_view cimv2 = "root\\cimv2";
constexpr std::string_view cimv2_sms = "root\\cimv2\\sms";

}  // namespace greengate::agent
