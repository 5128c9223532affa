#include "agent/collectors/custom_class.h"

#include "agent/collectors/limits.h"
#include "agent/collectors/table.h"
#include "agent/collectors/text.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cctype>
#include <map>
#include <unordered_set>

namespace greengate::agent {
namespace {

namespace json = boost::json;

constexpr std::size_t name_characters_max = 64;
constexpr std::size_t namespace_characters_max = 128;

enum class Type { none, text, integer, whole, boolean, time, list };

const char* name_of(Type type) {
  switch (type) {
    case Type::none: return "nothing";
    case Type::text: return "string";
    case Type::integer: return "integer";
    case Type::whole: return "unsigned";
    case Type::boolean: return "boolean";
    case Type::time: return "datetime";
    case Type::list: return "list";
  }
  return "";
}

std::optional<Type> type_named(std::string_view name) {
  for (const Type type : {Type::text, Type::integer, Type::whole, Type::boolean, Type::time, Type::list}) {
    if (name == name_of(type)) return type;
  }
  return std::nullopt;
}

std::string shown(std::string_view text) {
  return "\"" + clean_text(text, 80) + "\"";
}

// A letter, then letters, digits and underscores: what every name on the site's side must be.
bool is_name(std::string_view name) {
  if (name.empty() || name.size() > name_characters_max || !std::isalpha(static_cast<unsigned char>(name.front()))) return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x80 && (std::isalnum(c) || c == '_'); });
}

bool is_namespace(std::string_view text) {
  if (text.size() > namespace_characters_max) return false;
  std::string_view rest = text;
  bool first = true;
  while (true) {
    const std::size_t end = rest.find('\\');
    const std::string_view name = rest.substr(0, end);
    if (!is_name(name) || (first && upper(name) != "ROOT")) return false;
    first = false;
    if (end == std::string_view::npos) return true;
    rest.remove_prefix(end + 1);
  }
}

/// "2026-01-15T10:20:30Z", with a fraction and an offset if need be; to Unix milliseconds.
std::optional<std::int64_t> iso_time(std::string_view text) {
  const auto digits = [&](std::size_t at, std::size_t count) -> int {
    if (at + count > text.size()) return -1;
    int value = 0;
    for (std::size_t i = at; i < at + count; ++i) {
      if (text[i] < '0' || text[i] > '9') return -1;
      value = value * 10 + (text[i] - '0');
    }
    return value;
  };
  const auto mark = [&](std::size_t at, char c) { return at < text.size() && text[at] == c; };
  if (!mark(4, '-') || !mark(7, '-') || !(mark(10, 'T') || mark(10, ' ')) || !mark(13, ':') || !mark(16, ':')) return std::nullopt;
  const int parts[] = {digits(0, 4), digits(5, 2), digits(8, 2), digits(11, 2), digits(14, 2), digits(17, 2)};
  if (std::any_of(std::begin(parts), std::end(parts), [](int part) { return part < 0; })) return std::nullopt;
  const auto base = utc_ms(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]);
  if (!base) return std::nullopt;
  std::size_t at = 19;
  int fraction = 0;
  if (mark(at, '.')) {
    std::size_t end = at + 1;
    for (int weight = 100; end < text.size() && text[end] >= '0' && text[end] <= '9'; ++end, weight /= 10)
      fraction += (text[end] - '0') * weight;
    if (end == at + 1 || end > at + 10) return std::nullopt;
    at = end;
  }
  if (text.substr(at) == "Z") return *base + fraction;
  if (at >= text.size() || (text[at] != '+' && text[at] != '-')) return std::nullopt;
  const bool colon = mark(at + 3, ':');
  const int hours = digits(at + 1, 2), minutes = digits(at + (colon ? 4 : 3), 2);
  if (text.size() != at + (colon ? 6 : 5) || hours < 0 || hours > 15 || minutes < 0 || minutes > 59) return std::nullopt;
  const std::int64_t offset = (hours * 60 + minutes) * 60'000;
  return *base + fraction - (text[at] == '-' ? -offset : offset);
}

