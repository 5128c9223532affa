#pragma once

#include "core/result.h"
#include "greengate/v1/frame.pb.h"

#include <chrono>
#include <string>
#include <string_view>

namespace greengate::agent {

/// What goes through the door (door.h): one line of JSON in, one line out. Names are the protocol's own.
///
///     {"ask": "policy", "refresh": true}
///     {"ask": "locate", "what": "content", "id": "P0100012", "version": 3}
///
/// Errors    ask.malformed (reject): no such question, or no such answer.
std::string ask_to_json(const v1::Ask& ask);
Result<v1::Ask> ask_from_json(std::string_view line);
std::string answer_to_json(const v1::Answer& answer);
Result<v1::Answer> answer_from_json(std::string_view line);

/// "management-points", "content", "update-server", "site"; UNSPECIFIED when it is none.
v1::LocateKind locate_kind(std::string_view word);

/// For people: a table, and when the site said it.
std::string answer_text(const v1::Answer& answer);

/// Asks the running agent behind `door`.
/// Errors    agent.not_running, agent.forbidden (reject); agent.no_answer (retry)
Result<v1::Answer> ask_agent(const std::string& door, const v1::Ask& ask, std::chrono::milliseconds patience);

}  // namespace greengate::agent
