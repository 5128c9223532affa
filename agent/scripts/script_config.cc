// The settings of [scripts] and of each [scripts.allow.NAME]. Called by config.cc.
#include "agent/config.h"
#include "core/config_reader.h"

#include <algorithm>
#include <cctype>
#include <set>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;
using namespace std::chrono_literals;

constexpr std::size_t allowed_max = 256;
constexpr std::size_t command_words_max = 64;
constexpr std::size_t word_characters_max = 4'096;
constexpr std::size_t parameters_max = 32;

template <class Function>
std::string each(std::string text, Function change) {
  std::transform(text.begin(), text.end(), text.begin(), [&](unsigned char c) { return static_cast<char>(change(c)); });
  return text;
}

bool is_hex(const std::string& text, std::size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
}

bool is_guid(const std::string& text) {
  if (text.size() != 36) return false;
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    if (hyphen != (text[i] == '-')) return false;
    if (!hyphen) digits.push_back(text[i]);
  }
  return is_hex(digits, 32);
}

bool is_table_name(const std::string& text) {
  return !text.empty() && text.size() <= 64 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; });
}

std::vector<ConfigProblem> problems_of(const AllowedScript& script, const std::string& table) {
  std::vector<ConfigProblem> found;
  const auto complain = [&](const char* key, const std::string& what) { found.push_back({table + key, table + key + " " + what}); };
  const auto between = [&](const char* key, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value < least || value > most)
      complain(key, "is " + std::to_string(value) + "; it can be " + std::to_string(least) + " to " + std::to_string(most) + ".");
  };
  if (!is_guid(script.script_guid)) complain("script_guid", "is \"" + script.script_guid + "\"; give the script's GUID as the site shows it, without braces.");
  if (!is_hex(script.script_hash, 64)) complain("script_hash", "is \"" + script.script_hash + "\"; give the script's SHA-256, 64 hexadecimal digits.");
  if (script.command.empty() || !script.command.front().starts_with('/') || script.command.size() > command_words_max)
    complain("command", "must begin with a program's full path and have at most 64 words, such as [\"/usr/bin/df\", \"-h\"].");
  for (const std::string& word : script.command) {
    if (word.size() > word_characters_max || word.find('\0') != std::string::npos) complain("command", "has a word that is too long, or has a NUL in it.");
    for (auto at = word.find("{param:"); at != std::string::npos; at = word.find("{param:", at + 1)) {
      const auto end = word.find('}', at);
      const std::string name = end == std::string::npos ? "" : word.substr(at + 7, end - at - 7);
      const bool known = std::find(script.parameters.begin(), script.parameters.end(), name) != script.parameters.end();
      if (!known || &word == &script.command.front()) complain("command", "has \"" + word + "\"; a placeholder is {param:NAME}, not in the program's path, and NAME is one of parameters.");
    }
  }
  if (script.run_as.empty() || script.run_as == "root") complain("run_as", "is \"" + script.run_as + "\"; give a user other than root.");
  if (script.patience < 100ms || script.patience > 1h)
    complain("patience", "is \"" + duration_text(script.patience) + "\"; it can be \"100ms\" to \"1h\", as the site waits no longer.");
  between("memory_bytes_max", script.memory_bytes_max, 16 << 20, std::int64_t{16} << 30);
  between("output_bytes_max", script.output_bytes_max, 1 << 10, 64 << 20);
  between("processes_max", script.processes_max, 0, 65'536);
  between("value_bytes_max", script.value_bytes_max, 1, 16 << 10);
  if (script.rows != "lines" && script.rows != "table") complain("rows", "is \"" + script.rows + "\"; it can be \"lines\" or \"table\".");
  std::set<std::string> names;
  for (const std::string& name : script.parameters) {
    if (!is_parameter_name(name)) complain("parameters", "has \"" + name + "\"; a name has letters, digits and _ only.");
    if (!names.insert(each(name, ::toupper)).second) complain("parameters", "has \"" + name + "\" twice.");
  }
  if (script.parameters.size() > parameters_max) complain("parameters", "has more than 32 entries.");
  return found;
}

AllowedScript read_allowed(ConfigReader& reader, const std::string& name, std::vector<ConfigProblem>& found) {
  const std::string table = "scripts.allow." + name + ".";
  AllowedScript script;
  script.name = name;
  reader.read(table + "script_guid", script.script_guid);
  reader.read(table + "script_hash", script.script_hash);
  reader.read(table + "command", script.command);
  reader.read(table + "run_as", script.run_as);
  reader.read(table + "patience", script.patience);
  reader.read_bytes(table + "memory_bytes_max", script.memory_bytes_max);
  reader.read_bytes(table + "output_bytes_max", script.output_bytes_max);
  reader.read(table + "processes_max", script.processes_max);
  reader.read(table + "parameters", script.parameters);
  reader.read_bytes(table + "value_bytes_max", script.value_bytes_max);
  reader.read(table + "rows", script.rows);
  reader.read(table + "errors_too", script.errors_too);
  for (ConfigProblem& problem : problems_of(script, table)) found.push_back(std::move(problem));
  script.script_guid = each(script.script_guid, ::toupper);
  script.script_hash = each(script.script_hash, ::tolower);
  return script;
}

}  // namespace

void read_script_settings(ConfigReader& reader, AgentConfig& config) {
  ScriptSettings& scripts = config.scripts;
  reader.read("scripts.enabled", scripts.enabled);
  reader.read("scripts.audit_file", scripts.audit_file);
  reader.read_bytes("scripts.audit_bytes_max", scripts.audit_bytes_max);
  reader.read_bytes("scripts.shown_bytes_max", scripts.shown_bytes_max);
  reader.read("state_messages.script_topic_type", scripts.topic_type);
  reader.read("state_messages.script_state_id", scripts.state_id);
  std::vector<ConfigProblem> found;
  if (!scripts.audit_file.empty() && !scripts.audit_file.starts_with('/'))
    found.push_back({"scripts.audit_file", "scripts.audit_file is \"" + scripts.audit_file + "\"; give a full path."});
  if (scripts.audit_bytes_max < 64 << 10 || scripts.audit_bytes_max > std::int64_t{1} << 30)
    found.push_back({"scripts.audit_bytes_max", "scripts.audit_bytes_max is " + std::to_string(scripts.audit_bytes_max) + " bytes; it can be \"64KiB\" to \"1GiB\"."});
  if (scripts.shown_bytes_max < 256 || scripts.shown_bytes_max > 60 << 10)
    found.push_back({"scripts.shown_bytes_max", "scripts.shown_bytes_max is " + std::to_string(scripts.shown_bytes_max) + " bytes; it can be 256 to \"60KiB\"."});
  const std::vector<std::string> names = reader.tables("scripts.allow");
  if (names.size() > allowed_max) found.push_back({"scripts.allow", "scripts.allow has more than 256 tables."});
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (!is_table_name(name)) {
      found.push_back({"scripts.allow", "scripts.allow has a table \"" + name + "\"; a name has letters, digits, _ and - only."});
      continue;
    }
    AllowedScript script = read_allowed(reader, name, found);
    if (!seen.insert(script.script_guid + script.script_hash).second)
      found.push_back({"scripts.allow." + name + ".script_hash", "scripts.allow." + name + ".script_hash names a script that another table allows already."});
    scripts.allowed.push_back(std::move(script));
  }
  if (scripts.audit_file.empty()) scripts.audit_file = config.state_directory + "/script-audit.log";
  reader.add(std::move(found));
}

}  // namespace greengate::agent
