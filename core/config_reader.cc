#include "core/config_reader.h"

#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <sstream>

namespace greengate {
namespace {

struct Unit {
  std::string_view suffix;
  std::int64_t factor;
};
constexpr Unit duration_units[] = {{"ms", 1}, {"s", 1'000}, {"min", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
constexpr Unit byte_units[] = {{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}};

template <std::size_t N>
std::optional<std::int64_t> with_unit(std::string_view text, const Unit (&units)[N]) {
  std::size_t digits = 0;
  std::int64_t number = 0;
  for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits) {
    if (number > 1'000'000'000'000) return std::nullopt;
    number = number * 10 + (text[digits] - '0');
  }
  if (digits == 0) return std::nullopt;
  std::string_view suffix = text.substr(digits);
  while (!suffix.empty() && suffix.front() == ' ') suffix.remove_prefix(1);
  for (const Unit& unit : units) {
    if (suffix != unit.suffix) continue;
    if (number > std::numeric_limits<std::int64_t>::max() / unit.factor) return std::nullopt;
    return number * unit.factor;
  }
  return std::nullopt;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substituted}));
    }
  }
  return row[b.size()];
}

}  // namespace

struct ConfigReader::State {
  struct Entry {
    const toml::node* node;
    std::uint32_t line;
  };
  std::string name;
  toml::table table;
  std::map<std::string, Entry> entries;  // every leaf, by dotted key
  std::map<std::string, std::size_t> counts;  // of [[tables]] by dotted key
  std::set<std::string> known;           // every key somebody asked for
  struct Found {
    std::uint32_t line;
    std::string text;
  };
  std::vector<Found> found;

  void collect(const toml::table& from, const std::string& prefix) {
    for (const auto& [key, node] : from) {
      const std::string dotted = prefix + std::string(key.str());
      if (const auto* inner = node.as_table()) {
        collect(*inner, dotted + ".");
      } else if (const auto* list = node.as_array(); list && !list->empty() && list->is_array_of_tables()) {
        counts[dotted] = list->size();
        for (std::size_t i = 0; i < list->size(); ++i) collect(*list->get_as<toml::table>(i), dotted + "[" + std::to_string(i) + "].");
      } else {
        entries[dotted] = {&node, key.source().begin.line};
      }
    }
  }

  void complain(const std::string& key, std::string text) {
    const auto entry = entries.find(key);
    found.push_back({entry == entries.end() ? 0 : entry->second.line, std::move(text)});
  }

  // The value of `key` converted by `convert`, or a complaint naming what was expected.
  template <class T, class Convert>
  void read(const std::string& key, T& value, const char* expected, Convert convert) {
    known.insert(key);
    const auto entry = entries.find(key);
    if (entry == entries.end()) return;
    if (std::optional<T> converted = convert(*entry->second.node)) {
      value = std::move(*converted);
      return;
    }
    std::ostringstream written;
    if (const auto* text = entry->second.node->as_string()) {
      written << '"' << text->get() << '"';
    } else {
      entry->second.node->visit([&](const auto& node) { written << node; });
    }
    complain(key, key + " is " + written.str() + "; it takes " + expected + ".");
  }
};

ConfigReader::ConfigReader() : state_(std::make_unique<State>()) {}
ConfigReader::ConfigReader(ConfigReader&&) noexcept = default;
ConfigReader::~ConfigReader() = default;

ConfigReader ConfigReader::from_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    ConfigReader reader;
    reader.state_->name = path;
    reader.state_->found.push_back({0, "the file cannot be read; check that it exists and who may read it."});
    return reader;
  }
  return from_text(text.str(), path);
}

ConfigReader ConfigReader::from_text(const std::string& text, const std::string& name_in_messages) {
  ConfigReader reader;
  reader.state_->name = name_in_messages;
  try {
    reader.state_->table = toml::parse(text, name_in_messages);
    reader.state_->collect(reader.state_->table, "");
  } catch (const toml::parse_error& error) {
    reader.state_->found.push_back({error.source().begin.line, "is not TOML: " + std::string(error.description()) + "."});
  }
  return reader;
}

void ConfigReader::read(const std::string& key, std::string& value) {
  state_->read(key, value, "a text in quotes", [](const toml::node& node) { return node.value_exact<std::string>(); });
}

void ConfigReader::read(const std::string& key, bool& value) {
  state_->read(key, value, "true or false", [](const toml::node& node) { return node.value_exact<bool>(); });
}

void ConfigReader::read(const std::string& key, std::int64_t& value) {
  state_->read(key, value, "a whole number", [](const toml::node& node) { return node.value_exact<std::int64_t>(); });
}