Type type_of(const json::value& value) {
  switch (value.kind()) {
    case json::kind::string: return iso_time(value.get_string()) ? Type::time : Type::text;
    case json::kind::int64: return Type::integer;
    case json::kind::uint64: return Type::whole;
    case json::kind::bool_: return Type::boolean;
    case json::kind::array: return Type::list;
    default: return Type::none;
  }
}

/// What a column is when two of its values are `a` and `b`; nothing when they do not go together.
std::optional<Type> common(Type a, Type b) {
  if (a == b || b == Type::none) return a;
  if (a == Type::none) return b;
  const auto pair = [&](Type x, Type y) { return (a == x && b == y) || (a == y && b == x); };
  if (pair(Type::text, Type::time)) return Type::text;  // some of them only look like times
  return std::nullopt;
}

struct Column {
  std::string name;
  Type type = Type::none;
  bool declared = false;
};

/// One object of the output on its way to a class.
class ClassReader {
 public:
  ClassReader(const json::object& from, const CustomClassBounds& bounds) : from_(from), bounds_(bounds) {}

  Result<v1::InventoryClass> read() {
    for (auto step : {&ClassReader::read_names, &ClassReader::read_columns, &ClassReader::read_instances}) {
      if (auto done = (this->*step)(); !done) return pass(done);
    }
    return std::move(made_);
  }

 private:
  tl::unexpected<Error> wrong(const char* code, const std::string& what) const {
    return fail(Remedy::reject, code, made_.name().empty() ? what : made_.name() + ": " + what);
  }

  Result<void> read_names() {
    for (const auto& [key, value] : from_) {
      if (key != "class" && key != "namespace" && key != "keys" && key != "properties" && key != "instances")
        return wrong("custom.class", "An object has " + shown(key) + "; it may have class, namespace, keys, properties and instances.");
    }
    const json::value* name = from_.if_contains("class");
    if (!name || !name->is_string()) return wrong("custom.class", "An object has no \"class\" that is a text.");
    if (!is_name(name->get_string()))
      return wrong("custom.class", "The class is named " + shown(name->get_string()) +
                                       "; a name is a letter followed by letters, digits and underscores, 64 at most.");
    made_.set_name(std::string(name->get_string()));
    made_.set_name_space(std::string(cimv2));
    if (const json::value* space = from_.if_contains("namespace"); space && !space->is_null()) {
      if (!space->is_string() || !is_namespace(space->get_string()))
        return wrong("custom.class", "Its namespace must be a text such as \"root\\\\cimv2\".");
      made_.set_name_space(std::string(space->get_string()));
    }
    return {};
  }

  Result<void> add_column(std::string_view name, Type type, bool declared) {
    if (!is_name(name))
      return wrong("custom.property", "A property is named " + shown(name) +
                                          "; a name is a letter followed by letters, digits and underscores, 64 at most.");
    for (const Column& column : columns_) {
      if (upper(column.name) == upper(name)) return wrong("custom.property", "Property " + shown(name) + " is there twice.");
    }
    if (columns_.size() >= bounds_.properties)
      return wrong("custom.too_many", "It has more than " + std::to_string(bounds_.properties) + " properties.");
    columns_.push_back({std::string(name), type, declared});
    return {};
  }

  Column* column(std::string_view name) {
    const auto found = std::find_if(columns_.begin(), columns_.end(), [&](const Column& one) { return one.name == name; });
    return found == columns_.end() ? nullptr : &*found;
  }

  Result<void> read_columns() {
    const json::value* instances = from_.if_contains("instances");
    if (!instances || !instances->is_array()) return wrong("custom.class", "It has no list of \"instances\".");
    instances_ = &instances->get_array();
    if (instances_->size() > bounds_.instances)
      return wrong("custom.too_many", "It has more than " + std::to_string(bounds_.instances) + " instances.");
    const json::value* keys = from_.if_contains("keys");
    if (!keys || !keys->is_array() || keys->get_array().empty())
      return wrong("custom.class", "It has no \"keys\": a list of the properties that tell its instances apart.");
    for (const json::value& key : keys->get_array()) {
      if (!key.is_string()) return wrong("custom.class", "Its keys must be names of properties.");
      if (auto added = add_column(key.get_string(), Type::none, false); !added) return added;
      made_.add_key_properties(static_cast<std::uint32_t>(columns_.size() - 1));
    }
    const json::value* declared = from_.if_contains("properties");
    if (auto read = declared ? read_declared(*declared) : learn_names(); !read) return read;
    if (auto learned = learn_types(); !learned) return learned;
    for (const Column& one : columns_) made_.add_properties(one.name);
    return {};
  }

