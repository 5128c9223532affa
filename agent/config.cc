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
  reader.read("reports.may_run_commands", config.may_run_commands);
  reader.read("reports.command_patience", config.command_patience);
  reader.read("reports.collection_patience", config.collection_patience);
  reader.read_bytes("outbox.bytes_max", config.outbox_bytes_max);
  reader.read("reconnect.min", config.reconnect_min);
  reader.read("reconnect.max", config.reconnect_max);
  reader.read("state_messages.started_topic_type", config.started_topic_type);
  reader.read("state_messages.started_state_id", config.started_state_id);
  reader.read("state_messages.inventory_topic_type", config.inventory_topic_type);
  reader.read("state_messages.inventory_state_id", config.inventory_state_id);
  read_watch_settings(reader, config);
  for (ConfigProblem& problem : problems_of(config)) found.push_back(std::move(problem));
  reader.add(std::move(found));
  loaded.problems = reader.problems();
  return loaded;
}

}  // namespace

LoadedConfig load_config(const std::string& path) {
  return read(ConfigReader::from_file(path));
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
