#include "ctl/mof_command.h"

#include <boost/json.hpp>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iostream>

namespace greengate::ctl {
namespace {

namespace json = boost::json;

constexpr std::size_t content_bytes_max = 32u << 20;

bool same(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool is_shape_of(const json::value& value, const std::string& class_name) {
  const json::object* object = value.if_object();
  const json::value* name = object ? object->if_contains("class") : nullptr;
  return name && name->is_string() && same(name->get_string(), class_name);
}

// The shape in one of the documents we know; nothing when this is another one.
const json::object* find_shape(const json::value& document, const std::string& class_name) {
  if (is_shape_of(document, class_name)) return &document.get_object();
  const json::object* object = document.if_object();
  const json::value* shapes = object ? object->if_contains("shapes") : nullptr;
  if (!shapes || !shapes->is_object()) return nullptr;
  for (const auto& [name, shape] : shapes->get_object()) {
    if (is_shape_of(shape, class_name)) return &shape.get_object();
  }
  return nullptr;
}

tl::unexpected<Error> not_a_shape(const std::string& class_name, const char* what) {
  return fail(Remedy::reject, "mof.shape", "The description of " + class_name + " has no " + what + ".");
}

Result<adapters::ClassShape> read_shape(const json::object& from, const std::string& class_name) {
  adapters::ClassShape shape;
  shape.name = std::string(from.at("class").get_string());
  if (const json::value* space = from.if_contains("namespace"); space && space->is_string()) shape.name_space = std::string(space->get_string());
  const json::value* keys = from.if_contains("keys");
  if (!keys || !keys->is_array()) return not_a_shape(class_name, "list of \"keys\"");
  for (const json::value& key : keys->get_array()) {
    if (!key.is_string()) return not_a_shape(class_name, "names in its \"keys\"");
    shape.keys.emplace_back(key.get_string());
  }
  const json::value* properties = from.if_contains("properties");
  if (!properties || !properties->is_object())
    return not_a_shape(class_name, "\"properties\" with their types (`greengate-agent inventory --class CLASS --json` tells them)");
  for (const auto& [name, type] : properties->get_object()) {
    if (!type.is_string()) return not_a_shape(class_name, "type for one of its \"properties\"");
    shape.properties.emplace_back(name, type.get_string());
  }
  // A key that is declared nowhere is a text, as the agent would take it.
  for (auto key = shape.keys.rbegin(); key != shape.keys.rend(); ++key) {
    const bool known = std::any_of(shape.properties.begin(), shape.properties.end(), [&](const auto& property) { return property.first == *key; });
    if (!known) shape.properties.insert(shape.properties.begin(), {*key, "string"});
  }
  return shape;
}

}  // namespace

Result<adapters::ClassShape> shape_from_json(std::string_view text, const std::string& class_name) {
  json::parse_options how;
  how.max_depth = 16;
  std::size_t at = 0;
  bool any = false;
  // One document, or several after each other as scripts print them.
  while (true) {
    while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at]))) ++at;
    if (at == text.size()) break;
    json::stream_parser parser(json::storage_ptr{}, how);
    boost::system::error_code broken;
    at += parser.write_some(text.data() + at, text.size() - at, broken);
    if (!broken && !parser.done()) parser.finish(broken);
    if (broken) return fail(Remedy::reject, "mof.json", "What is given is no JSON: " + broken.message() + ".");
    const json::value document = parser.release();
    any = true;
    if (const json::object* shape = find_shape(document, class_name)) return read_shape(*shape, class_name);
  }
  if (!any) return fail(Remedy::reject, "mof.json", "What is given is empty.");
  return fail(Remedy::reject, "mof.class_absent", "What is given does not describe a class " + class_name + ".");
}

Result<std::string> content_of(const std::string& file) {
  std::ifstream opened;
  if (file != "-") opened.open(file, std::ios::binary);
  std::istream& from = file == "-" ? std::cin : opened;
  if (!from) return fail(Remedy::reject, "mof.file", file + " cannot be read.");
  std::string text;
  char piece[16'384];
  while (from.read(piece, sizeof piece) || from.gcount() > 0) {
    text.append(piece, static_cast<std::size_t>(from.gcount()));
    if (text.size() > content_bytes_max) return fail(Remedy::reject, "mof.file", file + " is larger than any description of a class.");
  }
  return text;
}

}  // namespace greengate::ctl
