#include "agent/inventory_view.h"

#include "agent/collectors/text.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

namespace greengate::agent {
namespace {

constexpr std::size_t rows_shown = 12;  // of a long class, unless everything is wanted
constexpr std::size_t column_width_max = 44;

std::string iso_time(std::int64_t ms) {
  const std::chrono::sys_time<std::chrono::milliseconds> time{std::chrono::milliseconds(ms)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{std::chrono::floor<std::chrono::seconds>(time - day)};
  char text[32];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()));
  return text;
}

bool same_name(std::string_view a, std::string_view b) {
  return upper(a) == upper(b);
}

bool wanted(const InventoryViewOptions& options, const v1::InventoryClass& one) {
  return options.class_name.empty() || same_name(options.class_name, one.name());
}

bool known(const v1::Value& value) {
  return value.kind_case() != v1::Value::KIND_NOT_SET;
}

std::string shown(const v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::kText:
      return value.text();
    case v1::Value::kInteger:
      return std::to_string(value.integer());
    case v1::Value::kUnsignedInteger:
      return std::to_string(value.unsigned_integer());
    case v1::Value::kBoolean:
      return value.boolean() ? "yes" : "no";
    case v1::Value::kTimeMs:
      return iso_time(value.time_ms());
    case v1::Value::kDate: {
      const std::string& date = value.date();
      return date.size() == 8 ? date.substr(0, 4) + "-" + date.substr(4, 2) + "-" + date.substr(6)
                              : date;
    }
    case v1::Value::kList: {
      std::string all;
      for (const std::string& item : value.list().items()) all += (all.empty() ? "" : ", ") + item;
      return all;
    }
    case v1::Value::KIND_NOT_SET:
      break;
  }
  return {};
}

bool is_number(const v1::Value& value) {
  return value.kind_case() == v1::Value::kInteger ||
         value.kind_case() == v1::Value::kUnsignedInteger;
}

// Characters, not bytes: good enough to align what is not combined or wide.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string shortened(const std::string& text, std::size_t width) {
  if (width_of(text) <= width) return text;
  std::string cut;
  std::size_t taken = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80 && ++taken >= width) break;
    cut += c;
  }
  return cut + "…";
}

void pad(std::string& out, std::size_t by) {
  out.append(by, ' ');
}

// A property's value in one instance; nothing beyond the end of a short row.
const v1::Value* value_at(const v1::InventoryInstance& row, int column) {
  return column < row.values_size() && known(row.values(column)) ? &row.values(column) : nullptr;
}

// "Name  value", one a line.
void print_as_list(std::string& out, const v1::InventoryClass& one,
                   const v1::InventoryInstance& row, const InventoryViewOptions& options) {
  std::size_t widest = 0;
  for (const std::string& property : one.properties()) widest = std::max(widest, property.size());
  for (int column = 0; column < one.properties_size(); ++column) {
    const v1::Value* value = value_at(row, column);
    if (!value) continue;
    const std::string& property = one.properties(column);
    out += "  " + property;
    pad(out, widest - property.size() + 2);
    const std::size_t room = options.columns > widest + 14 ? options.columns - widest - 4 : 10;
    out += options.full ? shown(*value) : shortened(shown(*value), room);
    out += '\n';
  }
}

// What people look for first; the other columns are there with --full.
std::vector<std::string_view> main_columns(std::string_view class_name) {
  if (class_name == "Win32_DiskDrive")
    return {"DeviceID", "Model", "Size", "InterfaceType", "Partitions", "Status"};
  if (class_name == "Win32_DiskPartition")
    return {"DeviceID", "Size", "Type", "StartingOffset", "Bootable"};
  if (class_name == "SMS_LogicalDisk")
    return {"DeviceID", "Name", "FileSystem", "Size", "FreeSpace", "Description"};
  if (class_name == "SMS_Processor")
    return {"DeviceID", "Name", "NumberOfCores", "NumberOfLogicalProcessors", "MaxClockSpeed"};
  if (class_name == "Win32_NetworkAdapter")
    return {"Index", "Name", "MACAddress", "Speed", "ServiceName", "Description"};
  if (class_name == "Win32_NetworkAdapterConfiguration")
    return {"Index", "SettingID", "IPAddress", "IPSubnet", "DefaultIPGateway", "DHCPEnabled"};
  if (class_name == "Win32_Process")
    return {"ProcessId", "Name", "CreationDate", "WorkingSetSize", "ThreadCount", "ExecutablePath"};
  if (class_name == "Win32_Service")
    return {"Name", "State", "StartMode", "ProcessId", "DisplayName"};
  if (class_name == "Win32Reg_AddRemovePrograms")
    return {"ProdID", "Version", "InstallDate", "Publisher"};
  return {};
}

