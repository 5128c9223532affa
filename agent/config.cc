#include "agent/config.h"

#include "adapters/agents/dealer_link.h"
#include "core/config_reader.h"

#include <algorithm>
#include <fstream>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t endpoints_max = 16;
constexpr std::size_t token_characters_max = 512;
constexpr std::int64_t outbox_bytes_least = 1 << 20;
constexpr std::int64_t outbox_bytes_most = std::int64_t{16} << 30;
constexpr std::size_t patterns_max = 64;
constexpr std::size_t pattern_characters_max = 1'024;

bool is_endpoint(const std::string& text) {
  if (!text.starts_with("tcp://")) return false;
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon <= std::string("tcp://").size() ||
      colon + 1 == text.size())
    return false;
  const std::string port = text.substr(colon + 1);
  const bool digits =
      std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits && port.size() <= 5 && std::stoi(port) >= 1 && std::stoi(port) <= 65535;
}

void require_between(std::vector<ConfigProblem>& found, const std::string& key, milliseconds value,
                     milliseconds least, milliseconds most, bool zero_allowed) {
  if (zero_allowed && value == milliseconds(0)) return;
  if (value >= least && value <= most) return;
  found.push_back({key, key + " is \"" + duration_text(value) + "\"; it can be \"" +
                            duration_text(least) + "\" to \"" + duration_text(most) + "\"" +
                            (zero_allowed ? ", or \"0s\" to leave it to the gateway." : ".")});
}

void require_between(std::vector<ConfigProblem>& found, const std::string& key, std::int64_t value,
                     std::int64_t least, std::int64_t most, const char* unit = "") {
  if (value >= least && value <= most) return;
  found.push_back({key, key + " is " + std::to_string(value) + unit + "; it can be " +
                            std::to_string(least) + " to " + std::to_string(most) + "."});
}

void require_list(std::vector<ConfigProblem>& found, const std::string& key,
                  const std::vector<std::string>& list, bool full_paths) {
  if (list.size() > patterns_max)
    found.push_back({key, key + " has " + std::to_string(list.size()) + " entries; give at most 64."});
  for (const std::string& entry : list) {
    const bool climbs = ("/" + entry + "/").find("/../") != std::string::npos ||
                        ("/" + entry + "/").find("/./") != std::string::npos ||
                        entry.find("//") != std::string::npos;
    if (entry.empty() || entry.size() > pattern_characters_max || (full_paths && climbs) ||
        (full_paths && entry.front() != '/')) {
      found.push_back({key, key + " has \"" + entry + "\"; give " +
                                (full_paths ? "full paths without \"..\", such as \"/opt\"."
                                            : "names or patterns, such as \"*.exe\".")});
    }
  }
}