  Result<void> read_declared(const json::value& declared) {
    if (const json::array* names = declared.if_array()) {
      for (const json::value& name : *names) {
        if (!name.is_string()) return wrong("custom.property", "Its properties must be names, or names with types.");
        if (column(name.get_string())) continue;
        if (auto added = add_column(name.get_string(), Type::none, false); !added) return added;
      }
      return {};
    }
    const json::object* types = declared.if_object();
    if (!types) return wrong("custom.property", "Its properties must be names, or names with types.");
    for (const auto& [name, type] : *types) {
      const auto known = type.is_string() ? type_named(type.get_string()) : std::nullopt;
      if (!known)
        return wrong("custom.property", "Property " + shown(name) +
                                            " has a type that is none of string, integer, unsigned, boolean, datetime and list.");
      if (Column* key = column(name)) {
        key->type = *known;
        key->declared = true;
      } else if (auto added = add_column(name, *known, true); !added) {
        return added;
      }
    }
    return {};
  }

  // By name, so that the order does not depend on which instance comes first.
  Result<void> learn_names() {
    std::map<std::string, bool> names;
    for (const json::value& one : *instances_) {
      const json::object* instance = one.if_object();
      if (!instance) continue;  // told of in learn_types
      for (const auto& [name, value] : *instance) {
        if (!column(name)) names.emplace(std::string(name), true);
        if (names.size() > bounds_.properties)
          return wrong("custom.too_many", "It has more than " + std::to_string(bounds_.properties) + " properties.");
      }
    }
    for (const auto& [name, seen] : names) {
      if (auto added = add_column(name, Type::none, false); !added) return added;
    }
    return {};
  }

  Result<void> learn_types() {
    int number = 0;
    for (const json::value& one : *instances_) {
      ++number;
      const json::object* instance = one.if_object();
      if (!instance) return wrong("custom.instance", "Instance " + std::to_string(number) + " is no object.");
      for (const auto& [name, value] : *instance) {
        Column* found = column(name);
        if (!found)
          return wrong("custom.instance", "Instance " + std::to_string(number) + " has " + shown(name) + ", which \"properties\" does not.");
        const Type type = type_of(value);
        if (type == Type::none && !value.is_null())
          return wrong("custom.instance", "Instance " + std::to_string(number) + ": " + shown(name) + " is " +
                                              (value.is_double() ? "a number with a fraction; print it as a text." : "an object; a value is a text, number, true, false or a list."));
        if (found->declared) continue;  // looked at value by value
        const auto both = common(found->type, type);
        if (!both)
          return wrong("custom.instance", "Instance " + std::to_string(number) + ": " + shown(name) + " is a " + name_of(type) + ", but a " +
                                              name_of(found->type) + " before. Say in \"properties\" what it is.");
        found->type = *both;
      }
    }
    return {};
  }

  // False when the value is not of the column's type.
  static bool set(const json::value& from, Type type, v1::Value& into) {
    const json::string* text = from.if_string();
    switch (type) {
      case Type::text: {
        if (!text) return false;
        std::string clean = clean_text(*text, limits::text_bytes);
        if (!clean.empty()) into.set_text(std::move(clean));
        return true;
      }
      case Type::integer:
        if (!from.is_int64()) return false;
        into.set_integer(from.get_int64());
        return true;
      case Type::whole:
        if (from.is_int64() && from.get_int64() >= 0) {
          into.set_unsigned_integer(static_cast<std::uint64_t>(from.get_int64()));
          return true;
        }
        if (!from.is_uint64()) return false;
        into.set_unsigned_integer(from.get_uint64());
        return true;
      case Type::boolean:
        if (!from.is_bool()) return false;
        into.set_boolean(from.get_bool());
        return true;
      case Type::time: {
        const auto time = text ? iso_time(*text) : std::nullopt;
        if (time) into.set_time_ms(*time);
        return time.has_value();
      }
      case Type::list: {
        const json::array* items = from.if_array();
        if (!items || items->size() > limits::list_items) return false;
        v1::TextList& list = *into.mutable_list();
        for (const json::value& item : *items) {
          std::string clean;
          if (const json::string* one = item.if_string()) {
            clean = clean_text(*one, limits::text_bytes);
          } else if (item.is_int64() || item.is_uint64()) {
            clean = json::serialize(item);
          } else {
            return false;
          }
          if (!clean.empty()) list.add_items(std::move(clean));
        }
        return true;
      }
      case Type::none:
        return true;
    }
    return false;
  }