void ConfigReader::read(const std::string& key, std::uint32_t& value) {
  state_->read(key, value, "a whole number from 0 to 4294967295", [](const toml::node& node) {
    const auto number = node.value_exact<std::int64_t>();
    const bool fits = number && *number >= 0 && *number <= std::numeric_limits<std::uint32_t>::max();
    return fits ? std::optional(static_cast<std::uint32_t>(*number)) : std::nullopt;
  });
}

void ConfigReader::read(const std::string& key, double& value) {
  state_->read(key, value, "a number", [](const toml::node& node) -> std::optional<double> {
    if (const auto whole = node.value_exact<std::int64_t>()) return static_cast<double>(*whole);
    return node.value_exact<double>();
  });
}

void ConfigReader::read(const std::string& key, std::chrono::milliseconds& value) {
  state_->read(key, value, "a time such as \"250ms\", \"30s\", \"15min\", \"4h\" or \"7d\"",
               [](const toml::node& node) -> std::optional<std::chrono::milliseconds> {
                 const auto text = node.value_exact<std::string>();
                 return text ? parse_duration(*text) : std::nullopt;
               });
}

void ConfigReader::read(const std::string& key, std::vector<std::string>& value) {
  state_->read(key, value, "a list of texts, such as [\"one\", \"two\"]",
               [](const toml::node& node) -> std::optional<std::vector<std::string>> {
                 const auto* array = node.as_array();
                 if (!array) return std::nullopt;
                 std::vector<std::string> items;
                 for (const toml::node& item : *array) {
                   auto text = item.value_exact<std::string>();
                   if (!text) return std::nullopt;
                   items.push_back(std::move(*text));
                 }
                 return items;
               });
}

void ConfigReader::read_bytes(const std::string& key, std::int64_t& value) {
  state_->read(key, value, "a size such as \"64KiB\", \"16MiB\", \"2GiB\" or a number of bytes",
               [](const toml::node& node) -> std::optional<std::int64_t> {
                 if (const auto number = node.value_exact<std::int64_t>()) {
                   return *number >= 0 ? number : std::nullopt;
                 }
                 const auto text = node.value_exact<std::string>();
                 return text ? with_unit(*text, byte_units) : std::nullopt;
               });
}

std::vector<std::string> ConfigReader::tables(const std::string& key) const {
  std::vector<std::string> names;
  const auto below = state_->table.at_path(key);
  if (const toml::table* table = below.as_table()) {
    for (const auto& [name, node] : *table) {
      if (node.is_table()) names.emplace_back(name.str());
    }
  }
  return names;
}

std::size_t ConfigReader::table_count(const std::string& key) {
  const auto found = state_->counts.find(key);
  return found == state_->counts.end() ? 0 : found->second;
}

void ConfigReader::add(std::vector<ConfigProblem> problems) {
  for (ConfigProblem& problem : problems) {
    const bool named = problem.message.starts_with(problem.key);
    state_->complain(problem.key, named ? std::move(problem.message) : problem.key + " " + problem.message);
  }
}

std::vector<std::string> ConfigReader::problems() const {
  std::vector<State::Found> all = state_->found;
  for (const auto& [key, entry] : state_->entries) {
    if (state_->known.contains(key)) continue;
    std::string text = key + " is not a key Greengate knows";
    const std::string* nearest = nullptr;
    std::size_t best = std::max<std::size_t>(3, key.size() / 3);
    for (const std::string& candidate : state_->known) {
      const std::size_t distance = edit_distance(key, candidate);
      if (distance > best) continue;
      if (nearest && distance == best) continue;
      best = distance;
      nearest = &candidate;
    }
    text += nearest ? "; did you mean " + *nearest + "?" : "; deploy/greengate.toml lists them all.";
    all.push_back({entry.line, std::move(text)});
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.line < b.line; });
  std::vector<std::string> lines;
  for (const State::Found& found : all) {
    lines.push_back(state_->name + (found.line ? ":" + std::to_string(found.line) : "") + ": " + found.text);
  }
  return lines;
}

std::set<std::string> ConfigReader::known_keys() const { return state_->known; }

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const auto millis = with_unit(text, duration_units);
  return millis ? std::optional(std::chrono::milliseconds(*millis)) : std::nullopt;
}

std::string duration_text(std::chrono::milliseconds value) {
  const std::int64_t millis = value.count();
  for (std::size_t i = std::size(duration_units); i-- > 0;) {
    if (millis % duration_units[i].factor == 0 && (millis != 0 || i == 1)) {
      return std::to_string(millis / duration_units[i].factor) + std::string(duration_units[i].suffix);
    }
  }
  return std::to_string(millis) + "ms";
}

}  // namespace greengate
