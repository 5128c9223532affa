#include "workers/inventory_delta.h"

#include "adapters/mp/xml_writer.h"
#include "workers/inventory_state.h"

#include "greengate/v1/report.pb.h"

#include <algorithm>
#include <unordered_map>

namespace greengate::workers {
namespace {

constexpr int nowhere = -1;
constexpr std::size_t joined_bytes_max = 32u << 20;

// How the columns of two tables of one class stand to each other.
struct Columns {
  struct Shared {
    int was = nowhere;  ///< nowhere: the old table has no such column.
    bool churns = false;
  };
  std::vector<Shared> of_new;  ///< One a column of the new table.
  std::vector<int> gone;       ///< Columns of the old table that the new one does not have.
};

Columns match(const v1::InventoryClass& was, const v1::InventoryClass& is, const Churn& churn) {
  std::unordered_map<std::string_view, int> places;
  for (int i = 0; i < was.properties_size(); ++i) places.emplace(was.properties(i), i);
  Columns columns;
  for (int i = 0; i < is.properties_size(); ++i) {
    const std::string& name = is.properties(i);
    const auto place = places.find(name);
    columns.of_new.push_back({place == places.end() ? nowhere : place->second, churn.has(is.name(), name)});
    if (place != places.end()) places.erase(place);
  }
  for (const std::uint32_t column : is.churning_properties()) columns.of_new[column].churns = true;
  for (const std::uint32_t column : is.key_properties()) columns.of_new[column].churns = false;
  for (const auto& [name, place] : places) columns.gone.push_back(place);
  return columns;
}

bool same_row(const Columns& columns, const v1::InventoryInstance& was, const v1::InventoryInstance& is) {
  for (int i = 0; i < static_cast<int>(columns.of_new.size()); ++i) {
    const auto [old_column, churns] = columns.of_new[static_cast<std::size_t>(i)];
    if (old_column == nowhere) {
      if (!is_absent(value_at(is, i))) return false;
    } else if (!churns && !same_value(value_at(was, old_column), value_at(is, i))) {
      return false;
    }
  }
  return std::all_of(columns.gone.begin(), columns.gone.end(), [&](int column) { return is_absent(value_at(was, column)); });
}

bool same_keys(const v1::InventoryClass& was, const v1::InventoryClass& is) {
  const std::vector<int> old_keys = key_columns(was), new_keys = key_columns(is);
  return std::equal(old_keys.begin(), old_keys.end(), new_keys.begin(), new_keys.end(),
                    [&](int a, int b) { return was.properties(a) == is.properties(b); });
}

// Rows without keys in an order that their churning values do not change, so that two tables can be held side by side.
std::vector<int> by_content(const Columns& columns, const v1::InventoryClass& one, bool is_new) {
  std::vector<int> compared;
  for (int i = 0; i < static_cast<int>(columns.of_new.size()); ++i) {
    const auto [old_column, churns] = columns.of_new[static_cast<std::size_t>(i)];
    if (old_column != nowhere && !churns) compared.push_back(is_new ? i : old_column);
  }
  std::vector<std::pair<std::string, int>> rows;
  for (int i = 0; i < one.instances_size(); ++i) rows.emplace_back(key_of(compared, one.instances(i)), i);
  std::sort(rows.begin(), rows.end());
  std::vector<int> order;
  for (const auto& [content, row] : rows) order.push_back(row);
  return order;
}

// Instances without keys are all alike to a site: one can be told from none, and told anew; more can only be the same as before.
bool compare_keyless(const Columns& columns, const v1::InventoryClass& was, const v1::InventoryClass& is, ClassChanges& changes) {
  if (was.instances_size() > 1 || is.instances_size() > 1) {
    const std::vector<int> old_rows = by_content(columns, was, false), new_rows = by_content(columns, is, true);
    return std::equal(old_rows.begin(), old_rows.end(), new_rows.begin(), new_rows.end(),
                      [&](int a, int b) { return same_row(columns, was.instances(a), is.instances(b)); });
  }
  if (is.instances_size() == 0) return was.instances_size() == 0;
  if (was.instances_size() == 0) {
    changes.added.push_back(&is.instances(0));
  } else if (!same_row(columns, was.instances(0), is.instances(0))) {
    changes.updated.push_back(&is.instances(0));
  }
  return true;
}

using RowsByKey = std::unordered_map<std::string, int>;

RowsByKey rows_by_key(const v1::InventoryClass& one) {
  const std::vector<int> keys = key_columns(one);
  RowsByKey rows;
  rows.reserve(static_cast<std::size_t>(one.instances_size()));
  for (int i = 0; i < one.instances_size(); ++i) rows.try_emplace(key_of(keys, one.instances(i)), i);
  return rows;
}

void compare_keyed(const Columns& columns, const v1::InventoryClass& was, const v1::InventoryClass& is, ClassChanges& changes) {
  const RowsByKey old_rows = rows_by_key(was);
  std::vector<bool> still_there(static_cast<std::size_t>(was.instances_size()), false);
  const std::vector<int> keys = key_columns(is);
  for (const v1::InventoryInstance& row : is.instances()) {
    const auto old_row = old_rows.find(key_of(keys, row));
    if (old_row == old_rows.end()) {
      changes.added.push_back(&row);
      continue;
    }
    still_there[static_cast<std::size_t>(old_row->second)] = true;
    if (!same_row(columns, was.instances(old_row->second), row)) changes.updated.push_back(&row);
  }
  for (int i = 0; i < was.instances_size(); ++i) {
    if (!still_there[static_cast<std::size_t>(i)]) changes.deleted.push_back(&was.instances(i));
  }
}

std::unordered_map<std::string_view, int> places_of(const v1::HardwareInventory& state) {
  std::unordered_map<std::string_view, int> places;
  for (int i = 0; i < state.classes_size(); ++i) places.emplace(state.classes(i).name(), i);
  return places;
}

bool same_file(const v1::SoftwareFile& a, const v1::SoftwareFile& b) {
  return a.size() == b.size() && a.modified_ms() == b.modified_ms() && a.company_name() == b.company_name() &&
         a.product_name() == b.product_name() && a.product_version() == b.product_version() &&
         a.product_language() == b.product_language() && a.file_version() == b.file_version() &&
         a.file_description() == b.file_description();
}

// Which old row each new one is: by key, or, without keys, side by side as compare_keyless() held them.
std::vector<std::pair<int, int>> pairs(const Columns& columns, const v1::InventoryClass& was, const v1::InventoryClass& is) {
  std::vector<std::pair<int, int>> found;
  if (is.key_properties_size() == 0) {
    const std::vector<int> old_rows = by_content(columns, was, false), new_rows = by_content(columns, is, true);
    for (std::size_t i = 0; i < std::min(old_rows.size(), new_rows.size()); ++i) found.emplace_back(old_rows[i], new_rows[i]);
    return found;
  }
  const RowsByKey old_rows = rows_by_key(was);
  const std::vector<int> keys = key_columns(is);
  for (int i = 0; i < is.instances_size(); ++i) {
    const auto old_row = old_rows.find(key_of(keys, is.instances(i)));
    if (old_row != old_rows.end()) found.emplace_back(old_row->second, i);
  }
  return found;
}

// One row whose churning values alone may differ becomes what the site has. True when they did.
bool keep_unsent_row(const Columns& columns, v1::InventoryInstance& was, v1::InventoryInstance& is) {
  bool kept = false;
  for (int i = 0; i < static_cast<int>(columns.of_new.size()); ++i) {
    const auto [old_column, churns] = columns.of_new[static_cast<std::size_t>(i)];
    if (old_column == nowhere || !churns || same_value(value_at(was, old_column), value_at(is, i))) continue;
    while (is.values_size() <= i) is.add_values();
    if (old_column < was.values_size()) {
      is.mutable_values(i)->Swap(was.mutable_values(old_column));
    } else {
      is.mutable_values(i)->Clear();
    }
    kept = true;
  }
  return kept;
}

}  // namespace

Churn::Churn(const std::vector<std::string>& properties) {
  for (const std::string& one : properties) {
    const auto dot = one.find('.');
    if (dot != std::string::npos) properties_.emplace(one.substr(0, dot), one.substr(dot + 1));
  }
}

std::vector<ConfigProblem> churn_problems(const std::string& key, const std::vector<std::string>& properties) {
  std::vector<ConfigProblem> found;
  for (const std::string& one : properties) {
    const auto dot = one.find('.');
    const bool sound = dot != std::string::npos && adapters::is_wmi_name(one.substr(0, dot)) && adapters::is_wmi_name(one.substr(dot + 1));
    if (!sound) found.push_back({key, key + " holds \"" + one + "\"; each entry is a class, a dot and one of its properties."});
  }
  return found;
}

HardwareChanges compare(const v1::HardwareInventory& was, const v1::HardwareInventory& is, const Churn& churn) {
  static const v1::InventoryClass none;
  HardwareChanges all;
  const auto places = places_of(was);
  for (const v1::InventoryClass& now : is.classes()) {
    const auto place = places.find(now.name());
    const v1::InventoryClass& before = place == places.end() ? none : was.classes(place->second);
    if (&before != &none && (!same_keys(before, now) || before.name_space() != now.name_space())) {
      all.can_be_told = false;
      return all;
    }
    const Columns columns = match(before, now, churn);
    ClassChanges changes{&before == &none ? nullptr : &before, &now, {}, {}, {}};
    if (now.key_properties_size() != 0) {
      compare_keyed(columns, before, now, changes);
    } else if (!compare_keyless(columns, before, now, changes)) {
      all.can_be_told = false;
      return all;
    }
    const std::size_t rows = changes.deleted.size() + changes.updated.size() + changes.added.size();
    if (rows == 0) continue;
    all.rows += rows;
    all.classes.push_back(std::move(changes));
  }
  return all;
}

SoftwareChanges compare(const v1::SoftwareInventory& was, const v1::SoftwareInventory& is, const Churn&) {
  SoftwareChanges all;
  std::unordered_map<std::string, int> old_files;
  old_files.reserve(static_cast<std::size_t>(was.files_size()));
  for (int i = 0; i < was.files_size(); ++i) old_files.try_emplace(key_of(was.files(i)), i);
  std::vector<bool> still_there(static_cast<std::size_t>(was.files_size()), false);
  for (const v1::SoftwareFile& file : is.files()) {
    const auto old_file = old_files.find(key_of(file));
    if (old_file == old_files.end()) {
      all.added.push_back(&file);
      continue;
    }
    still_there[static_cast<std::size_t>(old_file->second)] = true;
    if (!same_file(was.files(old_file->second), file)) all.updated.push_back(&file);
  }
  for (int i = 0; i < was.files_size(); ++i) {
    if (!still_there[static_cast<std::size_t>(i)]) all.deleted.push_back(&was.files(i));
  }
  all.rows = all.deleted.size() + all.updated.size() + all.added.size();
  return all;
}

bool fits_together(const v1::HardwareInventory& was, const v1::HardwareInventory& is) {
  const auto spoken = places_of(is);
  int classes = is.classes_size();
  std::size_t bytes = 0;
  for (const v1::InventoryClass& one : was.classes()) {
    if (spoken.contains(one.name())) continue;
    ++classes;
    bytes += one.ByteSizeLong();
  }
  return bytes == 0 || (classes <= inventory_classes_max && bytes + is.ByteSizeLong() <= joined_bytes_max);
}

bool fits_together(const v1::SoftwareInventory&, const v1::SoftwareInventory&) { return true; }

std::size_t keep_unspoken(v1::HardwareInventory& was, v1::HardwareInventory& is) {
  const auto spoken = places_of(is);
  std::vector<v1::InventoryClass*> unspoken;
  for (v1::InventoryClass& one : *was.mutable_classes()) {
    if (!spoken.contains(one.name())) unspoken.push_back(&one);
  }
  for (v1::InventoryClass* one : unspoken) is.add_classes()->Swap(one);
  return unspoken.size();
}

std::size_t keep_unspoken(v1::SoftwareInventory&, v1::SoftwareInventory&) { return 0; }  // a file list speaks of every file

std::size_t keep_unsent(v1::HardwareInventory& was, v1::HardwareInventory& is, const Churn& churn) {
  std::size_t kept = 0;
  const auto places = places_of(was);
  for (v1::InventoryClass& now : *is.mutable_classes()) {
    const auto place = places.find(now.name());
    if (place == places.end()) continue;
    v1::InventoryClass& before = *was.mutable_classes(place->second);
    const Columns columns = match(before, now, churn);
    if (std::none_of(columns.of_new.begin(), columns.of_new.end(), [](const auto& column) { return column.churns; })) continue;
    for (const auto& [old_row, row] : pairs(columns, before, now)) {
      v1::InventoryInstance& old = *before.mutable_instances(old_row);
      v1::InventoryInstance& fresh = *now.mutable_instances(row);
      if (same_row(columns, old, fresh)) kept += keep_unsent_row(columns, old, fresh) ? 1 : 0;
    }
  }
  return kept;
}

std::size_t keep_unsent(v1::SoftwareInventory&, v1::SoftwareInventory&, const Churn&) { return 0; }

}  // namespace greengate::workers
