#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "store/report_queue.h"

#include <cstdint>
#include <string>

namespace greengate::workers {

/// Puts the site's wish to have a state of `agent` whole again into the queue, beside the agent's own inventories. A worker answers it from
/// the baseline, or with a newer state that waits; the agent is not asked. Ends like any report, and is seen in its trace.
///
/// `kind` is that of the state's reports (hardware or software inventory). Which policy asked is for people; asking once for each is the
/// caller's business. Waits for the sync; never from the net thread.
/// Errors    resync.kind (reject): there is no baseline of such reports. Those of ReportQueue::keep_own().
Result<void> request_resync(store::ReportQueue& reports, const AgentId& agent, std::uint32_t kind, const std::string& policy_id,
                            const std::string& policy_version, WallTime now);

}  // namespace greengate::workers