  Result<void> read_instances() {
    std::unordered_set<std::string> seen;
    int number = 0;
    for (const json::value& one : *instances_) {
      ++number;
      v1::InventoryInstance& row = *made_.add_instances();
      for (std::size_t i = 0; i < columns_.size(); ++i) row.add_values();
      for (const auto& [name, value] : one.get_object()) {
        if (value.is_null()) continue;
        const Column& found = *column(name);
        if (!set(value, found.type, *row.mutable_values(static_cast<int>(&found - columns_.data()))))
          return wrong("custom.instance", "Instance " + std::to_string(number) + ": " + shown(name) + " is no " + name_of(found.type) +
                                              (found.type == Type::list ? " of at most " + std::to_string(limits::list_items) + " texts." : "."));
      }
      std::string key;
      for (int i = 0; i < made_.key_properties_size(); ++i) {
        if (row.values(i).kind_case() == v1::Value::KIND_NOT_SET)
          return wrong("custom.instance", "Instance " + std::to_string(number) + " has no " + columns_[static_cast<std::size_t>(i)].name + ", which is a key.");
        row.values(i).AppendToString(&key);
        key += '\0';
      }
      if (!seen.insert(std::move(key)).second)
        return wrong("custom.instance", "Instance " + std::to_string(number) + " has the same keys as one before it.");
    }
    return {};
  }

  const json::object& from_;
  const CustomClassBounds& bounds_;
  const json::array* instances_ = nullptr;
  std::vector<Column> columns_;
  v1::InventoryClass made_;
};

std::size_t line_at(std::string_view text, std::size_t position) {
  return 1 + static_cast<std::size_t>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(position, text.size())), '\n'));
}

}  // namespace

Result<std::vector<v1::InventoryClass>> read_custom_classes(std::string_view output, const CustomClassBounds& bounds) {
  std::vector<v1::InventoryClass> found;
  json::parse_options how;
  how.max_depth = 6;
  std::size_t at = 0;
  const auto skip_space = [&] {
    while (at < output.size() && (output[at] == ' ' || output[at] == '\t' || output[at] == '\r' || output[at] == '\n')) ++at;
  };
  if (output.starts_with("\xEF\xBB\xBF")) at = 3;
  for (skip_space(); at < output.size(); skip_space()) {
    if (found.size() >= bounds.classes)
      return fail(Remedy::reject, "custom.too_many", "It prints more than " + std::to_string(bounds.classes) + " classes.");
    json::stream_parser parser(json::storage_ptr{}, how);
    boost::system::error_code broken;
    const std::size_t used = parser.write_some(output.data() + at, output.size() - at, broken);
    if (!broken && !parser.done()) parser.finish(broken);
    if (broken)
      return fail(Remedy::reject, "custom.json", "What it prints is no JSON at line " + std::to_string(line_at(output, at + used)) + ": " + broken.message() + ".");
    at += used;
    const json::value value = parser.release();
    const json::object* object = value.if_object();
    if (!object) return fail(Remedy::reject, "custom.json", "It prints something that is no JSON object.");
    auto read = ClassReader(*object, bounds).read();
    if (!read) return pass(read);
    for (const v1::InventoryClass& other : found) {
      if (upper(other.name()) == upper(read->name())) return fail(Remedy::reject, "custom.class", "It prints class " + read->name() + " twice.");
    }
    found.push_back(std::move(*read));
  }
  if (found.empty()) return fail(Remedy::reject, "custom.json", "It prints nothing.");
  return found;
}

}  // namespace greengate::agent
