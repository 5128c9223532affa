#include "agent/collectors/table.h"

#include "agent/collectors/limits.h"
#include "agent/collectors/text.h"
#include "core/check.h"
#include "core/log.h"

#include <algorithm>
#include <unordered_set>

namespace greengate::agent {

v1::Value& Row::value(std::string_view property) {
  const auto& names = columns_.properties();
  const auto found = std::find(names.begin(), names.end(), property);
  GREENGATE_CHECK(found != names.end(), "a collector sets only properties that its class declares");
  const int column = static_cast<int>(found - names.begin());
  while (row_.values_size() <= column) row_.add_values();
  return *row_.mutable_values(column);
}

Row& Row::text(std::string_view property, std::string_view raw) {
  std::string clean = clean_text(raw, limits::text_bytes);
  if (!clean.empty()) value(property).set_text(std::move(clean));
  return *this;
}

Row& Row::number(std::string_view property, std::optional<std::uint64_t> number) {
  if (number) value(property).set_unsigned_integer(*number);
  return *this;
}

Row& Row::signed_number(std::string_view property, std::optional<std::int64_t> number) {
  if (number) value(property).set_integer(*number);
  return *this;
}

Row& Row::flag(std::string_view property, std::optional<bool> flag) {
  if (flag) value(property).set_boolean(*flag);
  return *this;
}

Row& Row::time(std::string_view property, std::optional<std::int64_t> unix_ms) {
  if (unix_ms) value(property).set_time_ms(*unix_ms);
  return *this;
}

Row& Row::date(std::string_view property, std::optional<std::int64_t> unix_ms) {
  if (unix_ms && *unix_ms > 0 && *unix_ms < utc_ms(2199, 1, 1))
    value(property).set_date(utc_date(*unix_ms));
  return *this;
}

Row& Row::list(std::string_view property, const std::vector<std::string>& raw) {
  v1::TextList* items = nullptr;
  for (const std::string& item : raw) {
    if (items && static_cast<std::size_t>(items->items_size()) >= limits::list_items) break;
    std::string clean = clean_text(item, limits::text_bytes);
    if (clean.empty()) continue;
    if (!items) items = value(property).mutable_list();
    items->add_items(std::move(clean));
  }
  return *this;
}

Table::Table(v1::HardwareInventory& inventory, std::string_view name, std::string_view name_space,
             std::uint32_t keys, std::initializer_list<std::string_view> properties)
    : class_(*inventory.add_classes()) {
  class_.set_name(std::string(name));
  class_.set_name_space(std::string(name_space));
  for (const std::string_view property : properties) class_.add_properties(std::string(property));
  for (std::uint32_t key = 0; key < keys; ++key) class_.add_key_properties(key);
}

void Table::churning(std::initializer_list<std::string_view> properties) {
  for (const std::string_view property : properties) {
    const auto found = std::find(class_.properties().begin(), class_.properties().end(), property);
    GREENGATE_CHECK(found != class_.properties().end(), "only properties that the class declares churn");
    class_.add_churning_properties(static_cast<std::uint32_t>(found - class_.properties().begin()));
  }
}

void keep_named_once(v1::InventoryClass& one) {
  std::unordered_set<std::string> seen;
  int kept = 0;
  for (int i = 0; i < one.instances_size(); ++i) {
    const v1::InventoryInstance& row = one.instances(i);
    std::string name;
    bool named = true;
    for (const std::uint32_t key : one.key_properties()) {
      const int column = static_cast<int>(key);
      named = named && column < row.values_size() &&
              row.values(column).kind_case() != v1::Value::KIND_NOT_SET;
      if (named) row.values(column).AppendToString(&name);
    }
    if (!named || !seen.insert(std::move(name)).second) continue;
    if (kept != i) one.mutable_instances()->SwapElements(kept, i);
    ++kept;
  }
  one.mutable_instances()->DeleteSubrange(kept, one.instances_size() - kept);
}

std::optional<Row> Table::add(std::size_t rows_max) {
  if (static_cast<std::size_t>(class_.instances_size()) >= rows_max) {
    if (!cut_) {
      static const Log log("inventory");
      log.warn("inventory class cut at its bound", kv("class", class_.name()),
               kv("rows", rows_max));
    }
    cut_ = true;
    return std::nullopt;
  }
  return Row(class_, *class_.add_instances());
}

}  // namespace greengate::agent
