// The inside of Agent, as its own files share it: what its parts are told of the configuration, and its patience.
// agent.cc has the loop, agent_reports.cc what goes into the outbox, agent_decisions.cc what the conversation asks for.
#pragma once

#include "agent/agent.h"

#include <chrono>
#include <string>

namespace greengate::agent {

constexpr std::chrono::milliseconds rest_after{3'000};      // of quiet, before memory is given back
constexpr std::chrono::milliseconds disk_patience{10'000};  // after the outbox failed

ConversationConfig conversation_config(const AgentConfig& config, Outbox& outbox, const MachineNames& names);
ScheduleConfig schedule_config(const AgentConfig& config);
FileSenderConfig sender_config(const AgentConfig& config);
CollectionRunnerConfig runner_config(const AgentConfig& config, const std::string& executable, Outbox& outbox);
adapters::DealerLinkConfig link_config(const AgentConfig& config, const adapters::CurvePair& keys);

}  // namespace greengate::agent
