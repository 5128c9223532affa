#pragma once

#include "adapters/bgb/session_pool.h"
#include "gateway/notification_servers.h"
#include "store/baselines.h"
#include "workers/policy_book.h"
#include "workers/site_budget.h"
#include "workers/site_errands.h"

#include <boost/json/value.hpp>

#include <optional>
#include <vector>

namespace greengate::gateway {

/// What the other parts know of one agent, as `explain` shows it. Names ending in _at_ms are moments, in _for_ms and _in_ms spans.
boost::json::value explained(const std::optional<workers::IdentityView>& identity, WallTime now);
boost::json::value explained(const std::vector<store::Baseline>& baselines);
boost::json::value explained(const std::optional<workers::AgentPolicy>& policy);
/// The site's budgets that hold something back now; empty when none does.
boost::json::value explained(const std::vector<workers::BudgetHealth>& budgets);
/// Which notification servers its session may be at. `servers` is none where everybody has those of the settings.
boost::json::value explained(const std::optional<adapters::BgbSessionView>& session, const std::optional<ServersOfAgent>& servers);

}  // namespace greengate::gateway
