#include "simulators/management_point/picture.h"

#include "simulators/common/text.h"

#include <boost/json.hpp>

namespace greengate::sim {
namespace {

namespace json = boost::json;

constexpr std::int64_t row_overhead_bytes = 96;  // about what a node of the map costs

std::string packed(const Instance& instance) {
  std::string row;
  for (const auto& [name, value] : instance.properties) {
    row += name;
    row += '\0';
    row += value;
    row += '\0';
  }
  return row;
}

template <class F>
void each_property(std::string_view row, F&& f) {
  while (!row.empty()) {
    const std::size_t name_end = row.find('\0');
    if (name_end == std::string_view::npos) return;
    const std::string_view name = row.substr(0, name_end);
    row.remove_prefix(name_end + 1);
    const std::size_t value_end = row.find('\0');
    if (value_end == std::string_view::npos) return;
    f(name, row.substr(0, value_end));
    row.remove_prefix(value_end + 1);
  }
}

std::string property(std::string_view row, std::string_view wanted) {
  std::string found;
  each_property(row, [&](std::string_view name, std::string_view value) {
    if (name == wanted && found.empty()) found = std::string(value);
  });
  return found;
}

}  // namespace

Picture::Classes& Picture::classes_of(ReportKind kind) {
  if (kind == ReportKind::discovery) return discovery_;
  return kind == ReportKind::software ? software_ : hardware_;
}

void Picture::forget(Rows& rows, const std::string& key, std::int64_t& bytes_left) {
  const auto it = rows.find(key);
  if (it == rows.end()) return;
  bytes_left +=
      static_cast<std::int64_t>(it->first.size() + it->second.size()) + row_overhead_bytes;
  rows.erase(it);
}

void Picture::put(Classes& classes, const Instance& instance, std::int64_t& bytes_left) {
  Rows& rows = classes[instance.class_name];
  forget(rows, instance.key, bytes_left);
  std::string row = packed(instance);
  if (bytes_left < static_cast<std::int64_t>(row.size())) row.clear();
  bytes_left -= static_cast<std::int64_t>(instance.key.size() + row.size()) + row_overhead_bytes;
  rows.emplace(instance.key, std::move(row));
}

void Picture::apply(const Report& report, std::int64_t& bytes_left) {
  if (report.kind != ReportKind::discovery && report.kind != ReportKind::hardware &&
      report.kind != ReportKind::software)
    return;
  Classes& classes = classes_of(report.kind);
  if (!report.delta) {
    for (auto& [name, rows] : classes)
      while (!rows.empty()) forget(rows, std::string(rows.begin()->first), bytes_left);
    classes.clear();
    if (report.kind == ReportKind::hardware) hardware_whole_ = true;
    if (report.kind == ReportKind::software) software_whole_ = true;
  }
  for (const Instance& instance : report.instances) {
    if (instance.content == 'D')
      forget(classes[instance.class_name], instance.key, bytes_left);
    else
      put(classes, instance, bytes_left);
  }
}

void Picture::check(const Report& report, Findings& findings) const {
  const bool whole = report.kind == ReportKind::software ? software_whole_ : hardware_whole_;
  if (!report.delta || !whole) return;
  const Classes& classes = report.kind == ReportKind::software ? software_ : hardware_;
  for (const Instance& instance : report.instances) {
    const auto it = classes.find(instance.class_name);
    const bool held = it != classes.end() && it->second.contains(instance.key);
    if (instance.content == 'N' && held)
      findings.add("instance.row_exists", "The delta adds " + shown(instance.class_name) + " " +
                                              shown(instance.key) + ", which is there already.");
    if (instance.content != 'N' && !held)
      findings.add("instance.row_unknown", "The delta changes " + shown(instance.class_name) + " " +
                                               shown(instance.key) + ", which is not there.");
  }
}

void Picture::describe(json::object& into) const {
  const auto row = [](const Classes& classes, const char* name) -> std::string_view {
    const auto it = classes.find(name);
    return it == classes.end() || it->second.empty() ? std::string_view()
                                                     : std::string_view(it->second.begin()->second);
  };
  const auto count = [](const Classes& classes, const char* name) {
    const auto it = classes.find(name);
    return it == classes.end() ? std::size_t{0} : it->second.size();
  };
  const auto system = row(hardware_, "Win32_ComputerSystem"),
             os = row(hardware_, "Win32_OperatingSystem");
  into["name"] = property(system, "Name");
  into["manufacturer"] = property(system, "Manufacturer");
  into["model"] = property(system, "Model");
  into["os_caption"] = property(os, "Caption");
  into["os_version"] = property(os, "Version");
  into["memory_kib"] = parse_number(property(os, "TotalVisibleMemorySize")).value_or(0);
  into["cpu"] = property(row(hardware_, "SMS_Processor"), "Name");
  into["discovered_fqdn"] = property(row(discovery_, "CCM_ExtNetworkAdapterConfiguration"), "FQDN");
  json::array disks;
  constexpr std::size_t disks_shown_max = 256;
  if (const auto it = hardware_.find("SMS_LogicalDisk"); it != hardware_.end())
    for (const auto& [key, packed_row] : it->second) {
      if (disks.size() >= disks_shown_max) break;
      disks.push_back(
          json::object{{"device", key},
                       {"size_mib", parse_number(property(packed_row, "Size")).value_or(0)},
                       {"free_mib", parse_number(property(packed_row, "FreeSpace")).value_or(0)}});
    }
  into["disks"] = std::move(disks);
  into["packages"] = count(hardware_, "Win32Reg_AddRemovePrograms");
  into["services"] = count(hardware_, "Win32_Service");
  into["processes"] = count(hardware_, "Win32_Process");
  into["software_files"] = count(software_, "FileSystemFile");
  json::object counts;
  for (const auto& [name, rows] : hardware_) counts[name] = rows.size();
  into["hardware_instances"] = std::move(counts);
}

void Picture::dump(json::object& into) const {
  const auto write = [](const Classes& classes) {
    json::object all;
    for (const auto& [name, rows] : classes) {
      json::array list;
      for (const auto& [key, packed_row] : rows) {
        json::object one;
        each_property(packed_row, [&](std::string_view property_name, std::string_view value) {
          // An array comes as the same element again.
          if (auto* held = one.if_contains(property_name)) {
            if (held->is_string()) *held = json::array{*held};
            held->as_array().emplace_back(value);
          } else {
            one[property_name] = value;
          }
        });
        list.push_back(std::move(one));
      }
      all[name] = std::move(list);
    }
    return all;
  };
  into["discovery"] = write(discovery_);
  into["hardware"] = write(hardware_);
  into["software"] = write(software_);
}

}  // namespace greengate::sim