void print_as_columns(std::string& out, const v1::InventoryClass& one, int rows) {
  struct Column {
    int index;
    std::size_t width;
    bool right = true;  // numbers stand right
  };
  std::vector<Column> columns;
  for (const std::string_view name : main_columns(one.name())) {
    for (int i = 0; i < one.properties_size(); ++i) {
      if (one.properties(i) == name) columns.push_back({i, name.size()});
    }
  }
  for (int i = 0; columns.empty() && i < std::min(one.properties_size(), 5); ++i)
    columns.push_back({i, one.properties(i).size()});
  for (Column& column : columns) {
    for (int row = 0; row < rows; ++row) {
      const v1::Value* value = value_at(one.instances(row), column.index);
      if (!value) continue;
      column.width = std::max(column.width, std::min(width_of(shown(*value)), column_width_max));
      column.right = column.right && is_number(*value);
    }
  }
  const auto print_cell = [&](const Column& column, const std::string& text, bool last) {
    const std::string cell = shortened(text, last ? column_width_max : column.width);
    const std::size_t space = column.width - std::min(column.width, width_of(cell));
    out += "  ";
    if (column.right) pad(out, space);
    out += cell;
    if (!column.right && !last) pad(out, space);
  };
  for (const Column& column : columns)
    print_cell(column, one.properties(column.index), &column == &columns.back());
  out += '\n';
  for (int row = 0; row < rows; ++row) {
    for (const Column& column : columns) {
      const v1::Value* value = value_at(one.instances(row), column.index);
      print_cell(column, value ? shown(*value) : "-", &column == &columns.back());
    }
    while (out.ends_with(' ')) out.pop_back();
    out += '\n';
  }
}

void print_class(std::string& out, const v1::InventoryClass& one,
                 const InventoryViewOptions& options) {
  const int count = one.instances_size();
  out += "\n" + one.name();
  out +=
      count == 1 ? "\n" : " (" + (count == 0 ? std::string("none") : std::to_string(count)) + ")\n";
  if (count == 1 || options.full) {
    for (int row = 0; row < count; ++row) {
      if (row > 0) out += '\n';
      print_as_list(out, one, one.instances(row), options);
    }
    return;
  }
  if (count == 0) return;
  const bool all = !options.class_name.empty() || count <= static_cast<int>(rows_shown) + 1;
  const int rows = all ? count : static_cast<int>(rows_shown);
  print_as_columns(out, one, rows);
  if (!all)
    out += "  … and " + std::to_string(count - rows) + " more (--full, or --class " + one.name() +
           ")\n";
}

// ---- JSON ----

void json_text(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  out += '"';
}

void json_value(std::string& out, const v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::kInteger:
    case v1::Value::kUnsignedInteger:
      out += shown(value);
      return;
    case v1::Value::kBoolean:
      out += value.boolean() ? "true" : "false";
      return;
    case v1::Value::kList: {
      out += '[';
      for (int i = 0; i < value.list().items_size(); ++i) {
        if (i > 0) out += ", ";
        json_text(out, value.list().items(i));
      }
      out += ']';
      return;
    }
    case v1::Value::kText:
    case v1::Value::kTimeMs:
    case v1::Value::kDate:
      json_text(out, shown(value));
      return;
    case v1::Value::KIND_NOT_SET:
      out += "null";
      return;
  }
}

void json_class(std::string& out, const v1::InventoryClass& one) {
  out += "    ";
  json_text(out, one.name());
  out += ": [";
  for (int row = 0; row < one.instances_size(); ++row) {
    out += row == 0 ? "\n      {" : ",\n      {";
    bool first = true;
    for (int column = 0; column < one.properties_size(); ++column) {
      const v1::Value* value = value_at(one.instances(row), column);
      if (!value) continue;
      if (!first) out += ", ";
      first = false;
      json_text(out, one.properties(column));
      out += ": ";
      json_value(out, *value);
    }
    out += '}';
  }
  out += one.instances_size() > 0 ? "\n    ]" : "]";
}

