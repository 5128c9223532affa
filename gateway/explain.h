#pragma once

#include "core/ids.h"
#include "core/result.h"
#include "store/report_queue.h"

#include <boost/json/object.hpp>

namespace greengate::gateway {

/// What the queue knows of one agent, for `greengatectl explain`:
/// "last_reports": the newest of each kind with its three times · "waiting": by lane, with the reason of the last delay ·
/// "dead_letters": count by code, and the newest.
/// Fails as ReportQueue::trace().
Result<boost::json::object> explain_reports(store::ReportQueue& reports, const AgentId& agent);

}  // namespace greengate::gateway