void check_software(std::vector<ConfigProblem>& found, const AgentConfig& config) {
  using namespace std::chrono_literals;
  const SoftwareSettings& software = config.software;
  require_list(found, "software.paths", software.paths, true);
  require_list(found, "software.patterns", software.patterns, false);
  require_list(found, "software.excludes", software.excludes, false);
  require_between(found, "software.files_max", software.files_max, 1, 60'000);
  require_between(found, "software.depth_max", software.depth_max, 0, 64);
  require_between(found, "software.files_per_second", software.files_per_second, 0, 1'000'000);
  require_between(found, "software.bytes_per_second", software.bytes_per_second, 0,
                  std::int64_t{1} << 32, " bytes");
  require_between(found, "software.full_look", software.full_look, 1h, 24h * 365, false);
  require_between(found, "software.time_max", software.time_max, 1s, 2h, false);
  if (software.time_max >= config.collection_patience) {
    found.push_back({"software.time_max",
                     "software.time_max is not shorter than reports.collection_patience, which "
                     "would end the scan before it can keep what it saw."});
  }
}

void check_files(std::vector<ConfigProblem>& found, const AgentConfig& config) {
  using namespace std::chrono_literals;
  const FileSettings& files = config.files;
  require_list(found, "files.collect", files.collect, true);
  for (const std::string& pattern : files.collect) {
    const bool several = pattern.find("**") != pattern.rfind("**");
    if (!pattern.ends_with('/') && !several) continue;
    found.push_back({"files.collect", "files.collect has \"" + pattern +
                                          "\"; end with a name or pattern, such as "
                                          "\"/etc/contoso/*.conf\", with at most one \"**\"."});
  }
  require_between(found, "files.interval", files.interval, 1min, 24h * 90, false);
  require_between(found, "files.file_bytes_max", files.file_bytes_max, 1, 24 << 20, " bytes");
  require_between(found, "files.run_bytes_max", files.run_bytes_max, 1, std::int64_t{1} << 30,
                  " bytes");
  require_between(found, "files.files_max", files.files_max, 1, 5'000);
  require_between(found, "files.chunk_bytes", files.chunk_bytes, 4 << 10, 1 << 20, " bytes");
  require_between(found, "files.bytes_per_second", files.bytes_per_second, 1 << 10,
                  std::int64_t{1} << 30, " bytes");
}

std::vector<ConfigProblem> problems_of(const AgentConfig& config) {
  using namespace std::chrono_literals;
  std::vector<ConfigProblem> found;
  if (config.endpoints.empty() || config.endpoints.size() > endpoints_max) {
    found.push_back({"gateway.endpoints",
                     "gateway.endpoints has " + std::to_string(config.endpoints.size()) +
                         " entries; give 1 to 16, such as [\"tcp://gateway.example.com:7443\"]."});
  }
  for (const std::string& endpoint : config.endpoints) {
    if (is_endpoint(endpoint)) continue;
    found.push_back(
        {"gateway.endpoints", "gateway.endpoints has \"" + endpoint +
                                  "\"; an entry looks like \"tcp://gateway.example.com:7443\"."});
  }
  if (!adapters::is_curve_key(config.gateway_key)) {
    found.push_back(
        {"gateway.key",
         "gateway.key is \"" + config.gateway_key +
             "\"; give the gateway's public key, the 40 characters of its agents.key.pub."});
  }
  if (config.state_directory.empty() || config.state_directory.front() != '/') {
    found.push_back({"agent.state_directory",
                     "agent.state_directory is \"" + config.state_directory +
                         "\"; give a full path, such as \"/var/lib/greengate-agent\"."});
  }
  if (!config.token.empty() && !config.token_file.empty()) {
    found.push_back({"enrolment.token",
                     "enrolment.token and enrolment.token_file are both given; keep one of them."});
  }
  if (config.token.size() > token_characters_max) {
    found.push_back(
        {"enrolment.token",
         "enrolment.token is longer than 512 characters; it cannot be one of the gateway's."});
  }
  require_between(found, "reports.heartbeat_interval", config.heartbeat_interval, 1min, 24h * 30,
                  true);
  require_between(found, "reports.inventory_interval", config.inventory_interval, 1min, 24h * 90,
                  true);
  require_between(found, "reports.software_inventory_interval", config.software_inventory_interval,
                  1min, 24h * 90, true);
  check_software(found, config);
  check_files(found, config);
  require_between(found, "reports.command_patience", config.command_patience, 100ms, 10min, false);
  require_between(found, "reports.collection_patience", config.collection_patience, 1s, 2h, false);
  require_between(found, "reconnect.min", config.reconnect_min, 100ms, 1h, false);
  require_between(found, "reconnect.max", config.reconnect_max, 1s, 24h, false);
  if (config.reconnect_min > config.reconnect_max) {
    found.push_back(
        {"reconnect.min", "reconnect.min is longer than reconnect.max; it must not be."});
  }
  if (config.outbox_bytes_max < outbox_bytes_least || config.outbox_bytes_max > outbox_bytes_most) {
    found.push_back({"outbox.bytes_max",
                     "outbox.bytes_max is " + std::to_string(config.outbox_bytes_max) +
                         " bytes; it can be \"1MiB\" to \"16GiB\" (\"64MiB\" if left out)."});
  }
  return found;
}

LoadedConfig read(ConfigReader reader) {
  LoadedConfig loaded;
  AgentConfig& config = loaded.config;
  std::vector<ConfigProblem> found;
  reader.read("gateway.endpoints", config.endpoints);
  reader.read("gateway.key", config.gateway_key);
  reader.read("agent.state_directory", config.state_directory);
  std::string level = "info";
  reader.read("agent.log_level", level);
  if (!parse_log_level(level, config.log_level)) {
    found.push_back(
        {"agent.log_level", "agent.log_level is \"" + level +
                                "\"; it can be \"debug\", \"info\", \"warn\" or \"error\"."});
  }
  reader.read("enrolment.token", config.token);
  reader.read("enrolment.token_file", config.token_file);
  reader.read("reports.heartbeat_interval", config.heartbeat_interval);
  reader.read("reports.inventory_interval", config.inventory_interval);
  reader.read("reports.software_inventory_interval", config.software_inventory_interval);
  reader.read("reports.may_run_commands", config.may_run_commands);
  reader.read("reports.command_patience", config.command_patience);
  reader.read("reports.collection_patience", config.collection_patience);
  reader.read("software.enabled", config.software.enabled);
  reader.read("software.paths", config.software.paths);
  reader.read("software.patterns", config.software.patterns);
  reader.read("software.excludes", config.software.excludes);
  reader.read("software.executables_only", config.software.executables_only);
  reader.read("software.cross_file_systems", config.software.cross_file_systems);
  reader.read("software.files_max", config.software.files_max);
  reader.read("software.depth_max", config.software.depth_max);
  reader.read("software.time_max", config.software.time_max);
  reader.read("software.files_per_second", config.software.files_per_second);
  reader.read_bytes("software.bytes_per_second", config.software.bytes_per_second);
  reader.read("software.full_look", config.software.full_look);
  reader.read("files.collect", config.files.collect);
  reader.read("files.interval", config.files.interval);
  reader.read_bytes("files.file_bytes_max", config.files.file_bytes_max);
  reader.read_bytes("files.run_bytes_max", config.files.run_bytes_max);
  reader.read("files.files_max", config.files.files_max);
  reader.read_bytes("files.chunk_bytes", config.files.chunk_bytes);
  reader.read_bytes("files.bytes_per_second", config.files.bytes_per_second);
  reader.read_bytes("outbox.bytes_max", config.outbox_bytes_max);
  reader.read("reconnect.min", config.reconnect_min);
  reader.read("reconnect.max", config.reconnect_max);
  reader.read("state_messages.started_topic_type", config.started_topic_type);
  reader.read("state_messages.started_state_id", config.started_state_id);
  reader.read("state_messages.inventory_topic_type", config.inventory_topic_type);
  reader.read("state_messages.inventory_state_id", config.inventory_state_id);
  read_watch_settings(reader, config);
  read_script_settings(reader, config);
  read_task_settings(reader, config);
  for (ConfigProblem& problem : problems_of(config)) found.push_back(std::move(problem));
  reader.add(std::move(found));
  loaded.problems = reader.problems();
  return loaded;
}

}  // namespace

LoadedConfig load_config(const std::string& path) {
  LoadedConfig loaded = read(ConfigReader::from_file(path));
  loaded.config.file = path;
  return loaded;
}

LoadedConfig load_config_text(const std::string& text, const std::string& name_in_messages) {
  return read(ConfigReader::from_text(text, name_in_messages));
}

std::string enrolment_token(const AgentConfig& config) {
  if (!config.token.empty() || config.token_file.empty()) return config.token;
  // The file may be gone after the first enrolment; then nothing but an operator's approval is
  // left.
  std::ifstream file(config.token_file, std::ios::binary);
  std::string token(token_characters_max, '\0');
  file.read(token.data(), static_cast<std::streamsize>(token.size()));
  token.resize(static_cast<std::size_t>(file.gcount()));
  return token.substr(0, token.find_first_of("\r\n"));
}

}  // namespace greengate::agent
