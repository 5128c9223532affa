#include "workers/inventory_state.h"

#include "adapters/mp/file_names.h"
#include "adapters/mp/utf16.h"
#include "adapters/mp/wire_time.h"

#include "greengate/v1/report.pb.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <limits>
#include <span>
#include <unordered_map>
#include <unordered_set>

namespace greengate::workers {
namespace {

using google::protobuf::Arena;
using google::protobuf::io::CodedInputStream;
using google::protobuf::internal::WireFormatLite;

// A body this small cannot grow, two bytes an object, into more than some thirty MiB; it is not counted beforehand.
constexpr std::size_t counted_from_bytes = 1u << 20;

// Ends each part of a key; XML cannot hold it, so no part does.
constexpr char key_end = '\0';

// `nested`: the field that holds further messages, level by level. False: too many, or not protobuf.
bool count_parts(CodedInputStream& in, std::span<const int> nested, std::size_t& left) {
  while (const std::uint32_t tag = in.ReadTag()) {
    if (left == 0) return false;
    --left;
    const bool goes_on = !nested.empty() && WireFormatLite::GetTagFieldNumber(tag) == nested.front() &&
                         WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    if (!goes_on) {
      if (!WireFormatLite::SkipField(&in, tag)) return false;
      continue;
    }
    int bytes = 0;
    if (!in.ReadVarintSizeAsInt(&bytes)) return false;
    const auto outer = in.PushLimit(bytes);
    if (!count_parts(in, nested.subspan(1), left)) return false;
    in.PopLimit(outer);
  }
  return in.ConsumedEntireMessage() || in.BytesUntilLimit() == 0;
}

template <class State>
Result<State*> parse(std::string_view body, Arena& arena, std::span<const int> nested, const char* name) {
  const auto malformed = [&] {
    return fail(Remedy::reject, "report.malformed", std::string("the report's body is not a ") + name + " message.");
  };
  if (body.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) return malformed();
  if (body.size() > counted_from_bytes) {
    CodedInputStream in(reinterpret_cast<const std::uint8_t*>(body.data()), static_cast<int>(body.size()));
    std::size_t left = inventory_parts_max;
    const bool sound = count_parts(in, nested, left);
    if (!sound && left != 0) return malformed();
    if (!sound) {
      return fail(Remedy::reject, "inventory.too_large",
                  std::string("the ") + name + " holds more than " + std::to_string(inventory_parts_max) + " instances and values.");
    }
  }
  auto* state = Arena::CreateMessage<State>(&arena);
  if (!state->ParseFromArray(body.data(), static_cast<int>(body.size()))) return malformed();
  return state;
}

std::string shown(std::string_view name) {
  std::string out = "\"";
  for (const char c : name.substr(0, 60)) out.push_back(c >= 0x20 && c < 0x7f ? c : '?');
  return out + "\"";
}

void append_text(std::string& to, std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  if (plain) {
    to += text;
    return;
  }
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (adapters::allowed_in_xml(adapters::next_code_point(text, at))) to += text.substr(begin, at - begin);
  }
}

// As the site will read it; nothing for what does not reach it.
void append_value(std::string& to, const v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::kText: return append_text(to, value.text());
    case v1::Value::kInteger: to += std::to_string(value.integer()); return;
    case v1::Value::kUnsignedInteger: to += std::to_string(value.unsigned_integer()); return;
    case v1::Value::kBoolean: to += value.boolean() ? '1' : '0'; return;
    case v1::Value::kDate: return append_text(to, value.date());
    case v1::Value::kTimeMs: to += adapters::cim_datetime(value.time_ms()).value_or(""); return;
    case v1::Value::kList:
      for (const std::string& item : value.list().items()) {
        append_text(to, item);
        to += key_end;
      }
      return;
    case v1::Value::KIND_NOT_SET: return;
  }
}

bool same_columns(const v1::InventoryClass& a, const v1::InventoryClass& b) {
  return std::equal(a.properties().begin(), a.properties().end(), b.properties().begin(), b.properties().end());
}
bool same_shape(const v1::InventoryClass& a, const v1::InventoryClass& b) {
  return a.name_space() == b.name_space() && same_columns(a, b) &&
         std::equal(a.key_properties().begin(), a.key_properties().end(), b.key_properties().begin(), b.key_properties().end());
}

