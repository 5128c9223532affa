#include "tests/workers/site_model.h"

#include <pugixml.hpp>
#include <zlib.h>

#include <algorithm>

namespace greengate::test {
namespace {

// The report inside a message: its second part, inflated, up to the NUL that ends it. UTF-16LE.
std::string report_of(const adapters::OutgoingMessage& message) {
  const auto first = message.http_body.find("\r\n\r\n");
  const auto second = message.http_body.find("\r\n\r\n", first + 4);
  const auto end = message.http_body.rfind("\r\n--");
  const std::string payload = message.http_body.substr(second + 4, end - second - 4);
  std::string stream(8u << 20, '\0');
  uLongf length = stream.size();
  if (uncompress(reinterpret_cast<Bytef*>(stream.data()), &length, reinterpret_cast<const Bytef*>(payload.data()), payload.size()) != Z_OK) return {};
  stream.resize(length);
  for (std::size_t at = 0; at + 1 < stream.size(); at += 2) {
    if (stream[at] == 0 && stream[at + 1] == 0) return stream.substr(0, at);
  }
  return {};
}

std::vector<std::string> texts_of(const v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::kText: return {value.text()};
    case v1::Value::kInteger: return {std::to_string(value.integer())};
    case v1::Value::kUnsignedInteger: return {std::to_string(value.unsigned_integer())};
    case v1::Value::kBoolean: return {value.boolean() ? "1" : "0"};
    case v1::Value::kList: return {value.list().items().begin(), value.list().items().end()};
    default: return {};
  }
}

}  // namespace

std::string SiteModel::key_of(const std::string& class_name, const Row& row, std::size_t number) const {
  const auto keys = keys_.find(class_name);
  if (keys == keys_.end()) return "row " + std::to_string(number);
  std::string key;
  for (const std::string& property : keys->second) {
    const auto value = row.find(property);
    for (const std::string& text : value == row.end() ? std::vector<std::string>{"(missing)"} : value->second) key += text + '\x1f';
    key += '\x1e';
  }
  return key;
}

void SiteModel::take(const adapters::OutgoingMessage& message) {
  const std::string xml = report_of(message);
  const auto [seen, is_new] = seen_.try_emplace(message.message_id, xml);
  if (!is_new) {
    if (seen->second != xml) complaints_.push_back("the message " + message.message_id + " came again and was another");
    return;
  }
  pugi::xml_document document;
  if (!document.load_buffer(xml.data(), xml.size(), pugi::parse_default | pugi::parse_ws_pcdata, pugi::encoding_utf16_le)) {
    complaints_.push_back("a message that is no XML");
    return;
  }
  const auto details = document.child("Report").child("ReportHeader").child("ReportDetails");
  const std::string type = details.child_value("ReportType"), at = details.child_value("Version");
  const Version version{std::stoull("0" + at.substr(0, at.find('.'))), std::stoull("0" + at.substr(at.find('.') + 1))};

  Version& last = versions_[message.endpoint];
  if (version <= last) complaints_.push_back("version " + at + " came after " + std::to_string(last.major) + "." + std::to_string(last.minor));
  if (type == "Full" && version.minor != 0) complaints_.push_back("a Full is numbered " + at);
  if (type == "Delta" && version != Version{last.major, last.minor + 1}) {
    complaints_.push_back("the Delta " + at + " does not follow " + std::to_string(last.major) + "." + std::to_string(last.minor));
  }
  last = version;

  Classes& classes = classes_[message.endpoint];
  if (type == "Full") classes.clear();
  std::size_t rows = 0;
  for (const auto& node : document.child("Report").child("ReportBody").children("Instance")) {
    ++rows;
    const std::string name = node.attribute("Class").value(), content = node.attribute("Content").value();
    Row row;
    for (const auto& property : node.child(name.c_str()).children()) row[property.name()].push_back(property.child_value());
    Rows& held = classes[name];
    const bool keyed = keys_.contains(name);
    // A row without keys can only be told anew where there is one at most.
    const std::string key = key_of(name, row, type == "Full" ? held.size() : 0);
    const bool there = held.contains(key);
    if (content == "New" && there) complaints_.push_back("a new row of " + name + " that is there");
    if (content != "New" && !there) complaints_.push_back("a row of " + name + " that is not there is " + content);
    if (content == "Deleted" && !keyed) complaints_.push_back("a row without keys of " + name + " is deleted");
    if (!keyed && type == "Delta" && held.size() > 1) complaints_.push_back("one of several rows without keys of " + name + " is " + content);
    if (type == "Full" && content != "New") complaints_.push_back("a row in a Full is " + content);
    if (content == "Deleted") {
      held.erase(key);
    } else {
      held[key] = std::move(row);
    }
  }
  if (rows == 0) complaints_.push_back("a " + type + " without instances");
  std::erase_if(classes, [](const auto& one) { return one.second.empty(); });
  taken_.push_back({message.endpoint, message.message_id, type, version, rows});
}

const SiteModel::Classes& SiteModel::classes(const std::string& endpoint) const {
  static const Classes none;
  const auto found = classes_.find(endpoint);
  return found == classes_.end() ? none : found->second;
}

SiteModel::Classes SiteModel::expected(const v1::HardwareInventory& state) const {
  Classes classes;
  for (const v1::InventoryClass& one : state.classes()) {
    for (const v1::InventoryInstance& instance : one.instances()) {
      Row row;
      for (int i = 0; i < instance.values_size(); ++i) {
        if (auto texts = texts_of(instance.values(i)); !texts.empty()) row[one.properties(i)] = std::move(texts);
      }
      Rows& rows = classes[one.name()];
      rows.try_emplace(key_of(one.name(), row, rows.size()), std::move(row));
    }
  }
  return classes;
}

SiteModel::Classes SiteModel::comparable(Classes classes, const std::vector<std::pair<std::string, std::string>>& churning) const {
  for (const auto& [class_name, property] : churning) {
    const auto found = classes.find(class_name);
    if (found == classes.end()) continue;
    for (auto& [key, row] : found->second) row.erase(property);
  }
  for (auto& [class_name, rows] : classes) {
    if (keys_.contains(class_name)) continue;
    std::vector<Row> sorted;
    for (auto& [key, row] : rows) sorted.push_back(std::move(row));
    std::sort(sorted.begin(), sorted.end());
    rows.clear();
    for (Row& row : sorted) {
      const std::string key = key_of(class_name, row, rows.size());
      rows.emplace(key, std::move(row));
    }
  }
  return classes;
}

}  // namespace greengate::test