// What a class is made of, for whoever must describe it to the site: names, keys and each property's type. A property that no
// instance has is a text.
void json_shape(std::string& out, const v1::InventoryClass& one) {
  const auto type_of = [&](int column) {
    for (const v1::InventoryInstance& row : one.instances()) {
      const v1::Value* value = value_at(row, column);
      if (!value) continue;
      switch (value->kind_case()) {
        case v1::Value::kInteger:
          return "integer";
        case v1::Value::kUnsignedInteger:
          return "unsigned";
        case v1::Value::kBoolean:
          return "boolean";
        case v1::Value::kTimeMs:
          return "datetime";
        case v1::Value::kList:
          return "list";
        default:
          return "string";
      }
    }
    return "string";
  };
  out += "    ";
  json_text(out, one.name());
  out += ": {\"class\": ";
  json_text(out, one.name());
  out += ", \"namespace\": ";
  json_text(out, one.name_space().empty() ? "root\\cimv2" : one.name_space());
  out += ", \"keys\": [";
  for (int i = 0; i < one.key_properties_size(); ++i) {
    if (static_cast<int>(one.key_properties(i)) >= one.properties_size()) continue;
    if (i > 0) out += ", ";
    json_text(out, one.properties(static_cast<int>(one.key_properties(i))));
  }
  out += "], \"properties\": {";
  for (int column = 0; column < one.properties_size(); ++column) {
    if (column > 0) out += ", ";
    json_text(out, one.properties(column));
    out += std::string(": \"") + type_of(column) + '"';
  }
  out += "}}";
}

// Name and value of each known fact, in one order for people and scripts.
std::vector<std::pair<const char*, std::string>> facts_of(const v1::Discovery& discovery) {
  std::vector<std::pair<const char*, std::string>> facts = {
      {"host_name", discovery.host_name()},
      {"fqdn", discovery.fqdn()},
      {"domain", discovery.domain()},
      {"operating_system", discovery.operating_system()},
      {"kernel", discovery.kernel()},
      {"architecture", discovery.architecture()},
      {"manufacturer", discovery.manufacturer()},
      {"model", discovery.model()},
      {"serial_number", discovery.serial_number()},
      {"system_uuid", discovery.system_uuid()},
      {"product_version", discovery.product_version()},
      {"agent_version", discovery.agent_version()}};
  std::erase_if(facts, [](const auto& fact) { return fact.second.empty(); });
  return facts;
}

}  // namespace

std::string inventory_table(const v1::HardwareInventory& inventory, const v1::Discovery& discovery,
                            const InventoryViewOptions& options) {
  std::string out;
  if (options.class_name.empty()) {
    for (const auto& [name, value] : facts_of(discovery)) {
      std::string label = name;
      std::replace(label.begin(), label.end(), '_', ' ');
      out += label;
      pad(out, 18 - std::min<std::size_t>(label.size(), 17));
      out += value + '\n';
    }
    for (const v1::NetworkAddress& address : discovery.addresses()) {
      out += "address           " + address.address() + "/" +
             std::to_string(address.prefix_length()) + " on " + address.interface() +
             (address.mac().empty() ? "" : " (" + address.mac() + ")") + '\n';
    }
  }
  for (const v1::InventoryClass& one : inventory.classes()) {
    if (wanted(options, one)) print_class(out, one, options);
  }
  return out;
}

std::string inventory_json(const v1::HardwareInventory& inventory, const v1::Discovery& discovery,
                           const InventoryViewOptions& options) {
  std::string out = "{\n  \"collected_at\": ";
  json_text(out, iso_time(inventory.collected_at_ms()));
  out += ",\n  \"discovery\": {";
  for (const auto& [name, value] : facts_of(discovery)) {
    json_text(out, name);
    out += ": ";
    json_text(out, value);
    out += ", ";
  }
  out += "\"addresses\": [";
  for (int i = 0; i < discovery.addresses_size(); ++i) {
    const v1::NetworkAddress& address = discovery.addresses(i);
    out += i == 0 ? "\n    {\"interface\": " : ",\n    {\"interface\": ";
    json_text(out, address.interface());
    out += ", \"index\": " + std::to_string(address.index()) + ", \"mac\": ";
    json_text(out, address.mac());
    out += ", \"address\": ";
    json_text(out, address.address());
    out += ", \"subnet\": ";
    json_text(out, address.subnet());
    out += ", \"prefix_length\": " + std::to_string(address.prefix_length()) + "}";
  }
  out += "]},\n  \"classes\": {";
  bool first = true;
  for (const v1::InventoryClass& one : inventory.classes()) {
    if (!wanted(options, one)) continue;
    out += first ? "\n" : ",\n";
    first = false;
    json_class(out, one);
  }
  out += first ? "}" : "\n  }";
  if (options.class_name.empty()) return out + "\n}\n";
  out += ",\n  \"shapes\": {";
  first = true;
  for (const v1::InventoryClass& one : inventory.classes()) {
    if (!wanted(options, one)) continue;
    out += first ? "\n" : ",\n";
    first = false;
    json_shape(out, one);
  }
  out += first ? "}\n}\n" : "\n  }\n}\n";
  return out;
}

}  // namespace greengate::agent