Result<void> check_shape(const v1::InventoryClass& one) {
  const auto refuse = [&](std::string_view why) {
    return fail(Remedy::reject, "inventory.shape", "class " + shown(one.name()) + " " + std::string(why) + ".");
  };
  if (one.properties_size() > inventory_columns_max) return refuse("has too many properties");
  std::unordered_set<std::string_view> names;
  for (const std::string& name : one.properties()) {
    if (!names.insert(name).second) return refuse("has a property twice");
  }
  const auto columns = static_cast<std::uint32_t>(one.properties_size());
  const auto outside = [&](std::uint32_t column) { return column >= columns; };
  if (one.key_properties_size() > one.properties_size() || std::any_of(one.key_properties().begin(), one.key_properties().end(), outside)) {
    return refuse("names a key property it does not have");
  }
  if (one.churning_properties_size() > one.properties_size() ||
      std::any_of(one.churning_properties().begin(), one.churning_properties().end(), outside)) {
    return refuse("names a churning property it does not have");
  }
  for (const auto& instance : one.instances()) {
    if (instance.values_size() > one.properties_size()) return refuse("has an instance with more values than properties");
  }
  return {};
}

// Tables of one class become one. True when there was something to join.
Result<bool> join_classes(v1::HardwareInventory& state) {
  std::unordered_map<std::string_view, v1::InventoryClass*> first_of;
  bool joined = false;
  int kept = 0;
  for (int i = 0; i < state.classes_size(); ++i) {
    v1::InventoryClass& one = *state.mutable_classes(i);
    if (auto sound = check_shape(one); !sound) return pass(sound);
    const auto [first, is_first] = first_of.try_emplace(one.name(), &one);
    if (is_first) {
      if (kept != i) state.mutable_classes()->SwapElements(kept, i);
      ++kept;
      continue;
    }
    if (!same_shape(*first->second, one)) {
      return fail(Remedy::reject, "inventory.class_conflict", "class " + shown(one.name()) + " is there twice, in two shapes.");
    }
    for (v1::InventoryInstance& instance : *one.mutable_instances()) first->second->add_instances()->Swap(&instance);
    joined = true;
  }
  state.mutable_classes()->DeleteSubrange(kept, state.classes_size() - kept);
  return joined;
}

// Keeps what `key` names, once. Answers how many went.
template <class Rows, class Key>
std::uint32_t keep_named_once(Rows& rows, const Key& key) {
  std::unordered_set<std::string> seen;
  seen.reserve(static_cast<std::size_t>(rows.size()));
  int kept = 0;
  for (int i = 0; i < rows.size(); ++i) {
    std::string name = key(rows.Get(i));
    if (name.empty() || !seen.insert(std::move(name)).second) continue;
    if (kept != i) rows.SwapElements(kept, i);
    ++kept;
  }
  const int dropped = rows.size() - kept;
  rows.DeleteSubrange(kept, dropped);
  return static_cast<std::uint32_t>(dropped);
}

bool lacks_a_key(std::span<const int> keys, const v1::InventoryInstance& instance) {
  return std::any_of(keys.begin(), keys.end(), [&](int column) { return is_absent(value_at(instance, column)); });
}

}  // namespace

Result<ParsedState<v1::HardwareInventory>> parse_hardware(std::string_view body, Arena& arena, StateOrigin origin) {
  static constexpr int nested[] = {v1::HardwareInventory::kClassesFieldNumber, v1::InventoryClass::kInstancesFieldNumber,
                                   v1::InventoryInstance::kValuesFieldNumber, v1::Value::kListFieldNumber};
  auto parsed = parse<v1::HardwareInventory>(body, arena, nested, "HardwareInventory");
  if (!parsed) return pass(parsed);
  v1::HardwareInventory& state = **parsed;
  if (state.classes_size() > inventory_classes_max) {
    return fail(Remedy::reject, "inventory.too_large", "the inventory has more than " + std::to_string(inventory_classes_max) + " classes.");
  }
  auto joined = join_classes(state);
  if (!joined) return pass(joined);
  std::uint32_t dropped = 0;
  for (v1::InventoryClass& one : *state.mutable_classes()) {
    const std::vector<int> keys = key_columns(one);
    if (origin == StateOrigin::baseline || keys.empty()) continue;
    dropped += keep_named_once(*one.mutable_instances(), [&](const v1::InventoryInstance& instance) {
      return lacks_a_key(keys, instance) ? std::string() : key_of(keys, instance);
    });
  }
  return ParsedState<v1::HardwareInventory>{&state, dropped, dropped == 0 && !*joined};
}

