#include "agent/agent_parts.h"

#include "core/random.h"

#include <algorithm>

namespace greengate::agent {

ConversationConfig conversation_config(const AgentConfig& config, Outbox& outbox,
                                       const MachineNames& names) {
  ConversationConfig made;
  made.endpoints = config.endpoints.size();
  made.enrolled = !outbox.fact(Fact::agent_id).empty();
  made.token = enrolment_token(config);
  made.agent_version = agent_version();
  made.host_name = names.host_name;
  made.fqdn = names.fqdn;
  made.operating_system = names.operating_system;
  made.incarnation = outbox.incarnation();
  made.reconnect = {config.reconnect_min, config.reconnect_max};
  made.seed = random_u64();
  return made;
}

ScheduleConfig schedule_config(const AgentConfig& config) {
  ScheduleConfig made;
  made.heartbeat_interval = config.heartbeat_interval;
  made.inventory_interval = config.inventory_interval;
  made.software_interval = config.software_inventory_interval;
  made.files_interval = config.files.interval;
  made.software = config.software.enabled && !config.software.paths.empty() && !config.file.empty();
  made.files = !config.files.collect.empty() && !config.file.empty();
  made.seed = random_u64();
  return made;
}

FileSenderConfig sender_config(const AgentConfig& config) {
  FileSenderConfig made;
  made.ledger_file = config.ledger_file();
  // A small outbox is not for files alone.
  made.window_bytes = std::min(made.window_bytes, config.outbox_bytes_max / 4);
  made.chunk_bytes = static_cast<std::size_t>(std::min(config.files.chunk_bytes, made.window_bytes));
  made.bytes_per_second = static_cast<std::uint64_t>(config.files.bytes_per_second);
  return made;
}

CollectionRunnerConfig runner_config(const AgentConfig& config, const std::string& executable,
                                     Outbox& outbox) {
  CollectionRunnerConfig made;
  made.command = {executable,
                  "collect",
                  "--command-patience-ms",
                  std::to_string(config.command_patience.count()),
                  "--installed-at-ms",
                  std::to_string(outbox.number(Fact::installed_at_ms))};
  // The rest of what they need to know, they read where we did.
  if (!config.file.empty()) made.command.insert(made.command.end(), {"--config", config.file});
  if (!config.may_run_commands) made.command.emplace_back("--no-commands");
  made.command.insert(made.command.end(), {"--custom-problems", config.custom_problems_file()});
  made.patience = config.collection_patience;
  return made;
}

adapters::DealerLinkConfig link_config(const AgentConfig& config, const adapters::CurvePair& keys) {
  adapters::DealerLinkConfig made;
  made.public_key = keys.public_key;
  made.secret_key = keys.secret_key;
  made.gateway_key = config.gateway_key;
  return made;
}

}  // namespace greengate::agent
