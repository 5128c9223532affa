#pragma once

#include "agent/collectors/custom_inventory.h"
#include "agent/scripts/settings.h"
#include "agent/watchers/watchers.h"
#include "agent/files/settings.h"
#include "agent/software/settings.h"
#include "agent/tasks/settings.h"
#include "core/log.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace greengate {
class ConfigReader;
}

namespace greengate::agent {

/// Everything greengate-agent.toml can say; deploy/greengate-agent.toml explains each key.
struct AgentConfig {
  /// gateway.endpoints: "tcp://gateway.example.com:7443"; tried in this order.
  std::vector<std::string> endpoints;
  std::string gateway_key;  ///< gateway.key: the gateway's CURVE public key, Z85.

  std::string state_directory =
      "/var/lib/greengate-agent";  ///< agent.state_directory: keys and outbox.
  std::string token;       ///< enrolment.token; empty: token_file, or an operator's approval.
  std::string token_file;  ///< enrolment.token_file
  LogLevel log_level = LogLevel::info;  ///< agent.log_level

  std::chrono::milliseconds heartbeat_interval{
      0};  ///< reports.heartbeat_interval; 0: as the gateway says.
  std::chrono::milliseconds inventory_interval{
      0};                        ///< reports.inventory_interval; 0: as the gateway says.
  std::chrono::milliseconds software_inventory_interval{
      0};                        ///< reports.software_inventory_interval; 0: as the site says.
  bool may_run_commands = true;  ///< reports.may_run_commands
  std::chrono::milliseconds command_patience{
      10'000};  ///< reports.command_patience: for one command.
  std::chrono::milliseconds collection_patience{
      300'000};  ///< reports.collection_patience: for a whole collection.

  SoftwareSettings software;  ///< software.*
  FileSettings files;         ///< files.*

  std::int64_t outbox_bytes_max = 64 << 20;  ///< outbox.bytes_max

  /// Until the first Welcome, and after repeated failures (reconnect.min, reconnect.max).
  std::chrono::milliseconds reconnect_min{1'000};
  std::chrono::milliseconds reconnect_max{300'000};

  /// What the agent's own state messages say to the site; topic type 0 sends none.
  /// docs/reference/state-messages.md.
  std::uint32_t started_topic_type = 800;     ///< state_messages.started_topic_type
  std::uint32_t started_state_id = 400;       ///< state_messages.started_state_id
  std::uint32_t inventory_topic_type = 1300;  ///< state_messages.inventory_topic_type
  std::uint32_t inventory_state_id = 1;       ///< state_messages.inventory_state_id

  WatchersConfig watchers;       ///< [status], [metering], [mif]: watch_config.cc
  CustomInventoryConfig custom;  ///< [custom]
  /// Of a script that makes no statement, and of one that does again. Topic type 0 sends none.
  std::uint32_t custom_topic_type = 1300;    ///< state_messages.custom_topic_type
  std::uint32_t custom_failed_state_id = 2;  ///< state_messages.custom_failed_state_id
  std::uint32_t custom_mended_state_id = 1;  ///< state_messages.custom_mended_state_id

  ScriptSettings scripts;  ///< [scripts]: scripts/script_config.cc
  TaskSettings tasks;  ///< [tasks], [scan], [restart], [logs]: task_config.cc

  std::string custom_problems_file() const { return state_directory + "/custom_problems"; }
  std::string door_file() const { return state_directory + "/agent.sock"; }
  std::string file;  ///< Where all this was read from; empty: from no file.

  std::string keys_file() const { return state_directory + "/keys"; }
  std::string outbox_file() const { return state_directory + "/outbox.sqlite"; }
  std::string software_cache_file() const { return state_directory + "/software.cache"; }
  std::string ledger_file() const { return state_directory + "/sent-files"; }
};

struct LoadedConfig {
  AgentConfig config;
  std::vector<std::string> problems;  ///< Every mistake at once; empty when the file will do.
};

/// Reads the file. A token_file is not read here: at --check-config it may not exist yet.
LoadedConfig load_config(const std::string& path);
LoadedConfig load_config_text(const std::string& text, const std::string& name_in_messages);

/// The part of load_config that is in watch_config.cc; after reports.collection_patience.
void read_watch_settings(ConfigReader& reader, AgentConfig& config);
/// The part that is in scripts/script_config.cc; after agent.state_directory.
void read_script_settings(ConfigReader& reader, AgentConfig& config);

/// The part of load_config that is in task_config.cc.
void read_task_settings(ConfigReader& reader, AgentConfig& config);

/// The token to enrol with: `token`, or the first line of `token_file`; empty when there is none
/// (an operator approves).
std::string enrolment_token(const AgentConfig& config);

}  // namespace greengate::agent