Result<ParsedState<v1::SoftwareInventory>> parse_software(std::string_view body, Arena& arena, StateOrigin origin) {
  static constexpr int nested[] = {v1::SoftwareInventory::kFilesFieldNumber};
  auto parsed = parse<v1::SoftwareInventory>(body, arena, nested, "SoftwareInventory");
  if (!parsed) return pass(parsed);
  v1::SoftwareInventory& state = **parsed;
  if (origin == StateOrigin::baseline) return ParsedState<v1::SoftwareInventory>{&state, 0, true};
  const std::uint32_t dropped = keep_named_once(*state.mutable_files(), [](const v1::SoftwareFile& file) {
    // A name no file can have would have the whole list refused when it is written.
    return adapters::check_file_name("inventory.file", file.name(), file.path()) ? key_of(file) : std::string();
  });
  return ParsedState<v1::SoftwareInventory>{&state, dropped, dropped == 0};
}

std::vector<int> key_columns(const v1::InventoryClass& shape) {
  std::vector<int> columns(shape.key_properties().begin(), shape.key_properties().end());
  std::sort(columns.begin(), columns.end(), [&](int a, int b) { return shape.properties(a) < shape.properties(b); });
  columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
  return columns;
}

std::string key_of(std::span<const int> key_columns, const v1::InventoryInstance& instance) {
  std::string key;
  for (const int column : key_columns) {
    append_value(key, value_at(instance, column));
    key += key_end;
  }
  return key;
}

std::string key_of(const v1::SoftwareFile& file) {
  return adapters::printable_name(file.path()) + key_end + adapters::printable_name(file.name());
}

bool is_absent(const v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::KIND_NOT_SET: return true;
    case v1::Value::kList: return value.list().items_size() == 0;
    case v1::Value::kTimeMs: return !adapters::cim_datetime(value.time_ms());
    default: return false;
  }
}

bool same_value(const v1::Value& a, const v1::Value& b) {
  if (a.kind_case() == b.kind_case()) {
    switch (a.kind_case()) {
      case v1::Value::kText:
        if (a.text() == b.text()) return true;
        break;
      case v1::Value::kInteger: return a.integer() == b.integer();
      case v1::Value::kUnsignedInteger: return a.unsigned_integer() == b.unsigned_integer();
      case v1::Value::kBoolean: return a.boolean() == b.boolean();
      case v1::Value::kTimeMs:
        if (a.time_ms() == b.time_ms()) return true;
        break;
      case v1::Value::KIND_NOT_SET: return true;
      default: break;
    }
  }
  if (is_absent(a) || is_absent(b)) return is_absent(a) && is_absent(b);
  // Of different make they can still be the same to the site: a number and its digits.
  std::string left, right;
  append_value(left, a);
  append_value(right, b);
  const bool list = a.kind_case() == v1::Value::kList, other_list = b.kind_case() == v1::Value::kList;
  if (list != other_list) (list ? right : left) += key_end;  // a list of one is that one
  return left == right;
}

const v1::Value& value_at(const v1::InventoryInstance& instance, int column) {
  return column < instance.values_size() ? instance.values(column) : v1::Value::default_instance();
}

std::size_t rows_of(const v1::HardwareInventory& state) {
  std::size_t rows = 0;
  for (const auto& one : state.classes()) rows += static_cast<std::size_t>(one.instances_size());
  return rows;
}

std::size_t rows_of(const v1::SoftwareInventory& state) { return static_cast<std::size_t>(state.files_size()); }

}  // namespace greengate::workers
