#include "adapters/mp/mof.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <string_view>

namespace greengate::adapters {
namespace {

constexpr std::size_t name_characters_max = 64, properties_max = 1'024, label_characters_max = 128;
constexpr std::string_view line_end = "\r\n";

constexpr std::pair<std::string_view, std::string_view> types[] = {{"string", "String"},   {"integer", "SInt64"},    {"unsigned", "UInt64"},
                                                                   {"boolean", "Boolean"}, {"datetime", "DateTime"}, {"list", "String"}};

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= name_characters_max && std::isalpha(static_cast<unsigned char>(name.front())) &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x80 && (std::isalnum(c) || c == '_'); });
}

bool is_namespace(std::string_view text) {
  for (bool first = true;; first = false) {
    const std::size_t end = text.find('\\');
    const std::string_view name = text.substr(0, end);
    if (!is_name(name) || (first && name != "root" && name != "ROOT")) return false;
    if (end == std::string_view::npos) return true;
    text.remove_prefix(end + 1);
  }
}

// Stands between quotes, so it must not hold one, nor what a quoted text would unescape.
bool is_label(std::string_view text) {
  return text.size() <= label_characters_max &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '|'; });
}

std::string raised(std::string_view text) {
  std::string upper(text);
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return upper;
}

std::string quoted(const std::string& name) {
  std::string out = "\"";
  for (const char c : name.substr(0, name_characters_max)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out + "\"";
}

std::string padded(std::string_view text, std::size_t width) {
  return std::string(text) + std::string(width - std::min(width, text.size()), ' ');
}

}  // namespace

Result<std::string> mof_text(const ClassShape& shape, const MofNames& names) {
  if (!is_name(shape.name))
    return fail(Remedy::reject, "mp.mof_class", "The class is named " + quoted(shape.name) + ", which is no name for a class.");
  const std::string name_space = shape.name_space.empty() ? "root\\cimv2" : shape.name_space;
  if (!is_namespace(name_space))
    return fail(Remedy::reject, "mp.mof_namespace", "Class " + shape.name + " lies in " + quoted(name_space) + ", which is no namespace.");
  if (shape.properties.empty() || shape.properties.size() > properties_max)
    return fail(Remedy::reject, "mp.mof_property",
                "Class " + shape.name + " has " + std::to_string(shape.properties.size()) + " properties; it can have 1 to 1024.");
  std::set<std::string> seen, keys;
  for (const auto& [name, type] : shape.properties) {
    if (!is_name(name) || !seen.insert(raised(name)).second)
      return fail(Remedy::reject, "mp.mof_property", "Class " + shape.name + " has a property " + quoted(name) + ", which is no name or there twice.");
    if (std::none_of(std::begin(types), std::end(types), [&, wanted = type](const auto& known) { return known.first == wanted; }))
      return fail(Remedy::reject, "mp.mof_property", "Property " + name + " has the type " + quoted(type) + ", which is none.");
  }
  for (const std::string& key : shape.keys) {
    const auto of = std::find_if(shape.properties.begin(), shape.properties.end(), [&](const auto& property) { return property.first == key; });
    if (of == shape.properties.end() || of->second == "list")
      return fail(Remedy::reject, "mp.mof_keys", "The key " + quoted(key) + " is none of the properties of " + shape.name + ", or is a list.");
    keys.insert(key);
  }
  if (keys.empty()) return fail(Remedy::reject, "mp.mof_keys", "Class " + shape.name + " has no key; a site could not tell its instances apart.");

  const std::size_t cut = shape.name.find('_');
  const bool has_vendor = cut != std::string::npos && cut + 1 < shape.name.size();
  const std::string rest = has_vendor ? shape.name.substr(cut + 1) : shape.name;
  const std::string vendor = !names.vendor.empty() ? names.vendor : has_vendor ? raised(shape.name.substr(0, cut)) : "CUSTOM";
  const std::string version = names.version.empty() ? "1.0" : names.version;
  std::string group = names.group;
  if (group.empty()) {
    group = shape.name;
    std::replace(group.begin(), group.end(), '_', ' ');
  }
  if (!is_label(vendor) || !is_label(version) || !is_label(group))
    return fail(Remedy::reject, "mp.mof_names", "Group, vendor and version are plain texts of at most 128 characters, without quotes, bars and backslashes.");

  std::string escaped;
  for (const char c : name_space) escaped += c == '\\' ? std::string("\\\\") : std::string(1, c);
  std::string text;
  const auto line = [&](const std::string& one) { (text += one) += line_end; };
  line("[ SMS_Report     (TRUE),");
  line("  SMS_Group_Name (\"" + group + "\"),");
  line("  SMS_Class_ID   (\"" + vendor + "|" + raised(rest) + "|" + version + "\"),");
  line("  Namespace      (\"" + escaped + "\") ]");
  line("class " + shape.name + " : SMS_Class_Template");
  line("{");
  for (const auto& [name, type] : shape.properties) {
    const auto known = std::find_if(std::begin(types), std::end(types), [&, wanted = type](const auto& one) { return one.first == wanted; });
    line(keys.contains(name) ? "    [ SMS_Report (TRUE), key ]" : "    [ SMS_Report (TRUE) ]");
    line("    " + padded(known->second, 9) + name + (type == "list" ? "[]" : "") + ";");
  }
  line("};");
  return text;
}

}  // namespace greengate::adapters
