#include "agent/software/view.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace greengate::agent {
namespace {

constexpr int rows_shown = 12;  // of a folder, unless everything is wanted

std::string time_text(std::int64_t ms) {
  const auto seconds = static_cast<std::time_t>(ms / 1'000);
  std::tm parts{};
  if (!gmtime_r(&seconds, &parts)) return "-";
  std::array<char, 40> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

// Names are valid UTF-8 without control characters already (escaped_name).
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string padded(const std::string& text, std::size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}

std::string product_of(const v1::SoftwareFile& file) {
  return file.product_name().empty() ? "-" : file.product_name() + " " + file.product_version();
}

}  // namespace

std::string software_table(const ScanResult& found, bool full) {
  std::string text;
  const auto& files = found.inventory.files();
  for (int i = 0; i < files.size();) {
    int end = i;
    while (end < files.size() && files[end].path() == files[i].path()) ++end;
    text += files[i].path() + "  (" + std::to_string(end - i) + ")\n";
    const int last = full ? end : std::min(end, i + rows_shown);
    for (int row = i; row < last; ++row) {
      const v1::SoftwareFile& file = files[row];
      text += "  " + padded(file.name(), 28) + "  " + padded(std::to_string(file.size()), 10) +
              "  " + time_text(file.modified_ms()) + "  " + product_of(file) + "\n";
    }
    if (last < end)
      text += "  … " + std::to_string(end - last) + " more; --full shows them\n";
    i = end;
  }
  const ScanCost& cost = found.cost;
  text += std::to_string(files.size()) + " files in " + std::to_string(cost.folders) +
          " folders; " + std::to_string(cost.files_looked_at) + " looked at, " +
          std::to_string(cost.package_bytes) + " bytes of package lists read\n";
  if (cost.unreadable)
    text += std::to_string(cost.unreadable) + " folders may not be read by this user\n";
  if (cost.too_deep) text += std::to_string(cost.too_deep) + " folders are too deep\n";
  if (cost.cut) text += "cut at software.files_max, or in a folder with too many names\n";
  return text;
}

std::string software_json(const ScanResult& found) {
  std::string json =
      "{\"collected_at\": " + quoted(time_text(found.inventory.collected_at_ms())) +
      ", \"files\": [";
  bool first = true;
  for (const v1::SoftwareFile& file : found.inventory.files()) {
    json += first ? "\n  {" : ",\n  {";
    first = false;
    json += "\"name\": " + quoted(file.name()) + ", \"path\": " + quoted(file.path()) +
            ", \"size\": " + std::to_string(file.size()) +
            ", \"modified\": " + quoted(time_text(file.modified_ms()));
    const auto add = [&](const char* key, const std::string& value) {
      if (!value.empty()) json += std::string(", \"") + key + "\": " + quoted(value);
    };
    add("product_name", file.product_name());
    add("product_version", file.product_version());
    add("company_name", file.company_name());
    json += "}";
  }
  const ScanCost& cost = found.cost;
  const auto figure = [](const char* key, std::uint64_t value) {
    return std::string("\"") + key + "\": " + std::to_string(value) + ", ";
  };
  return json + "], \"scan\": {" + figure("folders", cost.folders) +
         figure("folders_read", cost.folders_read) +
         figure("files_looked_at", cost.files_looked_at) +
         figure("package_bytes_read", cost.package_bytes) +
         figure("unreadable", cost.unreadable) + figure("too_deep", cost.too_deep) +
         "\"cut\": " + (cost.cut ? "true" : "false") + "}}\n";
}

}  // namespace greengate::agent
